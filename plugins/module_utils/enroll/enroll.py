# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_config's work on the host: look, and then as much of it as needs no package manager.

What a package manager has to bring is named in the result's C(needs). The action plugin brings it
and runs the module again, until nothing is needed. So a host that has everything costs one round
trip, and every run starts from what is really there.
"""

import glob
import os
import shutil
import socket
import time

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply, output
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import (
    conf,
    configure,
    enrollment,
    host_packages,
)

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "edition": {"type": "str", "choices": ["online", "offline"]},
    "enhanced": {"type": "bool", "default": False},
    "packages": {"type": "list", "elements": "str"},
    "updates_package": {"type": "str", "choices": ["present", "latest"]},
    "repository": {
        "type": "str",
        "choices": ["auto", "vendor", "platform", "none"],
        "default": "auto",
    },
    # They may have a user and a password in them: see configure.forget_harmless.
    "repository_url": {"type": "str", "no_log": True},
    "repository_key": {"type": "str", "no_log": True},
    "repository_key_fingerprint": {"type": "str", "no_log": False},
    "channel": {"type": "str"},
    "reset_identity": {"type": "bool", "default": False},
    "check_in": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 900},
    "retries": {"type": "int", "default": 3},
    "retry_delay": {"type": "int", "default": 20},
}
# What makes one machine known to the service as itself (reference, section 7, "Cloned VMs").
# The agent's exit status where the account's key is good and the machine itself is to be activated,
# as in an account that denies new machines: it is known there from now on (reference 1.3, 5.1).
NOT_ACTIVATED = 19
IDENTITY = ("/var/lib/uptrack/uuid", "/var/lib/uptrack/serial")
# What is left of an agent when its packages are gone. The log may hold the key.
TRACES = (
    "/etc/uptrack",
    "/etc/cron.d/uptrack",
    "/etc/cron.d/ksplice",
    "/etc/cron.d/rebootless-ksplice",
    "/var/lib/uptrack",
    "/var/cache/uptrack",
    "/var/cache/ksplice",
    "/var/log/uptrack.log*",
    "/var/lib/rebootless-ksplice",
)


def arguments():
    """The argument spec of uptrack_config."""
    return dict(configure.arguments(), **ARGUMENTS)


def run(module, root):
    """One pass; the module's result comes back, with C(needs) in it when it is not the last."""
    enrollment.check(module.params)
    seen = host_packages.look(module.run_command, root, module.params)
    result = (
        _absent(module, root, seen)
        if module.params["state"] == "absent"
        else _present(module, root, seen)
    )
    return dict(result, edition=seen["edition"], packages=seen["packages"])


def _present(module, root, seen):
    params = module.params
    plan = configure.plan(params, root)
    needs = enrollment.present(params, seen)

    def conf_of(key):
        return conf.boolean(plan.values.get(("Settings", key), "no"))

    enrollment.check_updates(params, seen, conf_of)
    if needs and not module.check_mode:
        switching = any(need.get("switch_from") for need in needs)
        loaded = apply.ids(apply.Agent(module.run_command).facts()) if switching else []
        return {
            "changed": False,
            "needs": needs,
            "loaded": loaded,
            "disabled": os.path.exists(root + configure.FLAG),
            "previous": {
                "repository_file": host_packages.kept(enrollment.repository_file(seen)),
                "key_file": host_packages.kept(enrollment.YUM_KEY_FILE),
                "key_imported": seen["key_imported"],
                "traces": [pattern for pattern in TRACES if glob.glob(pattern)],
            },
        }
    result = configure.configure(module, root, plan)
    if params["reset_identity"]:
        gone = _remove(root, IDENTITY, module.check_mode)
        result["changed"] = result["changed"] or bool(gone)
        result["identity_reset"] = bool(gone)
    result["needs"] = needs + enrollment.updates(params, seen, conf_of)
    problem = (
        enrollment.channel_problem(params, seen)
        if params["repository"] == "platform" and not seen["emulated"]
        else None
    )
    if problem:
        module.warn(problem)
    if params["check_in"] and result["changed"] and not module.check_mode and seen["commands"]:
        result.update(_check_in(module, root, plan, result, seen))
    return result


