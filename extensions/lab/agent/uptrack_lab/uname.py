# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""uname with the scenario's kernel, and uptrack-uname with the effective one."""

import os
import sys

# In the order uname prints them.
FIELDS = (
    ("s", "--kernel-name", "sysname"),
    ("n", "--nodename", "nodename"),
    ("r", "--kernel-release", "release"),
    ("v", "--kernel-version", "version"),
    ("m", "--machine", "machine"),
    ("p", "--processor", "machine"),
    ("i", "--hardware-platform", "machine"),
    ("o", "--operating-system", "system"),
)


def main(command, arguments):
    from . import console
    from . import scenario as scenarios
    from . import world as w

    world = w.World()
    try:
        scenario = scenarios.load(world.path(w.SCENARIO))
    except w.ScenarioError as error:
        console.complain(str(error))
        return 78
    kernel = dict(scenario["kernel"])
    if command == "uptrack-uname":
        from . import effective, plan

        kernel = effective.read(world, kernel) or plan.effective_kernel(kernel, [], ())
    kernel["nodename"] = scenario["hostname"] or os.uname()[1]
    kernel["system"] = "GNU/Linux"
    status, words = answer(command, arguments, kernel, scenario["client"]["version"])
    if status:
        sys.stderr.write(words + "\n")
    else:
        console.put(words + "\n")
    return status


def answer(command, arguments, kernel, version):
    """Exit status and the line (or complaint) for these arguments."""
    wanted = set()
    hint = f"\nTry '{command} --help' for more information."
    for argument in arguments:
        if argument == "--help":
            return 0, "Usage: {} [OPTION]...\nPrint what runs on this machine: {}".format(
                command, " ".join("-" + letter for letter, dummy, dummy in FIELDS) + " -a"
            )
        if argument in ("--version", "-V") and (
            argument == "--version" or command == "uptrack-uname"
        ):
            return 0, f"{command} {version}"
        if argument == "--package-version" and command == "uptrack-uname":
            return 0, "{} {} {}".format(
                kernel["sysname"], kernel["machine"], kernel["package_version"]
            )
        if argument == "--all":
            wanted.update(letter for letter, dummy, dummy in FIELDS)
        elif argument.startswith("--"):
            letters = [letter for letter, name, dummy in FIELDS if name == argument]
            if not letters:
                return 1, f"{command}: unrecognized option '{argument}'{hint}"
            wanted.update(letters)
        elif argument.startswith("-") and argument != "-":
            for letter in argument[1:]:
                if letter == "a":
                    wanted.update(letter for letter, dummy, dummy in FIELDS)
                elif letter in "snrvmpio":
                    wanted.add(letter)
                else:
                    return 1, f"{command}: invalid option -- '{letter}'{hint}"
        else:
            return 1, f"{command}: extra operand '{argument}'{hint}"
    return 0, " ".join(kernel[key] for letter, dummy, key in FIELDS if letter in (wanted or {"s"}))
