# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The page for whoever looks at it: by day and night, on a phone, on paper, with a screen reader,
without a script. What it looks like is left as pictures.
"""

from __future__ import annotations

import copy
import re
import subprocess

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import PHONE

LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
    "phone-dark": {**PHONE, "color_scheme": "dark"},
}


def troubles(one):
    """What axe-core finds, with where it is."""
    found = Axe().run(one.page).response["violations"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]


# Where a small fleet shows nearly as much, thousands of hosts are for the long play.
LARGE_LATER = pytest.param("large", marks=pytest.mark.thorough)


@pytest.mark.parametrize(
    "look", ["light", "dark", "phone", pytest.param("phone-dark", marks=pytest.mark.thorough)]
)
def test_axe_finds_nothing(view, look):
    one = view(**LOOKS[look])
    assert troubles(one) == []
    one.photograph(f"report-24-{look}", full_page=True)
    # With everything open that can be opened.
    name = one.document["hosts"][1]["name"]
    one.go(f"#host={name}")
    for summary in one.page.locator("summary").all():
        summary.click()
    assert troubles(one) == []


@pytest.mark.parametrize("size", [LARGE_LATER, "hostile"])
def test_axe_finds_nothing_in_any_record(view, size):
    one = view(size)
    assert troubles(one) == []
    one.photograph(f"report-{size}")


def test_dark_is_dark(view):
    shade = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert max(view(color_scheme="dark").page.evaluate(shade)) < 60
    assert min(view(color_scheme="light").page.evaluate(shade)) > 200


@pytest.mark.parametrize("size", ["small", LARGE_LATER, "hostile"])
def test_on_a_phone_rows_are_cards_and_nothing_is_wider_than_the_screen(view, size):
    one = view(size, **PHONE)
    page = one.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    row = page.locator("#host-table tbody tr").nth(1)
    assert row.evaluate("(one) => getComputedStyle(one).display") == "block"
    cells = [cell.bounding_box() for cell in row.locator("td").all() if cell.is_visible()]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in cells)
    assert len({round(box["y"]) for box in cells}) > 3, "the cells are not below each other"
    # Sorting does not need the headings, which a card has not.
    page.get_by_label("Sort by").select_option("-name")
    names = [row["name"] for row in one.document["hosts"]]
    if size == "small":
        assert one.hosts() == names[::-1]
    page.locator("#host-table td.name button").first.tap()
    assert one.open_host()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def printed(one, path):
    """The pages of what the browser prints, as text without white space."""
    one.page.pdf(path=path, prefer_css_page_size=True)
    words = ["pdftotext", "-raw", "-enc", "UTF-8", str(path), "-"]
    text = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [re.sub(r"\s", "", page) for page in text.split("\f") if page.strip()]


@pytest.mark.parametrize("size", ["small", LARGE_LATER])
def test_on_paper_the_answer_comes_first_and_every_host_is_there(view, size, tmp_path):
    one = view(size)
    pages = printed(one, tmp_path / "report.pdf")
    verdicts = one.document["summary"]["verdicts"]
    assert f"{verdicts['current']:,}of{len(one.document['hosts']):,}current" in pages[0]
    assert "nopairwasevershort" in pages[0] and "Needsattention" in pages[0]
    assert "Booted" not in pages[0] and "Whenwhichhostwasclaimed" not in pages[0]
    table = [number for number, text in enumerate(pages) if "HostVerdictGroup" in text]
    assert table == list(range(table[0], table[-1] + 1)), "a page of the table has no heading"
    text = "".join(pages[table[0] :])
    left = [row["name"] for row in one.document["hosts"] if row["name"] not in text]
    assert left == []
    # Nothing is cut off: the last column is read to its end.
    reasons = {re.sub(r"\s", "", row["reason"]) for row in one.document["hosts"]}
    assert [words for words in reasons if words not in text] == []
    # Afterwards the page is as it was.
    assert len(one.hosts()) == (50 if size == "large" else 24)


def test_what_a_filter_finds_is_printed_and_said(view, tmp_path):
    one = view("large", "#verdict=blocked")
    pages = printed(one, tmp_path / "report.pdf")
    rows = one.document["hosts"]
    wanted = {row["name"] for row in rows if row["verdict"] == "blocked"}
    assert f"Filteredbyverdict:blocked:{len(wanted)}of5,000hosts." in pages[0]
    table = "".join(pages).partition("HostVerdictGroup")[2].partition("CVEs,and")[0]
    found = set(re.findall(r"web\d+(?=blocked)", table))
    assert found == wanted


def test_without_javascript_the_page_still_answers(view):
    one = view(java_script_enabled=False)
    text = one.page.locator("body").inner_text().replace("\xa0", " ")
    assert "no pair was ever short" in text and "Needs attention" in text
    needy = [row for row in one.document["hosts"] if row["attention"]]
    assert needy[0]["name"] in text and needy[0]["reason"] in text
    assert "record.json" in text and "hosts.csv" in text and "CVE-2026-1000" in text
    assert one.page.locator(".lanes").is_visible()
    assert not one.page.locator("#filters").is_visible()
    one.page.get_by_text("The timeline as a table").click()
    began = next(row for row in one.document["hosts"] if row["started"])
    assert began["name"] in one.page.locator(".timeline table").inner_text()


def unfinished(document):
    other = copy.deepcopy(document)
    other["run"].update(ended=None, kind="rehearsal", check=False)
    return other


def checked(document):
    other = copy.deepcopy(document)
    other["run"].update(check=True)
    for row in other["hosts"]:
        row.update(started=None, ended=None)
    return other


def test_a_rehearsal_check_mode_and_a_run_that_goes_on_say_so(view):
    text = view(change=unfinished).page.locator("header").inner_text()
    assert "Rehearsal. The hosts are emulated" in text
    assert "Not ended. The run had not ended when this was written" in text
    assert "the run has not ended" in text and "was ever short" not in text
    one = view(change=checked)
    text = one.page.locator("header").inner_text()
    assert "Check mode. Nothing was changed" in text and "ever short" not in text
    assert one.page.locator(".timeline").count() == 0
