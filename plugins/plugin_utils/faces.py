# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The record in the formats of others: a table, a test report, metrics, a message, AWX's
statistics. Pure functions of the record, see docs/record.md.

What a host said is in all of them, so that each quotes by the rules of its format.
"""

from __future__ import annotations

import csv as tables
import io
import re
import xml.etree.ElementTree as ET

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.facts import VERDICTS
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import reconcile, turns, wording
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError

# Hosts in a message, and in the statistics of a run: what needs attention comes first.
IN_MESSAGE = 30
IN_STATS = 500
# What XML 1.0 has no character for.
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# What Markdown gives a meaning, and the sign by which a chat calls people.
MARKDOWN = re.compile(r"[\\`*_{}\[\]<>()#+!|~&$]")
# With these reason codes a run had nothing to do with a host.
SKIPPED = ("outside_run", "not_selected", "alias")
# Keys of a row of the record that a table has, and what they are where they are known.
COLUMNS = {
    "name": str,
    "verdict": str,
    "attention": bool,
    "reason_code": str,
    "reason": str,
    "groups": list,
    "role": str,
    "stage": str,
    "wave": int,
    "canary": bool,
    "alias_of": str,
    "kernel_booted": str,
    "kernel_before": str,
    "kernel_after": str,
    "kernel_on_disk": str,
    "installed": list,
    "removed": list,
    "remaining": list,
    "cves_fixed": list,
    "cves_open": list,
    "behind_since": str,
    "behind_days": int,
    "rolled_back": list,
    "drained": list,
    "restored": list,
    "still_drained": bool,
    "self_update": list,
    "checked_at": str,
    "checked_age": int,
    "started": str,
    "ended": str,
}
# Those of them that are never null.
ALWAYS = (
    "name",
    "verdict",
    "attention",
    "reason_code",
    "reason",
    "groups",
    "canary",
    "installed",
    "removed",
    "cves_fixed",
    "rolled_back",
    "drained",
    "restored",
    "still_drained",
)


def wanted(formats):
    """The formats that are asked for: a list of names, or names with commas between them.

    :raises PlanError: in one sentence.
    """
    names = formats.split(",") if isinstance(formats, str) else formats
    if not isinstance(names, (list, tuple)) or not all(isinstance(one, str) for one in names):
        raise PlanError(f"ksplice_report_formats is no list: give some of {', '.join(FORMATS)}.")
    names = [one.strip() for one in names if one.strip()]
    for one in names:
        if one not in FORMATS:
            raise PlanError(
                f"ksplice_report_formats has {one!r}: give some of {', '.join(FORMATS)}."
            )
    return names


def csv(document):
    """A line for each host, see COLUMNS; lists are separated by blanks, what is unknown is empty.

    A value that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    table = tables.writer(out)
    table.writerow(COLUMNS)
    for row in document["hosts"]:
        table.writerow([_cell(row[column]) for column in COLUMNS])
    return out.getvalue()


def _cell(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = " ".join(map(str, value))
    return harmless(str(value))


def harmless(text):
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def junit(document):
    """A test case for each host: failed where it needs attention, skipped where the run had nothing
    to do with it.
    """
    run, rows = document["run"], document["hosts"]
    failed = [row for row in rows if row["attention"]]
    skipped = [row for row in rows if not row["attention"] and row["reason_code"] in SKIPPED]
    suite = ET.Element(
        "testsuite",
        name=_xml(f"rebootless.ksplice {run['kind']}"),
        timestamp=run["started"].rstrip("Z"),
        tests=str(len(rows)),
        failures=str(len(failed)),
        errors="0",
        skipped=str(len(skipped)),
        time=f"{sum(map(_seconds, rows)):.3f}",
    )
    for row in rows:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=_xml(f"ksplice.{row['groups'][0]}" if row["groups"] else "ksplice"),
            name=_xml(row["name"]),
            time=f"{_seconds(row):.3f}",
        )
        if row["attention"]:
            ET.SubElement(case, "failure", type=row["reason_code"], message=_xml(row["reason"]))
        elif row in skipped:
            ET.SubElement(case, "skipped", message=_xml(row["reason"]))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, "unicode", xml_declaration=True) + "\n"


