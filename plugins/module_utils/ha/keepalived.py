# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived's configuration, read with its includes. Pure but for Source, which reads files.

The grammar is that of keepalived 2.2, see keepalived.conf(5). Before any block is parsed, lines are
made out of lines: comments go, C(@id) lines stay for one configuration ID only, C($NAME=...)
defines a parameter of one or more lines, C(~SEQ) and C(~LST) repeat a line, C(include) takes a
pattern relative to the file it stands in. What is left has one brace on a line, or words.
"""

import glob
import ipaddress
import os
import re
import stat
from collections import namedtuple

CONFIGURATION = "/etc/keepalived/keepalived.conf"
DEFAULT_PRIORITY = 100
OWNER = 255

# A block or line of the configuration: its words, the blocks and lines inside, and where it stands
# (path, number of the line from 0). Of a block also where its braces stand.
Statement = namedtuple("Statement", "words inside path line brace end")
# priority: None where the configuration names none. nopreempt: as it works, which it does not for
# one that begins as MASTER. places: (path, line) of its priority lines; brace: of the line its
# block opens on. state: MASTER, BACKUP or None. source: unicast_src_ip or mcast_src_ip. routes: the
# destinations of its virtual routes. vmac: whether its addresses are on an interface of their own.
# loopback: those of its addresses that it puts on lo. path, line: where it begins.
Instance = namedtuple(
    "Instance",
    "name interface router_id priority nopreempt family addresses peers places brace state "
    "source routes vmac loopback path line",
)
LOOPBACK = "lo"

# As long as a line may be for keepalived, which reads what is longer as several.
_LINE = 1023
# How much parameters, sequences and files that are included again may make of a configuration.
_MOST_EXPANDED = 2**22

_DEFINITION = re.compile(r"\$([A-Za-z_]\w*)=[ \t]*", re.ASCII)
# The end of a name: a parameter of several lines is one only where it ends the line.
_PARAMETER = re.compile(r"\$(?:([A-Za-z_]\w*)(?=[ \t,)]|\Z)|\{([A-Za-z_]\w*)([ 0-9]*)\})", re.ASCII)
_INCLUDE = re.compile(r"include[rmwba]?[ \t\f\r\v][ \t]*", re.ASCII)
_FOR_ONE = re.compile(r"@(\^?)([^ \t]*)[ \t]*(.*)", re.DOTALL)
_BRACE = re.compile(r'(?:[^{}"]|"[^"]*")*?([{}])')
_WORD = re.compile(r'"([^"]*)"|([^ \t\f\n\r\v"]+)|"')
_PART = re.compile(r"[ \t]*(?:\{([^{}]*)\}[ \t]*|([^,{}]*))(,|\Z)")
_NUMBER = re.compile(r"[ \t]*\+?[0-9]+\Z", re.ASCII)


class Unreadable(Exception):
    """The configuration cannot be understood; the words say where."""


class Source:
    """The files of a configuration.

    :param root: of an emulated host, empty on a real one.
    """

    def __init__(self, root=""):
        self.root, self.files = root, {}

    def lines(self, path):
        try:
            if stat.S_ISFIFO(os.stat(self.root + path).st_mode):
                raise Unreadable(f"{path} cannot be read (it is not a regular file)")
            # As it stands, line ends included, so that it can be restored.
            with open(
                self.root + path, encoding="utf-8", errors="surrogateescape", newline=""
            ) as file:
                self.files[path] = file.read().split("\n")
        except OSError as error:
            raise Unreadable(f"{path} cannot be read ({error.strerror})")
        return self.files[path]

    def matching(self, pattern):
        """The files that an include means, in keepalived's order.

        It passes over what is not a plain file or may be executed.
        """
        found = []
        for one in _alternatives(pattern):
            # What glob(7) escapes with a backslash, this glob has in brackets.
            one = re.sub(r"\\(.)", r"[\1]", one).replace("[^", "[!")
            found += sorted(
                path[len(self.root) :] for path in glob.glob(glob.escape(self.root) + one)
            )
        return [path for path in found if not self._passed_over(path)]

    def _passed_over(self, path):
        try:
            mode = os.stat(self.root + path).st_mode
            return not stat.S_ISREG(mode) or bool(mode & 0o111)
        except OSError:
            # Reading it will say what is wrong.
            return False


def _alternatives(pattern):
    """The patterns that one with braces stands for: C(a{b,c}) is C(ab) and C(ac)."""
    found, waiting = [], [pattern]
    while waiting:
        one = waiting.pop(0)
        inner = re.search(r"\{([^{}]+)\}", one)
        if not inner:
            found += [] if one in found else [one]
        elif len(found) + len(waiting) > 1000:
            raise Unreadable(
                f"The pattern {pattern[:100]} of an include expands to more than 1000 others"
            )
        else:
            waiting = [
                one[: inner.start()] + part + one[inner.end() :]
                for part in inner.group(1).split(",")
            ] + waiting
    return found


def own_id():
    """The configuration ID where keepalived was started with none."""
    return os.uname().nodename.partition(".")[0]


def read(source, path=CONFIGURATION, config_id=None):
    """The statements of a configuration and all it includes.

    :param config_id: that keepalived was started with; None stands for the name of this host.
    """
    return _nest(_Lines(source, own_id() if config_id is None else config_id).of(path))


class _Parameter:
    """What a C($NAME) stands for: lines, each with the place where it stands."""

    def __init__(self, *lines):
        # several: whether it is one that stands at the end of a line only. It need not have more
        # than one line.
        self.lines, self.several = list(lines), False

    @property
    def text(self):
        return self.lines[0][0] if self.lines else ""


class _Lines:
    """Makes the lines that keepalived sees of those in the files."""

    def __init__(self, source, config_id):
        self.source, self.config_id, self.spent = source, config_id, 0
        self.parameters = {
            name: _Parameter((value, None))
            for name, value in (("_INSTANCE", config_id), ("_HASH", "#"), ("_BANG", "!"))
        }
        # Open files: path, what is left of its lines, the paths of the same include that follow.
        self.files, self.seen = [], set()
        # Lines of a parameter of which the first is read: what is left of them, and the depth
        # before.
        self.rest = []
        # Lines that are repeated: what is left of their values, the line and its place. Only those
        # above the depth belong to the innermost parameter.
        self.sequences, self.depth = [], 0
        # A definition that goes on in the next line.
        self.defining = None

    def of(self, path):
        """Each line with its place: a brace, or words."""
        self._open([path])
        residue = None
        while True:
            text, place = residue or self._next() or (None, None)
            residue = None
            if text is None:
                return
            if self.defining:
                self._define_more(text, place)
                continue
            text, place = self._made(text, place) if text else (text, place)
            if not text:
                continue
            include = _INCLUDE.match(text)
            if include:
                folder = os.path.dirname(self.files[-1][0]) if self.files else os.path.dirname(path)
                self._open(self.source.matching(os.path.join(folder, text[include.end() :])))
                continue
            brace = 0 if text[0] in "{}" else _BRACE.match(text)
            if brace is not None:
                at = brace.start(1) if brace else 1
                text, after = text[:at].rstrip(" \t"), text[at:].strip(" \t")
                residue = (after, place) if after else None
            if text:
                yield text, place

    def _wrong(self, place, words):
        return Unreadable(f"{place[0]} line {place[1] + 1}: {words}")

    def _spend(self, much, place):
        self.spent += max(much, 64)
        if self.spent > _MOST_EXPANDED:
            raise self._wrong(
                place,
                "its parameters, sequences and includes expand to more than "
                f"{_MOST_EXPANDED} characters",
            )

    def _open(self, paths):
        for number, path in enumerate(paths):
            if any(path == one[0] for one in self.files):
                raise Unreadable(f"{path} includes itself")
            if len(self.files) > 100:
                raise Unreadable(f"{path}: files include files more than 100 deep")
            lines = self.source.lines(path)
            if path in self.seen:
                self._spend(sum(len(line) + 1 for line in lines), (path, 0))
            self.seen.add(path)
            self.files.append([path, self._physical(path, lines), paths[number + 1 :]])
            return

    @staticmethod
    def _physical(path, lines):
        for number, line in enumerate(lines):
            if number == len(lines) - 1 and not line:
                return
            if len(line) * 4 <= _LINE:
                yield line.partition("\0")[0].rstrip("\r"), (path, number)
                continue
            raw = (line + "\n").encode("utf-8", "surrogateescape")
            for at in range(0, len(raw), _LINE):
                yield (
                    raw[at : at + _LINE]
                    .partition(b"\0")[0]
                    .rstrip(b"\r\n")
                    .decode("utf-8", "surrogateescape"),
                    (path, number),
                )

    def _next(self):
        """The next line without its comment, from wherever the next one comes."""
        if len(self.sequences) > self.depth:
            one = self.sequences[-1]
            self.parameters.update(
                (name, _Parameter((value, one.place))) for name, value in zip(one.names, one.coming)
            )
            # Looked ahead, since the last line may begin another sequence or parameter.
            one.coming = next(one.values, None)
            if one.coming is None:
                self.sequences.pop()
            self._spend(len(one.text), one.place)
            return one.text, one.place
        if self.rest:
            lines, depth = self.rest[-1]
            text, place = lines.pop()
            if not lines:
                self.rest.pop()
                self.depth = depth
            self._spend(len(text), place)
            return text, place
        while self.files:
            path, lines, following = self.files[-1]
            for line, place in lines:
                # Twice: keepalived's VRRP process reads a copy that another one made.
                text = _decommented(_decommented(line))
                if text:
                    return text, place
                self._defined(place)
            self.files.pop()
            self._open(following)
        return None

    def _made(self, text, place):
        """A line with its parameters in place, empty for one that keepalived's blocks see nothing
        of.
        """
        while True:
            if text[0] == "@":
                other, name, text = _FOR_ONE.match(text).groups()
                if not text or (name == self.config_id) == bool(other):
                    return "", place
            defined = _DEFINITION.match(text)
            if defined:
                self._define(defined.group(1), text[defined.end() :], place)
                return "", place
            if text.startswith(("~SEQ", "~LST")):
                self._repeat(text, place)
                return "", place
            if text[0] == "~" or "$" not in text:
                return text, place
            text, place, any_found = self._expanded(text, place)
            if not any_found:
                return text, place
            text = _decommented(text)
            if not text or (text[0] != "@" and "$" not in text):
                return text, place

    def _define(self, name, value, place):
        parameter = self.parameters[name] = _Parameter()
        if value.endswith("\\"):
            value = value[:-1].rstrip(" \t")
            parameter.several, self.defining = True, parameter
            if not value:
                return
        parameter.lines.append((value, place))

    def _define_more(self, text, place):
        more = text.endswith("\\")
        text = text[:-1].rstrip(" \t") if more else text
        parameter = self.defining
        if not more:
            self.defining, parameter.several = None, bool(parameter.lines)
        if text:
            parameter.lines.append((text, place))

    def _defined(self, place):
        """A line with nothing on it but a comment ends a definition."""
        if self.defining:
            self.defining.several = bool(self.defining.lines)
            self.defining.lines.append(("", place))
            self.defining = None

    def _expanded(self, text, place, several=True):
        """A line with the parameters in it replaced, and those in what they stand for; its place;
        and whether there was any.
        """
        at, any_found = text.find("$"), False
        while at >= 0:
            value, end = self._parameter(text, at, place)
            if value is None or (value.several and not (several and end == len(text))):
                at = text.find("$", at + 1)
                continue
            any_found = True
            if value.several and len(value.lines) > 1:
                self.rest.append((value.lines[:0:-1], self.depth))
                self.depth = len(self.sequences)
                # A block that stands in the parameter has its brace there.
                place = place if at else value.lines[0][1]
            text = text[:at] + value.text + text[end:]
            self._spend(len(text), place)
            if len(text) > _LINE:
                raise self._wrong(
                    place,
                    f"with its parameters it is longer than the {_LINE} characters that "
                    "keepalived reads",
                )
            if value.text.lstrip(" \t").startswith("~"):
                break
            at = text.find("$", at)
        return text, place, any_found

    def _parameter(self, text, at, place):
        """The parameter that is named at a place of a line, or None, and where its name ends."""
        found = _PARAMETER.match(text, at)
        if not found:
            return None, at
        name, numbers = found.group(1) or found.group(2), (found.group(3) or "").strip(" ")
        if name == "_RANDOM" and name not in self.parameters:
            raise self._wrong(place, "a random number is a different one for keepalived itself")
        if name == "_PWD" and name not in self.parameters:
            return _Parameter(
                (os.path.dirname(self.files[-1][0]) if self.files else "/", place)
            ), found.end()
        # keepalived takes as much for the name as it has letters, whatever blanks are behind it.
        return None if numbers else self.parameters.get(name), found.end() if found.group(
            1
        ) else at + len(name) + 3

    def _repeat(self, text, place):
        """C(~SEQ(name, first, step, last) line) and C(~LST(name, value, value) line)."""
        try:
            if text[1] == "S":
                found = _Repeated(
                    place,
                    *_sequence(text, lambda part: self._expanded(part, place, several=False)[0]),
                )
            else:
                found = _Repeated(place, *_list(text))
        except ValueError:
            raise self._wrong(
                place, f"{text[:4]} is not followed by what keepalived makes a sequence of"
            )
        if found.text:
            self.sequences.append(found)


class _Repeated:
    """A line that is repeated, with other values of its parameters each time."""

    def __init__(self, place, names, values, text):
        self.place, self.names, self.values, self.text = place, names, values, text
        self.coming = next(values)


def _sequence(text, expanded):
    """The name, values and line of a C(~SEQ), or C(~SEQx) for hexadecimal numbers."""
    found = re.match(r"~SEQ(x?)[ \t]*\([ \t]*([^ \t,)]+)[ \t]*,[ \t]*([^)]*)\)[ \t]*(.*)\Z", text)
    if not found:
        raise ValueError(text)
    numbers = [_integer(part) for part in (expanded(found.group(3)) or found.group(3)).split(",")]
    if len(numbers) == 1:
        last = numbers[0]
        first, step = (-1 if last < 0 else 1), (-1 if last < 1 else 1)
    elif len(numbers) == 2:
        first, last = numbers
        step = 1 if first <= last else -1
    else:
        first, step, last = numbers
    if (
        not step
        or (first < last) != (step > 0)
        and first != last
        or (found.group(1) and min(first, last) < 0)
    ):
        raise ValueError(text)
    values = range(first, last + (1 if step > 0 else -1), step)
    return (
        [found.group(2)],
        ([f"{one:x}" if found.group(1) else str(one)] for one in values),
        found.group(4),
    )


def _integer(text):
    """A number as C has it: decimal, octal or hexadecimal."""
    text = text.strip(" \t")
    octal = re.match(r"([+-]?)0([0-7]+)\Z", text)
    return int(octal.group(1) + octal.group(2), 8) if octal else int(text or "0", 0)


def _list(text):
    """The names, values and line of a C(~LST). Of each there are several at a time in braces."""
    found = re.match(r"~LST[ \t]*\(([^)]*)\)[ \t]*(.*)\Z", text)
    parts, at = [], 0
    while found and at is not None:
        part = _PART.match(found.group(1), at)
        if not part:
            raise ValueError(text)
        parts.append(
            [
                one.strip(" \t")
                for one in (part.group(2) if part.group(1) is None else part.group(1)).split(",")
            ]
        )
        at = part.end() if part.group(3) else None
    if len(parts) < 2 or max(len(part) for part in parts) > len(parts[0]):
        raise ValueError(text)
    return (
        parts[0],
        iter([part + [""] * (len(parts[0]) - len(part)) for part in parts[1:]]),
        found.group(2),
    )


def _decommented(line):
    """A line as keepalived has it: without its comment, which begins anywhere but inside of quotes,
    and without the blanks around. A backslash at its end stays, also behind a comment.
    """
    text, kept, at, quoted, cut = line.strip(" \t"), [], 0, False, False
    for found in re.finditer(r'\\.?|["#!]', text):
        sign = found.group(0)
        if sign == "\\":
            return "".join(kept + [text[at : found.start()]]).rstrip(" \t") + sign
        if cut or (quoted and sign != '"'):
            continue
        if sign == '"':
            quoted = not quoted
        elif sign in "#!":
            kept.append(text[at : found.start()])
            at, cut = len(text), True
        elif sign[1] in "#!":
            kept.append(text[at : found.start()])
            at = found.start() + 1
    return "".join(kept + [text[at:]]).rstrip(" \t")


def _words(text):
    found = []
    for word in _WORD.finditer(text):
        if word.group(0) == '"':
            # A quote that nothing ends: keepalived passes over the rest.
            break
        found.append(word.group(2) if word.group(1) is None else word.group(1))
    return found


def _nest(lines):
    top = []
    stack = [top]
    for text, (path, number) in lines:
        words = _words(text)
        if words and words[0] == "{":
            if not stack[-1] or stack[-1][-1].brace:
                raise Unreadable(f"{path} line {number + 1}: a brace opens a block without a name")
            stack[-1][-1] = stack[-1][-1]._replace(brace=(path, number))
            stack.append(stack[-1][-1].inside)
        elif words and words[0] == "}":
            if len(stack) == 1:
                raise Unreadable(f"{path} line {number + 1}: a brace closes nothing")
            stack.pop()
            stack[-1][-1] = stack[-1][-1]._replace(end=(path, number))
        elif words:
            stack[-1].append(Statement(words, [], path, number, None, None))
    if len(stack) > 1:
        block = stack[-2][-1]
        raise Unreadable(
            "{} line {}: the block {} is not closed".format(
                block.path, block.line + 1, " ".join(block.words[:2])
            )
        )
    return top


def instances(statements):
    """The VRRP instances of a configuration, in its order.

    Of two with one name keepalived knows the first.
    """
    found, strict = (
        {},
        any(
            line.words[0] == "vrrp_strict"
            for block in statements
            if block.words[0] == "global_defs"
            for line in block.inside
        ),
    )
    for block in everywhere(statements):
        if (
            block.words[0] == "vrrp_instance"
            and len(block.words) == 2
            and block.words[1] not in found
        ):
            found[block.words[1]] = _instance(block, strict)
    return list(found.values())


def everywhere(statements):
    """Every block and line, whatever it is in: what is in a block that keepalived does not know, it
    takes for what is beside it.
    """
    waiting = list(reversed(statements))
    while waiting:
        yield waiting[-1]
        waiting += reversed(waiting.pop().inside)


def _instance(block, strict):
    one = {
        "interface": None,
        "router_id": None,
        "priority": None,
        "nopreempt": False,
        "family": None,
        "addresses": [],
        "peers": [],
        "places": [],
        "state": None,
        "source": None,
        "routes": [],
        "vmac": False,
        "loopback": [],
    }
    lines = []
    # Whether it authenticates by a header of its own, with which keepalived does not begin as
    # MASTER.
    header = False
    for statement in block.inside:
        key, value = statement.words[0], statement.words[1] if len(statement.words) > 1 else ""
        if key == "interface":
            one["interface"] = value
        elif key == "virtual_router_id" and _number(value):
            one["router_id"] = _number(value)
        elif key == "priority" and value:
            one["priority"] = _number(value) or DEFAULT_PRIORITY
            one["places"].append((statement.path, statement.line))
        elif key == "state":
            one["state"] = "MASTER" if "MASTER" in (value, one["state"]) else "BACKUP"
        elif key in ("nopreempt", "preempt"):
            one["nopreempt"] = key == "nopreempt"
        elif key == "strict_mode":
            strict = value not in ("off", "false", "no")
        elif key == "authentication":
            header = any(line.words[:2] == ["auth_type", "AH"] for line in statement.inside)
        elif key == "native_ipv6":
            one["family"] = 6
        elif key in ("use_vmac", "use_ipvlan"):
            one["vmac"] = True
        elif key in ("unicast_src_ip", "mcast_src_ip"):
            one["source"] = address(value)
        elif key in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
            one["addresses"] += [
                found for found in (address(line.words[0]) for line in statement.inside) if found
            ]
            lines += [line.words for line in statement.inside]
        elif key == "unicast_peer":
            one["peers"] += [
                found for found in (address(line.words[0]) for line in statement.inside) if found
            ]
        elif key == "virtual_routes":
            one["routes"] += [destination(line.words) for line in statement.inside]
    one["loopback"] = [
        address(words[0])
        for words in lines
        if (words[words.index("dev") + 1 :][:1] if "dev" in words else [one["interface"]])
        == [LOOPBACK]
    ]
    owner = one["priority"] == OWNER or (one["priority"] is None and one["state"] == "MASTER")
    begins_as_master = (
        owner
        if one["state"] is None or strict
        else one["state"] == "MASTER" and (owner or not header)
    )
    one["nopreempt"] = one["nopreempt"] and not owner and not begins_as_master
    return Instance(block.words[1], brace=block.brace, path=block.path, line=block.line, **one)


def _number(word):
    """What is a number from 1 to 255 for keepalived, or None."""
    return int(word) if _NUMBER.match(word) and 1 <= int(word) <= 255 else None


def destination(words):
    """The destination of a virtual route, or None where it is not plain."""
    while words and words[0] in (
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "unicast",
        "local",
        "to",
    ):
        words = words[1:]
    if len(words) > 2 and words[0] in ("src", "table", "dev", "via", "metric"):
        return destination(words[2:])
    try:
        return (
            "default"
            if words and words[0] == "default"
            else str(ipaddress.ip_network(words[0], strict=False))
            if words
            else None
        )
    except ValueError:
        return None


def address(word):
    """An address in its shortest form without its mask, or None for what is none."""
    try:
        return str(ipaddress.ip_address(word.partition("/")[0].partition("%")[0]))
    except ValueError:
        return None


def synchronised(statements):
    """The sync groups: name to the names of their instances."""
    found = {}
    for block in statements:
        if block.words[0] == "vrrp_sync_group" and len(block.words) > 1:
            inside = [
                one for part in block.inside if part.words[0] == "group" for one in part.inside
            ]
            found[block.words[1]] = [word for one in inside for word in one.words]
    return found


def namespace(statements):
    """The network namespace that keepalived goes into, or None."""
    return next(
        (
            block.words[1]
            for block in statements
            if block.words[0] == "net_namespace" and len(block.words) > 1
        ),
        None,
    )


def served(networks, found):
    """The addresses by which a host serves. Those on lo real servers have too, behind a director
    (LVS-DR) that may be their VRRP peer: they count where keepalived puts them there.

    :param networks: interface to its addresses with their prefix lengths.
    :param found: the instances of keepalived.
    """
    own = {each for one in found for each in one.loopback}
    return {
        str(one.ip)
        for interface, addresses in networks.items()
        for one in addresses
        if interface != LOOPBACK or str(one.ip) in own
    }


def groups(statements, held, networks=None, routes=None):
    """The redundancy groups that a host's configuration makes it a member of.

    One for each instance; instances that a sync group holds together are one. The name is made of
    what all members must agree on, so that each of them comes to the same name alone: the router ID
    and the lowest address. An instance without addresses has the lowest of its unicast peers',
    this host's own among them, or the network that it is on.

    :param held: the addresses that the host's interfaces have now. Who holds the address is active,
        whatever the configuration calls it.
    :param networks: interface to its addresses with their prefix lengths, in their order. With them
        an address on lo is none that is held, see C(served).
    :param routes: destination of each route of now to whether keepalived has put it there.
    """
    known = {}
    for one in instances(statements):
        if one.router_id is None:
            raise Unreadable(
                f"{one.path} line {one.line + 1}: the VRRP instance {one.name} has no "
                "virtual_router_id from 1 to 255"
            )
        known[one.name] = one
    serves = held if networks is None else served(networks, known.values())
    together = [
        [known[name] for name in dict.fromkeys(names) if name in known]
        for names in synchronised(statements).values()
    ]
    alone = [[one] for one in known.values() if not any(one in group for group in together)]
    result = []
    for members in filter(None, together + alone):
        named = [one for one in members if one.addresses] or members
        router_id = min(one.router_id for one in named)
        addresses = sorted({found for one in members for found in one.addresses}, key=_order)
        others = [set(one.peers) - set(held) - {one.source} for one in members]
        lowest = [one for one in named if one.router_id == router_id]
        result.append(
            {
                "name": f"vrrp-{router_id}-{_common(lowest, held, networks or {})}",
                "kind": "keepalived",
                "addresses": addresses,
                "role": _role(addresses, members, serves, routes),
                "instances": sorted(one.name for one in members),
                "peers": sorted(set().union(*others), key=_order),
                "size": max(len(found) for found in others) + 1 if any(others) else None,
            }
        )
    return sorted(result, key=lambda group: group["name"])


def _common(members, held, networks):
    """What the members of one router ID have in common over all hosts."""
    addresses = {found for one in members for found in one.addresses}
    if addresses:
        return min(addresses, key=_order)
    one = members[0]
    version = one.family or ipaddress.ip_address((one.peers + [one.source or "0.0.0.0"])[0]).version
    own = [found for found in networks.get(one.interface, ()) if found.version == version]
    if one.peers:
        # keepalived sends from the first address of the interface unless another one is configured.
        mine = (
            {one.source}
            if one.source
            else set()
            if set(one.peers) & set(held)
            else {str(found.ip) for found in own[:1]}
        )
        return min(mine.union(one.peers), key=_order)
    shared = [found.network for found in own if not found.is_link_local] or [None]
    return str(shared[0] or one.interface)


def _role(addresses, members, held, routes):
    """C(active), C(standby), or None where keepalived moves nothing that could be seen."""
    if addresses:
        return "active" if set(addresses).intersection(held) else "standby"
    wanted = {found for one in members for found in one.routes}
    if not wanted or None in wanted or routes is None:
        return None
    if any(routes.get(found) for found in wanted):
        return "active"
    return "standby" if not wanted.intersection(routes) else None


def mentioned(source, config_id=None):
    """Where the files that were read say C(vrrp_instance) to this host, as
    (path, line), or None.
    """
    for path, lines in source.files.items():
        for number, line in enumerate(lines):
            text = _decommented(line)
            only = _FOR_ONE.match(text)
            if only and (only.group(2) == (own_id() if config_id is None else config_id)) == bool(
                only.group(1)
            ):
                continue
            if re.search(r"\bvrrp_instance\b", text):
                return path, number
    return None


def _order(text):
    found = ipaddress.ip_address(text)
    return (found.version, int(found))
