# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What this machine offers: real interpreters, and virtual environments made from them below
build/.
"""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
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
    """The virtual environment at `path`, made anew only when what should be in it has changed.

    uv makes it, without pip in it, for a seventh of what pip costs. Where uv cannot (it knows no
    Python below 3.8, and not all of pip's settings) pip does.
    """
    file = REQUIREMENTS / requirements
    wish = [*packages, "-r", str(file)]
    with _to_fill(path, python, [*wish, _whole(file)]) as interpreter:
        if interpreter:
            try:
                _with_uv(path, interpreter, wish)
            except Missing:
                _with_pip(path, interpreter, wish)
    return path


def _whole(file: Path) -> str:
    """The text of a file of requirements, and of those that it includes."""
    text = file.read_text()
    more = re.findall(r"^-r (\S+)$", text, re.MULTILINE)
    return text + "".join(_whole(file.with_name(name)) for name in more)


@functools.cache
def installer() -> Path:
    """The environment with pip and uv, on the Python that runs this."""
    path = BUILD / "venvs" / "installer"
    packages = ["-r", str(REQUIREMENTS / "installer.txt")]
    running = "{}.{}".format(*sys.version_info)
    with _to_fill(path, running, [Path(packages[1]).read_text()]) as interpreter:
        if interpreter:
            _with_pip(path, interpreter, packages)
    return path


@contextlib.contextmanager
def _to_fill(path: Path, python: str, wish: list[str]) -> Iterator[Path | None]:
    """The interpreter to make the environment with, in an empty place, or None where what is
    wished is there. Two makes at a time do not make the same one.
    """
    interpreter = find_python(python)
    if not interpreter:
        raise Missing(
            f"Python {python} is not on this machine. Install it with pyenv, for example."
        )
    text = "\n".join([str(path), str(interpreter), *wish])
    stamp = path / "made-from"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / f".{path.name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == text:
            yield None
            return
        shutil.rmtree(path, ignore_errors=True)
        yield interpreter
        stamp.write_text(text)


def _with_uv(path: Path, interpreter: Path, packages: list[str]) -> None:
    if _numbers(Path(interpreter.name)) < [3, 8]:
        raise Missing("uv knows no Python below 3.8.")
    bin_ = installer() / "bin"
    _run(str(interpreter), "-m", "venv", "--clear", "--without-pip", str(path))
    target = ["--python", str(path / "bin" / "python"), "--compile-bytecode"]
    # Of pip's settings uv reads none: where packages come from it is told.
    settings = _run(str(bin_ / "pip"), "config", "list")
    if re.search(r"\.no-index='?(1|true|yes)", settings, re.IGNORECASE):
        raise Missing("pip is told to use no index.")
    listed = re.findall(r"^(\S+)\.(index-url|cert)='(.*)'$", settings, re.MULTILINE)
    names, found = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}, {}
    # The environment's count more than those of files.
    for _section, key, value in sorted(listed, key=lambda one: one[0].startswith(":env:")):
        found[names[key]] = value
    settings = {**found, **os.environ}
    _run(str(bin_ / "uv"), "pip", "install", *target, *packages, env=settings)


def _with_pip(path: Path, interpreter: Path, packages: list[str]) -> None:
    _run(str(interpreter), "-m", "venv", "--clear", str(path))
    command = ["-m", "pip", "--disable-pip-version-check", "install", *packages]
    _run(str(path / "bin" / "python"), *command)


def _run(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=env
    )
    if done.returncode:
        raise Missing(
            f"Cannot make a virtual environment: {' '.join(command)} failed:\n{done.stdout}"
        )
    return done.stdout