def _xml(text):
    return NOT_XML.sub("\ufffd", text)


def _seconds(row):
    if not row["started"] or not row["ended"]:
        return 0.0
    return max(0.0, _at(row["ended"]) - _at(row["started"]))


def _at(text):
    return turns.when(text).timestamp()


def metrics(document):
    """Metrics for node_exporter's textfile collector: the fleet in numbers, the same few series
    whatever its size. Of the single host the record tells.
    """
    run, rows = document["run"], document["hosts"]
    machines = [row for row in rows if not row["alias_of"]]
    found = [
        _metric(
            "run_info",
            "What kind of run this is the record of.",
            {f'kind="{run["kind"]}",check="{str(run["check"]).lower()}"': 1},
        ),
        _metric("run_start_timestamp_seconds", "When the run began.", {"": _at(run["started"])}),
        _metric(
            "hosts",
            "Machines of the inventory, by verdict.",
            {
                f'verdict="{verdict}"': document["summary"]["verdicts"].get(verdict, 0)
                for verdict in VERDICTS
            },
        ),
    ]
    counts = {
        "hosts_attention": ("Hosts that need attention.", lambda row: row["attention"]),
        "hosts_patched": (
            "Hosts that this run changed.",
            lambda row: row["installed"] or row["removed"],
        ),
        "hosts_rolled_back": ("Hosts that were rolled back.", lambda row: row["rolled_back"]),
        "hosts_still_drained": (
            "Hosts that are still out of service.",
            lambda row: row["still_drained"],
        ),
        "hosts_stuck": ("Hosts whose turn is stuck.", lambda row: row["reason_code"] == "stuck"),
        "hosts_self_update": (
            "Hosts that install updates by themselves.",
            lambda row: row["self_update"],
        ),
        "hosts_lease_unreadable": (
            "Hosts whose leases could not be read.",
            lambda row: row["lease"] and row["lease"]["run"] is None,
        ),
        "hosts_claimed": (
            "Hosts that another run had claimed, or a peer of theirs.",
            lambda row: row["lease"] and not row["started"],
        ),
    }
    for name, (text, counted) in counts.items():
        found.append(_metric(name, text, {"": sum(1 for row in machines if counted(row))}))
    for name, text in (
        ("cves_fixed", "CVEs that this run fixed, each counted once."),
        ("cves_open", "CVEs that pending updates would fix, each counted once."),
    ):
        found.append(_metric(name, text, {"": document["summary"][name]}))
    leases = [row["lease"] for row in machines if row["lease"] and not row["started"]]
    ages = [lease["age"] for lease in leases if lease["age"] is not None]
    found.append(
        _metric(
            "lease_oldest_age_seconds",
            "Time since the least recently renewed lease of another run was renewed.",
            {"": max(ages, default=0)},
        )
    )
    known = [_at(row["checked_at"]) for row in machines if row["checked_at"]]
    if known:
        found.append(
            _metric(
                "checked_oldest_timestamp_seconds",
                "When the host that has not asked the service for the longest time asked it.",
                {"": min(known)},
            )
        )
    behind = [_at(row["behind_since"]) for row in machines if row["behind_since"]]
    if behind:
        found.append(
            _metric(
                "behind_oldest_timestamp_seconds",
                "Since when the host that has been behind for the longest time has been so.",
                {"": min(behind)},
            )
        )
    if run["ended"]:
        found.append(
            _metric("run_end_timestamp_seconds", "When the run ended.", {"": _at(run["ended"])})
        )
    if document.get("service"):
        found += _service_metrics(document["service"])
    return "".join(found)


def of_service(service):
    """What the service says beside the hosts, as lines."""
    if service["error"]:
        return [f"The service could not be asked: {service['error']}"]
    known = wording.count(service["machines"], "machine")
    seats = wording.count(service["seats"], "seat")
    found = wording.count(len(service["findings"]), "finding")
    return [
        f"The service has {known}, {service['active']} of them active; {seats} used, "
        f"{service['matched']} matched to hosts, {found}."
    ]


