# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Questions about a record, in JMESPath, and their answers as text. Pure functions.

Asked is the record as it is in the file, and beside its keys C(groups): for each redundancy group
C(name), C(members), C(rows) (of its members) and C(kernels) (their different effective ones).
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import faces, turns, wording
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError

OUTPUTS = ("table", "json", "csv", "markdown")
# Of the record, and what is asked beside them.
KEYS = ("schema", "run", "options", "plan", "hosts", "events", "summary", "service", "groups")
# What jmespath raises: its own errors, and what functions make of values that they do not take.
WRONG = (ValueError, TypeError, AttributeError, RecursionError)
# Characters of a cell of a table, but for the last of a row.
WIDEST = 80
# Questions that have a name. After a colon comes what replaces {}, quoted for JMESPath, or the
# number that replaces {number}.
NAMED = {
    "attention": "hosts[?attention].{host: name, verdict: verdict, reason: reason}",
    "behind": (
        "hosts[?verdict=='behind'].{host: name, kernel: kernel_after, pending: remaining,"
        " cves: cves_open}"
    ),
    "behind_longer": (
        "hosts[?behind_days != `null` && behind_days > `{number}`]"
        ".{host: name, days: behind_days, since: behind_since, verdict: verdict}"
    ),
    "blocked": "hosts[?verdict=='blocked'].{host: name, reason: reason}",
    "unknown": (
        "hosts[?verdict=='unknown' || verdict=='unreachable']"
        ".{host: name, verdict: verdict, reason: reason}"
    ),
    "open_to": (
        "hosts[?contains(cves_open || `[]`, {})].{host: name, verdict: verdict,"
        " kernel: kernel_after}"
    ),
    "cves_unknown": "hosts[?cves_open==`null`].{host: name, verdict: verdict, reason: reason}",
    "different_kernels": (
        "groups[?length(kernels) > `1`].{group: name, kernels: kernels, members: members}"
    ),
    "self_updating": "hosts[?self_update].{host: name, by: self_update}",
    "aliases": "hosts[?alias_of].{host: name, alias_of: alias_of}",
}


def check(question, option="ksplice_query"):
    """The question as compiled JMESPath.

    :param question: JMESPath, or the name of one of NAMED (C(open_to:CVE-2026-1)).
    :raises PlanError: with the place where the expression is wrong.
    """
    # Only here, as no other step of a run needs it.
    try:
        import jmespath
    except ImportError:
        raise PlanError(
            "jmespath is not installed on the controller: install it for the Python of Ansible "
            "(pip install jmespath)."
        ) from None
    if not isinstance(question, str):
        raise PlanError(f"{option} is no text.")
    expression = _expression(question)
    try:
        return jmespath.compile(expression)
    except WRONG as error:
        raise PlanError(f"{option} is not JMESPath. {_wrong(error, expression)}") from None


def ask(document, question, option="ksplice_query"):
    """What the record answers.

    :raises PlanError: see check; or where a function is given what it does not take.
    """
    compiled = check(question, option)
    try:
        answer = compiled.search(asked(document))
        # An expression may come to a part of itself.
        json.dumps(answer)
    except WRONG as error:
        words = _wrong(error, compiled.expression)
        raise PlanError(f"{option} cannot be answered. {words}") from None
    return answer


def _expression(question):
    name, colon, value = question.strip().partition(":")
    wish = NAMED.get(name)
    if wish is None or colon and not ("{}" in wish or "{number}" in wish):
        _check_name(name)
        return question
    if "{number}" in wish:
        if not re.fullmatch(r"[0-9]{1,9}", value.strip()):
            raise PlanError(f"The query {name} needs a whole number: {name}:30.")
        return wish.replace("{number}", value.strip())
    if "{}" in wish and not value.strip():
        raise PlanError(f"The query {name} needs a value: {name}:VALUE.")
    quoted = value.strip().replace("\\", "\\\\").replace("'", "\\'")
    return wish.replace("{}", f"'{quoted}'")


