# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Finding hosts on the page: with the mouse, with keys, and with an address that somebody sent."""

from __future__ import annotations

import pytest

SIZES = ["small", "large"]


def names(document, keep):
    return [row["name"] for row in document["hosts"] if keep(row)]


def shown(found, one):
    """What the first page of the table shows of the hosts that are found."""
    return found[: 50 if len(one.document["hosts"]) > 50 else None]


@pytest.mark.parametrize("size", SIZES)
def test_the_answer_stands_on_top(view, size):
    one = view(size)
    verdicts = one.document["summary"]["verdicts"]
    answer = one.page.get_by_role("heading", level=1)
    words = answer.text_content().replace("\xa0", " ")
    hosts = len(one.document["hosts"])
    assert words.startswith(f"{verdicts['current']:,} of {hosts:,} current, ")
    assert f"{verdicts['unreachable']:,} unreachable" in words
    assert words.endswith("; no pair was ever short")
    order = one.page.evaluate(
        """['h1', '#filters', '#attention-title', '.lanes', '#hosts', '#cves'].map(
            (one) => document.querySelector(one).getBoundingClientRect().top)"""
    )
    assert order == sorted(order) and one.in_sight(answer)


@pytest.mark.parametrize("size", SIZES)
def test_words_are_filtered_as_they_are_typed(view, size):
    one = view(size)
    one.page.get_by_label("Search").press_sequentially("PAIR1 no route")
    rows = [row for row in one.document["hosts"] if row["reason"] == "no route to host"]
    wanted = [row["name"] for row in rows if any("pair1" in group for group in row["groups"])]
    everyone = len(one.document["hosts"])
    assert one.hosts() == shown(wanted, one)
    assert one.count == f"{len(wanted):,} of {everyone:,} hosts"
    assert one.fragment == "#q=PAIR1%20no%20route"
    # What the page shows of them elsewhere goes along.
    listed = one.page.locator(".reason li:visible").all_text_contents()
    assert all("no route" in words and "pair1" in words for words in listed)
    one.page.get_by_role("button", name="Clear").click()
    assert one.count == f"{everyone:,} hosts" and one.fragment == ""


@pytest.mark.parametrize("size", SIZES)
def test_every_filter_finds_what_the_record_has(view, size):
    one = view(size)
    rows, page = one.document["hosts"], one.page
    cases = {
        "verdict": ("blocked", lambda row: row["verdict"] == "blocked"),
        "reason": ("patched", lambda row: row["reason_code"] == "patched"),
        "group": ("pair7", lambda row: "pair7" in row["groups"]),
        "cve": ("cve-2026-1003", lambda row: "CVE-2026-1003" in str(row)),
        "attention": ("yes", lambda row: row["attention"]),
    }
    for key, (value, keep) in cases.items():
        field = page.locator(f"#filters [name={key}]")
        if key in ("verdict", "reason"):
            field.select_option(value)
        elif key == "attention":
            field.check()
        else:
            field.press_sequentially(value)
        wanted = names(one.document, keep)
        assert 0 < len(wanted) < len(rows), key
        assert one.count == f"{len(wanted):,} of {len(rows):,} hosts", key
        assert one.hosts() == shown(wanted, one), key
        assert one.fragment == f"#{key}={value}"
        page.get_by_role("button", name="Clear").click()
    page.locator("[name=verdict]").select_option("behind")
    page.locator("[name=attention]").check()
    page.get_by_label("Search").press_sequentially("zzz")
    assert one.hosts() == [] and one.count.startswith("0 of")
    assert "Nothing is found." in page.locator("#host-table").text_content()


def test_an_address_shows_what_it_says_when_it_is_opened_freshly(view):
    fragment = "#verdict=current&q=web1&sort=-name&columns=name,stage,behind_since,cves_open"
    one = view("small", fragment)
    wanted = names(one.document, lambda row: row["verdict"] == "current" and "web1" in row["name"])
    assert one.hosts() == wanted[::-1]
    assert one.heads() == ["Host", "Stage", "Behind since", "CVEs open"]
    assert one.page.get_by_label("Search").input_value() == "web1"
    assert one.page.locator("[name=verdict]").input_value() == "current"
    assert one.in_sight(one.page.locator("#hosts-title"))
    # What an address says that nobody knows changes nothing.
    other = view("small", "#sort=nonsense&columns=nonsense&page=x&size=x&colour=red")
    assert len(other.hosts()) == 24 and other.heads()[0] == "Host"