def _service_metrics(service):
    """Of the service, where it was asked."""
    found = [
        _metric(
            "service_up",
            "Whether the service's API answered.",
            {"": int(not service["error"])},
        )
    ]
    if service["error"]:
        return found
    for key, text in (
        ("machines", "Machines of the account."),
        ("active", "Active machines of the account."),
        ("seats", "Active machines that may use the service."),
        ("matched", "Machines that are hosts of the inventory."),
    ):
        found.append(_metric(f"service_{key}", text, {"": service[key]}))
    kinds = [one["kind"] for one in service["findings"]]
    values = {f'kind="{kind}"': kinds.count(kind) for kind in reconcile.KINDS}
    text = "Where service, inventory and hosts disagree."
    return [*found, _metric("service_findings", text, values)]


def _metric(name, text, values):
    lines = [f"# HELP ksplice_{name} {text}", f"# TYPE ksplice_{name} gauge"]
    for labels, value in values.items():
        number = f"{value:.3f}" if isinstance(value, float) else str(value)
        lines.append(f"ksplice_{name}{'{' + labels + '}' if labels else ''} {number}")
    return "\n".join(lines) + "\n"


def markdown(document):
    """A message for a chat or a ticket: the numbers, and what needs attention."""
    run, summary = document["run"], document["summary"]
    lines = [f"**Ksplice {run['kind']}: {wording.counts(summary['verdicts'])}**", ""]
    if run["kind"] == "rehearsal":
        lines += ["A rehearsal: the hosts are emulated.", ""]
    if not run["ended"]:
        lines += ["The run had not ended when this was written.", ""]
    if run["kind"] != "status":
        lines += [
            f"Patched: {summary['patched']}. CVEs fixed: {summary['cves_fixed']}, still open: "
            f"{summary['cves_open']}{open_unknown(document)}.",
            "",
        ]
    if document.get("service"):
        lines += [words(line) for line in of_service(document["service"])] + [""]
    needy = [row for row in document["hosts"] if row["attention"]]
    if needy:
        lines += ["| host | verdict | reason |", "|---|---|---|"]
        for row in needy[:IN_MESSAGE]:
            lines.append(f"| {words(row['name'])} | {row['verdict']} | {words(row['reason'])} |")
        lines.append("")
        if len(needy) > IN_MESSAGE:
            lines += [f"And {len(needy) - IN_MESSAGE} more that need attention.", ""]
    lines.append(f"Run {words(run['id'])} of {words(run['who'])}, begun {run['started']}.")
    return "\n".join(lines) + "\n"


def open_unknown(document):
    """Of how many machines it is not known which CVEs are open, as the end of a sentence."""
    unknown = sum(row["cves_open"] is None and not row["alias_of"] for row in document["hosts"])
    return f", and unknown on {unknown} of the hosts" if unknown else ""


def words(text):
    """A text of somebody else's, as Markdown that shows it as it is and calls nobody."""
    plain = MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))
    return plain.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")


def stats(document):
    """What AWX keeps with the job: the summary, and for up to IN_STATS hosts verdict, reason code
    and kernels. The number of those left out is C(ksplice_hosts_left_out).
    """
    rows = sorted(document["hosts"], key=lambda row: not row["attention"])
    keys = ("verdict", "reason_code", "kernel_booted", "kernel_before", "kernel_after")
    return {
        "ksplice_summary": document["summary"],
        "ksplice_hosts": {row["name"]: {key: row[key] for key in keys} for row in rows[:IN_STATS]},
        "ksplice_hosts_left_out": max(0, len(rows) - IN_STATS),
    }


# Name of a format -> its file and what makes it. The page, which needs a template, makes report.
FORMATS = {
    "html": ("report.html", None),
    "csv": ("hosts.csv", csv),
    "junit": ("junit.xml", junit),
    "metrics": ("ksplice.prom", metrics),
    "markdown": ("report.md", markdown),
}
