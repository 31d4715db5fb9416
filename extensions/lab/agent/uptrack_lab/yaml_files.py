# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""YAML as the agent writes it, and a reader for exactly that.

The layout is that of PyYAML's quick writer (libyaml) with default_flow_style=None, which is what
the real client's files have: `%YAML 1.1`, `---` and `...` around, collections that hold only
scalars in flow style, the others in block style, keys sorted, and a line broken at the first blank
after column 80.  PyYAML itself is not needed on a test host, and would cost more time than the
whole run.
"""

import re

WIDTH = 80
_WORDS = frozenset(
    form
    for word in ("yes", "no", "true", "false", "on", "off", "null")
    for form in (word, word.capitalize(), word.upper())
) | frozenset(("~", "", "<<", "="))
# Nothing with another letter than these can be a number or a moment; this spares compiling the
# expression below.
_NUMERIC = frozenset("0123456789_+-.:eExXabcdefABCDFTtZzinN ")
_RUNS = re.compile(r" +|\n+|[^ \n]+")
_ESCAPES = {
    "\0": "0",
    "\a": "a",
    "\b": "b",
    "\t": "t",
    "\n": "n",
    "\v": "v",
    "\f": "f",
    "\r": "r",
    "\x1b": "e",
    '"': '"',
    "\\": "\\",
    "\x85": "N",
    "\xa0": "_",
    "\u2028": "L",
    "\u2029": "P",
}
_ESCAPED = {letter: sign for sign, letter in _ESCAPES.items()}
_FLOW_START = frozenset("#,[]{}&*!|>'\"%@`")
_number = None


class Timestamp(str):
    """A moment in UTC; written bare, so that YAML readers see a timestamp."""


class Unreadable(ValueError):
    """The text is not what the agent writes."""


# ---- writing -------------------------------------------------------------------------------------


def dump(data):
    writer = _Writer()
    writer.node(data, None)
    text = "".join(writer.parts)
    return "%YAML 1.1\n---{}{}\n...\n".format("" if text.startswith("\n") else " ", text)


def _is_leaf(value):
    return not isinstance(value, (dict, list))


def _is_flow(value):
    items = value.values() if isinstance(value, dict) else value
    return all(_is_leaf(item) and not isinstance(item, bytes) for item in items)


class _Writer(object):
    """`indent` is always that of the surrounding collection; None is the document itself."""

    def __init__(self):
        self.parts = []
        self.column = 4  # behind "--- "

    def put(self, text):
        self.parts.append(text)
        self.column += len(text)

    def newline(self, indent):
        self.parts.append("\n" + " " * indent)
        self.column = indent

    def node(self, value, indent, behind="", compact=False):
        """`behind` is put before what stays on this line; `compact` says the line is already begun
        with '- '.
        """
        deeper = (2 if _is_leaf(value) or _is_flow(value) else 0) if indent is None else indent + 2
        if _is_leaf(value):
            self.put(behind)
            self.scalar(value, deeper)
        elif _is_flow(value):
            self.put(behind)
            self.flow(value, deeper)
        elif isinstance(value, dict):
            self.mapping(value, deeper, compact)
        else:
            # A list directly inside a mapping is not set in further.
            self.sequence(value, indent if behind else deeper, compact)

    def mapping(self, value, indent, compact):
        for number, key in enumerate(sorted(value)):
            if number or not compact:
                self.newline(indent)
            self.scalar(key, indent, breakable=False)
            self.put(":")
            self.node(value[key], indent, behind=" ")

    def sequence(self, value, indent, compact):
        for number, item in enumerate(value):
            if number or not compact:
                self.newline(indent)
            self.put("- ")
            self.node(item, indent, compact=True)

    def flow(self, value, indent):
        is_map = isinstance(value, dict)
        self.put("{" if is_map else "[")
        for number, item in enumerate(sorted(value) if is_map else value):
            if number:
                self.put(",")
            if self.column > WIDTH:
                self.newline(indent)
            elif number:
                self.put(" ")
            if is_map:
                self.scalar(item, indent + 2, flow=True, breakable=False)
                self.put(": ")
                item = value[item]
            self.scalar(item, indent + 2, flow=True)
        self.put("}" if is_map else "]")

    def scalar(self, value, indent, flow=False, breakable=True):
        if value is None:
            self.put("null")
        elif value is True or value is False:
            self.put("true" if value else "false")
        elif isinstance(value, bytes):
            self.binary(value, indent)
        elif isinstance(value, Timestamp) or not isinstance(value, str):
            self.put(str(value))
        else:
            style = _style(value, flow)
            if style == "double":
                self.double_quoted(value, indent, breakable)
            elif style == "single":
                self.put("'")
                self.runs(value.replace("'", "''"), indent, breakable)
                self.put("'")
            else:
                self.runs(value, indent, breakable)

    def runs(self, text, indent, breakable):
        """Words, blanks and line breaks; a single blank behind column 80 becomes the end of the
        line.
        """
        if len(text) + self.column <= WIDTH and "\n" not in text:
            self.put(text)
            return
        runs = _RUNS.findall(text)
        for number, run in enumerate(runs):
            if run[0] == "\n":
                # A lone line break would be read as a blank, so n of them are written as n + 1.
                self.parts.append("\n")
                self.parts.append(run + " " * indent)
                self.column = indent
            elif run == " " and self.column > WIDTH and breakable and 0 < number < len(runs) - 1:
                self.newline(indent)
            else:
                self.put(run)

    def double_quoted(self, text, indent, breakable):
        """As runs(), but every run of blanks may end a line: its first blank does, and the next one
        is escaped.
        """
        self.put('"')
        runs = re.findall(r" +|[^ ]+", text)
        for number, run in enumerate(runs):
            is_inside = 0 < number and (number < len(runs) - 1 or len(run) > 1)
            if run[0] != " ":
                self.put("".join(_escaped(sign) for sign in run))
            elif self.column > WIDTH and breakable and is_inside:
                self.newline(indent)
                self.put("\\" + run[1:] if len(run) > 1 else "")
            else:
                self.put(run)
        self.put('"')

    def binary(self, value, indent):
        """What is not text, in base 64."""
        from binascii import b2a_base64

        self.put("!!binary |")
        for place in range(0, len(value), 57):
            self.newline(indent)
            self.put(b2a_base64(value[place : place + 57]).decode("ascii").rstrip("\n"))


def _style(text, flow):
    """`plain`, `single` or `double`: the least quoting that reads back as the same text."""
    if not text.isprintable() or not _is_ascii(text):
        if not _is_ascii(text) or not text.replace("\n", "").isprintable():
            return "double"
        if " \n" in text or "\n " in text:
            return "double"
        return "single"
    if text in _WORDS or text[0] == " " or text[-1] == " " or text.startswith(("---", "...")):
        return "single"
    first = text[0]
    if first in _FLOW_START or " #" in text or ": " in text or text[-1] == ":":
        return "single"
    if first in "?:-" and (len(text) == 1 or text[1] == " "):
        return "single"
    if flow and (first in "?:" or any(sign in text for sign in ",?[]{}:")):
        return "single"
    return "single" if _looks_like_a_number(text) else "plain"


def _is_ascii(text):
    return len(text.encode("utf-8", "surrogateescape")) == len(text)


def _looks_like_a_number(text):
    """Numbers and moments of YAML 1.1, which readers would not give back as text."""
    global _number
    if text[0] not in "-+.0123456789" or text.count(".") > 1 or not _NUMERIC.issuperset(text):
        return False
    if re.match(r"[1-9][0-9]*\Z", text):
        return True
    if _number is None:
        _number = re.compile(
            r"[-+]?(0b[01_]+|0[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*(:[0-5]?[0-9])*(\.[0-9_]*)?|"
            r"[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|([0-9][0-9_]*)\.[0-9_]*([eE][-+][0-9]+)?|"
            r"\.[0-9][0-9_]*([eE][-+][0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)|"
            r"\d\d\d\d-\d\d?-\d\d?([Tt ]+\d\d?:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:\d\d)?))?)?"
        )
    return _number.fullmatch(text) is not None


def _escaped(sign):
    if sign in _ESCAPES:
        return "\\" + _ESCAPES[sign]
    code = ord(sign)
    if 32 <= code < 127:
        return sign
    return ("\\x%02X" if code < 256 else "\\u%04X" if code < 65536 else "\\U%08X") % code


# ---- reading -------------------------------------------------------------------------------------

_ENTRY = re.compile(r"([A-Za-z][A-Za-z0-9 -]*):(?: |$)")


def load(text):
    """Read back what dump() wrote; Unreadable for anything else."""
    lines = text.split("\n")
    if lines[0].startswith("%YAML "):
        lines = lines[1:]
    if not lines or not lines[0].startswith("---") or "..." not in lines:
        raise Unreadable("no document start or end")
    lines[0] = lines[0][3:].strip()
    lines = lines[: lines.index("...")]
    if not lines[0]:
        lines = lines[1:]
    try:
        value, rest = _block(lines, 0, 0)
    except (IndexError, RecursionError):
        raise Unreadable("cut off")
    if rest != len(lines):
        raise Unreadable(f"cannot make sense of {lines[rest]!r}")
    return value


def _indent_of(line):
    return len(line) - len(line.lstrip(" "))


def _block(lines, at, indent):
    """One value that starts at line `at`, set in by `indent`; returns it and the line behind it."""
    begin = lines[at][indent:]
    if begin.startswith("- "):
        return _sequence(lines, at, indent)
    if _ENTRY.match(begin):
        return _mapping(lines, at, indent)
    text, at = _folded(lines, at, begin, indent)
    return _inline(text), at


def _sequence(lines, at, indent):
    items = []
    while (
        at < len(lines) and _indent_of(lines[at]) == indent and lines[at].startswith("- ", indent)
    ):
        # What follows the dash is read as if it stood on a line of its own, two columns further in.
        lines[at] = " " * (indent + 2) + lines[at][indent + 2 :]
        item, at = _block(lines, at, indent + 2)
        items.append(item)
    return items, at


def _mapping(lines, at, indent):
    result = {}
    while at < len(lines) and _indent_of(lines[at]) == indent:
        entry = _ENTRY.match(lines[at][indent:])
        if entry is None:
            break
        key, rest = entry.group(1), lines[at][indent + entry.end() :]
        if rest:
            text, at = _folded(lines, at, rest, indent + 1)
            result[key] = _inline(text)
        else:
            below = _indent_of(lines[at + 1])
            if below < indent or (below == indent and not lines[at + 1].startswith("- ", indent)):
                raise Unreadable(f"{key!r} has no value")
            result[key], at = _block(lines, at + 1, below)
    return result, at


def _folded(lines, at, first, indent):
    """Join a value with the lines below that are set in as far; n line breaks read as n - 1, one as
    a blank.
    """
    parts, breaks = [first], 0
    at += 1
    while at < len(lines) and (not lines[at] or _indent_of(lines[at]) >= indent):
        if not lines[at].strip():
            breaks += 1
        else:
            parts.append("\n" * breaks if breaks else " ")
            parts.append(lines[at].strip(" "))
            breaks = 0
        at += 1
    return "".join(parts), at


_SINGLE = re.compile(r"'((?:[^']|'')*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PLAIN_IN_FLOW = re.compile(r"[^,\[\]{}:]+(?::[^ ,\[\]{}][^,\[\]{}:]*)*")
_KEY_IN_FLOW = re.compile(r"([A-Za-z][A-Za-z0-9 -]*): ")
_ESCAPE = re.compile(r"\\(x[0-9A-F]{2}|u[0-9A-F]{4}|U[0-9A-F]{8}|.)")


def _inline(text):
    if text[0] in "{[":
        value, end = _flow(text, 0)
    elif text[0] in "'\"":
        value, end = _scalar(text, 0)
    else:
        return _resolve(text)
    if text[end:].strip():
        raise Unreadable(f"words behind a value: {text[end:]!r}")
    return value


def _flow(text, at):
    is_map = text[at] == "{"
    closing = "}" if is_map else "]"
    result = {} if is_map else []
    at += 1
    while True:
        while text[at] == " ":
            at += 1
        if text[at] == closing:
            return result, at + 1
        if is_map:
            key = _KEY_IN_FLOW.match(text, at)
            if key is None:
                raise Unreadable(f"no key at {text[at : at + 20]!r}")
            at = key.end()
        value, at = _scalar(text, at)
        if is_map:
            result[key.group(1)] = value
        else:
            result.append(value)
        if text[at] == ",":
            at += 1
        elif text[at] != closing:
            raise Unreadable(f"no comma at {text[at : at + 20]!r}")


def _scalar(text, at):
    if text[at] == "'":
        found = _SINGLE.match(text, at)
    elif text[at] == '"':
        found = _DOUBLE.match(text, at)
    else:
        found = _PLAIN_IN_FLOW.match(text, at)
    if found is None:
        raise Unreadable(f"no value at {text[at : at + 20]!r}")
    if text[at] == "'":
        return found.group(1).replace("''", "'"), found.end()
    if text[at] == '"':
        return _ESCAPE.sub(_unescape, found.group(1)), found.end()
    return _resolve(found.group(0).strip()), found.end()


def _unescape(found):
    code = found.group(1)
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPED.get(code, code)


def _resolve(text):
    if text in ("true", "false"):
        return text == "true"
    if text == "null":
        return None
    if re.match(r"[0-9]+\Z", text) and (
        text[0] != "0" or text == "0"
    ):  # PyYAML leaves 08 unquoted: no number in YAML 1.1
        return int(text)
    return text
