# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""`ksplice`, the Enhanced client: `ksplice [OPTIONS] SUBSYSTEM SUBCOMMAND [ARGS]` (reference,
section 1.10).

The kernel's part is the Uptrack client under another name.  User-space patches live in the
emulator's own state: which process has which is nothing the kernel would show.
"""

import os

from . import agent, plan, server, texts
from . import console as consoles
from . import options as opts
from . import scenario as scenarios
from . import world as w
from .console import ERROR, INFO, WARNING

SUBSYSTEMS = ("kernel", "user", "all")
SUBCOMMANDS = ("list-targets", "list-target", "show", "apply", "undo", "upgrade", "remove", "uname")
NOT_IN_NAMESPACE = "Extra information: the process has changed root or mount namespace."


class Usage(Exception):
    """A wrong command line; status 2, as optparse and argparse have it."""


class Request(object):
    """The command line, taken apart."""

    def __init__(self, arguments):
        self.yes = self.no = self.verbose = self.quiet = self.help = self.version = False
        self.all = self.available = False
        self.pid = None
        words = []
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if words[:2] == ["kernel", "uname"]:
                words.append(argument)  # its options are uname's
            elif argument.startswith("--pid"):
                value = (
                    argument[6:] if argument.startswith("--pid=") else rest.pop(0) if rest else ""
                )
                if not value.isdigit():
                    raise Usage("--pid needs the number of a process")
                self.pid = int(value)
            elif argument in _FLAGS:
                setattr(self, _FLAGS[argument], True)
            elif argument.startswith("-") and argument != "-":
                raise Usage(f"no such option: {argument}")
            else:
                words.append(argument)
        self.subsystem = words[0] if words else None
        self.subcommand = words[1] if len(words) > 1 else None
        self.arguments = words[2:]

    def check(self):
        if self.subsystem not in SUBSYSTEMS:
            raise Usage("give a subsystem: {}".format(", ".join(SUBSYSTEMS)))
        if self.subcommand not in SUBCOMMANDS:
            raise Usage("give a subcommand: {}".format(", ".join(SUBCOMMANDS)))
        if self.subcommand == "uname" and self.subsystem != "kernel":
            raise Usage("uname is there for the kernel only")
        if self.subcommand in ("apply", "undo") and (
            self.subsystem == "all" or len(self.arguments) != 1
        ):
            raise Usage(f"{self.subcommand} wants kernel or user, and one update")
        if self.subcommand == "remove" and not (self.arguments or self.all):
            raise Usage("give the IDs of the updates to remove, or --all")


_FLAGS = {
    "-y": "yes",
    "--yes": "yes",
    "-n": "no",
    "--no": "no",
    "-v": "verbose",
    "--verbose": "verbose",
    "-q": "quiet",
    "--quiet": "quiet",
    "-h": "help",
    "--help": "help",
    "-V": "version",
    "--version": "version",
    "--all": "all",
    "--available": "available",
}

HELP = """Usage: ksplice [OPTIONS] SUBSYSTEM SUBCOMMAND [ARGS]

Subsystems: kernel, user, all
Subcommands: list-targets, show, apply PATH, undo ID, upgrade, remove ID...|--all,
             uname (kernel only)