def _check_in(module, root, plan, result, seen):
    """Let the host report itself, so that a wrong key shows now and not tonight.

    If the service rejects the configuration, the previous one is restored.
    """
    agent = apply.Agent(module.run_command, module.params["timeout"])
    if (
        result["disabled"]
        or seen["edition"] == "offline"
        or "uptrack-upgrade" not in _commands(root)
    ):
        facts = agent.facts()
        return {"checked_in": False, "verdict": facts["verdict"], "reason": facts["reason"]}
    rc, words = agent.run("uptrack-upgrade", "-n")
    problem = output.problem(rc, words)
    new_key = "Auth/accesskey" in result["changed_keys"]
    if problem and problem.error_class == "licence" and new_key and rc != NOT_ACTIVATED:
        configure.put_back(module, root, plan)
        raise enrollment.Refused(
            f"The service rejected the access key: {problem.what}. uptrack.conf was "
            f"restored. {problem.advice}"
        )
    facts = agent.facts()
    told = {"checked_in": problem is None, "verdict": facts["verdict"], "reason": facts["reason"]}
    if problem and problem.error_class != "unsupported":
        why = "does not let it in" if rc == NOT_ACTIVATED else "could not be asked"
        words = (
            f"The configuration was written, but the service {why}: {problem.what}. "
            f"{problem.advice}"
        )
        module.warn(words)
        told.update(verdict="unknown", reason=words)
    return told


def _commands(root):
    return [
        name
        for name in host_packages.COMMANDS
        if any(os.access(f"{root}{place}/{name}", os.X_OK) for place in ("/usr/sbin", "/usr/bin"))
    ]


# ---- state: absent -------------------------------------------------------------------------------


def _absent(module, root, seen):
    agent = apply.Agent(module.run_command, module.params["timeout"])
    facts = agent.facts()
    loaded = apply.ids(facts)
    if facts["updates"]["installed"] is None and facts["reason_code"] == "no_root":
        raise enrollment.Refused(facts["reason"])
    changed = bool(loaded)
    removed = loaded
    if loaded and not module.check_mode:
        _take_out(module, root, agent, seen, loaded)
    needs = enrollment.absent(seen)
    result = {
        "changed": changed,
        "removed": removed,
        "needs": needs,
        "loaded": [],
        "disabled": False,
        "changed_keys": [],
        "path": configure.PATH,
    }
    if needs and not module.check_mode:
        return result
    traces = _remove(root, TRACES, module.check_mode)
    result["traces"] = traces
    result["changed"] = bool(changed or traces)
    if not module.check_mode:
        left = apply.ids(agent.facts())
        if left:
            raise enrollment.Refused(
                f"The agent was removed, but {', '.join(left)} is still in the kernel. "
                "Only a reboot removes it now."
            )
    return result


def _take_out(module, root, agent, seen, loaded):
    """Empty the kernel of updates, or refuse with everything else as it is."""
    if not seen["commands"]:
        raise enrollment.Refused(
            f"{len(loaded)} updates are in the kernel ({_some(loaded)}) and there is "
            "no agent to remove them: install it again, or reboot the host. Nothing "
            "was changed."
        )
    flag = root + configure.FLAG
    disabled = os.path.exists(flag)
    if disabled:
        # With that file the agent removes nothing either (trap 16).
        os.unlink(flag)
    failed = None
    try:
        wish = {name: option.get("default") for name, option in apply.ARGUMENTS.items()}
        wish.update(
            state="absent",
            all=True,
            **{name: module.params[name] for name in ("retries", "retry_delay", "timeout")},
        )
        result = apply.apply(agent, wish, False, socket.gethostname(), time.sleep, time.monotonic)
        failed = result["msg"] if result["failed"] else None
    except apply.Refused as refused:
        failed = str(refused)
    left = apply.ids(agent.facts())
    if failed or left:
        if disabled:
            configure.write_flag(module, root)
        raise enrollment.Refused(
            (
                f"{len(left)} of {len(loaded)} updates are still in the kernel "
                f"({_some(left)}), so the agent, repository, configuration and identity "
                f"were left as they are. {failed or ''}"
            ).strip()
        )


def _remove(root, patterns, check_mode):
    """Remove files and directories; the paths of what was there come back."""
    gone = []
    for path in sorted(found for pattern in patterns for found in glob.glob(root + pattern)):
        gone.append(path[len(root) :])
        if check_mode:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    return gone


def _some(names):
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
