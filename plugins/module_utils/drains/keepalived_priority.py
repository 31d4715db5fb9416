# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived's configuration with the lowest priority there is, and as it was; what decides who has an address. Pure.

The last C(priority) of an instance counts, so that a line of our own before the brace that closes it wins over whatever
it says itself. What a check adds is added to that 1 too, and would lift it above the partner: lines that track something
with such a weight are out meanwhile. A check without a weight stays, as a host that fails it must not be a standby. Lines
that name the state are out as well: a restart with C(state MASTER) would take the addresses before it has heard anybody.
"""

import re
from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils import keepalived
from ansible_collections.rebootless.ksplice.plugins.module_utils.drains.common import Trouble

MARK = "# rebootless.ksplice"
MOST, LOWEST = 254, 1
PRIORITY = "priority {}".format(LOWEST)
# What an instance or a sync group may track: the block that defines it, and the weight that it has without a word.
TRACKED = {
    "track_script": (("vrrp_script",), 0),
    "track_file": (("track_file", "vrrp_track_file"), 1),
    "track_process": (("vrrp_track_process",), 1),
    "track_bfd": (("bfd_instance",), 0),
    "track_interface": ((), 0),
}

# weight: None where it is no number. statement: the line that says so.
Track = namedtuple("Track", "kind name weight reverse statement")
# What decides whether an instance takes its addresses (back) from a living holder: most: the priority with all that its
# checks may add; delay: seconds.
Will = namedtuple("Will", "name addresses priority most nopreempt delay tracks")


def tracks(statements, block):
    """What an instance or sync group tracks."""
    defined = {}
    for one in statements:
        if len(one.words) > 1:
            defined[(one.words[0], one.words[1])] = one
    found = []
    for part in block.inside:
        if part.words[0] not in TRACKED:
            continue
        kinds, usual = TRACKED[part.words[0]]
        for line in part.inside:
            weight, reverse = usual, False
            for kind in kinds:
                inside = getattr(defined.get((kind, line.words[0])), "inside", [])
                for words in [one.words for one in inside if one.words[0] == "weight"]:
                    weight, reverse = _weight(words[1:2]), "reverse" in words
            if "weight" in line.words:
                weight = _weight(line.words[line.words.index("weight") + 1:][:1])
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
        if one.words[0] == kind and len(one.words) > 1:
            found.setdefault(one.words[1], one)
    return found


def wills(statements):
    """What each instance is about to do: its name to a Will, where instances that a sync group holds together wait for
    each other."""
    found = {}
    together = keepalived.synchronised(statements)
    groups, blocks = _blocks(statements, "vrrp_sync_group"), _blocks(statements)
    for one in keepalived.instances(statements):
        block = blocks[one.name]
        master = one.state == "MASTER" or (not one.state and one.priority == keepalived.OWNER)
        priority = one.priority or (keepalived.OWNER if master else keepalived.DEFAULT_PRIORITY)
        delays = [_seconds(line.words[1:2], 0) for line in block.inside if line.words[0] == "preempt_delay"]
        watched = tracks(statements, block)
        for name, names in together.items():
            watched += tracks(statements, groups[name]) if one.name in names else []
        found[one.name] = Will(
            one.name, one.addresses, priority, priority if priority == keepalived.OWNER else min(MOST, priority + _added(watched)),
            # keepalived passes over either where the instance begins as a master.
            one.nopreempt, 0 if master or one.nopreempt else (delays or [0])[-1], watched)
    for names in together.values():
        mates = [found[name] for name in names if name in found]
        for mate in mates:
            found[mate.name] = found[mate.name]._replace(
                nopreempt=any(one.nopreempt for one in mates), delay=max(one.delay for one in mates))
    return found


def tracked(statements, name):
    """What lowers the priority by a file that keepalived tracks: C(file), and C(after), what is to stand in it.

    keepalived multiplies the number by the weight and adds that; below -253 it would go into FAULT, and be no standby.
    """
    defined = [one for one in statements if one.words[0] in TRACKED["track_file"][0] and one.words[1:2] == [name]]
    paths = [line.words[1] for one in defined for line in one.inside if line.words[0] == "file" and len(line.words) > 1]
    if not paths:
        raise Trouble("keepalived's configuration defines no track_file {}{}".format(
            name, " with a file" if defined else "; see vrrp_track_file in keepalived.conf(5)"))
    where = "{} line {}: ".format(defined[-1].path, defined[-1].line + 1)
    mine = {}
    for will in wills(statements).values():
        mine[will.name] = [track for track in will.tracks if (track.kind, track.name) == ("track_file", name)]
        if len(mine[will.name]) != 1:
            raise Trouble("{}{} tracks {} {}: each instance, or its sync group, must do so once".format(
                where, will.name, name, "{} times".format(len(mine[will.name])) if mine[will.name] else "not"))
    weights = {key: _signed(found[0]) for key, found in mine.items()}
    lowering = {weight for weight in weights.values() if weight != 0}
    if None in lowering or len({weight > 0 for weight in lowering}) > 1:
        raise Trouble("{}no number lowers the priority of every instance that tracks {}: see their weights".format(where, name))
    # Where the weight is 0, any number but 0 is a failure.
    number = -((MOST - 1) // max(map(abs, lowering))) * (1 if max(lowering) > 0 else -1) if lowering else 1
    for will in wills(statements).values():
        left = will.priority + _added([track for track in will.tracks if track not in mine[will.name]]) + weights[will.name] * number
        if weights[will.name] and (will.priority == keepalived.OWNER or left > LOWEST):
            raise Trouble("{}{} does not lower the priority of {} to 1: {}".format(where, name, will.name, "no weight changes 255" if will.priority == keepalived.OWNER else (
                "with its weight of {} it is {} at least".format(weights[will.name], left))))
    return {"file": paths[-1], "after": "{}\n".format(number)}


def _signed(track):
    return -track.weight if track.weight and track.reverse else track.weight


def _added(watched):
    """What checks may add to a priority."""
    lifts = [track for track in watched if raises(track)]
    return MOST if any(track.weight is None or track.kind == "track_file" for track in lifts) else sum(abs(track.weight) for track in lifts)


def interval(statements):
    """Seconds between two words of a holder, by the slowest instance."""
    words = [_seconds(line.words[1:2], 1) for block in _blocks(statements).values() for line in block.inside
             if line.words[0] == "advert_int"]
    return max(words + [1.0])


def _seconds(words, otherwise):
    try:
        return min(max(float(words[0]), 0.0), 1000.0 * 3600)
    except (IndexError, ValueError):
        return float(otherwise)


# ---- lowered -----------------------------------------------------------------------------------------------------------


def lowered(source, statements, token, read=keepalived.read):
    """Every instance's priority at the lowest there is, and nothing that lifts it, each changed line marked.

    :param read: reads a configuration from a source, as the statements were read.
    :returns: path to a list of (number of the line, the line as it was or None for an added one, the line as it is to be).
        No two lines are to be the same, so that each of them is known again wherever it stands by then.
    """
    blocks = list(_blocks(statements).values())
    out = {_place(line) for block in blocks for line in block.inside if line.words[0] == "state"}
    for block in blocks + list(_blocks(statements, "vrrp_sync_group").values()):
        out.update(_place(track.statement) for track in tracks(statements, block) if raises(track))
    ends = {block.end for block in blocks}
    pieces = {}
    _gather(statements, pieces, {id(block.inside) for block in blocks}, out)
    changes, count = {}, 0
    for path, number in sorted(ends.union(place[:2] for place in out)):
        marked = changes.setdefault(path, [])
        line, here = source.files[path][number], pieces[(path, number)]
        alone = {text for text, _stays in here} == {"}"}
        texts = ["    " + PRIORITY] if alone else _texts(here)
        for place, text in enumerate(texts):
            count += 1
            text = "{}{} {} {} {}".format(re.match(r"\s*", line).group(0), text, MARK, token, count)
            if _goes_on(line) or (number and _goes_on(source.files[path][number - 1]) and (alone or place + 1 < len(texts))):
                # In a definition of several lines.
                text += " \\"
            # Where the brace stands alone, it stays as it is.
            marked.append((number - 1, None, text) if alone else (number, None if place else line, text))
    changes = {path: sorted(known, key=lambda change: change[0]) for path, known in changes.items()}
    _must_be_lowest(source, statements, changes, out, read)
    return changes


def _goes_on(line):
    return line.rstrip("\r").endswith("\\")


def _place(statement):
    return (statement.path, statement.line, tuple(statement.words))


def _gather(statements, pieces, instances, out):
    """What stands on each line, one piece after the other: its text, and whether it stays."""
    for one in statements:
        pieces.setdefault((one.path, one.line), []).append((" ".join(map(_quoted, one.words)), _place(one) not in out))
        if one.brace:
            pieces.setdefault(one.brace, []).append(("{", True))
            _gather(one.inside, pieces, instances, out)
            pieces.setdefault(one.end, []).append(("}" if id(one.inside) in instances else "} ", True))


def _quoted(word):
    return '"{}"'.format(word) if re.search(r'[\s{}#!"]', word) or not word else word


def _texts(pieces):
    """The pieces of a line as lines of their own, with the priority before each brace that closes an instance. There is one
    line at least."""
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
    """Read again what is about to be written: it must say what it said, but for the priority, the state and what lifts it."""
    after = read(Edited(source, lambda path, lines: changed(lines, changes.get(path, []))))
    will = wills(after)
    for one in keepalived.instances(after):
        if one.priority != LOWEST or will[one.name].most != LOWEST:
            raise Trouble(
                "{} line {}: the priority of {} cannot be lowered there: give each statement of it, and each brace, a line of its own".format(
                    one.path, one.line + 1, one.name))
    if _rest(after, ()) != _rest(statements, out):
        path, known = min(changes.items())
        raise Trouble(
            "{} line {}: with the priority lowered the configuration would say something else: give each statement there, and each brace, a "
            "line of its own".format(path, max(0, known[0][0]) + 1))


def _rest(statements, out):
    """What statements say but for what lowered changes."""
    return [(one.words, _rest([line for line in one.inside if one.words[0] != "vrrp_instance" or line.words[0] not in ("priority", "state")], out))
            for one in statements if _place(one) not in out]


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
    """The lines of a file with what lowered made of them taken back, wherever they stand now; lines of anybody else stay as
    they are."""
    originals = {after: before for _number, before, after in changes}
    result = []
    for line in lines:
        if line not in originals:
            result.append(line)
        elif originals[line] is not None:
            result.append(originals[line])
    return result
