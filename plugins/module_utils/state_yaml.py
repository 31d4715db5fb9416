# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Reads the YAML that the agent writes (reference 2.4), with nothing but the standard library.

Managed hosts have no PyYAML that a module could rely on. The agent's files are a small part of YAML 1.1: mappings and
sequences in block style, their leaves in flow style, plain and quoted scalars that may be wrapped over lines. Anything
else (anchors, tags, block scalars) raises C(NotStateYaml); callers treat such a file as one they do not have.

Every scalar comes back as text, save null, which is C(None): the callers know which fields are numbers or times. A line
break inside a text comes back as a blank.
"""

import re


class NotStateYaml(ValueError):
    """The text is not in the part of YAML that the agent writes."""


_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s\[\]{},#&*!|>'"%@`?-][^\[\]{},#]*?|-[^\s\[\]{},#][^\[\]{},#]*?)\s*:(?=\s|$)""")
_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
            "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"}
_BACKSLASH_AT_END = re.compile(r"(?<!\\)(?:\\\\)*\\$")
_OPEN_DOUBLE_QUOTE = re.compile(r"""(?:[^"']|(?<=\w)'|'(?:[^']|'')*'|"(?:[^"\\]|\\.)*")*"(?:[^"\\]|\\.)*\\?""", re.S)
_MOST_DEPTH = 20
_MOST_LINES = 300


def load(text):
    """The document as mappings, lists, text and C(None).

    :raises NotStateYaml: with the number of the line that does not fit.
    """
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if line.startswith("--- "):
            line = line[4:]
        # Blanks and nothing else: what other white space there is belongs to the values.
        if line not in ("---", "...") and line.strip(" "):
            lines.append((number, len(line) - len(line.lstrip(" ")), line.strip(" ")))
    if not lines:
        return None
    value, rest = _block(lines, 0, lines[0][1], 0)
    if rest < len(lines):
        raise NotStateYaml(f"line {lines[rest][0]} does not belong to what is above it")
    return value


def _block(lines, at, indent, depth):
    """The value that starts at line C(at), and the line after it."""
    if depth > _MOST_DEPTH:
        raise NotStateYaml(f"line {lines[at][0]} is nested too deeply")
    text = lines[at][2]
    if text == "-" or text.startswith("- "):
        return _sequence(lines, at, indent, depth)
    if text[0] not in "{[" and _KEY.match(text):
        return _mapping(lines, at, indent, depth)
    return _inline(lines, at, indent, depth)


def _sequence(lines, at, indent, depth):
    items = []
    while at < len(lines) and lines[at][1] == indent and (lines[at][2] == "-" or lines[at][2].startswith("- ")):
        number, _indent, text = lines[at]
        rest = text[1:].lstrip(" ")
        if not rest:
            if at + 1 < len(lines) and lines[at + 1][1] > indent:
                value, at = _block(lines, at + 1, lines[at + 1][1], depth + 1)
            else:
                value, at = None, at + 1
        else:
            # What follows the dash is a value of its own, indented by where it stands.
            inner = indent + len(text) - len(rest)
            lines[at] = (number, inner, rest)
            value, at = _block(lines, at, inner, depth + 1)
        items.append(value)
    return items, at


def _mapping(lines, at, indent, depth):
    result = {}
    while at < len(lines) and lines[at][1] == indent:
        number, _indent, text = lines[at]
        match = _KEY.match(text)
        if not match or text.startswith("- "):
            break
        key = _scalar(match.group(1), number)
        rest = text[match.end():].lstrip(" ")
        if rest:
            lines[at] = (number, indent + 1, rest)
            value, at = _inline(lines, at, indent + 1, depth + 1)
        elif at + 1 < len(lines) and (lines[at + 1][1] > indent or (
                lines[at + 1][1] == indent and (lines[at + 1][2] + " ").startswith("- "))):
            value, at = _block(lines, at + 1, lines[at + 1][1], depth + 1)
        else:
            value, at = None, at + 1
        result[key] = value
    return result, at


