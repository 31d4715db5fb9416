# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Reads the YAML that the agent writes (reference 2.4 and 11), with nothing but the standard
library.

Managed hosts have no PyYAML that a module could rely on. The agent writes its files with one (YAML
1.1), so what PyYAML writes is what is read here: block and flow style, plain, quoted, folded and
literal scalars wrapped as it wraps them, tags, anchors and aliases. Every scalar comes back as
text, save null, which is C(None): the callers know which fields are numbers or times. A tag says
nothing more than that, except for C(!!binary), which is decoded.

What cannot be read concerns only the key it stands under: C(load) reports it,
and goes on with the next key. That, and the time it takes, rest on one rule that PyYAML keeps when
it writes: the lines that belong to a value are indented more than the key above them. So nothing is
read past the end of its own lines, and the cost grows with the size of the text and with nothing
else.
"""

import base64
import binascii
import re
from collections import namedtuple

# C(path) is a text such as C(Result.Failed[0].Name), empty for the whole document.
Unread = namedtuple("Unread", "path line what")

# What is beyond these was not written by the agent: 500 updates make some 6 000 values in 300 kB.
MOST_CHARACTERS = 2000000
_MOST_VALUES = 20000
_MOST_DEPTH = 40
_MOST_TOLD = 50

_NULLS = ("", "~", "null", "Null", "NULL")
_ESCAPES = {
    "0": "\0",
    "a": "\a",
    "b": "\b",
    "t": "\t",
    "\t": "\t",
    "n": "\n",
    "v": "\v",
    "f": "\f",
    "r": "\r",
    "e": "\x1b",
    " ": " ",
    '"': '"',
    "/": "/",
    "\\": "\\",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
    "P": "\u2029",
}

# YAML 1.1 ends lines with the last two as well. (The others have become \n before these are used.)
_BREAKS = "\n\u2028\u2029"
_SPACE = " \t" + _BREAKS
# All of them are one class repeated, or choices that begin differently: there is one way only to
# match a text.
_MARKER = re.compile(r"^(?:---|\.\.\.)(?=[ \t\n\u2028\u2029]|\Z)", re.M)
_LINE = re.compile(r"[^\n\u2028\u2029]*")
_BLANKS = re.compile(r"[ \t]*")
_GAP = re.compile(r"[ \t\n\u2028\u2029]*")
_INDENT = re.compile(r" *")
_WORD = re.compile(r"[^ \t\n\u2028\u2029]*")
_FLOW_WORD = re.compile(r"[^ \t\n\u2028\u2029,\[\]{}]*")
_SINGLE = re.compile(r"[^'\n\u2028\u2029]*(?:''[^'\n\u2028\u2029]*)*")
_DOUBLE = re.compile(r'[^"\\\n\u2028\u2029]*(?:\\[^\n\u2028\u2029][^"\\\n\u2028\u2029]*)*')
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.S)
_PLAIN_END = re.compile(r"[\t\n\u2028\u2029]|:(?=[ \t\n\u2028\u2029]|\Z)| #")
_FLOW_PLAIN_END = re.compile(r"[\t\n\u2028\u2029,?\[\]{}]|:(?=[ \t\n\u2028\u2029,\[\]{}]|\Z)| #")
_HEADER = re.compile(r"[|>](?:([1-9])([+-]?)|([+-])([1-9]?))?(?=[ \t\n\u2028\u2029]|\Z)")

# What the agent mostly writes, each in one match: a key, an entry of one line, and what stands in
# brackets. Whatever is not as plain as this is read sign by sign.
_TEXT = r"(?:'([^'\t\n\u2028\u2029]*)'|([A-Za-z0-9](?:[A-Za-z0-9_./+~() -]*[A-Za-z0-9_./+~()-])?))"
_KEY = re.compile(r"([A-Za-z](?:[A-Za-z0-9_ ]*[A-Za-z0-9_])?):(?=[ \n])")
_ENTRY = re.compile(_KEY.pattern + " " + _TEXT + r"\n( *)(?=[^ #\t\n\u2028\u2029]|\Z)")
_PAIR = re.compile(_KEY.pattern + " " + _TEXT + r"(?:(,) |,\n( +)|(?=\}))")
_ITEM = re.compile(_TEXT + r"(?:(,) |,\n( +)|(?=\]))")


class _Wrong(ValueError):
    """What stands at this place does not fit."""

    def __init__(self, at, what):
        super().__init__(what)
        self.at, self.what = at, what


class _TooMuch(_Wrong):
    """The document is larger than any that the agent writes: no part of it is read."""


def load(text):
    """The document, as mappings, lists, text and C(None), and a list of what of it could not be
    read (C(Unread)).
    """
    if len(text) > MOST_CHARACTERS:
        return None, [Unread("", 1, "is larger than anything that the agent writes")]
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x85", "\n")
    try:
        start, end = _document(text)
        reader = _Reader(text, start, end)
        value = reader.document()
        return value, reader.unread
    except _Wrong as wrong:
        return None, [Unread("", _line_of(text, wrong.at), wrong.what)]


def _line_of(text, at):
    return text.count("\n", 0, at) + 1


def _document(text):
    """Where the document starts and ends: behind C(---), before C(...).

    Two documents are not a state.
    """
    start, begun, ended = (1 if text.startswith("\ufeff") else 0), False, None
    for found in _MARKER.finditer(text):
        if found.group() == "---":
            before = text[start : found.start()]
            if (
                begun
                or ended is not None
                or not all(line[:1] in ("", "#", "%") for line in before.split("\n"))
            ):
                raise _Wrong(found.start(), "starts a second document")
            start, begun = found.end(), True
        elif ended is None:
            ended = found
    if ended is None:
        return start, len(text)
    for line in text[ended.end() :].split("\n"):
        if line.strip(" \t") not in ("", "...") and line.strip(" \t")[0] != "#":
            raise _Wrong(ended.end(), "is the end of the document, but more follows")
    return start, ended.start()


class _Reader:
    """Goes through the text once. C(at) is where it is."""

    def __init__(self, text, start, end):
        self.text, self.at, self.end = text[:end], start, end
        self.line_start = max(text.rfind("\n", 0, start) + 1, 0)
        self.path, self.unread, self.anchors, self.values = [], [], {}, 0

    # ---- places ----

    def peek(self, ahead=0):
        """The character here, or ahead; an empty text at the end."""
        return self.text[self.at + ahead : self.at + ahead + 1]

    def column(self):
        return self.at - self.line_start

    def is_space(self, ahead):
        return self.peek(ahead) in _SPACE  # also at the end, where it is an empty text

    def skip_blanks(self):
        """To the next character in this line that is not a blank or in a comment."""
        self.at = _BLANKS.match(self.text, self.at).end()
        if self.peek() == "#" and self.text[max(self.at - 1, 0) : self.at] in _SPACE:
            self.at = _LINE.match(self.text, self.at).end()

    def at_break(self):
        return self.at >= self.end or self.text[self.at] in _BREAKS

    def next_line(self):
        self.at = min(self.at + 1, self.end)
        self.line_start = self.at

    def skip_gap(self):
        """Over blanks and line breaks. Returns the line breaks."""
        gap = _GAP.match(self.text, self.at).group()
        breaks = [sign for sign in gap if sign in _BREAKS] if gap.strip(" ") else []
        if breaks:
            self.line_start = self.at + max(gap.rfind(sign) for sign in _BREAKS) + 1
        self.at += len(gap)
        return breaks

    def skip_lines(self):
        """From the end of a line, or its start, to the next thing in the document."""
        while True:
            self.skip_gap()
            if self.peek() != "#":
                return
            self.at = _LINE.match(self.text, self.at).end()

    def end_line(self):
        """Nothing but a comment may follow in this line; then to the next thing."""
        self.skip_blanks()
        if not self.at_break():
            raise _Wrong(self.at, "has more behind a value that has ended")
        self.skip_lines()

    def count(self, depth):
        self.values += 1
        if self.values > _MOST_VALUES:
            raise _TooMuch(self.at, "holds more values than the agent writes")
        if depth > _MOST_DEPTH:
            raise _Wrong(self.at, "is nested too deeply")

    # ---- what cannot be read ----

    def tell(self, wrong):
        if len(self.unread) < _MOST_TOLD:
            path = "".join(
                f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path
            )
            self.unread.append(Unread(path.lstrip("."), _line_of(self.text, wrong.at), wrong.what))

    def leave(self, start, indent, dashes=False):
        """To the next line that belongs to nothing that stands indented below the line of C(start).

        :param dashes: a list that is not indented belongs to its key too.
        """
        self.at = start
        while True:
            self.at = _LINE.match(self.text, self.at).end()
            if self.at >= self.end:
                return
            self.next_line()
            first = _INDENT.match(self.text, self.at).end()
            if first >= self.end or self.text[first] in _BREAKS or first - self.at > indent:
                continue
            if (
                dashes
                and first - self.at == indent
                and self.text[first] == "-"
                and self.text[first + 1 : first + 2] in _SPACE
            ):
                continue
            self.skip_lines()
            return

    # ---- what the agent mostly writes ----

    def plain_key(self):
        """Go over a plain key and its colon; None where there is none such here."""
        found = _KEY.match(self.text, self.at)
        if not found or found.group(1) in _NULLS:
            return None
        self.at = found.end()
        return found.group(1)

    def plain_entry(self, column):
        """Go over an entry of one line to the next; None where there is none such here."""
        found = _ENTRY.match(self.text, self.at)
        if not found or len(found.group(4)) > column or found.group(1) in _NULLS:
            return None
        self.at = found.end()
        self.line_start = self.at - len(found.group(4))
        return found.group(1), _text_of(found.group(2), found.group(3))

    def plain_collection(self, parent, depth):
        """Go over a flow collection of plain text; None where there is none such here."""
        at, line_start, values = self.at + 1, self.line_start, 1
        is_mapping = self.text[self.at] == "{"
        result, pattern, steps = ({}, _PAIR, 3) if is_mapping else ([], _ITEM, 2)
        while True:
            found = pattern.match(self.text, at)
            if not found:
                return None
            *key, quoted, plain, more, indent = found.groups()
            if is_mapping:
                if key[0] in _NULLS:
                    return None
                result[key[0]] = _text_of(quoted, plain)
            else:
                result.append(_text_of(quoted, plain))
            at, values = found.end(), values + steps
            if indent:
                line_start = at - len(indent)
                if len(indent) <= parent:
                    return None
            elif not more:
                break
        if self.values + values > _MOST_VALUES or depth + 1 > _MOST_DEPTH:
            return None
        self.at, self.line_start, self.values = at + 1, line_start, self.values + values
        return result

    # ---- block style ----

    def document(self):
        self.skip_lines()
        if self.at >= self.end:
            return None
        value = self.node(-1, 0)
        if self.at < self.end:
            self.tell(_Wrong(self.at, "does not belong to what is above it"))
        return value

    def node(self, parent, depth):
        """The value that starts here, at its own column; then to the next thing behind it.

        :param parent: the column of what it belongs to: all its lines are indented more.
        """
        self.count(depth)
        start, column, line = self.at, self.column(), self.line_start
        if _KEY.match(self.text, start):
            return self.mapping(column, depth)
        tag, anchor = self.properties()
        if (tag or anchor) and self.at_break():
            self.skip_lines()
            if self.at >= self.end or self.column() <= parent:
                return self.finish(None, tag, anchor, start)
            return self.finish(self.node(parent, depth + 1), tag, anchor, start)
        here = self.peek()
        if here == "-" and self.is_space(1):
            value = self.sequence(self.column(), depth)
        elif here == "?" and self.is_space(1):
            value = self.mapping(self.column(), depth)
        elif here in ("|", ">"):
            value = self.block_scalar(parent)
        else:
            first = self.at
            value = self.inline(parent, depth, first_line_only=True)
            if self.line_start == line and self.is_key():
                # A key: what was tagged or anchored is the key, not the mapping.
                self.at = start
                return self.mapping(column, depth)
            if self.text[first] not in "\"'[{*":
                value = self.more_plain(value, parent)
            self.end_line()
        return self.finish(value, tag, anchor, start)

    def is_key(self):
        """Whether what ended here is the key of a mapping."""
        after = _BLANKS.match(self.text, self.at).end()
        return self.text[after : after + 1] == ":" and self.text[after + 1 : after + 2] in _SPACE

    def sequence(self, column, depth, key_column=None):
        """A list whose dashes stand in this column.

        C(key_column) is its key's, when it is not indented below it.
        """
        items, parent = [], column if key_column is None else key_column
        while (
            self.at < self.end
            and self.column() == column
            and self.peek() == "-"
            and self.is_space(1)
        ):
            self.count(depth)
            start = self.at
            self.path.append(len(items))
            try:
                items.append(self.behind_sign(column, parent, depth))
            except _TooMuch:
                raise
            except _Wrong as wrong:
                self.tell(wrong)
                items.append(None)
                self.leave(start, column)
            self.path.pop()
        return items

    def behind_sign(self, column, parent, depth):
        """What stands behind a dash, or the sign of an explicit key or of its value."""
        self.at += 1
        self.skip_blanks()
        if not self.at_break():
            return self.node(column if self.text[self.at] not in "|>" else parent, depth + 1)
        self.skip_lines()
        if self.at < self.end and self.column() > column:
            return self.node(column, depth + 1)
        return None

    def mapping(self, column, depth):
        result = {}
        while (
            self.at < self.end
            and self.column() == column
            and not (self.peek() == "-" and self.is_space(1))
        ):
            self.count(depth)
            start, known = self.at, False
            entry = self.plain_entry(column)
            if entry:
                result[entry[0]] = entry[1]
                continue
            try:
                explicit = self.peek() == "?" and self.is_space(1)
                key = (
                    self.behind_sign(column, column, depth) if explicit else self.key(column, depth)
                )
                self.path.append(key if isinstance(key, str) else "?")
                known = True
                if isinstance(key, (list, dict)):
                    raise _Wrong(start, "has a key that is not text")
                if explicit:
                    has_value = (
                        self.at < self.end
                        and self.column() == column
                        and self.peek() == ":"
                        and self.is_space(1)
                    )
                    result[key] = self.behind_sign(column, column, depth) if has_value else None
                else:
                    result[key] = self.value(column, depth)
            except _TooMuch:
                raise
            except _Wrong as wrong:
                self.tell(wrong)
                self.leave(start, column, dashes=known)
            if known:
                self.path.pop()
        return result

    def key(self, column, depth):
        """A key with its colon."""
        start, line = self.at, self.line_start
        plain = self.plain_key()
        if plain:
            return plain
        tag, anchor = self.properties()
        value = self.inline(column, depth + 1, first_line_only=True)
        if self.line_start != line or not self.is_key():
            raise _Wrong(start, "is not a key with a value")
        value = self.finish(value, tag, anchor, start)
        self.at = self.text.index(":", self.at) + 1
        return value

    def value(self, column, depth):
        """What stands behind the colon of a key in this column."""
        start = self.at
        self.skip_blanks()
        tag, anchor = self.properties()
        if self.at_break():
            self.skip_lines()
            is_list = self.peek() == "-" and self.is_space(1)
            if self.at < self.end and self.column() > column:
                value = self.node(column, depth + 1)
            elif self.at < self.end and self.column() == column and is_list:
                value = self.sequence(column, depth + 1, column)
            else:
                value = None
        elif self.peek() in ("|", ">"):
            value = self.block_scalar(column)
        else:
            value = self.inline(column, depth + 1)
            self.end_line()
        return self.finish(value, tag, anchor, start)

    # ---- properties ----

    def properties(self, flow=False):
        """The tag and the anchor before a value."""
        tag = anchor = None
        while self.peek() in ("!", "&"):
            word = (_FLOW_WORD if flow else _WORD).match(self.text, self.at).group()
            if word[0] == "!":
                tag = word if len(word) > 1 else None
            else:
                anchor = word[1:]
            self.at += len(word)
            if not flow:
                self.skip_blanks()
            else:
                self.skip_flow(-1)
        return tag, anchor

    def finish(self, value, tag, anchor, at):
        """The value as its tag has it, under its anchor."""
        if isinstance(value, _Plain):
            value = None if value in _NULLS and tag is None else str(value)
        if tag is not None and (tag == "!!null" or tag.endswith(":null>")):
            value = None
        elif value is None and tag in ("!!str", "!!python/str", "!!python/unicode"):
            value = ""
        elif isinstance(value, str) and (tag == "!!binary" or (tag or "").endswith(":binary>")):
            try:
                value = base64.b64decode("".join(value.split()).encode("ascii")).decode(
                    "utf-8", "replace"
                )
            except (binascii.Error, ValueError):
                raise _Wrong(at, "is not base64")
        if anchor is not None:
            self.anchors[anchor] = value
        return value

    # ---- scalars and flow style ----

    def inline(self, parent, depth, first_line_only=False):
        """A value in flow style, quoted, plain or an alias.

        :param first_line_only: of a plain one only the first line, since it may be a key.
        """
        here = self.peek()
        if here == '"':
            return self.double(parent)
        if here == "'":
            return self.single(parent)
        if here in ("[", "{"):
            return self.flow_collection(parent, depth)
        if here == "*":
            return self.alias(_WORD)
        self.check_plain(flow=False)
        value = self.plain_line(_PLAIN_END)
        return value if first_line_only else self.more_plain(value, parent)

    def alias(self, words):
        name = words.match(self.text, self.at).group()
        if name[1:] not in self.anchors:
            raise _Wrong(self.at, "stands for something that is not there")
        self.at += len(name)
        return self.anchors[name[1:]]

    def check_plain(self, flow):
        here, is_alone = self.peek(), self.is_space(1)
        if (
            not here
            or here in ",[]{}#&*!|>'\"%@`"
            or (here in "-?:" and (is_alone or (flow and here != "-")))
        ):
            raise _Wrong(self.at, "has {} where a value belongs".format(here or "nothing"))

    def plain_line(self, ends):
        found = ends.search(self.text, self.at)
        end = found.start() if found else self.end
        value = self.text[self.at : end].rstrip(" ")
        self.at += len(value)
        return _Plain(value)

    def more_plain(self, value, parent):
        """The lines that a plain scalar goes on in."""
        pieces = [value]
        while True:
            self.at_blank_end(_INDENT)
            if self.at >= self.end or not self.at_break():
                break
            stop = (self.at, self.line_start)
            breaks = self.fold()
            if self.at >= self.end or self.column() <= parent or self.peek() in ("#", "\t"):
                # The line of a mapping or a comment: this scalar ended before it.
                self.at, self.line_start = stop
                break
            line = self.plain_line(_PLAIN_END)
            if not line and self.peek() == ":":
                raise _Wrong(self.at, "has : where text belongs")
            pieces += [breaks, line]
        return _Plain("".join(pieces)) if len(pieces) > 1 else value

    def at_blank_end(self, blanks):
        """Over the blanks here if nothing follows them in the line."""
        after = blanks.match(self.text, self.at).end()
        if after >= self.end or self.text[after] in _BREAKS:
            self.at = after

    def fold(self):
        """Over a line break, the empty lines behind it and the next line's indentation: what they
        read as.
        """
        breaks = self.skip_gap()
        if breaks[0] != "\n":
            return "".join(breaks)
        return "".join(breaks[1:]) or " "

    def quoted(self, parent, sign, piece, read):
        """A quoted scalar; C(read) turns a piece of one line into what it says."""
        start, pieces = self.at, []
        self.at += 1
        while True:
            text = piece.match(self.text, self.at).group()
            self.at += len(text)
            if self.peek() == sign:
                self.at += 1
                pieces.append(read(text))
                return "".join(pieces)
            joined = (
                self.peek() == "\\"
            )  # at the end of a line: it goes on in the next without a blank
            if joined:
                self.at += 1
            else:
                text = _without_blanks(text, sign)
            if self.at >= self.end:
                raise _Wrong(start, "opens a quote that is never closed")
            pieces.append(read(text))
            breaks = self.fold()
            pieces.append(breaks if not joined else breaks[1:] if breaks == " " else breaks)
            if self.at >= self.end or self.column() <= parent:
                raise _Wrong(start, "opens a quote that is never closed")

    def single(self, parent):
        return self.quoted(parent, "'", _SINGLE, lambda text: text.replace("''", "'"))

    def double(self, parent):
        def one(match):
            code = match.group(1)
            if len(code) > 1:
                return chr(int(code[1:], 16))
            if code not in _ESCAPES:
                raise _Wrong(self.at, f"has the unknown escape \\{code}")
            return _ESCAPES[code]

        def read(text):
            try:
                return _ESCAPE.sub(one, text) if "\\" in text else text
            except (ValueError, OverflowError) as error:
                raise (
                    error
                    if isinstance(error, _Wrong)
                    else _Wrong(self.at, "has an escape for no character")
                )

        return self.quoted(parent, '"', _DOUBLE, read)

    def block_scalar(self, parent):
        """A literal (C(|)) or folded (C(>)) scalar."""
        header = _HEADER.match(self.text, self.at)
        if not header:
            raise _Wrong(self.at, "has a block scalar with an unknown indicator")
        folded = header.group()[0] == ">"
        digit, keep = header.group(1) or header.group(4), header.group(2) or header.group(3)
        self.at = header.end()
        self.skip_blanks()
        if not self.at_break():
            raise _Wrong(self.at, "has more behind a block scalar's indicator")
        least = max(parent + 1, 1)
        indent = least + int(digit) - 1 if digit else None
        pieces, breaks, line_break, deepest = [], [], "", 0
        previous_text = False
        while self.at < self.end:
            # From a line break to the next line.
            breaks.append(self.text[self.at])
            self.next_line()
            first = _INDENT.match(self.text, self.at).end()
            blanks = first - self.line_start
            is_empty = first >= self.end or self.text[first] in _BREAKS
            if is_empty and (indent is None or blanks <= indent):
                deepest, self.at = max(deepest, blanks), first
                continue
            if indent is None:
                indent = max(least, deepest, blanks)
            if blanks < indent:
                break
            self.at = self.line_start + indent
            end = _LINE.match(self.text, self.at).end()
            text = self.text[self.at : end]
            is_text = text[0] not in " \t"
            line_break = breaks.pop(0)
            if not pieces:
                # Nothing was before: what this break ended was the header's line.
                pass
            elif folded and line_break == "\n" and previous_text and is_text:
                pieces.append("" if breaks else " ")
            else:
                pieces.append(line_break)
            pieces.extend(breaks)
            pieces.append(text)
            breaks, previous_text, self.at = [], is_text, end
        if pieces and breaks and keep != "-":
            pieces.append(breaks[0])
        if keep == "+":
            pieces.extend(breaks[1:])
        self.skip_lines()
        return "".join(pieces)

    def skip_flow(self, parent):
        """To the next thing in a flow collection, which may stand in a later line."""
        while True:
            self.skip_blanks()
            if self.at >= self.end or not self.at_break():
                return
            self.skip_gap()
            if self.at < self.end and self.column() <= parent:
                raise _Wrong(self.at, "is in a bracket that is never closed")

    def flow_collection(self, parent, depth):
        plain = self.plain_collection(parent, depth)
        if plain is not None:
            return plain
        self.count(depth)
        start, is_mapping = self.at, self.peek() == "{"
        closing = "}" if is_mapping else "]"
        result = {} if is_mapping else []
        self.at += 1
        while True:
            self.skip_flow(parent)
            if self.at >= self.end:
                raise _Wrong(start, "opens a bracket that is never closed")
            if self.peek() == closing:
                self.at += 1
                return result
            self.count(depth)
            explicit = self.peek() == "?" and self.is_space(1)
            if explicit:
                self.at += 1
                self.skip_flow(parent)
            key = None if self.peek() == ":" else self.flow_node(parent, depth + 1)
            self.skip_flow(parent)
            is_pair = self.peek() == ":"
            value = None
            if is_pair:
                self.at += 1
                self.skip_flow(parent)
                value = None if self.peek() in (",", closing) else self.flow_node(parent, depth + 1)
                self.skip_flow(parent)
            if (is_mapping or is_pair or explicit) and isinstance(key, (list, dict)):
                raise _Wrong(self.at, "has a key that is not text")
            if is_mapping:
                result[key] = value
            else:
                result.append({key: value} if is_pair or explicit else key)
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != closing:
                raise _Wrong(
                    self.at,
                    "lacks a comma in a bracket"
                    if self.at < self.end
                    else "opens a bracket that is never closed",
                )

    def flow_node(self, parent, depth):
        self.count(depth)
        start = self.at
        tag, anchor = self.properties(flow=True)
        here = self.peek()
        if here == '"':
            value = self.double(parent)
        elif here == "'":
            value = self.single(parent)
        elif here in ("[", "{"):
            value = self.flow_collection(parent, depth)
        elif here == "*":
            value = self.alias(_FLOW_WORD)
        elif (tag or anchor) and here in (",", "]", "}", ":"):
            value = _Plain("")
        else:
            value = self.flow_plain(parent)
        return self.finish(value, tag, anchor, start)

    def flow_plain(self, parent):
        self.check_plain(flow=True)
        pieces = [self.plain_line(_FLOW_PLAIN_END)]
        while True:
            self.at_blank_end(_INDENT)
            if self.at >= self.end or not self.at_break():
                return _Plain("".join(pieces))
            breaks = self.fold()
            if self.at < self.end and self.column() <= parent:
                raise _Wrong(self.at, "is in a bracket that is never closed")
            if (
                self.at >= self.end
                or self.peek() in "#,[]{}?\t"
                or (self.peek() == ":" and (self.is_space(1) or self.peek(1) in ",[]{}"))
            ):
                return _Plain("".join(pieces))
            pieces += [breaks, self.plain_line(_FLOW_PLAIN_END)]


class _Plain(str):
    """A plain scalar, which may stand for null."""


def _text_of(quoted, plain):
    """The value of a scalar, one way or the other; null is a plain word."""
    return quoted if plain is None else None if plain in _NULLS else plain


def _without_blanks(text, sign):
    """A piece of a line without the blanks at its end, save one that a backslash keeps."""
    short = text.rstrip(" \t")
    if sign == '"' and len(short) < len(text) and (len(short) - len(short.rstrip("\\"))) % 2:
        short = text[: len(short) + 1]
    return short