def _check_name(word):
    """Complain of a word that is neither a question's name nor a key of the record: to JMESPath it
    is a key that is not there, and its answer nothing."""
    if re.fullmatch("[A-Za-z_]+", word) and word not in KEYS:
        close = difflib.get_close_matches(word, [*NAMED, *KEYS], 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise PlanError(
            f"The query {word} is neither a name nor a key of the record.{hint} Names are "
            f"{', '.join(NAMED)}."
        )


def _wrong(error, expression):
    """What is wrong with an expression; where that is known, under the expression itself."""
    place = getattr(error, "lex_position", None)
    words = str(error).partition("\n")[0].rstrip(":")
    if place is None:
        return f"{words}: {expression}"
    words = words.partition(", for expression")[0]
    # One line, whatever the shell handed over, so that the caret is where it belongs.
    line = "".join(" " if char.isspace() else char for char in expression)
    return f"{words}:\n{line}\n{' ' * place}^"


def doubt(document, question):
    """Of which hosts it is not known what a question asks for, in a sentence; None where that is
    known of all. What is not known is in no answer, and is not nothing."""
    if "cves_open" not in _expression(question):
        return None
    names = [row["name"] for row in document["hosts"] if row["cves_open"] is None]
    if not names:
        return None
    return f"It is not known which CVEs are open on {turns.some(names)} (cves_unknown)."


def asked(document):
    """The record with its groups' rows beside them."""
    rows = {row["name"]: row for row in document["hosts"]}
    groups = []
    for name, group in sorted((document["plan"]["groups"] or {}).items()):
        members = [rows[member] for member in group["members"] if member in rows]
        kernels = sorted({row["kernel_after"] for row in members if row["kernel_after"]})
        groups.append(
            {"name": name, "members": group["members"], "rows": members, "kernels": kernels}
        )
    return dict(document, groups=groups)


def text(answer, output, none="Nothing matches."):
    """The answer as lines, for people or programs. A table (also in Markdown) and CSV are of
    mappings of the same keys, of names, or of a single value; of anything else it is JSON.

    :param none: what is said in place of an empty table.
    """
    rows = _rows(answer)
    if output == "json" or rows is None:
        return json.dumps(answer, indent=4).split("\n")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    headed = columns != [None]
    cells = [[wording.printable(_cell(row.get(column))) for column in columns] for row in rows]
    heads = [wording.printable(column) for column in columns] if headed else []
    if output == "csv":
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        for row in ([heads] if headed else []) + cells:
            table.writerow([faces.harmless(cell) for cell in row])
        return out.getvalue().rstrip("\n").split("\n")
    if not rows:
        return [none]
    if output == "markdown":
        return _markdown(heads or ["answer"], cells)
    cells = [
        [*(_short(cell) for cell in row[:-1]), row[-1]]
        for row in ([heads] if headed else []) + cells
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def _markdown(heads, cells):
    first, *rest = [[faces.words(cell) for cell in row] for row in [heads, *cells]]
    lines = [first, ["---"] * len(heads), *rest]
    return [f"| {' | '.join(line)} |" for line in lines]


def _rows(answer):
    """The rows of a table, or None where the answer is none; plain values have the key None."""
    if answer is None:
        return []
    if not isinstance(answer, list):
        answer = [answer]
    if all(isinstance(one, dict) for one in answer):
        flat = all(_flat(value) for one in answer for value in one.values())
        return answer if flat else None
    return [{None: one} for one in answer] if all(map(_flat, answer)) else None


def _flat(value):
    return not isinstance(value, dict) and not (
        isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value)
    )


def _cell(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _short(words):
    return words if len(words) <= WIDEST else words[: WIDEST - 1] + "…"


def selected(document, question):
    """Names of the hosts that a question finds: its answer is names, or rows with C(name) or
    C(host).

    :raises PlanError: where it is none of these, or names a host that is not there.
    """
    answer = ask(document, question, "ksplice_select")
    found = [] if answer is None else answer if isinstance(answer, list) else [answer]
    names = [one.get("name", one.get("host")) if isinstance(one, dict) else one for one in found]
    known = {row["name"] for row in document["hosts"]}
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise PlanError(
                f"ksplice_select finds {json.dumps(name)[:60]}, which is no host: let it end in "
                "names of hosts, such as hosts[?verdict=='behind'].name."
            )
    if not names:
        raise PlanError("ksplice_select finds no host.")
    return set(names)
