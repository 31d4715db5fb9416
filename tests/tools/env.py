# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""make env: build/venv with the newest ansible-core, and the checkout reachable as an installed
collection.
"""

from __future__ import annotations

import os
import shutil
import sys

from machine import BUILD, ROOT, Missing, cores, make_venv


def main() -> None:
    core = [core for core in cores().values() if core][-1]
    # With pip, as its user is the one who runs this.
    make_venv(BUILD / "venv", core.python, "env.txt", core.requirement, "pip")
    # Among the environment's own packages, where Ansible looks too: a collections_path in
    # ansible.cfg would also be where `ansible-galaxy collection install` puts things.
    for place in (
        BUILD / "venv" / "lib" / f"python{core.python}" / "site-packages",
        BUILD / "collections",
    ):
        link = place / "ansible_collections" / "rebootless" / "ksplice"
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()
        elif link.exists():
            shutil.rmtree(link)
        link.symlink_to(os.path.relpath(ROOT, link.parent))
    print(
        f"build/venv has ansible-core {core.version} on Python {core.python}, and this checkout "
        "as its collection rebootless.ksplice"
    )


if __name__ == "__main__":
    try:
        main()
    except Missing as lack:
        sys.exit(str(lack))
