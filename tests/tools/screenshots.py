# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""make screenshots: the pictures of the documentation, from the demo's report in Chromium.

The page is drawn anew from build/demo/record.json, so that a change of the page needs no new demo.
"""

from __future__ import annotations

import os
import subprocess
import sys

from machine import BUILD, ROOT, Missing, cores, make_venv

RECORD = BUILD / "demo" / "record.json"
IMAGES = ROOT / "docs" / "images"
# Name of a picture: what the browser is like. The height ends with the timeline.
PICTURES = {
    "report": {"viewport": {"width": 1280, "height": 1202}},
    "report-dark": {"viewport": {"width": 1280, "height": 1202}, "color_scheme": "dark"},
    "report-phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}


def photograph() -> None:
    """Take the pictures; runs in the environment of the browser's tests."""
    sys.path.insert(0, str(ROOT / "tests" / "browser"))
    import json

    import chromium
    import fleets

    path = fleets.write(json.loads(RECORD.read_text()), BUILD / "demo" / "report.html")
    with chromium.started() as browser:
        for name, options in PICTURES.items():
            page = browser.new_context(**options).new_page()
            page.goto(path.as_uri())
            page.screenshot(path=IMAGES / f"{name}.png")
            print(f"docs/images/{name}.png")


def main() -> int:
    if not RECORD.exists():
        raise Missing(f"There is no {RECORD.relative_to(ROOT)}: make demo.")
    core = [core for core in cores().values() if core][-1]
    venv = make_venv(BUILD / "venvs" / "browser", core.python, "browser.txt", core.requirement)
    collections = str(BUILD / "collections")
    paths = {"ANSIBLE_COLLECTIONS_PATH": collections, "PYTHONPATH": collections}
    command = [str(venv / "bin" / "python"), "-B", __file__, "--photograph"]
    return subprocess.run(command, env={**os.environ, **paths}, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(photograph() if "--photograph" in sys.argv else main())
    except (Missing, OSError) as lack:
        sys.exit(str(lack))
