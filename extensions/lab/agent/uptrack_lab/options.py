# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The command line of upgrade, install, remove and show, read the way Python's optparse does."""

FLAG, COUNTER, NUMBER, VALUE = "flag", "counter", "number", "value"

# (short, long, attribute, kind, help); no help: hidden
COMMON = (
    ("-h", "--help", "help", FLAG, "show this help message and exit"),
    ("-V", "--version", "version", FLAG, "print the version and exit"),
    ("-q", "--quiet", "quiet", FLAG, "say only what went wrong"),
    ("-v", "--verbose", "verbose", COUNTER, "say more; twice for the network's talk as well"),
    ("-y", None, "assume_yes", FLAG, "answer every question with yes"),
    ("-n", None, "assume_no", FLAG, "answer every question with no"),
    (None, "--all", "all", FLAG, "all updates"),
    (None, "--wait", "wait", NUMBER, "seconds to pause behind each update"),
    (None, "--count", "count", FLAG, None),
    (None, "--available", "available", FLAG, None),
    (None, "--no-network", "no_network", FLAG, None),
    (None, "--cron", "cron", FLAG, None),
    (None, "--init", "init", FLAG, None),
    (None, "--late-init", "late_init", FLAG, None),
    (None, "--shutdown", "shutdown", FLAG, None),
    (None, "--check-init", "check_init", FLAG, None),
    (None, "--uninstall", "uninstall", FLAG, None),
    (None, "--i-accept-the-terms-of-service", "accept_terms", FLAG, None),
)
OFFLINE = (
    (
        None,
        "--list-effective",
        "list_effective",
        FLAG,
        "list the effective kernels that can be had",
    ),
    (None, "--effective", "effective", VALUE, "go no further than this effective kernel"),
)


class UsageError(Exception):
    """What optparse says about a wrong command line."""


class Options(object):
    def __init__(self):
        for dummy, dummy, attribute, kind, dummy in COMMON + OFFLINE:
            setattr(
                self,
                attribute,
                0 if kind == COUNTER else None if kind in (NUMBER, VALUE) else False,
            )
        self.ids = []

    @property
    def answer(self):
        """'yes', 'no' or 'ask'; -y and -n together cancel each other."""
        if self.assume_yes == self.assume_no:
            return "ask"
        return "yes" if self.assume_yes else "no"


def parse(arguments, offline):
    table = COMMON + (OFFLINE if offline else ())
    short = {row[0]: row for row in table if row[0]}
    by_name = {row[1]: row for row in table if row[1]}
    options, rest = Options(), list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            options.ids.extend(rest)
            break
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            row = by_name[_full_name(name, by_name)]
            if row[3] in (FLAG, COUNTER) and equals:
                raise UsageError(f"{row[1]} option does not take a value")
            _set(options, row, value if equals else None, rest)
        elif argument.startswith("-") and argument != "-":
            for letter in argument[1:]:
                if "-" + letter not in short:
                    raise UsageError(f"no such option: -{letter}")
                _set(options, short["-" + letter], None, rest)
        else:
            options.ids.append(argument)
    return options


def _full_name(name, names):
    if name in names:
        return name
    near = sorted(known for known in names if known.startswith(name))
    if len(near) == 1:
        return near[0]
    if near:
        raise UsageError("ambiguous option: {} ({}?)".format(name, ", ".join(near)))
    raise UsageError(f"no such option: {name}")


def _set(options, row, value, rest):
    dummy, name, attribute, kind, dummy = row
    if kind == COUNTER:
        setattr(options, attribute, getattr(options, attribute) + 1)
    elif kind == FLAG:
        setattr(options, attribute, True)
    else:
        if value is None:
            if not rest:
                raise UsageError(f"{name} option requires an argument")
            value = rest.pop(0)
        if kind == NUMBER:
            try:
                value = float(value)
            except ValueError:
                raise UsageError(f"option {name}: invalid floating-point value: {value!r}")
        setattr(options, attribute, value)


def help_text(command, offline):
    lines = [
        "Usage: {} [options]{}".format(command, "" if command == "uptrack-upgrade" else " [id...]"),
        "",
        "Options:",
    ]
    for short, name, dummy, kind, words in COMMON + (OFFLINE if offline else ()):
        if words:
            value = {NUMBER: "=SECONDS", VALUE: "=KERNEL"}.get(kind, "")
            lines.append(
                f"  {', '.join(form for form in (short, name and name + value) if form):<20} "
                f" {words}"
            )
    return "\n".join(lines)