Options: -y, --yes; -n; -v; -q; --available (show); --pid=PID (user); --all (remove)"""


def main(arguments):
    try:
        request = Request(arguments)
        if request.help or not arguments:
            consoles.put(HELP + "\n")
            return 0
        if not request.version:
            request.check()
    except Usage as error:
        consoles.complain(f"{HELP.splitlines()[0]}\n\nksplice: error: {error}")
        return 2
    world = w.World()
    try:
        scenario = scenarios.load(world.path(w.SCENARIO))
        if agent.is_offline(scenario):
            scenario = agent.with_offline_package(world, scenario)
    except w.ScenarioError as error:
        consoles.complain(str(error))
        return 78
    if request.version:
        consoles.put(scenario["client"]["version"] + "\n")
        return 0
    if request.subcommand == "uname":
        from . import uname

        return uname.main("uptrack-uname", request.arguments)
    status = 0
    for part in ("user", "kernel") if request.subsystem == "all" else (request.subsystem,):
        if part == "user":
            one = user(world, scenario, request)
        else:
            if request.subsystem == "all" and request.subcommand in (
                "show",
                "list-targets",
                "list-target",
            ):
                consoles.put(
                    "\nKsplice kernel updates:\n" if request.subcommand == "show" else "\n"
                )
            one = kernel(world, scenario, request)
        status = status or one
    return status


# ---- kernel --------------------------------------------------------------------------------------


def kernel(world, scenario, request):
    if request.subcommand.startswith("list-target"):
        consoles.put("Kernel version: {}\n".format(server.slashed(scenario["kernel"])))
        return 0
    options = opts.Options()
    options.assume_yes, options.assume_no = request.yes, request.no
    options.verbose, options.quiet = int(request.verbose), request.quiet
    options.available = request.available
    options.all = request.all
    options.ids = list(request.arguments)
    command = {
        "show": "uptrack-show",
        "upgrade": "uptrack-upgrade",
        "remove": "uptrack-remove",
        "undo": "uptrack-remove",
        "apply": "uptrack-install",
    }[request.subcommand]
    if request.subcommand == "apply":
        options.ids = [update_of_path(options.ids[0])]
    return agent.run(
        world,
        scenario,
        command,
        options,
        ["ksplice", request.subsystem, request.subcommand] + request.arguments,
    )


def update_of_path(path):
    """`/some/where/ksplice-abcd1234.tar.gz` -> `abcd1234`"""
    name = os.path.basename(path.rstrip("/")).split(".")[0]
    return name[len("ksplice-") :] if name.startswith("ksplice-") else name


# ---- user space ----------------------------------------------------------------------------------


def tree_sign(environment):
    """The branch before an update of a process; plain ASCII where the locale knows nothing else."""
    locale = (
        environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    )
    return "\u2514\u2500" if "UTF-8" in locale.upper().replace("UTF8", "UTF-8") else "`-"


def caller_environment():
    """The environment we were started with.  Where that says LANG=C, Python has set LC_CTYPE in
    os.environ since.
    """
    try:
        with open("/proc/self/environ", "rb") as stream:
            entries = stream.read().decode("utf-8", "replace").split("\0")
    except OSError:
        return os.environ
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def updates_of(scenario, process):
    """What there is for a process: the updates of the library it runs."""
    for target in scenario["user_space"]["targets"]:
        if target["name"] == process["target"]:
            return target["updates"]
    return []


def installed_in(process, data):
    """IDs in one process: what the scenario began with, unless something was done since."""
    return data.get("user_space", {}).get(str(process["pid"]), process["installed"])


def user(world, scenario, request):
    """One user-space command, under the same log and lock as the kernel's."""
    options = opts.Options()
    options.quiet, options.verbose = request.quiet, int(request.verbose)
    try:
        if scenario["user"] != "root":
            raise PermissionError(13, "the scenario plays a user who is not root")
        console = consoles.Console(world, consoles.level_of(options))
    except OSError:
        consoles.complain(f"{texts.NO_LOGGER}\n{texts.NOT_ROOT}")
        return 1
    console.event(
        "run started: {}".format(
            agent.as_json(["ksplice", request.subsystem, request.subcommand] + request.arguments)
        )
    )
    status = 1
    try:
        lock = w.take_lock(world.path(w.LOCK), scenario["lock_wait"])
        console.event("lock taken")
        try:
            status = _user_locked(world, scenario, request, console)
        finally:
            os.close(lock)
    except w.LockHeld:
        console.say(texts.lock_held(), ERROR)
    finally:
        console.event(f"run ended: status {status}")
    return status


