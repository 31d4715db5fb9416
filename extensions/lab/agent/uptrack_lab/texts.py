# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""What the agent says.  Where a recording of the real one has the text, it is that text; of the
others the beginning is the real one's (reference, sections 1.12 and 1.13), because that is what
others look for, and what follows is in our own words.
"""

CONFIG_PATH = "/etc/uptrack/uptrack.conf"
LOG_PATH = "/var/log/uptrack.log"
SUPPORT = "support@ksplice.com"

NOT_ROOT = "The Uptrack client must be run as root."
NO_LOGGER = "Unable to set up the logger."
DISABLED = "Uptrack disabled by system administrator, remove /etc/uptrack/disable to enable."
UP_TO_DATE = "Your kernel is fully up to date."
NOTHING = "Nothing to be done."
STEPS = "The following steps will be taken:"
ABORTING = "Aborting."
PROMPT = "Go ahead [y/N]? "
NO_LIST = "Unable to read the package list.\nPlease run 'uptrack-upgrade -n' to download a new one."
NO_PLAN = (
    "Unable to read the list of available updates.\n"
    "Please run 'uptrack-upgrade -n' to get a new one."
)
NEW_KERNEL = "Ksplice Uptrack: booting into a new kernel, so not installing any updates."
INIT_BY_HAND = "Error: Uptrack init script started, but some updates are already installed!"
DEPMOD = "Error running ksplice-depmod."
NOT_WRITTEN = "Unable to write out status files"
NOT_SENT = "Unable to send status to management server"
CRON_OUTPUT = (
    "Warning: The cron output configuration options have been removed.\n"
    "Mail about updates is sent by the Ksplice service now; please take the\n"
    f"cron_output_* lines out of {CONFIG_PATH}."
)


def fill(text, width=70):
    """Wrap each paragraph as the client does."""
    import textwrap

    return "\n\n".join(textwrap.fill(part, width) for part in text.split("\n\n"))


def lock_held():
    return fill(
        "It appears that another Uptrack process is currently running on this system. "
        "Please wait until it has ended, and try again."
    )


def no_key():
    return (
        f"You must specify an access key to use the service.\nPlease add your key to {CONFIG_PATH}"
    )


def bad_key():
    return (
        "Could not connect to the Ksplice Uptrack server with your access key.\n"
        f"Please check that the key in {CONFIG_PATH} is valid.\n"
    )


def network(detail):
    return (
        fill(
            "Could not connect to the Ksplice Uptrack server. A network connection is needed to "
            "ensure you have the latest list of updates to install. Please check your Internet "
            "connection and try again. If this computer does not have direct access to the "
            f"Internet, you will need to configure an https proxy in {CONFIG_PATH}."
        )
        + f"\n\n(Network error: {detail})"
    )


def proxy(url):
    return fill(
        f"Could not resolve your proxy server ({url}). Please check "
        "the proxy settings of this machine."
    )


def malformed_url(url):
    return f"Malformed URL {url} for Uptrack server."


def tls():
    return fill(
        "Could not verify the Ksplice Uptrack server's SSL certificate. "
        f"Please check ssl_ca_cert_file and ssl_ca_cert_dir in {CONFIG_PATH}, and the clock."
    )


def other_curl(detail):
    return (
        fill(
            "Unexpected error communicating with the Ksplice Uptrack server. "
            "Please try again later."
        )
        + f"\n\n(Network error: {detail})"
    )


def transient():
    return fill(
        "The Ksplice Uptrack service has experienced a transient error. Please wait a few "
        f"minutes and try again. If this error persists, please contact {SUPPORT} for assistance."
    )


def status_http(code):
    return fill(f"Unexpected error communicating with the server. (HTTP code {code})")


def unsupported(kernel):
    return (
        "Cannot find Ksplice Uptrack information for your kernel version\n"
        "({} {}).\n"
        "Your kernel is probably not yet supported by Ksplice Uptrack.\n"
        "See http://www.ksplice.com/uptrack/supported-kernels for a summary of\n"
        "what kernels are supported.\n"
        "Please contact {} with questions.".format(kernel["release"], kernel["version"], SUPPORT)
    )


def list_http(code):
    return (
        "Unexpected error connecting to the Ksplice Uptrack server.\n"
        f"The web server returned HTTP code {code}.  If this error persists,\n"
        f"please contact {SUPPORT}."
    )


def list_not_saved(error):
    return f"Could not save the package list ({error})."


def bad_signature():
    return fill(
        "Ksplice Uptrack could not verify the package list signature. "
        "The list was not used, and nothing was changed."
    )


def plan_failed():
    return fill(
        "An error occurred requesting upgrade plans from the server. Please try again later."
    )


def plan_refused(body):
    return f"The Ksplice Uptrack server reported the error:\n{body}"


def too_old(have, need):
    return f"Ksplice Uptrack client too old: {have}, require {need}"


def crash(starting=False):
    opening = "Unexpected error starting the Uptrack client." if starting else "Unexpected error."
    return f"{opening}\nPlease submit a copy of {LOG_PATH} to {SUPPORT}."


def openvz():
    return fill(
        "Error: You are running Ksplice Uptrack inside a Virtuozzo/OpenVZ container, "
        "which shares the kernel of its host. Please run it on the host."
    )


def no_sysfs():
    return (
        "Error: The directory /sys/module was not found.\n"
        "  You must have the /sys filesystem mounted in order to use Ksplice Uptrack.\n"
        "  If you are running inside a chroot, you must mount /sys inside the chroot.\n"
        "  This could also be caused by an old or non-standard system configuration.\n"
        f"  If you need help resolving this issue, please contact {SUPPORT}."
    )


def new_updates(certain):
    return (
        f"New updates {'are' if certain else 'may be'} available. Please re-run Uptrack with a "
        "network connection available\n"
        "to view and install them"
    )


def config_error(detail):
    return f"Error loading configuration file:\n{detail}"


# ---- an update that will not go in or out --------------------------------------------------------


def failure(problem, verb):
    """The words and lines behind `The following actions failed:`.  `problem` is a failure of the
    scenario.
    """
    abort = problem["abort"]
    names = [name for name, dummy in problem["processes"]]
    if abort == "code_busy" and names and set(names) == {"krfcommd"}:
        return fill(
            f"Ksplice was unable to {verb} the update because the rfcomm module (used for "
            "bluetooth) is in use. Please stop using bluetooth for a moment, and try again."
        )
    if abort == "code_busy":
        told = (
            "Ksplice was unable to {0} the update because one or more programs are constantly "
            "using the kernel functions patched by this update.  You should be able to {0} "
            "this update by trying again.  If trying again does not work, please report this "
            "problem to <{1}>."
        )
        if not names:
            return fill(told.format(verb, SUPPORT))
        told += (
            "  Even if trying again does not work, closing the following programs should make it "
            "possible to {0} this update:"
        )
        # The line break at the end is the real one's, and leaves two empty lines behind the block.
        return (
            _with_lines(
                told.format(verb, SUPPORT),
                [f"  - {name} (pid {pid})" for name, pid in problem["processes"]],
            )
            + "\n"
        )
    if abort == "out_of_memory":
        return fill(
            f"Ksplice failed to {verb} this update because your kernel is out of memory. "
            "Please free some, and try again."
        )
    if abort == "cold_update_loaded":
        return _with_lines(
            f"Ksplice was unable to {verb} this update because modules that Uptrack patched "
            "off-line are currently loaded. Unload these, and try again:",
            [f" - {name}" for name in problem["modules"]],
        )
    if abort == "module_busy":
        return _with_lines(
            f"Ksplice was unable to {verb} this update because it is in use by one or more kernel "
            "modules that have been loaded since the update was applied. "
            "Unload these, and try again:",
            [f" - {name}" for name in problem["modules"]],
        )
    if abort in ("no_match", "failed_to_find"):
        return _no_match(problem, verb)
    return fill(
        f"Ksplice was unable to {verb} this update due to an unexpected internal error."
    ) + (
        f"\n\nPlease report this bug to the Uptrack developers at <{SUPPORT}>.\n"
        f"Uptrack log file: {LOG_PATH}"
    )


def _no_match(problem, verb):
    if problem["virtualbox"]:
        return fill(
            f"Ksplice was unable to {verb} this update because your running kernel has been "
            "modified from the version provided by your vendor. VirtualBox without hardware "
            "virtualization does that: turn on VT-x/AMD-V in the "
            "settings of this virtual machine."
        )
    if not problem["modules"]:
        return fill(
            f"Ksplice was unable to {verb} this update because your running kernel has been "
            "modified from the version provided by your vendor."
        )
    told = _with_lines(
        f"Ksplice was unable to {verb} this update because the code in your running kernel does "
        "not match the expected version.\n\n"
        "You may have upgraded your on-disk kernel package and subsequently loaded one of the "
        "updated modules.  You may also be running a backported or custom-compiled kernel "
        "module.  The non-matching modules are:",
        [f"  - {name}" for name in problem["modules"]],
    )
    told += "\n\n" + _with_lines(
        "If you are not intentionally using a different version of these modules, you should be "
        f"able to {verb} this update by running the following commands as root:",
        [f"rmmod {name}" for name in problem["modules"]],
    )
    return (
        told
        + "\n\n"
        + fill(
            "and then trying again.  If you are unable to resolve this issue, please contact "
            f"<{SUPPORT}> for assistance."
        )
    )


def _with_lines(paragraph, lines):
    return "\n".join([fill(paragraph)] + ([""] + lines if lines else []))
