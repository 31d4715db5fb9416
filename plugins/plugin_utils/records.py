# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Records that were written before: understood, merged into one, and compared. Pure functions, see
docs/report.md.
"""

from __future__ import annotations

import hashlib

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.facts import VERDICTS
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    faces,
    reconcile,
    record,
    schema,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import (
    PlanError,
    natural,
)

# Schema of a record -> the function that makes the next schema of it. One for each former schema.
UPGRADES = {}
# What runs did to a host: of several runs, all of it counts.
DONE = ("installed", "removed", "rolled_back", "cves_fixed", "drained", "restored")


# ---- understanding what is in a file ----


def _text(value, where):
    # However long: a reason may hold what a host said.
    if not isinstance(value, str):
        raise schema.Misfit(f"{where} is not a string")
    return value


def _listed(inner):
    return schema.listed(inner, 1_000_000)


def _mapping(value, where):
    if not isinstance(value, dict):
        raise schema.Misfit(f"{where} is not a mapping")
    return value


def _also(inner, later):
    """Like schema.also, with keys that only need to be right where they are there."""

    def shape(value, where):
        there = {key: of for key, of in later.items() if key in _mapping(value, where)}
        return schema.also(**inner, **there)(value, where)

    return shape


def _groups(value, where):
    return {name: GROUP(one, f"{where}.{name}") for name, one in _mapping(value, where).items()}


TEXTS = _listed(_text)
GROUP = schema.also(members=TEXTS, max_unavailable=schema.number(1, schema.MOST))
# Like the columns of a table; a key that came later is null in a record that is older.
KINDS = {str: _text, list: TEXTS, bool: schema.truth, int: schema.number(1, 1_000_000)}
TIME = schema.optional(schema.moment)
ROW = {
    **{key: schema.optional(KINDS[kind]) for key, kind in faces.COLUMNS.items()},
    **{key: KINDS[faces.COLUMNS[key]] for key in faces.ALWAYS},
    **dict.fromkeys(("checked_at", "started", "ended"), TIME),
    "verdict": schema.one_of(*VERDICTS),
    "deferred": _listed(_mapping),
    "failures": _listed(_mapping),
    "lease": schema.optional(
        schema.also(run=schema.optional(_text), age=schema.optional(schema.number(0, 1e12)))
    ),
    # These came later: an earlier record does not know them, and has empty lists.
    "behind_since": TIME,
    "behind_days": schema.optional(schema.number(0, 1e6)),
    "checked_age": schema.optional(schema.number(0, 1e12)),
    "uuid": schema.optional(_text),
    "steps": lambda value, where: _listed(_mapping)(value or [], where),
    "restored": lambda value, where: TEXTS(value or [], where),
    "host_id": schema.optional(_text),
}
RUN = dict(
    id=_text,
    kind=schema.one_of("patch", "status", "rehearsal"),
    started=schema.moment,
    ended=TIME,
    who=_text,
    check=schema.truth,
)
FINDING = schema.mapping(
    kind=schema.one_of(*reconcile.KINDS),
    host=schema.optional(_text),
    uuid=schema.optional(_text),
    what=_text,
    advice=_text,
)
COUNT = schema.number(0, 1e9)


def _service(value, where):
    """What the service said: why it could not be asked, or what was found."""
    error = schema.also(error=schema.optional(_text))(value, where)["error"]
    if error:
        return {"error": error}
    counts = dict.fromkeys(("machines", "active", "seats", "matched"), COUNT)
    return schema.also(findings=_listed(FINDING), **counts)(value, where)


RECORD = schema.also(
    run=_also(dict(RUN, resumed_from=TEXTS), {"merged_from": _listed(schema.mapping(**RUN))}),
    options=_mapping,
    plan=schema.also(
        hash=schema.optional(_text),
        waves=schema.optional(_listed(TEXTS)),
        canaries=schema.optional(TEXTS),
        groups=schema.optional(_groups),
    ),
    hosts=_listed(_also(ROW, {"run": _text})),
    events=_listed(schema.also(at=schema.moment, host=schema.optional(_text), what=_text)),
    # None where the service was not asked, and in an earlier record.
    service=schema.optional(_service),
)


def understood(found, where, advice, newest=record.SCHEMA, upgrades=None):
    """A record as this collection writes it, from one that it or an earlier version wrote.

    :param where: the file, for the error.
    :param upgrades: see UPGRADES.
    :raises PlanError: where it is none, or was written by a newer version.
    """
    upgrades = UPGRADES if upgrades is None else upgrades
    number = found.get("schema") if isinstance(found, dict) else None
    if type(number) is not int or number < 1:
        raise PlanError(f"{where} is no record of rebootless.ksplice. {advice}")
    if number > newest:
        raise PlanError(
            f"{where} has schema {number}, which a newer version of this collection wrote; "
            f"this one reads up to {newest}. Update the collection."
        )
    try:
        while number < newest:
            found, number = upgrades[number](found), number + 1
        found = RECORD(found, "the record")
        names = {row["name"] for row in found["hosts"]}
        if len(names) < len(found["hosts"]):
            raise schema.Misfit("a host has two rows")
        machines = {row["name"] for row in found["hosts"] if not row["alias_of"]}
        if any(row["alias_of"] and row["alias_of"] not in machines for row in found["hosts"]):
            raise schema.Misfit("a host is another name of one that has no row of its own")
    except (schema.Misfit, LookupError, TypeError, AttributeError) as error:
        why = f" ({error})" if isinstance(error, schema.Misfit) else ""
        raise PlanError(f"{where} is no record of rebootless.ksplice{why}. {advice}") from None
    return dict(found, schema=newest, summary=record.summary(found["hosts"]))


# ---- several as one ----


def merge(documents):
    """One record of several: of the slices of a job, or of the runs of a week.

    The state of a host is that of the newest run that asked it; what was done to it is what all of
    them did. One record is given back as it is.

    :param documents: see understood; at least one. Of two records of one run the later counts.
    :raises PlanError: where rehearsals and real runs are among them.
    """
    same_kind(documents)
    by_run = {one["run"]["id"]: one for one in sorted(documents, key=_how_late)}
    documents = sorted(by_run.values(), key=lambda one: _order(one["run"]))
    if len(documents) == 1:
        return documents[0]
    runs = {}
    for one in sorted((run for one in documents for run in _runs_of(one)), key=_order):
        runs[one["id"]] = one
    hosts = _hosts(documents, runs)
    events = {}
    for document in documents:
        for event in document["events"]:
            events[(event["at"][:-1], event["host"], event["what"])] = event
    groups = {}
    for document in documents:
        groups.update(document["plan"]["groups"] or {})
    return {
        "schema": record.SCHEMA,
        "run": _run(documents, sorted(runs.values(), key=_order)),
        "options": {},
        # Each run had its own: its waves have the same numbers as another's.
        "plan": {"hash": None, "waves": None, "canaries": None, "groups": groups or None},
        "hosts": hosts,
        "events": [event for _key, event in sorted(events.items(), key=lambda one: one[0][0])],
        "summary": record.summary(hosts),
        # That of the last run that asked it.
        "service": next((one["service"] for one in documents[::-1] if one["service"]), None),
    }


def same_kind(documents):
    """Complain of rehearsals beside real runs.

    :raises PlanError:
    """
    rehearsed = [one["run"]["id"] for one in documents if one["run"]["kind"] == "rehearsal"]
    if rehearsed and len(rehearsed) < len(documents):
        raise PlanError(
            f"The run {rehearsed[0]} is a rehearsal, whose hosts are emulated, and others are not: "
            "give records of the one or of the other."
        )


def _order(run):
    """Runs by their time; of two states of one run the one that has ended is later."""
    return run["started"][:-1], (run["ended"] or "")[:-1], run["id"]


def _how_late(document):
    """Records of one run by how far it had got."""
    last = max((event["at"][:-1] for event in document["events"]), default="")
    begun = sum(bool(row["started"]) for row in document["hosts"])
    return _order(document["run"]), begun, last


def _runs_of(document):
    run = document["run"]
    return run.get("merged_from") or [{key: run[key] for key in RUN}]


def _run(documents, runs):
    """What a merged record says of its run."""
    kinds = {one["kind"] for one in runs}
    resumed = {one for document in documents for one in document["run"]["resumed_from"]}
    ids = [one["id"] for one in runs]
    open_ended = [one for one in runs if not one["ended"] and one["id"] not in resumed]
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:8]
    started = runs[-1]["started"].replace("-", "").replace(":", "")
    return {
        "id": f"{started}-{digest}",
        "kind": kinds.pop() if len(kinds) == 1 else "patch",
        "started": runs[0]["started"],
        "ended": None
        if open_ended
        else max((one["ended"] for one in runs if one["ended"]), key=lambda at: at[:-1]),
        "who": ", ".join(dict.fromkeys(one["who"] for one in runs)),
        "check": all(one["check"] for one in runs),
        "resumed_from": sorted(resumed.difference(ids)),
        "merged_from": runs,
    }


def _hosts(documents, runs):
    """The rows of a merged record.

    :param runs: id to run.
    """
    seen = {}
    for document in documents:
        began = _order(document["run"])
        for row in document["hosts"]:
            run = runs[row["run"]] if row.get("run") in runs else document["run"]
            seen.setdefault(row["name"], []).append((_order(run), run, row, began))
    for found in seen.values():
        # Whoever was outside of a run is not known by it.
        found.sort(key=lambda one: (one[2]["reason_code"] != "outside_run", one[0]))
    aliases = _aliases({name: found[-1] for name, found in seen.items()})
    history = {}
    for name, found in seen.items():
        history.setdefault(aliases.get(name, name), []).extend(found)
    last = max(_order(run) for run in runs.values())
    hosts = []
    for name in sorted(seen, key=natural):
        # A row of a record that was merged already tells from its first run on.
        found = sorted(history.get(name, ()), key=lambda one: one[3])
        _at, run, newest, _began = seen[name][-1]
        hosts.append(_row(newest, run, [row for _at, _run, row, _began in found], last))
    record.tell_aliases(hosts, aliases)
    return hosts


def _row(newest, run, history, last):
    """A host's row: how it is from the newest run that asked it, what was done from all of them.

    :param run: that one.
    :param history: rows of all names of its machine, in order; none for what is another name.
    :param last: the order of the newest run.
    """
    row = dict(newest, wave=None, run=run["id"])
    row.update({key: _all(one[key] or () for one in history) for key in DONE})
    before = (one["kernel_before"] for one in history if one["kernel_before"])
    row["kernel_before"] = next(before, row["kernel_before"])
    claims = [one for one in history if one["started"]]
    # Beside another run's claim, an earlier one of its own would look like that one.
    if not row["lease"] or not history:
        claim = max(claims, key=lambda one: one["started"][:-1], default={})
        row.update(started=claim.get("started"), ended=claim.get("ended"))
        row["steps"] = claim.get("steps", [])
    as_of = f" As of {run['started']}: no later run asked this host."
    later = last[0] > (run["ended"] or run["started"])[:-1]
    if later and row["reason_code"] != "outside_run" and not row["reason"].endswith(as_of):
        row["reason"] += as_of
    return row


def _all(lists):
    return list(dict.fromkeys(value for one in lists for value in one))


def _aliases(newest):
    """Other names of machines: those of the newest rows, and where hosts of different runs were the
    same machine. The name that was known last has the outcome.

    :param newest: name to the order of its run, the run, its row and more.
    :returns: alias to the name that has the outcome.
    """
    found = {name: one[2]["alias_of"] for name, one in newest.items() if one[2]["alias_of"]}
    machines = {}
    for name in sorted(newest, key=lambda name: (newest[name][0], name), reverse=True):
        ident = newest[name][2]["host_id"]
        if ident and name not in found and machines.setdefault(ident, name) != name:
            found[name] = machines[ident]
    return {name: _main(name, found) for name in found}


def _main(name, aliases):
    """The name that has the outcome, also where it became an alias itself in a later run."""
    passed = set()
    while name in aliases and name not in passed:
        passed.add(name)
        name = aliases[name]
    return name


# ---- what changed ----


def compare(before, after):
    """What changed from one record to another: rows of C(host), C(what), C(before) and C(after).

    A host that one of them did not ask has not changed, and what was not known before is not new.
    """
    same_kind([before, after])
    earlier = {row["name"]: row for row in before["hosts"]}
    now = {row["name"]: row for row in after["hosts"]}
    renamed = _renamed(earlier, now)
    found = []
    for name in sorted({*earlier, *now}.difference(renamed.values()), key=natural):
        old, new = earlier.get(renamed.get(name, name)), now.get(name)
        if name in renamed:
            found.append(_change(name, "renamed", renamed[name], name))
        found += [_change(name, *words) for words in _changes(old, new)]
    return found


def _change(host, what, before, after):
    return {"host": host, "what": what, "before": before, "after": after}


def _renamed(earlier, now):
    """Hosts that are in the other record by another name: new name to former."""
    went = [row for name, row in earlier.items() if name not in now and row["host_id"]]
    came = [row for name, row in now.items() if name not in earlier and row["host_id"]]
    former = {row["host_id"]: row["name"] for row in went if not row["alias_of"]}
    return {
        row["name"]: former.pop(row["host_id"])
        for row in came
        if not row["alias_of"] and row["host_id"] in former
    }


def _changes(old, new):
    """What changed of a host, as C(what), C(before) and C(after) each.

    :param old: its row, or None where it has none.
    """
    if new is None:
        yield "went", old["verdict"], None
        return
    if old is None:
        yield "came", None, new["verdict"]
    if old and old["alias_of"] != new["alias_of"]:
        yield "alias_of", old["alias_of"], new["alias_of"]
    if new["alias_of"]:
        # The row of the other name has it.
        return
    asked, was_asked = (_asked(row) for row in (new, old))
    if not asked:
        if was_asked:
            yield "not_asked", old["verdict"], None
        return
    if not was_asked:
        if old:
            yield "asked", None, new["verdict"]
        old = dict.fromkeys(new)
    elif old["verdict"] != new["verdict"]:
        yield "verdict", old["verdict"], new["verdict"]
    if was_asked and old["kernel_after"] != new["kernel_after"]:
        yield "kernel", old["kernel_after"], new["kernel_after"]
    yield from _cves(old["cves_open"], new["cves_open"], was_asked)
    if bool(old["attention"]) != new["attention"]:
        what = "attention" if new["attention"] else "attention_gone"
        yield what, *((None, new["reason"]) if new["attention"] else (old["reason"], None))


def _asked(row):
    return bool(row) and row["reason_code"] != "outside_run"


def _cves(old, new, was_asked):
    """What is known of open CVEs: that they are known differs from that they are new."""
    if old is None and new is None:
        return
    if old is None:
        if new or was_asked:
            yield "cves_known", None, new
    elif new is None:
        yield "cves_unknown", old, None
    else:
        opened = [cve for cve in new if cve not in old]
        closed = [cve for cve in old if cve not in new]
        if opened:
            yield "cves_opened", None, opened
        if closed:
            yield "cves_closed", closed, None


def heading(before, after):
    """Which records were compared, in a sentence."""
    return "From {} to {}:".format(
        *(
            f"run {one['run']['id']} ({one['run']['ended'] or one['run']['started']})"
            for one in (before, after)
        )
    )


def shown(changes):
    """What changed, for people: what is not known is said in a word."""
    unknown = ("kernel", "cves_known", "cves_unknown")
    return [
        {
            key: "unknown" if value is None and one["what"] in unknown else value
            for key, value in one.items()
        }
        for one in changes
    ]
