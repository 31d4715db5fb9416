# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Debian's Chromium, without a window."""

from __future__ import annotations

import contextlib
import shutil

from playwright.sync_api import sync_playwright


def lacking():
    """What this machine lacks, in a sentence; None where it has everything."""
    wanted = {"chromium": "chromium", "pdftotext": "poppler-utils"}
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if missing:
        return f"not installed. On Debian: apt-get install {' '.join(missing)}"
    return None


@contextlib.contextmanager
def started():
    """A browser that is ended with the block.

    :raises OSError: where there is none.
    """
    if lacking():
        raise OSError(lacking())
    with sync_playwright() as driver:
        # Its sandbox does not start as root, and the pages are ours.
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), chromium_sandbox=False
        )
        try:
            yield browser
        finally:
            browser.close()