def _user_locked(world, scenario, request, console):
    state = scenarios.State(world.path(w.STATE))
    data = state.read()
    processes = scenario["user_space"]["processes"]
    if request.pid is not None:
        processes = [one for one in processes if one["pid"] == request.pid]
    if request.subcommand.startswith("list-target"):
        return _list_targets(scenario, console)
    if not processes:
        console.say(
            "There are no active user-space targets. Are the Ksplice-aware libraries installed, "
            "and has\nthis machine been rebooted since?",
            ERROR,
        )
        return 1
    if request.subcommand == "show":
        return _user_show(scenario, request, console, processes, data)
    steps = _user_steps(scenario, request, console, processes, data)
    if not steps:
        console.say(texts.NOTHING)
        return 0
    console.say(
        "\n".join(
            [texts.STEPS]
            + [f"{verb} {_of_process(process, update)}" for verb, process, update in steps]
        )
    )
    if request.no or not (request.yes or _agreed()):
        console.say(texts.ABORTING)
        return 0 if request.no and request.subcommand == "upgrade" else 12
    return _user_work(state, console, steps)


def _agreed():
    import sys

    consoles.put("\n" + texts.PROMPT)
    return sys.stdin is not None and sys.stdin.readline().strip()[:1] in ("y", "Y")


def _list_targets(scenario, console):
    lines = ["User-space targets:", ""]
    for target in scenario["user_space"]["targets"]:
        lines.append("{}:".format(target["name"]))
        lines += [
            f" - {process['name']} ({process['pid']})"
            for process in scenario["user_space"]["processes"]
            if process["target"] == target["name"]
        ]
        lines.append("")
    console.answer("\n".join(lines).rstrip("\n"))
    return 0


def _user_show(scenario, request, console, processes, data):
    sign = tree_sign(caller_environment())
    lines = [] if request.pid is not None else ["Ksplice user-space updates:"]
    for process in processes:
        there = installed_in(process, data)
        lines.append(f"{process['name']} ({process['pid']})")
        lines += [
            "  {} [{}]: {}".format(sign, update["id"], update["name"])
            for update in updates_of(scenario, process)
            if (update["id"] in there) != request.available
        ]
    console.answer("\n".join(lines))
    return 0


def _user_steps(scenario, request, console, processes, data):
    """[(verb, process, update)] of what has to be done."""
    steps, known = [], set()
    removing = request.subcommand in ("remove", "undo")
    wanted = request.arguments
    if request.subcommand == "apply":
        wanted = [update_of_path(wanted[0])]
    for process in processes:
        there = installed_in(process, data)
        updates = updates_of(scenario, process)
        for update in reversed(updates) if removing else updates:
            known.add(update["id"])
            asked = request.all or request.subcommand == "upgrade" or update["id"] in wanted
            if asked and (update["id"] in there) == removing:
                steps.append((plan.REMOVE if removing else plan.INSTALL, process, update))
    for update_id in wanted:
        if update_id not in known and request.subcommand != "upgrade":
            console.say(f"Unknown update {update_id}, skipping.", WARNING)
    return steps


def _of_process(process, update):
    return f"[{update['id']}]: {update['name']} in {process['name']} ({process['pid']})"


def _user_work(state, console, steps):
    """Patch process by process; one that cannot be reached does not stop the others."""
    status = 0
    for verb, process, update in steps:
        if process["namespace"] and verb == plan.INSTALL:
            console.say(
                texts.fill(
                    "Ksplice was unable to load the update as the target process is in a mount "
                    "namespace or root of its own, where the update's files cannot be seen."
                )
                + (
                    f"\n{NOT_IN_NAMESPACE}\n  {tree_sign(caller_environment())} {process['name']} "
                    f"({process['pid']})"
                ),
                ERROR,
            )
            status = 1
            continue
        console.say(
            "{} {}".format(
                "Installing" if verb == plan.INSTALL else "Removing", _of_process(process, update)
            ),
            INFO,
        )
        state.change(
            lambda data, verb=verb, process=process, update=update: _keep(
                data, verb, process, update
            )
        )
    return status


def _keep(data, verb, process, update):
    there = set(installed_in(process, data))
    there = there | {update["id"]} if verb == plan.INSTALL else there - {update["id"]}
    data.setdefault("user_space", {})[str(process["pid"])] = sorted(there)
