# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""One Chromium for all tests, and pages that must stay quiet: nothing is fetched, and nothing goes
to the console. Where there is no Chromium the tests are skipped, with the reason.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import chromium  # noqa: E402
import fleets  # noqa: E402

SCREENSHOTS = Path(os.environ.get("KSPLICE_SCREENSHOTS") or fleets.TOP / "tests/output/screenshots")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
# A limit for what hangs, in milliseconds. How fast the page is, `make bench` measures.
PATIENCE = 30000


@pytest.fixture(scope="session")
def browser():
    wrong = chromium.lacking()
    if wrong:
        pytest.skip(wrong)
    with chromium.started() as found:
        yield found


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Records by name, and the files of their pages."""
    folder, made = tmp_path_factory.mktemp("pages"), {}
    makers = {"small": lambda: fleets.record(24), "large": lambda: fleets.record(5000)}
    makers["hostile"] = fleets.hostile

    def get(name, change=None):
        if name not in made:
            made[name] = makers[name]()
        document, path = made[name], folder / f"{name}.html"
        if change:
            document, path = change(document), folder / f"{name}-{len(list(folder.iterdir()))}.html"
        if not path.exists():
            fleets.write(document, path)
        return document, path

    return get


class Viewed:
    """A page in the browser, by what a person sees and does there."""

    def __init__(self, page, path, document):
        self.page, self.path, self.document = page, path, document
        self.requests, self.refused, self.console = [], [], []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.requests.append(request.url.partition("#")[0]))
        page.on("requestfailed", lambda request: self.refused.append(request.url))
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))

    def go(self, fragment=""):
        self.page.goto(self.path.as_uri() + fragment)
        return self

    @property
    def fragment(self):
        return self.page.evaluate("location.hash")

    @property
    def count(self):
        return self.page.locator("#count").text_content()

    def hosts(self):
        """Names in the host table, in its order."""
        return self.page.locator("#host-table td.name button").all_text_contents()

    def column(self, label):
        return self.page.locator(f'#host-table td[data-label="{label}"]').all_text_contents()

    def heads(self):
        return self.page.locator("#host-table th").all_text_contents()

    def sort(self, label):
        self.page.locator("#host-table th").get_by_role("button", name=label, exact=True).click()

    def open_host(self):
        """The name of the host whose details are shown."""
        shown = self.page.locator('#host-table button[aria-expanded="true"]').all_text_contents()
        assert len(shown) <= 1
        return shown[0] if shown else None

    def in_sight(self, locator):
        box, size = locator.bounding_box(), self.page.viewport_size
        return (
            box is not None
            and box["y"] >= 0
            and box["y"] + min(box["height"], 40) <= (size["height"])
        )

    def height(self):
        """Pixels, once everything was in sight: the browser guesses what it has not laid out."""
        return self.page.evaluate(
            """() => {
                for (const one of document.querySelectorAll('section')) one.scrollIntoView();
                for (const one of document.querySelectorAll('section')) one.getBoundingClientRect();
                scrollTo(0, document.documentElement.scrollHeight);
                return document.documentElement.scrollHeight;
            }"""
        )

    def photograph(self, name, **options):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", **options)


@pytest.fixture
def view(browser, written):
    """Opens the page of a record; at the end each must have been quiet."""
    opened, contexts = [], []

    def start(name="small", fragment="", change=None, quiet=True, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        document, path = written(name, change)
        viewed = Viewed(context.new_page(), path, document)
        if quiet:
            opened.append(viewed)
        return viewed.go(fragment)

    yield start
    for viewed in opened:
        assert set(viewed.requests) == {viewed.path.as_uri()}, "something was fetched"
        assert viewed.console == []
    for context in contexts:
        context.close()
