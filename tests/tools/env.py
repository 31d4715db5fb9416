# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""make env: build/venv with the newest ansible-core, and the checkout reachable as an installed collection."""

from __future__ import annotations

import os
import sys

from machine import BUILD, ROOT, Missing, cores, make_venv


def main() -> None:
    core = [core for core in cores().values() if core][-1]
    make_venv(BUILD / "venv", core.python, "env.txt", core.requirement)
    link = BUILD / "collections" / "ansible_collections" / "rebootless" / "ksplice"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(ROOT, link.parent))
    print(f"build/venv has ansible-core {core.version} on Python {core.python}; collections are in build/collections")


if __name__ == "__main__":
    try:
        main()
    except Missing as lack:
        sys.exit(str(lack))
