# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""nginx's configuration, read as nginx reads it: words, not lines.

Pure but for the reader that it is given.
"""

import os
import re
from collections import namedtuple

BLANK = " \t\r\n"
MOST_FILES, DEEPEST = 1000, 50

# words: without their quotes. inside: the statements of a block, None where the statement ends with
# a semicolon. line: from 1. end: of the semicolon or the opening brace in the file's text.
Statement = namedtuple("Statement", "words inside path line end")
# address: as the configuration has it. end: where the semicolon of its statement stands in the text
# of the file at path.
Server = namedtuple("Server", "address down path line end")


class Unreadable(Exception):
    """The configuration cannot be understood; the words say where."""


def servers(read, matching, path, upstream):
    """The servers of each upstream of that name, in the file at path or in what that includes.
    There may be one for http and one for stream.

    :param read: path to the file's text; raises OSError.
    :param matching: pattern to the paths that fit, sorted.
    """
    files = [0]

    def statements(place, depth):
        files[0] += 1
        if files[0] > MOST_FILES or depth > DEEPEST:
            raise Unreadable(f"{path} includes too many files, or itself")
        for one in parse(read(place), place):
            yield from included(one, depth)

    def included(one, depth):
        if one.words[0] == "include" and one.inside is None and len(one.words) == 2:
            for found in matching(os.path.join(folder(path, matching), one.words[1])):
                yield from statements(found, depth + 1)
        else:
            yield one

    def blocks(found, depth):
        for one in found:
            if one.inside is None:
                continue
            # Without regard to case, as nginx compares them.
            if (
                len(one.words) == 2
                and one.words[0] == "upstream"
                and one.words[1].lower() == upstream.lower()
            ):
                yield one
            yield from blocks(
                (each for inner in one.inside for each in included(inner, depth)), depth
            )

    return [
        [
            Server(one.words[1], "down" in one.words[2:], one.path, one.line, one.end)
            for inner in block.inside
            for one in included(inner, 0)
            if one.words[0] == "server" and len(one.words) > 1 and one.inside is None
        ]
        for block in blocks(statements(path, 0), 0)
    ]


def folder(path, matching):
    """The folder that relative names in a configuration start from: that of nginx.conf, which is
    the file's own or one above it.
    """
    place = os.path.dirname(path)
    while place != os.path.dirname(place):
        if matching(os.path.join(place, "nginx.conf")):
            return place
        place = os.path.dirname(place)
    return os.path.dirname(path)


def parse(text, path):
    """The statements of one file."""
    top = []
    stack, words, first = [top], [], None
    for kind, word, line, at in _tokens(text, path):
        if kind == "word":
            words.append(word)
            first = first or line
            continue
        if kind == "}":
            if len(stack) == 1 or words:
                raise Unreadable(
                    "{} line {}: a brace closes {}".format(
                        path, line, "nothing" if not words else "an unfinished statement"
                    )
                )
            stack.pop()
            continue
        if not words:
            raise Unreadable(f"{path} line {line}: there is nothing before {kind}")
        one = Statement(words, [] if kind in "{L" else None, path, first, at)
        stack[-1].append(one)
        if kind == "{":
            stack.append(one.inside)
        words, first = [], None
    if len(stack) > 1 or words:
        raise Unreadable(
            "{} ends within {}".format(path, "a block" if len(stack) > 1 else "a statement")
        )
    return top


def _tokens(text, path):
    """C((kind, word, line, place)): kind is word, or one of the signs that end a statement or
    block; C(L) stands for a whole block of Lua.
    """
    at, line, size, last = 0, 1, len(text), ""
    while at < size:
        sign = text[at]
        if sign in BLANK:
            line += sign == "\n"
            at += 1
        elif sign == "#":
            end = text.find("\n", at)
            at = size if end < 0 else end
        elif sign == "{" and last.endswith("_by_lua_block"):
            end = _end_of_lua(text, at)
            if end is None:
                raise Unreadable(f"{path} line {line}: the block of Lua is not closed")
            yield "L", None, line, at
            line += text.count("\n", at, end)
            at, last = end, ""
        elif sign in ";{}":
            yield sign, None, line, at
            at, last = at + 1, ""
        else:
            word, end = _quoted(text, at, path, line) if sign in "\"'" else _bare(text, at)
            yield "word", word, line, at
            line += text.count("\n", at, end)
            at, last = end, last or word


# What braces in Lua do not count in: comments, strings, and those in long brackets.
LUA = re.compile(
    r"""--\[(=*)\[.*?\]\1\]|--[^\n]*|\[(=*)\[.*?\]\2\]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}]""",
    re.DOTALL,
)


def _end_of_lua(text, at):
    """Behind the brace that closes the one at a place; None where none does."""
    depth = 0
    for found in LUA.finditer(text, at):
        depth += {"{": 1, "}": -1}.get(found.group(), 0)
        if not depth:
            return found.end()
    return None


def _quoted(text, at, path, line):
    quote, word, place = text[at], [], at + 1
    while place < len(text):
        sign = text[place]
        if sign == quote:
            return "".join(word), place + 1
        if sign == "\\" and place + 1 < len(text):
            word.append(_escaped(text[place + 1]))
            place += 2
        else:
            word.append(sign)
            place += 1
    raise Unreadable(f"{path} line {line}: the quote is not closed")


def _bare(text, at):
    word, place = [], at
    while place < len(text):
        sign = text[place]
        if sign == "\\" and place + 1 < len(text):
            word.append(_escaped(text[place + 1]))
            place += 2
        elif sign == "$" and text[place + 1 : place + 2] == "{":
            # The brace of a variable opens no block.
            word.append("${")
            place += 2
        elif sign in BLANK + ";{":
            break
        else:
            word.append(sign)
            place += 1
    return "".join(word), place


def _escaped(sign):
    """What a sign behind a backslash stands for: a few for themselves or a blank, every other for
    both.
    """
    return {"t": "\t", "r": "\r", "n": "\n"}.get(sign, sign if sign in "\"'\\" else "\\" + sign)
