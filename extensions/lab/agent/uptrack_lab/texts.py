# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""What the agent says.  Where a recording of the real one has the text, it is that text; of the others the beginning
is the real one's (reference, sections 1.12 and 1.13), because that is what others look for, and what follows is in our
own words."""

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
NO_LIST = ("Unable to read the package list.\n"
           "Please run 'uptrack-upgrade -n' to download a new one.")
NO_PLAN = ("Unable to read the list of available updates.\n"
           "Please run 'uptrack-upgrade -n' to get a new one.")
NEW_KERNEL = "Ksplice Uptrack: booting into a new kernel, so not installing any updates."
INIT_BY_HAND = "Error: Uptrack init script started, but some updates are already installed!"
DEPMOD = "Error running ksplice-depmod."
NOT_WRITTEN = "Unable to write out status files"
NOT_SENT = "Unable to send status to management server"
CRON_OUTPUT = ("Warning: The cron output configuration options have been removed.\n"
               "Mail about updates is sent by the Ksplice service now; please take the\n"
               "cron_output_* lines out of %s." % CONFIG_PATH)


def fill(text, width=70):
    """Wrap each paragraph as the client does."""
    import textwrap
    return "\n\n".join(textwrap.fill(part, width) for part in text.split("\n\n"))


def lock_held():
    return fill("It appears that another Uptrack process is currently running on this system. "
                "Please wait until it has ended, and try again.")


def no_key():
    return ("You must specify an access key to use the service.\n"
            "Please add your key to %s" % CONFIG_PATH)


def bad_key():
    return ("Could not connect to the Ksplice Uptrack server with your access key.\n"
            "Please check that the key in %s is valid.\n" % CONFIG_PATH)


def network(detail):
    return fill("Could not connect to the Ksplice Uptrack server. A network connection is needed to ensure you have "
                "the latest list of updates to install. Please check your Internet connection and try again. If this "
                "computer does not have direct access to the Internet, you will need to configure an https proxy in "
                "%s." % CONFIG_PATH) + "\n\n(Network error: %s)" % detail


def proxy(url):
    return fill("Could not resolve your proxy server (%s). Please check the proxy settings of this machine." % url)


def malformed_url(url):
    return "Malformed URL %s for Uptrack server." % url


def tls():
    return fill("Could not verify the Ksplice Uptrack server's SSL certificate. "
                "Please check ssl_ca_cert_file and ssl_ca_cert_dir in %s, and the clock." % CONFIG_PATH)


def other_curl(detail):
    return fill("Unexpected error communicating with the Ksplice Uptrack server. "
                "Please try again later.") + "\n\n(Network error: %s)" % detail


def transient():
    return fill("The Ksplice Uptrack service has experienced a transient error. Please wait a few minutes and try "
                "again. If this error persists, please contact %s for assistance." % SUPPORT)


def status_http(code):
    return fill("Unexpected error communicating with the server. (HTTP code %d)" % code)


def unsupported(kernel):
    return ("Cannot find Ksplice Uptrack information for your kernel version\n"
            "(%s %s).\n"
            "Your kernel is probably not yet supported by Ksplice Uptrack.\n"
            "See http://www.ksplice.com/uptrack/supported-kernels for a summary of\n"
            "what kernels are supported.\n"
            "Please contact %s with questions." % (kernel["release"], kernel["version"], SUPPORT))


def list_http(code):
    return ("Unexpected error connecting to the Ksplice Uptrack server.\n"
            "The web server returned HTTP code %d.  If this error persists,\n"
            "please contact %s." % (code, SUPPORT))


def list_not_saved(error):
    return "Could not save the package list (%s)." % error


def bad_signature():
    return fill("Ksplice Uptrack could not verify the package list signature. "
                "The list was not used, and nothing was changed.")


def plan_failed():
    return fill("An error occurred requesting upgrade plans from the server. Please try again later.")


def plan_refused(body):
    return "The Ksplice Uptrack server reported the error:\n%s" % body


def too_old(have, need):
    return "Ksplice Uptrack client too old: %s, require %s" % (have, need)


def crash(starting=False):
    opening = "Unexpected error starting the Uptrack client." if starting else "Unexpected error."
    return "%s\nPlease submit a copy of %s to %s." % (opening, LOG_PATH, SUPPORT)


def openvz():
    return fill("Error: You are running Ksplice Uptrack inside a Virtuozzo/OpenVZ container, "
                "which shares the kernel of its host. Please run it on the host.")


def no_sysfs():
    return ("Error: The directory /sys/module was not found.\n"
            "  You must have the /sys filesystem mounted in order to use Ksplice Uptrack.\n"
            "  If you are running inside a chroot, you must mount /sys inside the chroot.\n"
            "  This could also be caused by an old or non-standard system configuration.\n"
            "  If you need help resolving this issue, please contact %s." % SUPPORT)


def new_updates(certain):
    return ("New updates %s available. Please re-run Uptrack with a network connection available\n"
            "to view and install them" % ("are" if certain else "may be"))


def config_error(detail):
    return "Error loading configuration file:\n%s" % detail


# ---- an update that will not go in or out ----------------------------------------------------------------------------

def failure(problem, verb):
    """The words and lines behind `The following actions failed:`.  `problem` is a failure of the scenario."""
    abort = problem["abort"]
    names = [name for name, dummy in problem["processes"]]
    if abort == "code_busy" and names and set(names) == {"krfcommd"}:
        return fill("Ksplice was unable to %s the update because the rfcomm module (used for bluetooth) is in use. "
                    "Please stop using bluetooth for a moment, and try again." % verb)
    if abort == "code_busy":
        told = ("Ksplice was unable to {0} the update because one or more programs are constantly using the kernel "
                "functions patched by this update.  You should be able to {0} this update by trying again.  If trying "
                "again does not work, please report this problem to <{1}>.")
        if not names:
            return fill(told.format(verb, SUPPORT))
        told += ("  Even if trying again does not work, closing the following programs should make it possible to {0} "
                 "this update:")
        # The line break at the end is the real one's, and leaves two empty lines behind the block.
        return _with_lines(told.format(verb, SUPPORT),
                           ["  - %s (pid %d)" % (name, pid) for name, pid in problem["processes"]]) + "\n"
    if abort == "out_of_memory":
        return fill("Ksplice failed to %s this update because your kernel is out of memory. "
                    "Please free some, and try again." % verb)
    if abort == "cold_update_loaded":
        return _with_lines(
            "Ksplice was unable to %s this update because modules that Uptrack patched off-line are currently loaded. "
            "Unload these, and try again:" % verb, [" - %s" % name for name in problem["modules"]])
    if abort == "module_busy":
        return _with_lines(
            "Ksplice was unable to %s this update because it is in use by one or more kernel modules that have been "
            "loaded since the update was applied. Unload these, and try again:" % verb,
            [" - %s" % name for name in problem["modules"]])
    if abort in ("no_match", "failed_to_find"):
        return _no_match(problem, verb)
    return fill("Ksplice was unable to %s this update due to an unexpected internal error." % verb) + (
        "\n\nPlease report this bug to the Uptrack developers at <%s>.\nUptrack log file: %s" % (SUPPORT, LOG_PATH))


def _no_match(problem, verb):
    if problem["virtualbox"]:
        return fill("Ksplice was unable to %s this update because your running kernel has been modified from the "
                    "version provided by your vendor. VirtualBox without hardware virtualization does that: turn on "
                    "VT-x/AMD-V in the settings of this virtual machine." % verb)
    if not problem["modules"]:
        return fill("Ksplice was unable to %s this update because your running kernel has been modified from the "
                    "version provided by your vendor." % verb)
    told = _with_lines(
        "Ksplice was unable to %s this update because the code in your running kernel does not match the expected "
        "version.\n\n"
        "You may have upgraded your on-disk kernel package and subsequently loaded one of the updated modules.  You "
        "may also be running a backported or custom-compiled kernel module.  The non-matching modules are:" % verb,
        ["  - %s" % name for name in problem["modules"]])
    told += "\n\n" + _with_lines(
        "If you are not intentionally using a different version of these modules, you should be able to %s this "
        "update by running the following commands as root:" % verb,
        ["rmmod %s" % name for name in problem["modules"]])
    return told + "\n\n" + fill("and then trying again.  If you are unable to resolve this issue, please contact <%s> "
                                "for assistance." % SUPPORT)


def _with_lines(paragraph, lines):
    return "\n".join([fill(paragraph)] + ([""] + lines if lines else []))
