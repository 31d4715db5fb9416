# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The status page: the account's machines, with what is installed and what is available."""

from __future__ import annotations

from collections import Counter
from html import escape

COLUMNS = {
    "Host": lambda one: one["hostname"],
    "Address": lambda one: one["ip"],
    "Status": lambda one: one["status"],
    "Access": lambda one: one["authorization"],
    "Active": lambda one: "yes" if one["active"] else "no",
    "Group": lambda one: one["group"],
    "Original kernel": lambda one: one["original_kernel"],
    "Effective kernel": lambda one: one["effective_kernel"],
    "Installed": lambda one: len(one["installed_updates"]),
    "Available": lambda one: sum(verb == "Install" for verb, _update in one["steps"]),
    "Last seen": lambda one: one["last_seen"],
    "UUID": lambda one: one["uuid"],
}
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Ksplice Uptrack (emulated)</title>
<style>
body {{ font: 14px system-ui, sans-serif; margin: 2em }}
table {{ border-collapse: collapse }}
th, td {{ text-align: left; padding: .2em .8em; border-bottom: 1px solid #ccc }}
</style>
<h1>Status of your machines</h1>
<p>{counts} At {now} UTC.</p>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</html>
"""


def of(machines, now):
    """The page, as HTML.

    :param machines: as the web API has them, C(describe)'s keys included.
    :param now: the time of it, in UTC.
    """
    counts = Counter(one["status"] for one in machines)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    rows = [
        [value(one) for value in COLUMNS.values()]
        for one in sorted(machines, key=lambda one: (one["hostname"], one["uuid"]))
    ]
    return PAGE.format(
        counts=f"{len(machines)} machines{f': {told}' if told else ''}.",
        now=f"{now:%Y-%m-%d %H:%M:%S}",
        head="".join(f"<th>{escape(name)}" for name in COLUMNS),
        rows="\n".join(f"<tr>{''.join(_cell(value) for value in row)}" for row in rows),
    )


def _cell(value):
    return f"<td>{'' if value is None else escape(str(value))}"
