# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The record as one HTML page without outside resources, see docs/page.md.

What a host said is foreign. Characters that are not seen, or that turn the text around them, are
written out (readable); the template escapes; the data that the page's script reads has no
character that HTML knows; and the page's own policy lets nothing run but that script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections import Counter

import jinja2
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.facts import VERDICTS
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import faces, wording
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page.redundancy import redundancy
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page.timeline import timeline
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import natural
from markupsafe import Markup

# Hosts under one reason, and CVEs, that the page shows without its script.
HOSTS = 5
CVES = 20
# Findings about the service that are shown.
FINDINGS = 100
# Characters of a reason in the list of what needs attention; all of it is in the host's details.
LONG = 300
# Controls, marks that turn the direction of text, separators of lines, halves of a character, and
# what takes no room.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069"
    "\ud800-\udfff\ufeff\ufff9-\uffff\U000e0000-\U000e007f]"
)
# Reasons for attention, in the order in which somebody should look at them, with the heading that
# the hosts get. Any other code is its own heading, and comes last.
REASONS = {
    "not_restored": "Still out of service",
    "drained_without_lease": "Out of service, and claimed by no run",
    "stuck": "Unhealthy, and left as it is",
    "unhealthy": "Unhealthy after the update",
    "address": "A virtual address is not held by exactly one member",
    "lost_controller": "The controller was lost during the turn",
    "no_answer": "No valid answer",
    "interrupted": "The turn was cut off",
    "lease_lost": "The lease was lost",
    "not_taken_over": "A stopped run's lease could not be taken over",
    "error": "An unexpected error",
    "journal": "The journal could not be written",
    "rolled_back": "Rolled back",
    "apply_failed": "The update failed",
    "not_drained": "Could not be drained",
    "pre_check_failed": "A pre-check failed",
    "unreachable": "Cannot be reached",
    "survey_failed": "The survey failed",
    "not_surveyed": "Not surveyed",
    "no_root": "Nothing can be read without root",
    "no_sysfs": "No kernel of its own",
    "unknown": "Not known how it stands",
    "blocked": "A pending update could not be installed",
    "lease_stale": "A stale lease is in the way",
    "lease_refused": "The lease was refused",
    "peer_failed": "Skipped: a peer failed, or is claimed",
    "peer_unreachable": "Skipped: a peer cannot be reached",
    "peer_unknown": "Skipped: a peer is not in the inventory",
    "group_unknown": "Skipped: its redundancy group is unknown",
    "settings_differ": "Skipped: two names of one machine have different settings",
    "self_update": "Skipped: it installs updates by itself",
    "refused": "The host refused its turn",
    "canary_failed": "Skipped: the canary failed",
    "canary_ahead": "Skipped: the canary goes first",
    "banned": "Skipped: another host was unhealthy after the same updates",
    "max_failures": "Not begun: too many failures",
    "closed": "Not begun: outside of the window, or stopped",
    "no_plan": "There is no plan",
    "given_up": "Ansible had given the host up",
    "broken_off": "The wave broke off",
    "not_begun": "The run ended before its wave",
    "not_found": "Its name was not found",
    "under_way": "Not known: the run had not ended",
    "deferred": "Updates left for a later run",
    "behind": "Updates are pending",
    "absent": "No agent",
    "unsupported": "The kernel is not supported",
    "disabled": "Disabled",
    "current": "Current, and yet needs attention",
    "patched": "Patched, and yet needs attention",
    "not_selected": "Not selected by ksplice_select",
    "alias": "Another name of a machine",
    "outside_run": "Outside this run",
}


def page(document, folder, template):
    """The record as a page.

    :param folder: where the template is, and the style and the script that it puts into the page.
    :param template: name of the Jinja template; everything put into it is escaped.
    :raises OSError: where a file cannot be read.
    """
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(lambda name: _text(folder, name)),
    )

    def part(name):
        """A file that goes into the page as it is."""
        return Markup(_text(folder, name).strip())

    shown = readable(document)
    counted = cves(shown["hosts"])
    return environment.get_template(template).render(
        record=shown,
        answer=answer(shown),
        marks=marks(shown["run"]),
        attention=attention(shown["hosts"]),
        timeline=timeline(shown),
        service=service(shown.get("service")),
        verdicts=VERDICTS,
        cves=counted[:CVES],
        data=Markup(data(shown, counted)),
        part=part,
        digest=digest,
    )