def _inline(lines, at, indent, depth):
    """A flow collection or a scalar, wrapped over as many of the following lines as belong to it."""
    number, _indent, text = lines[at]
    parts, at = [text], at + 1

    def more():
        if at < len(lines) and lines[at][1] >= indent:
            parts.append(lines[at][2])
            return True
        return False

    if text[0] in "{[":
        while True:
            # Reading anew for every line would take its time: only where it may end, and not without end.
            if parts[-1][-1] in "]}":
                try:
                    flow = _Flow(_join(parts), number)
                    value = flow.value(depth)
                    flow.end()
                    return value, at
                except _Unfinished:
                    pass
            if len(parts) > _MOST_LINES or not more():
                raise NotStateYaml(f"line {number} opens what is never closed")
            at += 1
    while text[0] in "'\"" and not _closed(_join(parts)):
        if not more():
            raise NotStateYaml(f"line {number} opens a quote that is never closed")
        at += 1
    while text[0] not in "'\"" and more():
        at += 1
    return _scalar(_join(parts), number), at


def _join(parts):
    """Lines of one wrapped value: a line break reads as a blank, one behind a backslash in double quotes as nothing."""
    text = parts[0]
    for part in parts[1:]:
        if _BACKSLASH_AT_END.search(text) and _OPEN_DOUBLE_QUOTE.fullmatch(text):
            text = text[:-1] + part
        else:
            text = text + " " + part
    return text


def _closed(text):
    pattern = r'"(?:[^"\\]|\\.)*"' if text[0] == '"' else r"'(?:[^']|'')*'(?!')"
    return re.fullmatch(pattern, text, re.S) is not None


def _scalar(text, number):
    if text[:1] == '"' and _closed(text):
        return _unescape(text[1:-1], number)
    if text[:1] == "'" and _closed(text):
        return text[1:-1].replace("''", "'")
    if text[:1] and text[0] in "&*!|>%@`\"'":
        raise NotStateYaml(f"line {number} starts with {text[0]}, which the agent never writes")
    return None if text in ("", "~", "null", "Null", "NULL") else text


def _unescape(text, number):
    def one(match):
        code = match.group(1)
        if code[0] in "xuU" and len(code) > 1:
            return chr(int(code[1:], 16))
        if code in '"\\/ ':
            return code
        if code not in _ESCAPES:
            raise NotStateYaml(f"line {number} has the unknown escape \\{code}")
        return _ESCAPES[code]
    try:
        return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", one, text, flags=re.S)
    except (ValueError, OverflowError) as error:
        raise NotStateYaml(str(error))


class _Unfinished(Exception):
    """The flow collection goes on in the next line."""


class _Flow:
    """Reads C({a: b, c: [d]}) from a text in which line breaks are blanks already."""

    def __init__(self, text, number):
        self.text, self.at, self.number = text, 0, number

    def peek(self):
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1
        if self.at >= len(self.text):
            raise _Unfinished
        return self.text[self.at]

    def end(self):
        if self.text[self.at:].strip(" "):
            raise NotStateYaml(f"line {self.number} has more behind its closing bracket")

    def value(self, depth):
        if depth > _MOST_DEPTH:
            raise NotStateYaml(f"line {self.number} is nested too deeply")
        first = self.peek()
        if first == "{":
            return self.mapping(depth)
        if first == "[":
            return self.sequence(depth)
        return self.scalar()

    def mapping(self, depth):
        result = {}
        self.at += 1
        while self.peek() != "}":
            key = self.scalar(key=True)
            if self.peek() == ":":
                self.at += 1
                result[key] = None if self.peek() in ",}" else self.value(depth + 1)
            else:
                result[key] = None
            self.separator("}")
        self.at += 1
        return result

    def sequence(self, depth):
        result = []
        self.at += 1
        while self.peek() != "]":
            result.append(self.value(depth + 1))
            self.separator("]")
        self.at += 1
        return result

    def separator(self, closing):
        mark = self.peek()
        if mark == ",":
            self.at += 1
        elif mark != closing:
            raise NotStateYaml(f"line {self.number} lacks a comma before {mark}")

    def scalar(self, key=False):
        first = self.peek()
        if first in "'\"":
            pattern = r'"(?:[^"\\]|\\.)*"' if first == '"' else r"'(?:[^']|'')*'(?!')"
            match = re.compile(pattern, re.S).match(self.text, self.at)
            if not match:
                raise _Unfinished
            self.at = match.end()
            return _scalar(match.group(), self.number)
        stop = re.compile(r"[,\[\]{}]|:(?=[ ,\[\]{}]|$)" if key else r"[,\[\]{}]|: ").search(self.text, self.at)
        if not stop:
            raise _Unfinished
        text = self.text[self.at:stop.start()].strip(" ")
        self.at = stop.start()
        if not text:
            raise NotStateYaml(f"line {self.number} has a {stop.group()} where a value belongs")
        return _scalar(text, self.number)
