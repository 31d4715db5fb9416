# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Hosts say what they like: nothing of it becomes markup, script or address, and nothing that did
would run.
"""

from __future__ import annotations

import copy
import urllib.parse

import extent
import fleets


def test_what_hosts_say_is_text(view):
    one = view("hostile")
    page = one.page
    for summary in page.locator("summary").all():
        summary.click()
    for name in [row["name"] for row in one.document["hosts"]][:9]:
        shown = fleets.html.readable(name)
        page.locator("#host-table td.name button").get_by_text(shown, exact=True).first.click()
        assert one.open_host() == shown
    assert page.evaluate("window.broken") is None
    assert page.locator("img, iframe, object, embed, form[action]").count() == 0
    assert page.locator("script").count() == 2 and page.locator("svg[onload]").count() == 0
    links = page.eval_on_selector_all("a", "(all) => all.map((one) => one.getAttribute('href'))")
    assert links and all(link.startswith("#") for link in links)
    # Nothing turns the text around it, and nothing is there that nobody sees.
    text = page.evaluate("document.body.textContent")
    assert "[U+202E]" in text and "[U+2028]" in text and "[U+D800]" in text
    assert not set("\u202e\u2028\u2029") & set(text)
    assert "{{ 7 * 7 }}" in text and "&lt;b&gt;" in text and "49" not in page.title()


def test_their_names_can_be_sent_and_searched(view):
    one = view("hostile")
    for row in one.document["hosts"][: 9 if extent.ALL else 3]:
        name = fleets.html.readable(row["name"])
        other = view("hostile", "#host=" + urllib.parse.quote(name, safe=""))
        assert other.open_host() == name
    one.page.get_by_label("Search").fill('</script><img src=x "')
    assert 0 < len(one.hosts()) < 24 and one.page.evaluate("window.broken") is None


def test_a_word_without_end_makes_nothing_wider(view):
    one = view("hostile")
    assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_got_past_the_escaping_does_not_run(view):
    one = view(quiet=False)
    text = one.path.read_text()
    bug = (
        "<script>window.broken = 'script'</script><img src=x onerror=\"window.broken = 'handler'\">"
        "<style>main { display: none }</style><base href=https://elsewhere.example/>"
    )
    assert text.count("<main>") == 1
    one.path = one.path.with_name("bug.html")
    one.path.write_text(text.replace("<main>", f"<main>{bug}"))
    one.requests.clear()
    one.go()
    assert one.page.evaluate("window.broken") is None
    assert one.page.locator("main").is_visible() and len(one.hosts()) == 24
    assert len([words for words in one.console if "Content Security Policy" in words]) >= 4
    # The picture was asked for, and the policy refused it before anything was fetched.
    assert set(one.requests) - set(one.refused) == {one.path.as_uri()}


def test_keys_of_another_version_do_not_get_in_the_way(view):
    def strange(record):
        other = copy.deepcopy(record)
        for row in other["hosts"]:
            row.update(places="x", index="y", constructor="z", __proto__={"name": "w"})
        return other

    one = view(change=strange)
    name = one.document["hosts"][3]["name"]
    one.go(f"#q={name}")
    assert one.column("Host")[0] == name and one.console == []
