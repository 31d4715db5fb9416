# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The page of a fleet in Chromium. `page.py HOSTS ROUNDS` prints, as JSON, what was measured and
its limit, in milliseconds: the first paint, and what each key in the filter takes until the next
frame is painted.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "browser"))
import chromium
import fleets

FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
# From the event of a key to the frame after what it caused.
WATCH = """
    window.keys = [];
    document.addEventListener('keydown', function () {
        const begun = performance.now();
        requestAnimationFrame(() => setTimeout(() => window.keys.push(performance.now() - begun)));
    }, true);
"""


def measured(hosts, rounds):
    times = {"first paint": [], "all of the script": [], "a key in the filter, the slowest": []}
    with tempfile.TemporaryDirectory() as folder, chromium.started() as browser:
        path = fleets.write(fleets.record(hosts), Path(folder) / "report.html")
        for _round in range(rounds):
            page = browser.new_page()
            page.goto(path.as_uri())
            page.evaluate(FRAME)
            times["first paint"].append(page.evaluate(PAINTED))
            ready = "performance.timing.domInteractive - performance.timing.navigationStart"
            times["all of the script"].append(page.evaluate(ready))
            page.evaluate(WATCH)
            field = page.get_by_label("Search")
            field.focus()
            for key in "peer cve-2026-1012":
                page.keyboard.press("Space" if key == " " else key)
                page.evaluate(FRAME)
            times["a key in the filter, the slowest"].append(page.evaluate("Math.max(...keys)"))
            page.close()
    limits = (1000, 1500, 100)
    return {what: (found, limit) for (what, found), limit in zip(times.items(), limits)}


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]), int(sys.argv[2]))))
