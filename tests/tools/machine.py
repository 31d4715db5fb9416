# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What this machine offers: real interpreters, and virtual environments made from them below
build/.
"""

from __future__ import annotations

import configparser
import fcntl
import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
REQUIREMENTS = ROOT / "tests" / "requirements"


class Missing(Exception):
    """The machine lacks something; the message says what, and how to get it."""


@dataclass(frozen=True)
class Core:
    """One section of tests/cores.ini, settled for this machine."""

    name: str
    version: str
    python: str
    target: str | None  # the oldest Python of managed hosts that this machine has
    oldest_target: str  # the one it should have

    @property
    def requirement(self) -> str:
        return f"ansible-core=={self.version}"


def cores() -> dict[str, Core | None]:
    """The cores of tests/cores.ini, oldest first; None where the machine has no Python for one."""
    config = _read()
    found = {name: _settle(name, config[name]) for name in config.sections()}
    if not any(found.values()):
        raise Missing(
            "Found no Python of 3.10 to 3.13 that can make virtual environments."
            " On Debian: apt-get install python3-venv. Elsewhere: pyenv install 3.13."
        )
    return found


def oldest_target() -> str:
    """The oldest Python of managed hosts that the collection is for, whatever this machine has."""
    return _read()["oldest"]["targets"].split()[0]


def _read() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "tests" / "cores.ini")
    return config


def _settle(name: str, section: configparser.SectionProxy) -> Core | None:
    targets = section["targets"].split()
    for line in section["pick"].strip().splitlines():
        version, pythons = line.split(":")
        for python in filter(find_python, pythons.split()):
            return Core(name, version, python, next(filter(find_python, targets), None), targets[0])
    return None


@functools.cache
def find_python(version: str) -> Path | None:
    """A real interpreter of that version ("3.11") that can make virtual environments, or None.

    pyenv's shims stand on PATH under every version's name but start only the selected one: its
    folders are read instead.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [
        Path(p) for p in os.environ.get("PATH", "").split(":") if p and Path(p).name != "shims"
    ]
    folders += [Path("/usr/local/bin"), Path("/usr/bin")]
    folders += sorted(pyenv.glob(f"versions/{version}.*/bin"), key=_numbers, reverse=True)
    for folder in folders:
        python = folder / f"python{version}"
        if os.access(python, os.X_OK) and _works(python):
            return python.resolve()
    return None


def _numbers(path: Path) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", str(path))]


def _works(python: Path) -> bool:
    command = [str(python), "-c", "import ensurepip, ssl, venv"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def make_venv(path: Path, python: str, requirements: str, *packages: str) -> Path:
    """The virtual environment at `path`, made anew only when what should be in it has changed."""
    interpreter = find_python(python)
    if not interpreter:
        raise Missing(
            f"Python {python} is not on this machine. Install it with pyenv, for example."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [REQUIREMENTS / requirements, REQUIREMENTS / "env.txt"]
    wish = "\n".join([str(path), str(interpreter), *packages, *(f.read_text() for f in files)])
    stamp = path / "made-from"
    # Two makes at a time must not build the same environment.
    with open(path.parent / f".{path.name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wish:
            return path
        shutil.rmtree(path, ignore_errors=True)
        _run(str(interpreter), "-m", "venv", str(path))
        _run(
            str(path / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *packages,
            "-r",
            str(files[0]),
        )
        stamp.write_text(wish)
    return path


def _run(*command: str) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise Missing(
            f"Cannot make a virtual environment: {' '.join(command)} failed:\n{done.stdout}"
        )
