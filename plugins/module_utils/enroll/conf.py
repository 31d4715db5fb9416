# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack.conf as text: which keys there are, what the agent's parser makes of a file, and edits
that keep the rest.

Everything here is a pure function of text (reference 2.1 and 2.2). The agent reads the file with
Python's ini parser, and one value that it cannot read breaks I(every) command, uptrack-show
included. What the real client was seen to refuse (reference 11) is a fault. Which Python another
one runs on is not known: what only one of the parsers takes, or takes otherwise, is a doubt, and is
never written.
"""

import re
from collections import namedtuple

Key = namedtuple("Key", "section name type")

# In the order of the reference. type: bool, str, path, url, secret, proxy.
KEYS = (
    Key("Auth", "accesskey", "secret"),
    Key("Auth", "use_hw_uuid", "bool"),
    Key("Network", "https_proxy", "proxy"),
    Key("Network", "gconf_proxy_lookup", "bool"),
    Key("Network", "ssl_ca_cert_file", "path"),
    Key("Network", "ssl_ca_cert_dir", "path"),
    Key("Network", "update_repo_url", "url"),
    Key("Settings", "install_on_reboot", "bool"),
    Key("Settings", "upgrade_on_reboot", "bool"),
    Key("Settings", "autoinstall", "bool"),
    Key("Settings", "no_rmmod", "bool"),
    Key("Settings", "suppress_ip", "bool"),
    Key("Settings", "hostname_override_file", "path"),
    Key("Settings", "debug_to_server", "bool"),
    Key("Settings", "cron_output_install", "bool"),
    Key("Settings", "cron_output_available", "bool"),
    Key("Settings", "cron_output_error", "bool"),
    Key("Settings", "skip_apply_after_pkg_install", "bool"),
    Key("Settings", "effective_version", "str"),
    Key("User", "yum_userspace_ksplice_repo_name", "str"),
    Key("Known-Exploit-Detection", "enabled", "bool"),
)
_BY_PLACE = {(key.section, key.name): key for key in KEYS}
# What the agent does where the file says nothing (reference 2.1). The shipped file says
# `gconf_proxy_lookup = no`.
DEFAULTS = {
    "use_hw_uuid": False,
    "gconf_proxy_lookup": True,
    "install_on_reboot": True,
    "upgrade_on_reboot": False,
    "autoinstall": False,
    "no_rmmod": False,
    "suppress_ip": False,
    "debug_to_server": True,
    "skip_apply_after_pkg_install": False,
}

PLACEHOLDER = "INSERT_ACCESS_KEY"
MASK = "(hidden)"
_BOOLEANS = {
    "1": True,
    "yes": True,
    "true": True,
    "on": True,
    "0": False,
    "no": False,
    "false": False,
    "off": False,
}

# kind: blank, comment, section, key, more (a continued value), garbage. section and name say what
# the line belongs to.
Line = namedtuple("Line", "number text kind section name value")
Problem = namedtuple("Problem", "line what")


def lines_of(text):
    """The file as a list of lines with what the agent's parser takes each for."""
    result, section, name = [], None, None
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        kind, value = "garbage", None
        if not stripped:
            kind = "blank"
        elif line[0] in "#;" or _is_rem(line):
            kind = "comment"
        elif line[0] in " \t":
            if name is not None:
                kind, value = "more", stripped
            elif stripped[0] in "#;":
                kind = "comment"
        elif line[0] == "[":
            end = line.find("]")
            if end > 1:
                kind, section, name = "section", line[1:end], None
        else:
            key, given = _split(line)
            if key and section is not None:
                kind, name, value = "key", key.lower(), given
        result.append(Line(number, line, kind, section, name, value))
    return result


def _is_rem(line):
    """The agent's parser takes a line whose first word is rem for a comment."""
    return line[0] in "rR" and line.split(None, 1)[0].lower() == "rem"


def _split(line):
    """A line's key and value, without the blanks around them; None where it has no sign of an
    assignment.
    """
    places = [at for at in (line.find("="), line.find(":")) if at >= 0]
    return (
        (line[: min(places)].rstrip(), line[min(places) + 1 :].strip()) if places else (None, None)
    )


def _read(raw):
    """A raw value as the agent reads it: what stands behind a blank and a
    semicolon is a comment.
    """
    at = raw.find(";")
    return raw[:at].strip() if at > 0 and raw[at - 1].isspace() else raw


def values(text):
    """The values that count, raw (percent signs still doubled), by (section, key).

    Of duplicates the last one.
    """
    result = {}
    for line in lines_of(text):
        if line.kind == "key":
            result[(line.section, line.name)] = [line.value]
        elif line.kind == "more":
            result[(line.section, line.name)].append(line.value)
    return {place: "\n".join(parts) for place, parts in result.items()}


