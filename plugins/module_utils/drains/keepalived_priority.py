# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived's configuration with the priority lowered, and as it was. Pure."""

import re

from ansible_collections.rebootless.ksplice.plugins.module_utils import keepalived

MARK = "# rebootless.ksplice"


def lowered(source, statements, token):
    """Every instance's priority at the lowest there is, each changed line marked.

    :returns: path to a list of (number of the line, the line as it was or None for an added one, the line as it is to be). No two lines are to be the
        same, so that each of them is known again wherever it stands by then.
    """
    changes, count = {}, 0
    for one in keepalived.instances(statements):
        # What another instance includes too is one line.
        for path, number in one.places or filter(None, [one.brace]):
            known = changes.setdefault(path, {})
            if (number, bool(one.places)) in known:
                continue
            count += 1
            line = source.files[path][number]
            known[(number, bool(one.places))] = (number, line if one.places else None,
                                                 "{} {} {} {}".format(_lowest(line) if one.places else "    priority 1", MARK, token, count))
    return {path: sorted(known.values(), key=lambda change: change[0]) for path, known in changes.items()}


def _lowest(line):
    """A line that names a priority, with the lowest one. What comes of parameters is written out."""
    bare = keepalived._bare(line).rstrip()
    after, found = re.subn(r"(\bpriority\s+)(?:\"[^\"]*\"|\$\{\w+\}|[^\s{}\"]+)", r"\g<1>1", bare)
    return after if found else re.match(r"\s*", line).group(0) + "priority 1"


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
    """The lines of a file with what lowered made of them taken back, wherever they stand now; lines of anybody else stay as they are."""
    originals = {after: before for _number, before, after in changes}
    result = []
    for line in lines:
        if line not in originals:
            result.append(line)
        elif originals[line] is not None:
            result.append(originals[line])
    return result