def _text(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return file.read()


def digest(text):
    """A text's hash, as a Content-Security-Policy names it."""
    found = hashlib.sha256(str(text).encode()).digest()
    return "sha256-" + base64.b64encode(found).decode()


def readable(value):
    """A value with all its texts as they can be read: what is not seen is written out as U+202E."""
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value
        return UNSEEN.sub(lambda found: f"[U+{ord(found.group()):04X}]", value)
    if isinstance(value, (list, tuple)):
        return [readable(one) for one in value]
    if isinstance(value, dict):
        return {readable(key): readable(one) for key, one in value.items()}
    return value


def answer(document):
    """The answer in a sentence: C(counts), C(redundancy) (see there), C(calm) (nothing needs
    attention, and every machine is current), C(open_unknown) (machines whose open CVEs are not
    known).
    """
    machines = [row for row in document["hosts"] if not row["alias_of"]]
    outside = sum(row["reason_code"] == "outside_run" for row in machines)
    counts = dict(document["summary"]["verdicts"])
    counts["unknown"] = counts.get("unknown", 0) - outside
    # A number and its word stay on one line.
    words = [f"{counts.pop('current', 0):,} of {len(machines):,}\xa0current"]
    words += [f"{count:,}\xa0{verdict}" for verdict, count in counts.items() if count]
    words += [f"{outside:,}\xa0outside this run"] * bool(outside)
    return {
        "counts": ", ".join(words),
        "redundancy": redundancy(document),
        "calm": len(words) == 1
        and not document["summary"]["attention"]
        and all(row["verdict"] == "current" for row in machines),
        "open_unknown": sum(row["cves_open"] is None for row in machines),
    }


def marks(run):
    """What must not be overlooked about the run, as pairs of a word and a sentence."""
    found = []
    if run["kind"] == "rehearsal":
        found.append(
            ("Rehearsal", "The hosts are emulated: nothing of this happened to the real ones.")
        )
    if run["check"]:
        found.append(("Check mode", "Nothing was changed: this is what the run would do."))
    if run.get("merged_from"):
        runs = wording.count(len(run["merged_from"]), "run")
        sentence = f"What is known of a host is from the newest of {runs} that asked it."
        found.append(("Several runs", f"{sentence} What was done is from all of them."))
        foretold = sum(one["check"] for one in run["merged_from"])
        if foretold and not run["check"]:
            words = f"{wording.count(foretold, 'run')} of these changed nothing."
            found.append(("Check mode", words))
    if not run["ended"]:
        found.append(
            (
                "Not ended",
                "The run had not ended when this was written. What came of hosts that were still "
                "to be claimed, or were claimed at the time, is not in it.",
            )
        )
    return found


def attention(rows):
    """What needs attention, grouped by reason: C(code), C(title), C(count), and the first HOSTS
    hosts as C(row) (index in the record), C(name), C(groups), C(reason).
    """
    found = {}
    for index, row in enumerate(rows):
        if row["attention"]:
            found.setdefault(row["reason_code"], []).append((index, row))
    order = list(REASONS)
    codes = sorted(found, key=lambda code: order.index(code) if code in order else len(order))
    return [
        {
            "code": code,
            "title": REASONS.get(code, code),
            "count": len(found[code]),
            "hosts": [
                {
                    "row": index,
                    "name": row["name"],
                    "groups": row["groups"],
                    "reason": _short(row["reason"]),
                }
                for index, row in found[code][:HOSTS]
            ],
        }
        for code in codes
    ]


def service(said):
    """What the service says beside the hosts: C(error), C(lines), C(count) of findings, and the
    first FINDINGS of them; None where it was not asked.
    """
    if not said:
        return None
    found = said.get("findings") or []
    lines = faces.of_service(said)
    return {
        "error": said["error"],
        "lines": lines,
        "count": len(found),
        "findings": found[:FINDINGS],
    }


def _short(text):
    return text if len(text) <= LONG else text[: LONG - 1] + "…"


def cves(rows):
    """CVEs by number: C(cve), and on how many machines it was C(fixed) by this run and is still
    C(open). Those that are open on most machines come first.
    """
    fixed, still = Counter(), Counter()
    for row in rows:
        if not row["alias_of"]:
            fixed.update(row["cves_fixed"])
            still.update(row["cves_open"] or ())
    found = [{"cve": cve, "fixed": fixed[cve], "open": still[cve]} for cve in fixed | still]
    return sorted(found, key=lambda one: (-one["open"], natural(one["cve"])))


def data(document, counted):
    """What the page's script reads, as JSON without a character that HTML knows.

    Rows of a fleet repeat each other: each value is there once (C(values)), and a row is the
    places of its values, in the order of C(keys); -1 where it has none.

    :param counted: see cves.
    """
    rows, places, values = document["hosts"], {}, []
    keys = list(dict.fromkeys(key for row in rows for key in row))

    def place(value):
        known = json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value
        # Yes is not one, and the text of a list no list.
        known = (type(value), known)
        if known not in places:
            places[known] = len(values)
            values.append(value)
        return places[known]

    found = {
        "keys": keys,
        "rows": [[place(row[key]) if key in row else -1 for key in keys] for row in rows],
        "values": values,
        "events": [[one["at"], one["host"], one["what"]] for one in document["events"]],
        "cves": [[one["cve"], one["fixed"], one["open"]] for one in counted],
        "titles": REASONS,
        "verdicts": list(VERDICTS),
    }
    text = json.dumps(found, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