def boolean(raw):
    """The truth of a raw value, or None where the agent would refuse it."""
    return _BOOLEANS.get(_read(raw).lower())


def plain(raw):
    """A raw value without the doubling of percent signs."""
    return raw.replace("%%", "%")


def problems(text):
    """Whatever a file must not have that is written here: what the agent refuses, and what another
    one may.
    """
    return sorted(faults(text) + doubts(text))


def faults(text):
    """What keeps the agent from reading the file, first line first."""
    found, sections = [], set()
    if text.startswith("\ufeff"):
        found.append(Problem(1, "starts with a byte order mark"))
    for line in lines_of(text):
        sections.add(line.section)
        if line.kind == "garbage":
            found.append(
                Problem(
                    line.number,
                    "comes before the first section"
                    if line.section is None
                    else "is neither a section, a key nor a comment",
                )
            )
        elif line.kind == "comment" and line.text[0] in " \t":
            found.append(
                Problem(
                    line.number,
                    "is an indented comment with no key above it in its section, which the agent "
                    "takes for a broken line",
                )
            )
    given = values(text)
    first = _first_lines(text)
    for (section, name), value in given.items():
        keys = [_BY_PLACE.get((section, name))]
        if section == "DEFAULT":
            # It gives the value for every section that has none of its own.
            keys = [
                key
                for key in KEYS
                if key.name == name and key.section in sections and (key.section, name) not in given
            ]
        found.extend(
            Problem(first[(section, name)], f"{name} {_fault(key, value)}")
            for key in keys[:1]
            if key and _fault(key, value)
        )
    return sorted(found)


def doubts(text):
    """What the agent reads, but an agent on another Python may not, or not so, first line first."""
    found, keys, sections = [], {}, {}
    for line in lines_of(text):
        place = (line.section, line.name)
        if line.kind == "section":
            if line.section in sections:
                found.append(
                    Problem(
                        line.number,
                        f"opens section [{line.section}] again (first in line "
                        f"{sections[line.section]})",
                    )
                )
            sections.setdefault(line.section, line.number)
        elif line.kind == "key":
            if place in keys:
                found.append(
                    Problem(line.number, f"sets {line.name} again (first in line {keys[place]})")
                )
            keys.setdefault(place, line.number)
        elif line.kind == "more" and line.value[0] in "#;":
            found.append(
                Problem(
                    line.number,
                    "is an indented comment, which one of the agent's parsers takes for a part "
                    f"of {line.name}",
                )
            )
        elif line.kind == "comment" and line.text[0] in "rR":
            found.append(Problem(line.number, "is a comment only to one of the agent's parsers"))
    first = _first_lines(text)
    for (section, name), value in values(text).items():
        if (
            section == "DEFAULT"
            and any(key.name == name and _fault(key, value) for key in KEYS)
            and not any(wrong.line == first[(section, name)] for wrong in faults(text))
        ):
            found.append(
                Problem(
                    first[(section, name)],
                    f"{name} breaks the agent in every section that does not set it",
                )
            )
        why = _doubt(_BY_PLACE.get((section, name)), value)
        if why:
            found.append(Problem(first[(section, name)], f"{name} {why}"))
    return sorted(found)


def _first_lines(text):
    """Where the value that counts begins, of one that goes on over several lines."""
    return {(line.section, line.name): line.number for line in lines_of(text) if line.kind == "key"}


def _fault(key, value):
    """Why the agent cannot read a raw value of a key that it knows, or None."""
    if "%" in value.replace("%%", ""):
        return "has a single percent sign, which crashes the agent: double it"
    if key.type == "bool" and boolean(value) is None:
        return "must be yes or no" + (", not an empty value" if not value else "")
    return None


def _doubt(key, value):
    """Why a raw value may be read otherwise than it is meant, or None."""
    if _read(value) != value:
        return (
            "has a blank and a semicolon, which one of the agent's parsers "
            "takes for the start of a comment"
        )
    if key is not None and key.type == "path" and not value:
        return "is set to an empty path: remove the line instead"
    if key is not None and key.type == "secret" and len(value.split()) > 1:
        return "must not contain blanks"
    return None


def value_problem(section, name, value):
    """Why a value must not be written into the file, as the end of a sentence about the key; None
    if it may.
    """
    key = _BY_PLACE.get((section, name))
    if "\n" in value or "\r" in value:
        return "must be one line"
    if value != value.strip():
        return "must not start or end with a blank"
    if re.search(r"\s;", value):
        return (
            "has a blank and a semicolon, which one of the agent's parsers "
            "takes for the start of a comment"
        )
    why = _fault(key, value.replace("%", "%%")) if key else None
    return why or _doubt(key, value)


