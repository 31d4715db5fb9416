# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""What the agent says.  The beginning of each text is the real one's (reference, sections 1.12 and 1.13), because
that is what others look for; what follows is in our own words."""

CONFIG_PATH = "/etc/uptrack/uptrack.conf"
LOG_PATH = "/var/log/uptrack.log"

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
    return fill("You must specify an access key to use the service. "
                "Put the key you were given into the accesskey line of %s." % CONFIG_PATH)


def bad_key():
    return ("Could not connect to the Ksplice Uptrack server with your access key.\n"
            "Please check that the key in %s is valid." % CONFIG_PATH)


def network(detail):
    return fill("Could not connect to the Ksplice Uptrack server. A network connection to it is needed for this; "
                "please check yours, and try again.") + "\n\n(Network error: %s)" % detail


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
    return fill("The Ksplice Uptrack service has experienced a transient error. Please try again later.")


def status_http(code):
    return fill("Unexpected error communicating with the server. (HTTP code %d)" % code)


def unsupported(kernel):
    return ("Cannot find Ksplice Uptrack information for your kernel version\n"
            "(%s %s).\n"
            "Your kernel is probably not yet supported by Ksplice Uptrack." % (kernel["release"], kernel["version"]))


def list_http(code):
    return fill("Unexpected error connecting to the Ksplice Uptrack server. Please try again later.") + (
        "\n\n(HTTP code %d)" % code)


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
    return fill("%s Please send the file %s to the people who support you." % (opening, LOG_PATH))


def openvz():
    return fill("Error: You are running Ksplice Uptrack inside a Virtuozzo/OpenVZ container, "
                "which shares the kernel of its host. Please run it on the host.")


def no_sysfs():
    return fill("Error: The directory /sys/module was not found. "
                "Is /sys mounted? Inside a chroot or a container there may be no way to see the kernel.")


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
        return _with_lines(
            "Ksplice was unable to %s the update because one or more programs are constantly using the kernel "
            "functions patched by this update. Try again in a while; if that does not help, stop these programs "
            "for the time of the update:" % verb,
            ["  - %s (pid %d)" % (name, pid) for name, pid in problem["processes"]])
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
    return fill("Ksplice was unable to %s this update due to an unexpected internal error. "
                "Please send the log file to the people who support you." % verb) + (
                    "\n\nUptrack log file: %s" % LOG_PATH)


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
        "version. These modules are not what they should be:" % verb,
        ["  - %s" % name for name in problem["modules"]])
    return told + "\n\n" + _with_lines(
        "If you can do without them, unload them, and try again:",
        ["rmmod %s" % name for name in problem["modules"]])


def _with_lines(paragraph, lines):
    return "\n".join([fill(paragraph)] + ([""] + lines if lines else []))
