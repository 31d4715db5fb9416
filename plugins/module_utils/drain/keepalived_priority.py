# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived's configuration with the lowest priority, and as it was; what decides who has an
address. Pure.

The last C(priority) of an instance counts, so that a line of our own before the brace that
closes it wins over whatever it says itself. What a check adds is added to that 1 too, and would
lift it above the peer: lines that track something with such a weight are out meanwhile. A check
without a weight stays, as a host that fails it must not be a standby. Lines that name the state are
out as well: a restart with C(state MASTER) would take the addresses before it has heard anybody.
"""

import os
import re
from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils.drain.common import Trouble
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import keepalived

MARK = "# rebootless.ksplice"
MOST, LOWEST = 254, 1
PRIORITY = f"priority {LOWEST}"
OWN_LINES = "give each statement there, and each brace, a line of its own"
# What an instance or a sync group may track: the blocks that define it, and its weight without a
# word.
TRACKED = {
    "track_script": (("vrrp_script",), 0),
    "track_file": (("track_file", "vrrp_track_file"), 1),
    "track_process": (("vrrp_track_process",), 1),
    "track_bfd": (("bfd_instance",), 0),
    "track_interface": ((), 0),
}

# weight: None where it is no number. statement: the line that says so.
Track = namedtuple("Track", "kind name weight reverse statement")
# What decides whether an instance takes its addresses (back) from a living holder. addresses: its
# name where it has none, and a script moves what there is to move. most: the priority with all that
# its checks may add; delay: seconds.
Will = namedtuple("Will", "name addresses priority most nopreempt delay tracks")


def _defined(statements):
    """What can be tracked: kind of block and name to weight and reverse, where it says so."""
    kinds = {kind for kinds, _usual in TRACKED.values() for kind in kinds}
    found = {}
    for one in keepalived.everywhere(statements):
        if one.words[0] in kinds and len(one.words) > 1:
            for words in [line.words for line in one.inside if line.words[0] == "weight"]:
                found[one.words[0], one.words[1]] = _weight(words[1:2]), "reverse" in words
    return found


def _tracks(defined, block):
    """What an instance or sync group tracks."""
    found = []
    for part in block.inside:
        kinds, usual = TRACKED.get(part.words[0], ((), None))
        for line in part.inside if usual is not None else ():
            weight, reverse = usual, False
            for kind in kinds:
                weight, reverse = defined.get((kind, line.words[0]), (weight, reverse))
            if "weight" in line.words:
                weight = _weight(line.words[line.words.index("weight") + 1 :][:1])
                reverse = ("reverse" in line.words or reverse) and "noreverse" not in line.words
            found.append(Track(part.words[0], line.words[0], weight, reverse, line))
    return found


def _weight(words):
    try:
        return int(words[0])
    except (IndexError, ValueError):
        return None


def raises(track):
    """Whether it may make the priority higher than the configuration says."""
    if track.weight is None or track.kind == "track_file":
        return track.weight != 0
    return track.weight > 0 or (track.weight < 0 and track.reverse)


def _blocks(statements, kind="vrrp_instance"):
    """The blocks of instances, by their names; see keepalived.instances."""
    found = {}
    for one in keepalived.everywhere(statements):
        if one.words[0] == kind and len(one.words) == 2:
            found.setdefault(one.words[1], one)
    return found


def wills(statements):
    """What each instance is about to do: its name to a Will. Those of a sync group wait for
    each other."""
    found, defined, blocks = {}, _defined(statements), _blocks(statements)
    groups, grouped = _blocks(statements, "vrrp_sync_group"), {}
    together = keepalived.synchronised(statements)
    for name, names in together.items():
        watched = _tracks(defined, groups[name]) if name in groups else []
        for one in names:
            grouped.setdefault(one, []).extend(watched)
    for one in keepalived.instances(statements):
        block = blocks[one.name]
        master = one.state == "MASTER" or (not one.state and one.priority == keepalived.OWNER)
        priority = one.priority or (keepalived.OWNER if master else keepalived.DEFAULT_PRIORITY)
        watched = _tracks(defined, block) + grouped.get(one.name, [])
        owns = priority == keepalived.OWNER
        most = priority if owns else min(MOST, priority + _added(watched))
        # keepalived passes over nopreempt and the delay where the instance begins as a master.
        delay = 0 if master or one.nopreempt else ([0] + _numbers(block, "preempt_delay"))[-1]
        found[one.name] = Will(
            one.name, one.addresses or [one.name], priority, most, one.nopreempt, delay, watched
        )
    for names in together.values():
        mates = [found[name] for name in names if name in found]
        nopreempt = any(one.nopreempt for one in mates)
        delay = max([one.delay for one in mates] + [0])
        for mate in mates:
            found[mate.name] = mate._replace(nopreempt=nopreempt, delay=delay)
    return found


def tracked(statements, name):
    """What lowers the priority by a file that keepalived tracks: C(file), C(after) (what is to be
    in it).

    keepalived adds the number times the weight; below -253 it would go into FAULT, and be no
    standby.
    """
    kinds = TRACKED["track_file"][0]
    defined = [one for one in statements if one.words[0] in kinds and one.words[1:2] == [name]]
    lines = [line.words for one in defined for line in one.inside if line.words[0] == "file"]
    if not lines or not os.path.isabs("".join(lines[-1][1:2])):
        more = " with a file" if defined else "; see vrrp_track_file in keepalived.conf(5)"
        raise Trouble(f"keepalived's configuration defines no track_file {name}{more}")
    where = f"{defined[-1].path} line {defined[-1].line + 1}"
    all_wills, weights = wills(statements), {}
    for will in all_wills.values():
        mine = [track for track in will.tracks if _is_file(track, name)]
        if len(mine) != 1:
            much = f"{len(mine)} times" if mine else "not"
            raise Trouble(
                f"{where}: {will.name} tracks {name} {much}: each instance, or its sync group, "
                "must do so once"
            )
        weights[will.name] = (
            -mine[0].weight if mine[0].weight and mine[0].reverse else mine[0].weight
        )
    lowering = [weight for weight in weights.values() if weight != 0]
    if None in lowering or len({weight > 0 for weight in lowering}) > 1:
        raise Trouble(
            f"{where}: no number lowers the priority of every instance that tracks {name}: "
            "see their weights"
        )
    # Where the weight is 0, any number but 0 is a failure.
    number = 1
    if lowering:
        number = (MOST - 1) // max(map(abs, lowering)) * (-1 if lowering[0] > 0 else 1)
    for will in all_wills.values():
        others = [track for track in will.tracks if not _is_file(track, name)]
        left = will.priority + _added(others) + weights[will.name] * number
        if weights[will.name] and left > LOWEST:
            why = f"with its weight of {weights[will.name]} it is {left} at least"
            why = "no weight changes 255" if will.priority == keepalived.OWNER else why
            raise Trouble(f"{where}: {name} does not lower the priority of {will.name} to 1: {why}")
    return {"file": lines[-1][1], "after": f"{number}\n"}


def _is_file(track, name):
    return (track.kind, track.name) == ("track_file", name)


def _added(watched):
    """What checks may add to a priority."""
    lifts = [track for track in watched if raises(track)]
    if any(track.weight is None or track.kind == "track_file" for track in lifts):
        return MOST
    return sum(abs(track.weight) for track in lifts)


def interval(statements):
    """Seconds between two words of a holder, by the slowest instance."""
    blocks = _blocks(statements).values()
    return max([number for block in blocks for number in _numbers(block, "advert_int")] + [1.0])


def _numbers(block, key):
    """Seconds that a block gives. What is no number is none for keepalived either."""
    found = []
    for words in [line.words for line in block.inside if line.words[0] == key]:
        try:
            found.append(min(max(float(words[1]), 0.0), 1000.0 * 3600))
        except (IndexError, ValueError):
            continue
    return found


# ---- lowered ----


def lowered(source, statements, token, read):
    """Every instance at the lowest priority, and nothing that lifts it, each changed line marked.

    :param read: reads a configuration from a source, as the statements were read.
    :returns: path to a list of (number of the line, the line as it was or None for an added
        one, the line as it is to be). No two lines are to be the same, so that each of them is
        known again wherever it stands by then.
    """
    blocks, defined = list(_blocks(statements).values()), _defined(statements)
    out = {_place(line) for block in blocks for line in block.inside if line.words[0] == "state"}
    for block in blocks + list(_blocks(statements, "vrrp_sync_group").values()):
        out.update(_place(track.statement) for track in _tracks(defined, block) if raises(track))
    for block in blocks:
        if block.end is None:
            raise Trouble(f"{block.path} line {block.line + 1}: {block.words[1]} has no braces")
    ends = {block.end for block in blocks}
    pieces = {}
    _gather(statements, pieces, {id(block.inside) for block in blocks}, out)
    changes, count = {}, 0
    for path, number in sorted(ends.union(place[:2] for place in out)):
        lines, here = source.files[path], pieces[(path, number)]
        indent = re.match(r"\s*", lines[number]).group(0)
        alone = {text for text, _stays in here} == {"}"}
        texts = ["    " + PRIORITY] if alone else _texts(here)
        # In a definition of several lines all but the last end with a backslash.
        inside = _goes_on(lines[number]) or (number > 0 and _goes_on(lines[number - 1]))
        for place, text in enumerate(texts):
            count += 1
            last = place + 1 == len(texts) and not alone
            text = f"{indent}{text} {MARK} {token} {count}"
            text += " \\" if (_goes_on(lines[number]) if last else inside) else ""
            before = None if alone or place else lines[number]
            # Where the brace stands alone, it stays as it is.
            changes.setdefault(path, []).append((number - 1 if alone else number, before, text))
    changes = {path: sorted(known, key=lambda change: change[0]) for path, known in changes.items()}
    if changes:
        _must_be_lowest(source, statements, changes, out, read)
    return changes


def _goes_on(line):
    return line.rstrip("\r").endswith("\\")


def _place(statement):
    return (statement.path, statement.line, tuple(statement.words))


def _gather(statements, pieces, instances, out):
    """What stands on each line, one piece after the other: its text, and whether it stays."""
    for one in statements:
        pieces.setdefault((one.path, one.line), []).append(
            (" ".join(map(_quoted, one.words)), _place(one) not in out)
        )
        if one.brace:
            pieces.setdefault(one.brace, []).append(("{", True))
            _gather(one.inside, pieces, instances, out)
            pieces.setdefault(one.end, []).append(
                ("}" if id(one.inside) in instances else "} ", True)
            )


def _quoted(word):
    return f'"{word}"' if re.search(r'[\s{}#!"]', word) or not word else word


def _texts(pieces):
    """The pieces of a line as lines of their own, with the priority before each brace that
    closes an instance. There is one line at least."""
    texts = []
    for text, stays in pieces:
        if text == "}":
            texts.append(PRIORITY)
        if stays and text == "{" and texts:
            texts[-1] += " {"
        elif stays:
            texts.append(text.rstrip())
    return texts or [""]


class Edited:
    """The files of a configuration as they would be, see keepalived.Source.

    :param edit: makes of a path and the lines that are there those that would be.
    """

    def __init__(self, source, edit):
        self.source, self.edit, self.files = source, edit, {}

    def __getattr__(self, name):
        return getattr(self.source, name)

    def lines(self, path):
        self.files[path] = self.edit(path, self.source.lines(path))
        return self.files[path]


def _must_be_lowest(source, statements, changes, out, read):
    """Read again what is about to be written: it must say what it said, but for the priority,
    the state and what lifts it."""
    path, known = min(changes.items())
    other = (
        f"{path} line {max(0, known[0][0]) + 1}: with the priority lowered the "
        f"configuration would mean something else: {OWN_LINES}"
    )
    try:
        after = read(Edited(source, lambda path, lines: changed(lines, changes.get(path, []))))
    except keepalived.Unreadable:
        # What it complains of stands in no file.
        raise Trouble(other)
    will = wills(after)
    for one in keepalived.instances(after):
        if one.priority != LOWEST or will[one.name].most != LOWEST:
            raise Trouble(
                f"{one.path} line {one.line + 1}: the priority of {one.name} cannot be lowered "
                f"there: {OWN_LINES}"
            )
    if _rest(after, ()) != _rest(statements, out):
        raise Trouble(other)


def _rest(statements, out):
    """What statements say but for what lowered changes."""
    found = []
    for one in statements:
        ours = ("priority", "state") if one.words[0] == "vrrp_instance" else ()
        if _place(one) not in out:
            inside = [line for line in one.inside if line.words[0] not in ours]
            found.append((one.words, _rest(inside, out)))
    return found


def changed(lines, changes):
    """The lines of a file with changes of lowered in them."""
    result = list(lines)
    for number, before, after in reversed(changes):
        if before is None:
            result.insert(number + 1, after)
        else:
            result[number] = after
    return result


def restored(lines, changes):
    """The lines of a file with what lowered made of them restored, wherever they stand now and
    however they are indented; lines of anybody else stay as they are."""
    originals = {" ".join(after.split()): before for _number, before, after in changes}
    result = []
    for line in lines:
        key = " ".join(line.split())
        if key not in originals:
            result.append(line)
        elif originals[key] is not None:
            result.append(originals[key])
    return result


def left(lines, token):
    """The number, from 1, of a line that still has the comment of a drain, because what stood
    before it was changed since; None where there is none."""
    ours = f"{MARK} {token} ".split()
    for number, line in enumerate(lines, 1):
        at = line.find(MARK)
        if at >= 0 and line[at:].split()[: len(ours)] == ours:
            return number
    return None