@pytest.mark.parametrize("size", SIZES)
def test_an_address_of_a_host_opens_its_details(view, size):
    one = view(size)
    name = one.document["hosts"][-3]["name"]
    other = view(size, f"#host={name}")
    row = other.page.locator("#host-table td.name button", has_text=name)
    assert other.open_host() == name and other.in_sight(row)
    assert row.evaluate("(one) => one === document.activeElement")
    details = other.page.locator("tr.details").text_content()
    kernel = one.document["hosts"][-3]["kernel_after"] or "unknown"
    assert kernel in details and "Reason code" in details
    # A filter that would hide it gives way.
    third = view(size, f"#q=zzz&host={name}")
    assert third.open_host() == name and third.page.get_by_label("Search").input_value() == ""


@pytest.mark.parametrize("size", SIZES)
def test_the_reasons_lead_to_their_rows_and_back(view, size):
    one = view(size)
    first = one.page.locator(".reason li a").first
    name = first.text_content()
    first.click()
    assert one.open_host() == name and one.fragment == f"#host={name}"
    assert one.in_sight(one.page.locator("#host-table td.name button", has_text=name).first)
    one.page.go_back()
    assert one.open_host() is None and one.fragment == ""
    heading = one.page.locator('.reason[data-code="unreachable"] h3 a')
    heading.click()
    wanted = names(one.document, lambda row: row["reason_code"] == "unreachable")
    assert one.hosts() == shown(wanted, one) and one.in_sight(one.page.locator("#hosts-title"))
    one.page.go_back()
    assert one.count == f"{len(one.document['hosts']):,} hosts"
    one.page.go_forward()
    assert one.hosts() == shown(wanted, one)


def test_the_back_button_takes_away_a_word_and_not_a_letter(view):
    one = view()
    one.page.get_by_label("Search").press_sequentially("web2")
    one.page.locator("[name=verdict]").select_option("current")
    one.page.go_back()
    assert one.page.get_by_label("Search").input_value() == "web2"
    assert one.page.locator("[name=verdict]").input_value() == ""
    one.page.go_back()
    assert one.page.get_by_label("Search").input_value() == "" and one.count == "24 hosts"


def test_a_verdict_of_the_answer_a_cve_and_a_bar_lead_to_hosts(view):
    one = view()
    one.page.locator(".tile a", has_text="blocked").click()
    assert one.hosts() == names(one.document, lambda row: row["verdict"] == "blocked")
    one.page.locator("#cve-table a").first.click()
    assert one.fragment.startswith("#cve=CVE-2026-1") and len(one.hosts()) > 1
    bar = one.page.locator(".lanes g[data-row]").first
    name = one.document["hosts"][int(bar.get_attribute("data-row"))]["name"]
    bar.locator("rect").click()
    assert one.open_host() == name


def test_all_of_it_by_keyboard(view):
    one = view()
    page = one.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the hosts"
    assert one.in_sight(page.locator(".skip"))
    page.keyboard.press("Enter")
    assert one.in_sight(page.locator("#hosts-title")) and one.count == "24 hosts"
    seen = []
    for _key in range(12):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
                const one = document.activeElement, style = getComputedStyle(one);
                return [one.textContent, style.outlineStyle !== 'none' && style.outlineWidth];
            }"""
        )
        assert focused[1] not in (False, "0px"), f"nobody sees that {focused[0]!r} has the focus"
        seen.append(focused[0])
    assert "Columns" in seen[:2] and "CVEs open" in seen and "web1" in seen
    # Sorting and details keep the focus where it is.
    page.locator("#host-table th button", has_text="CVEs open").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert one.fragment == "#sort=-cves_open&page=1"
    assert page.evaluate("document.activeElement.textContent") == "CVEs open"
    page.locator("#host-table td.name button").first.focus()
    page.keyboard.press("Space")
    assert one.open_host() and page.evaluate("document.activeElement.ariaExpanded") == "true"
    page.keyboard.press("Space")
    assert one.open_host() is None