def render(section, name, value):
    """A wished value (bool or text) as it is written into the file."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    key = _BY_PLACE.get((section, name))
    if key and key.type == "proxy" and value.lower() == "none":
        return "None"
    return value.replace("%", "%%")


def same(section, name, raw, wanted):
    """Whether a raw value of the file already means what is wished."""
    if isinstance(wanted, bool):
        return boolean(raw) is wanted
    key = _BY_PLACE.get((section, name))
    if key and key.type == "proxy" and "none" in (raw.lower(), wanted.lower()):
        return raw.lower() == wanted.lower()
    return raw == render(section, name, wanted)


def edit(text, wanted):
    """The text with the wished values in it, everything else kept: comments, order, unknown
    sections and keys.

    Sections and keys that stand twice are brought together, since the parsers disagree on them; the
    value that counted (the last) stays.

    :param wanted: mapping (section, key) to a bool, a text, or None to remove the key.
    """
    raw = values(text)
    final = dict(raw)
    for place, value in wanted.items():
        if value is None:
            final.pop(place, None)
        elif place not in raw or not same(place[0], place[1], raw[place], value):
            final[place] = render(place[0], place[1], value)

    blocks, order = {None: []}, [None]  # section -> its lines
    written, new_sections = set(), []
    for line in lines_of(text):
        if line.kind == "section":
            if line.section not in blocks:
                blocks[line.section] = [line.text]
                order.append(line.section)
            continue
        block = blocks[line.section]
        place = (line.section, line.name)
        if line.kind == "key":
            if place in written or place not in final:
                continue
            written.add(place)
            block.append(
                line.text if line.value == final[place] else _assignment(line.name, final[place])
            )
        elif line.kind != "more":  # a continued value was written with its key
            # In a section that is brought together an indented line would become a part of the key
            # that now stands above it.
            strays = (
                line.text[:1] in (" ", "\t")
                and line.kind != "blank"
                and any(section == line.section for section, _name in written)
            )
            block.append(f"# {line.text.strip()}" if strays else line.text)
    for section, name in final:
        if (section, name) in written:
            continue
        if section not in blocks:
            blocks[section] = [f"[{section}]"]
            order.append(section)
            new_sections.append(section)
        block = blocks[section]
        at = len(block)
        while at > 1 and not block[at - 1].strip():
            at -= 1
        block.insert(at, _assignment(name, final[(section, name)]))

    result = []
    for section in order:
        if section in new_sections and result and result[-1].strip():
            result.append("")
        result.extend(blocks[section])
    while result and not result[-1].strip():
        result.pop()
    new = "\n".join(result) + "\n" if result else ""
    # Nothing but white space would differ: then nothing is to be done.
    return text if values(new) == raw and not problems(text) else new


def _assignment(name, raw):
    return f"{name} = " + raw.replace("\n", "\n    ") if raw else f"{name} ="


def _without_user(line):
    """A line with a proxy, everything between its scheme and its last at sign hidden."""
    before, _sign, host = line.rpartition("@")
    scheme = before.find("://")
    start = (
        scheme + 3
        if scheme >= 0 and re.match(r"[^=:]*[=:]\s*[A-Za-z0-9+.-]*\Z", before[:scheme])
        else len(re.match(r"[^=:]*[=:]?\s*", before).group())
    )
    return f"{before[:start]}{MASK}@{host}"


def masked(text):
    """The text for diffs and messages: no access key, no user and password of a proxy."""
    result = []
    for line in lines_of(text):
        shown = line.text
        if (
            line.name == "accesskey"
            and line.kind in ("key", "more")
            and line.value not in ("", PLACEHOLDER)
        ):
            shown = f"{line.name} = {MASK}" if line.kind == "key" else f"    {MASK}"
        elif line.name == "https_proxy" and line.kind in ("key", "more") and "@" in line.value:
            shown = _without_user(line.text)
        elif line.kind == "garbage" or (
            line.kind == "more" and line.name in ("accesskey", "https_proxy")
        ):
            shown = MASK
        elif line.kind == "comment" and re.search(
            r"accesskey|https?_proxy|@|[0-9a-fA-F]{32}", line.text, re.I
        ):
            # Somebody's old value, perhaps.
            shown = f"{line.text[0]} {MASK}"
        elif line.kind == "section" and line.text.strip() != f"[{line.section}]":
            shown = f"[{line.section}] {MASK}"
        elif line.kind == "key":
            begin, end = line.text.find("://"), line.text.rfind("@")
            shown = (
                line.text[: begin + 3] + MASK + line.text[end:] if 0 <= begin < end else line.text
            )
        result.append(shown)
    return "\n".join(result)
