# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The tables of the page: order, columns, pages; and what it shows of what is not known."""

from __future__ import annotations

import copy

from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import natural


def changed(document, **keys):
    """A copy of a record whose first host has other values; None as a value of `drop` leaves a
    key out.
    """
    other = copy.deepcopy(document)
    other["hosts"][0].update(keys)
    return other


def test_a_click_on_a_heading_sorts_and_another_one_turns_round(view):
    one = view("large")
    heading = one.page.locator("#host-table th", has_text="CVEs open")
    assert heading.get_attribute("aria-sort") is None
    one.sort("CVEs open")
    assert heading.get_attribute("aria-sort") == "ascending" and one.column("CVEs open")[0] == "0"
    one.sort("CVEs open")
    assert heading.get_attribute("aria-sort") == "descending"
    assert one.page.locator("#host-table th[aria-sort]").count() == 1
    known = [len(row["cves_open"] or ()) for row in one.document["hosts"]]
    assert one.column("CVEs open") == [str(max(known))] * 50
    # What is not known is at the end both ways.
    one.page.get_by_role("navigation", name="Hosts").get_by_role("button", name="Last").click()
    assert one.column("CVEs open")[-1] == "unknown"
    one.sort("Host")
    one.sort("Host")
    rows = sorted((row["name"] for row in one.document["hosts"]), key=natural, reverse=True)
    assert one.hosts() == rows[:50] and one.fragment == "#sort=-name&page=1"


def test_large_fleets_have_pages_and_a_height_that_does_not_grow_with_them(view):
    one = view("large")
    pages = one.page.get_by_role("navigation", name="Hosts of this run")
    assert pages.locator(".place").text_content() == "1–50 of 5,000"
    assert pages.get_by_role("button", name="Previous").is_disabled()
    pages.get_by_role("button", name="Next").click()
    names = [row["name"] for row in one.document["hosts"]]
    assert one.hosts() == names[50:100] and one.fragment == "#page=2"
    pages.get_by_role("button", name="Last").click()
    assert one.hosts() == names[-50:]
    # The button that leads nowhere any more hands the focus on.
    assert one.page.evaluate("document.activeElement.textContent") == "Previous"
    pages.get_by_role("combobox").select_option("250")
    assert one.hosts() == names[:250]
    one.page.get_by_label("Search").press_sequentially("web4999")
    assert one.hosts() == ["web4999"] and not pages.is_visible()
    other = view("large")
    assert other.height() < 12000
    assert len(other.page.locator("body *").all()) < 8000


def test_columns_can_be_chosen(view):
    one = view()
    one.page.get_by_text("Columns", exact=True).click()
    for label in ("Why", "Effective kernel", "Behind since", "Booted kernel"):
        one.page.locator("fieldset").get_by_label(label, exact=True).click()
    assert "Why" not in one.heads() and {"Behind since", "Booted kernel"} < set(one.heads())
    assert "behind_since" in one.fragment
    # They stay with a link that is followed.
    one.page.locator(".reason h3 a").first.click()
    assert "Booted kernel" in one.heads()
    one.page.get_by_role("button", name="The usual ones").click()
    assert "Why" in one.heads() and "Booted kernel" not in one.heads()


def test_unknown_is_not_none(view):
    def earlier(record):
        """One that does not know since when a host is behind."""
        other = changed(record, cves_open=None, remaining=[], self_update=None)
        for row in other["hosts"]:
            del row["behind_since"]
        return other

    one = view(change=earlier)
    one.go("#columns=name,cves_open,remaining,self_update,behind_since,drained&sort=name")
    assert one.column("CVEs open")[0] == "unknown" and one.column("Pending")[0] == "0"
    assert one.column("Updates itself by")[0] == "unknown"
    assert one.column("Drained from")[0] == "none"
    # A record that does not have the key says nothing of it.
    assert one.column("Behind since")[0] == "unknown"
    words = one.page.locator(".tiles").text_content()
    assert "CVEs still open, unknown on" in words


def test_steps_and_the_time_since_when_it_is_behind_are_shown_where_they_are(view):
    steps = [
        {"name": "drain", "after": 0.25, "seconds": 3},
        {"name": "apply", "after": 3.25, "seconds": None},
    ]
    since = "2026-11-20T06:30:00Z"
    one = view(change=lambda record: changed(record, steps=steps, behind_since=since))
    name = one.document["hosts"][0]["name"]
    one.go(f"#host={name}&columns=name,behind_since")
    assert one.column("Behind since")[:2] == ["2026-11-20 06:30:00", "–"]
    rows = one.page.locator("tr.details dd table tbody tr").all()
    assert [row.locator("td").all_text_contents() for row in rows] == [
        ["drain", "0.3", "3.0"],
        ["apply", "3.3", "unknown"],
    ]
    other = view(change=lambda record: changed(record, steps=[], behind_since=None, remaining=[]))
    other.go(f"#host={name}&columns=name,behind_since")
    assert other.column("Behind since")[0] == "–"
    assert other.page.locator("tr.details dd table").count() == 0


def test_cves_and_events_have_tables_of_their_own(view):
    one = view("large")
    table = one.page.locator("#cve-table")
    assert table.locator("tbody tr").count() == 20
    assert "1–20 of 40" in table.text_content()
    table.get_by_role("button", name="CVE", exact=True).click()
    assert table.locator("tbody tr").first.locator("td").first.text_content() == "CVE-2026-1000"
    one.page.get_by_text("What happened, in order of time").click()
    events = one.page.locator("#event-table")
    assert events.locator("tbody tr").first.text_content().endswith("started.")
    events.get_by_role("button", name="Last").click()
    assert events.locator("tbody tr").last.text_content().endswith("ended.")
    assert one.fragment == ""


def test_the_timeline_has_a_lane_for_each_group_and_few_for_thousands(view):
    small, large = view(), view("large")
    labels = small.page.locator(".lane:not(.head, .axis) .label").all_text_contents()
    began = [row for row in small.document["hosts"] if row["started"]]
    groups = {group for row in began for group in row["groups"]}
    alone = {row["name"] for row in began if not row["groups"]}
    assert sorted(labels) == sorted(groups | alone)
    lanes = large.page.locator(".lane:not(.head, .axis) .label").all_text_contents()
    assert len(lanes) == 60 and "other groups" in lanes[0] and "hosts in no group" in lanes[1]
    for one in (small, large):
        one.page.get_by_text("The timeline as a table").click()
        table = one.page.get_by_role("table", name="Each claim of a host, by lane")
        assert table.is_visible()
    name = began[0]["name"]
    link = small.page.locator("main details table a", has_text=name).first
    link.focus()
    small.page.keyboard.press("Enter")
    assert small.open_host() == name
