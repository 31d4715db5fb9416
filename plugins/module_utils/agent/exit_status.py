# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the agent's exit statuses mean (reference 1.3), and what a person can do about them.

One table serves the modules' C(error_class), their messages and the documentation.
"""

from collections import namedtuple

# error_class: transient (the same command may succeed later), host (something on this host stands
# in the way), licence (key or subscription), unsupported (kernel or environment), agent (the agent
# itself is at fault), unknown.
Meaning = namedtuple("Meaning", "error_class what advice")

MEANINGS = {
    1: Meaning(
        "unknown",
        "the agent failed without giving a reason",
        "Read /var/log/uptrack.log on the host.",
    ),
    2: Meaning(
        "agent",
        "the agent rejected an option that it was called with",
        "Compare the agent's version with what this collection supports, and report it.",
    ),
    10: Meaning(
        "transient",
        "the update service could not be reached",
        "Check that the host reaches updates.ksplice.com:443, its https_proxy, and its TLS trust; "
        "then run again.",
    ),
    11: Meaning(
        "agent", "the agent met an internal error", "Read /var/log/uptrack.log on the host."
    ),
    12: Meaning(
        "agent",
        "the agent asked for a confirmation it did not get",
        "Report this: the module always answers.",
    ),
    13: Meaning(
        "unsupported",
        "the update service has no updates for the running kernel yet",
        "This is normal for a newly released kernel: run again in a few days. If "
        "it stays so, compare the kernel with Oracle's list of maintained kernels.",
    ),
    14: Meaning(
        "licence",
        "the update service refused the access key",
        "Check accesskey in uptrack.conf, and that the account admits this "
        "machine (it may be pending or denied).",
    ),
    15: Meaning(
        "agent", "the agent is too old to install these updates", "Update the agent's package."
    ),
    16: Meaning(
        "agent", "the agent is too old to read the list of updates", "Update the agent's package."
    ),
    17: Meaning(
        "licence",
        "the subscription has expired",
        "Renew it. Installed updates stay in the kernel meanwhile.",
    ),
    18: Meaning("transient", "the update service reported an internal error", "Run again later."),
    19: Meaning(
        "licence",
        "this machine is not activated for the service",
        "Activate it in the account's list of machines.",
    ),
    20: Meaning(
        "licence",
        "no access key is configured",
        "Set accesskey, for example with rebootless.ksplice.uptrack_config.",
    ),
    21: Meaning(
        "unsupported",
        "there is no /sys/module: a container or a chroot has no kernel of its own",
        "Patch the machine that the container runs on, and exclude this host from the rollout.",
    ),
    255: Meaning(
        "agent",
        "the agent crashed",
        "Read /var/log/uptrack.log on the host; a single percent "
        "sign in uptrack.conf does this too.",
    ),
}

_OTHER = Meaning(
    "unknown",
    "the agent exited with an undocumented status",
    "The service may have sent it: read /var/log/uptrack.log on the host.",
)


def meaning(status):
    """The meaning of an exit status other than 0."""
    return MEANINGS.get(status, _OTHER)
