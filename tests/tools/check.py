# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""make test, make lint, make units …: run groups of checks and sum them up.

    check.py [--all] lint units build-install integration sanity

Every check runs in a copy of the checkout below build/test, because ansible-test and pytest want
the collection in a path that ends in ansible_collections/rebootless/ksplice, and with a HOME below
build/home, so that nothing of the user's is read or changed. What this machine lacks is listed as
skipped. With --all everything is played out that is otherwise played once and short
(tests/extent.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import leftovers
from machine import (
    BUILD,
    ROOT,
    Core,
    Missing,
    cores,
    find_python,
    installer,
    make_venv,
    oldest_target,
)

TEST = BUILD / "test"
LOGS = TEST / "logs"
VENVS = BUILD / "venvs"
RUN = leftovers.this_run()
COLLECTION = Path("ansible_collections") / "rebootless" / "ksplice"
PIP_CHATTER = re.compile(
    r"\s*(Using cached|Looking in|Processing|Collecting|Downloading|Installing|Successfully "
    r"installed|━|WARNING: Location|$)"
)
# One more than there are cores: rollouts over real hosts wait for half of their time.
JOBS = int(os.environ.get("JOBS") or (os.cpu_count() or 2) + 1)
ALL = "--all" in sys.argv
# A limit is there for what hangs: so many times what a quiet machine takes with everything at work.
PATIENCE = 4


@dataclass
class Check:
    """One command, and where its results are."""

    name: str
    command: list[str]
    space: Space
    quiet: int = 15  # seconds that it takes on a quiet machine of two cores, beside the others
    junit: str = ""  # a file pattern; without one the command counts as one test
    tells: str = ""  # a pattern of lines in its log that are worth reading also when all is well

    def run(self) -> Result:
        log = LOGS / (re.sub(r"[^\w.]+", "-", self.name) + ".log")
        files = {
            f"KSPLICE_TEST_{what}": str(log.with_suffix(f".{what.lower()}"))
            for what in ("STACK", "NAME")
        }
        with open(log, "w", encoding="utf-8") as out:
            said = supervised(self.command, self.space, out, self.limit, files)
        result = Result(self.name, log, said["wall"], said["user"] + said["system"])
        if said["cut_off"]:
            result.cut_off = f"cut off after {self.limit} s" + (
                f", in {said['test']}" if said["test"] else ""
            )
        if self.tells:
            result.told = [
                line
                for line in log.read_text(errors="replace").splitlines()
                if re.match(self.tells, line)
            ]
        if self.junit:
            result.count(sorted(self.space.collection.glob(self.junit)))
        else:
            result.passed = int(said["status"] == 0)
        if said["status"] != 0 and not result.failed:
            result.failed = 1
        return result

    @property
    def limit(self) -> int:
        return PATIENCE * self.quiet


@dataclass
class Result:
    name: str
    log: Path
    seconds: float
    cpu: float
    passed: int = 0
    failed: int = 0
    cut_off: str = ""
    skipped: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def count(self, files: list[Path]) -> None:
        for case in (case for file in files for case in ET.parse(file).iter("testcase")):
            skip = case.find("skipped")
            if skip is not None:
                reason = skip.get("message") or ""
                if reason in (
                    "",
                    "collection skipped",
                ):  # pytest's word for a whole file: why stands in the text
                    reason = skip.text or "no reason given"
                if (
                    reason != "No tests applicable."
                ):  # sanity's word for: no file of that kind in the collection
                    self.skipped[reason] += 1
            elif case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
            else:
                self.passed += 1

    def story(self) -> str:
        """The log, without what pip says while ansible-test makes its environments."""
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        return "".join(line for line in lines if not PIP_CHATTER.match(line))

    def __str__(self) -> str:
        word = "FAILED" if self.failed else "ok"
        counts = f"{self.passed} passed" + (f", {self.failed} failed" if self.failed else "")
        if self.skipped:
            counts += f", {self.skipped.total()} skipped"
        if self.cut_off:
            counts += f", {self.cut_off}"
        return f"{word:<7}{self.cpu:7.1f} s CPU {self.seconds:7.1f} s  {self.name:<42} {counts}"


class Space:
    """A copy of the checkout, a virtual environment, and the environment variables for commands in
    them.
    """

    def __init__(self, name: str, venv: Path) -> None:
        self.venv = venv
        self.root = TEST / name
        self.collection = self.root / COLLECTION
        self.home = BUILD / "home" / name
        shutil.rmtree(self.root, ignore_errors=True)
        copy_checkout(self.collection)
        make_home(self.home)
        (RUN.directory / name).mkdir()
        config = self.root / "ansible.cfg"
        # Neither the checkout's nor the user's counts. Nothing in it but how often a playbook looks
        # for answers while it waits: a thousand times a second costs more than it gains.
        config.write_text("[defaults]\ninternal_poll_interval = 0.01\n")
        self.env = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("ANSIBLE_", "GIT_", "MAKE", "PYTHON"))
        }
        folders = [
            p for p in os.environ.get("PATH", os.defpath).split(":") if Path(p).name != "shims"
        ]
        self.env.update(
            HOME=str(self.home),
            PATH=":".join([str(venv / "bin"), *folders]),
            LC_ALL="C.UTF-8",
            ANSIBLE_CONFIG=str(config),
            ANSIBLE_COLLECTIONS_PATH=str(self.root),
            PYTHONPATH=str(self.root),
            PYTHONDONTWRITEBYTECODE="1",
            TMPDIR=str(RUN.directory / name),
            KSPLICE_TESTS="all" if ALL else "",
            KSPLICE_TEST_PREFIX=RUN.prefix,
            **{leftovers.VARIABLE: str(RUN.directory)},
        )

    def program(self, name: str) -> str:
        return str(self.venv / "bin" / name)


def copy_checkout(to: Path) -> None:
    """What git would commit now, as a git tree of its own: ansible-test and reuse ask git what
    belongs to the project.
    """
    # Any owner will do: CI may run as another user than the one that cloned.
    listing = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    names = subprocess.run(listing, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        source = ROOT / name
        if source.is_symlink() or source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name, follow_symlinks=False)
    subprocess.run(["git", "init", "--quiet"], cwd=to, check=True)
    subprocess.run(["git", "add", "--all"], cwd=to, check=True)


def make_home(home: Path) -> None:
    """An empty home with the user's pip settings and cache, which ansible-test's own installs need
    too.
    """
    for name in (".config/pip", ".cache/pip", ".pip"):
        real, link = Path.home() / name, home / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if name == ".cache/pip":
            real.mkdir(parents=True, exist_ok=True)
        if real.exists() and not link.is_symlink():
            link.symlink_to(real)


running: set[subprocess.Popen] = set()


def supervised(command: list[str], space: Space, out, seconds: int, env: dict[str, str]) -> dict:
    """Run a command to its end or its limit, with nothing of it left running; what supervise.py
    says of it.
    """
    print("$", " ".join(command), file=out, flush=True)
    result = Path(out.name).with_suffix(".json")
    process = subprocess.Popen(
        [
            sys.executable,
            "-B",
            str(ROOT / "tests" / "tools" / "supervise.py"),
            str(result),
            str(seconds),
            *command,
        ],
        cwd=space.collection,
        env={**space.env, **env},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    running.add(process)
    try:
        status = process.wait()
    finally:
        running.discard(process)
    if result.exists():
        return json.loads(result.read_text())
    return {
        "status": status or 1,
        "user": 0.0,
        "system": 0.0,
        "wall": 0.0,
        "cut_off": False,
        "test": "",
    }


# The groups. Each gives its checks for this machine, and adds to `lacking` what it cannot do here.


def lint(found: dict[str, Core | None], lacking: list[str]) -> list[Check]:
    core = newest(found)
    name = "lint-all" if ALL else "lint"
    space = Space("lint", make_venv(VENVS / name, core.python, f"{name}.txt", core.requirement))
    files = space.collection
    target = oldest_target()
    old = [
        p
        for p in ("plugins/modules", "plugins/module_utils", "extensions/lab/agent")
        if (files / p).exists()
    ]
    checks = {
        "ruff check": ["ruff", "check", "--no-cache", "."],
        "ruff format": ["ruff", "format", "--no-cache", "--check", "."],
        "yamllint": ["yamllint", "--strict", "."],
        "reuse": ["reuse", "lint", "--lines"],
        "antsibull-changelog": ["antsibull-changelog", "lint"],
        f"vermin at {target}": [
            "vermin",
            f"--target={target}-",
            "--no-tips",
            "--violations",
            "--eval-annotations",
            *old,
        ],
        "antsibull-docs": [
            "antsibull-docs",
            "lint-collection-docs",
            "--plugin-docs",
            "--validate-collection-refs=all",
            "--disallow-unknown-collection-refs",
            ".",
        ],
        "ansible-lint": [
            "ansible-lint",
            "--offline",
            "--profile",
            "production",
            "--strict",
            "--nocolor",
        ],
    }
    # What Galaxy does with the tarball: most of it is done here piece by piece.
    if ALL:
        space.env["GALAXY_IMPORTER_RUN_ANSIBLE_LINT"] = "True"
        checks["galaxy-importer"] = ["sh", "-euc", GALAXY.format(space.root)]
    space.env["PATH"] = f"{space.venv / 'bin'}:{space.env['PATH']}"
    slow = {"ansible-lint": 30, "galaxy-importer": 25, "antsibull-docs": 20}
    result = []
    for name, (program, *words) in checks.items():
        command = [program if program == "sh" else space.program(program), *words]
        result.append(Check(f"lint: {name}", command, space, slow.get(name, 8)))
    if shutil.which("shellcheck"):
        result.append(Check("lint: shellcheck", ["shellcheck", *shell_scripts(files)], space, 8))
    else:
        lacking.append("lint: shellcheck: not installed. On Debian: apt-get install shellcheck")
    return result


GALAXY = """
    ansible-galaxy collection build --output-path '{0}'
    python -m galaxy_importer.main '{0}'/*.tar.gz >'{0}/import.log' 2>&1 ||
        {{ cat '{0}/import.log'; exit 1; }}
    cat '{0}/import.log'
    grep -q 'Importer processing completed successfully' '{0}/import.log'
    ! grep -E '^(WARNING|ERROR|CRITICAL)' '{0}/import.log'
"""


def shell_scripts(folder: Path) -> list[str]:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return [
        f
        for f in tracked.splitlines()
        if re.match(rb"#!.*\b(ba)?sh\b", (folder / f).read_bytes()[:40])
    ]


def units(found: dict[str, Core | None], lacking: list[str]) -> list[Check]:
    """What runs on the controller on the newest core, and what uses the core on the oldest one too.
    What runs on managed hosts on the oldest Python: on newer ones sanity imports it, and every
    playbook of the other groups runs it. With --all each of them plays everything.
    """
    checks = []
    new, old, target = newest(found), found["oldest"], oldest_target()
    on_target = bool(old and old.target == target)
    space = Space("units-newest", environment(new))
    checks.append(
        pytest(
            f"units: core {new.version}, Python {new.python}",
            space,
            ["tests/unit", *([] if ALL or not on_target else played_on_target(space.collection))],
            quiet=600 if ALL else 100,
        )
    )
    if old and old is not new:
        space = Space("units-oldest", environment(old))
        folders = ["tests/unit/plugins"] if ALL else ["tests/unit/plugins/plugin_utils"]
        checks.append(
            pytest(
                f"units: core {old.version}, Python {old.python}",
                space,
                [*folders, *NOT_TWICE, *([] if ALL else PURE)],
                quiet=400 if ALL else 15,
            )
        )
    if on_target:
        space = Space("units-target", make_venv(VENVS / "target", target, f"units-{target}.txt"))
        # Only core's own package: the rest of the controller's site-packages is too new for this
        # Python.
        library = space.root / "library"
        library.mkdir()
        package = next(environment(old).glob("lib/python*/site-packages/ansible"))
        (library / "ansible").symlink_to(package)
        space.env["PYTHONPATH"] += f":{library}"
        folders = [
            str(p.relative_to(space.collection))
            for p in sorted(space.collection.glob("tests/unit/plugins/module*"))
        ]
        checks.append(
            pytest(
                f"units: target code, Python {target}",
                space,
                [*folders, *NOT_TWICE],
                quiet=500 if ALL else 100,
            )
        )
    else:
        lacking.append(
            f"units: target code on Python {target}: not on this machine. pyenv install {target}"
        )
    return checks


# Pure exploration of the same functions, and what is killed at every write: the newest Python does
# it, for all.
EXPLORED = [
    f"tests/unit/plugins/{name}.py"
    for name in (
        "module_utils/test_lease",
        "module_utils/test_lease_at_random",
        "module_utils/test_bounds",
        "modules/test_killed",
        "modules/test_turn_every_write",
    )
]
NOT_TWICE = [f"--ignore={path}" for path in EXPLORED]


def played_on_target(collection: Path) -> list[str]:
    """Options of pytest that leave out what the oldest Python plays already."""
    files = collection.glob("tests/unit/plugins/module*/test_*.py")
    names = sorted(str(path.relative_to(collection)) for path in files)
    return [f"--ignore={name}" for name in names if name not in EXPLORED]


# Of the controller's code what uses nothing of ansible-core but its class of errors.
PURE = [
    f"--ignore=tests/unit/plugins/plugin_utils/test_{name}.py"
    for name in (
        "faces",
        "growth",
        "ha_settings",
        "left_behind",
        "machines",
        "page",
        "preview",
        "progress",
        "query",
        "reason_codes",
        "reconcile",
        "records",
        "redundancy",
        "rollout",
        "s3",
        "schema",
        "service_api",
        "turns",
        "upload",
        "waves",
        "window",
    )
]


def build_install(found: dict[str, Core | None], lacking: list[str]) -> list[Check]:
    core = newest(found)
    space = Space("build-install", environment(core))
    installed = space.root / "installed"
    space.env.update(ANSIBLE_COLLECTIONS_PATH=str(installed), PYTHONPATH="")
    script = f"""
        ansible-galaxy collection build --output-path '{space.root}'
        ansible-galaxy collection install --offline --collections-path '{installed}' \\
            '{space.root}'/*.tar.gz
        cd '{installed}'
        cd {COLLECTION}/plugins/modules
        ansible-doc --type module $(ls | sed -n 's/^\\([a-z].*\\)\\.py$/rebootless.ksplice.\\1/p')
        cd '{installed}'
        # What needs more than plugins, away from any checkout.
        mkdir elsewhere && cd elsewhere
        ansible-playbook rebootless.ksplice.rehearse -i web1, --check
        test -f ksplice-rehearsal/report/record.json
    """
    return [Check("build-install", ["sh", "-euxc", script], space, quiet=15)]


# What differs between the releases of ansible-core is how they play a playbook. These files, and in
# the short play those of their tests that are marked so, have one of every kind in them; all others
# run on the newest.
ON_EVERY_CORE = (
    *("test_rehearsal.py", "test_idle.py", "test_ssh.py", "test_rolling.py"),
    "test_service.py",
)


def integration(found: dict[str, Core | None], lacking: list[str]) -> list[Check]:
    checks = []
    for core in filter(None, found.values()):
        space = Space(f"integration-{core.name}", environment(core))
        name = f"integration: core {core.version}, Python {core.python}"
        paths = [
            "tests/integration",
            "--ignore=tests/integration/lab",
            "--ignore=tests/integration/fire",
        ]
        if core is not newest(found):
            paths = [f"tests/integration/{file}" for file in ON_EVERY_CORE]
            if not ALL:
                paths += ["-m", "every_core"]
        checks.append(
            pytest(name, space, paths, quiet=1500 if ALL else 160 if core is newest(found) else 40)
        )
    return checks


def fleet(found: dict[str, Core | None], lacking: list[str]) -> list[Check]:
    return [
        on_real_hosts(
            "fleet",
            "real hosts in namespaces",
            "tests/integration/lab",
            found,
            quiet=900 if ALL else 230,
        )
    ]


def fire(found: dict[str, Core | None], lacking: list[str]) -> list[Check]:
    kills = int(os.environ.get("FIRE_KILLS") or 0)
    check = on_real_hosts(
        "fire",
        "real pairs under fire",
        "tests/integration/fire",
        found,
        quiet=(1200 if ALL else 270) + 20 * kills,
    )
    check.tells = r"(pair [a-d]: |the random moments|-+ \S+test_)"
    return [check]


def on_real_hosts(
    name: str, what: str, folder: str, found: dict[str, Core | None], quiet: int
) -> Check:
    """One core is enough: what differs between them are not the hosts.

    The trees of the hosts are kept from run to run.
    """
    core = newest(found)
    space = Space(name, environment(core))
    space.env["LAB_CACHE"] = os.environ.get("LAB_CACHE") or str(BUILD / "lab")
    return pytest(f"{name}: core {core.version}, {what}", space, [folder, "-rP"], quiet)


def browser(found: dict[str, Core | None], lacking: list[str]) -> list[Check]:
    """The page of the record in Chromium. What it looks like is left in build/test/screenshots."""
    core = newest(found)
    venv = make_venv(VENVS / "browser", core.python, "browser.txt", core.requirement)
    space = Space("browser", venv)
    pictures = TEST / "screenshots"
    shutil.rmtree(pictures, ignore_errors=True)
    space.env["KSPLICE_SCREENSHOTS"] = str(pictures)
    return [pytest("browser: the page in Chromium", space, ["tests/browser"], quiet=90)]


def sanity(found: dict[str, Core | None], lacking: list[str]) -> list[Check]:
    checks = []
    for core in filter(None, found.values()):
        space = Space(f"sanity-{core.name}", environment(core))
        keep_pips(space)
        # Compiled is what is used, and when it is.
        space.env["PIP_NO_COMPILE"] = "1"
        del space.env["PYTHONDONTWRITEBYTECODE"]
        targets = [core.python]
        if core.target and ALL:
            targets.insert(0, core.target)
        elif core.target and core is not newest(found):
            # Its newer Python is the newest core's business.
            targets = [core.target]
        if core.target != core.oldest_target and core is not newest(found):
            lacking.append(
                f"sanity: core {core.version} for Python {core.oldest_target}: not on this machine."
                f" pyenv install {core.oldest_target}"
            )
        command = [space.program("ansible-test"), "sanity", "--color", "no", "--junit"]
        command += ["--controller", f"origin:python={core.python}"]
        if core is not newest(found) and not ALL:
            # What an older core sees that the newest does not: whether it can load and document the
            # plugins, and whether its Pythons can.
            command += [
                word for name in ("ansible-doc", "compile", "import") for word in ("--test", name)
            ]
        # ansible-test looks for python3.6 and the like on PATH.
        pythons = space.root / "pythons"
        pythons.mkdir()
        space.env["PATH"] = f"{space.venv / 'bin'}:{pythons}:{space.env['PATH']}"
        for target in targets:
            command += ["--target-python", target]
            (pythons / f"python{target}").symlink_to(find_python(target))
        if core is newest(found) and not ALL:
            # `make lint` runs the programs of ansible-doc (antsibull-docs does), changelog and
            # yamllint. pep8 sees nothing that lint does not: ruff has its rules at a shorter line
            # and formats the rest. pylint is two thirds of it all; ruff has its errors (PLE), and
            # finds unused names and subprocess without check at a hundredth.
            left = ("ansible-doc", "changelog", "pep8", "pylint", "yamllint")
            command += [word for name in left for word in ("--skip-test", name)]
        name = f"sanity: core {core.version}, Python {' '.join(targets)}"
        quiet = 400 if ALL else 60
        checks.append(Check(name, command, space, quiet, junit="tests/output/junit/*.xml"))
    return checks


def keep_pips(space: Space) -> None:
    """Every pip that this ansible-test wants, and the stand-in for its get-pip script, where it
    looks for them.
    """
    cache = space.home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    source = next(
        space.venv.glob("lib/python*/site-packages/ansible_test/_internal/python_requirements.py")
    )
    for version in re.findall(r"\bpip='([\d.]+)'", source.read_text()):
        shutil.copy(
            ROOT / "tests" / "tools" / "get_pip.py",
            cache / f"get_pip_{version.replace('.', '_')}.py",
        )
        if not list(cache.glob(f"pip-{version}-*.whl")):
            command = [str(installer() / "bin" / "pip"), "download", "--quiet", "--no-deps"]
            # Some are for an older Python than the one that fetches them.
            command += [
                "--only-binary=:all:",
                "--ignore-requires-python",
                "--dest",
                str(cache),
                f"pip=={version}",
            ]
            subprocess.run(command, check=True)


def pytest(name: str, space: Space, paths: list[str], quiet: int) -> Check:
    command = [
        space.program("python"),
        "-m",
        "pytest",
        "--quiet",
        "--durations=5",
        "--junitxml=tests/output/pytest.xml",
    ]
    command.append(f"--basetemp={space.env['TMPDIR']}/t")
    return Check(name, command + paths, space, quiet, junit="tests/output/pytest.xml")


def newest(found: dict[str, Core | None]) -> Core:
    return list(filter(None, found.values()))[-1]


def environment(core: Core) -> Path:
    more = "-all" if ALL and core.name == "newest" else ""
    file = f"units{more}.txt"
    return make_venv(VENVS / f"{core.name}{more}", core.python, file, core.requirement)


GROUPS = {
    "lint": lint,
    "units": units,
    "build-install": build_install,
    "fleet": fleet,
    "fire": fire,
    "integration": integration,
    "browser": browser,
    "sanity": sanity,
}


def main(names: list[str]) -> int:
    start = time.monotonic()
    found = cores()
    lacking = [
        f"core {name}: no Python for it here, see tests/cores.ini"
        for name, core in found.items()
        if not core
    ]
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    with ThreadPoolExecutor(JOBS) as pool:
        checks = [
            c for group in pool.map(lambda name: GROUPS[name](found, lacking), names) for c in group
        ]
        print(
            f"Environments and copies are made ({time.monotonic() - start:.1f} s, "
            f"{cpu_seconds():.1f} s CPU). Running {len(checks)} checks; their time limits are "
            f"{sum(check.limit for check in checks) / 60:.0f} minutes in sum.",
            flush=True,
        )
        results = []
        try:
            for done in as_completed([pool.submit(check.run) for check in checks]):
                result = done.result()
                results.append(result)
                if result.failed:
                    print(f"\n--- {result.name}\n{result.story()}---")
                print(*result.told, result, sep="\n", flush=True)
        except Interrupted:
            print("Interrupted: ending what runs, and removing what it made.", flush=True)
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.terminate()
            raise
    return summary(results, lacking, time.monotonic() - start)


def cpu_seconds() -> float:
    """What this process and everything it waited for has cost so far, whoever started it."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def summary(results: list[Result], lacking: list[str], seconds: float) -> int:
    print("\nSummary")
    for result in sorted(results, key=lambda one: one.name):
        print(" ", result)
    skipped = [
        f"{r.name}: {number} x {reason}" for r in results for reason, number in r.skipped.items()
    ]
    if lacking or skipped:
        print("\nSkipped on this machine")
        for line in lacking + skipped:
            print(" ", line)
    failed = sum(r.failed for r in results)
    whole = cpu_seconds()
    print(
        f"\nLogs are in {LOGS.relative_to(ROOT)}. {whole:.0f} s CPU in all ({whole / 60:.1f} "
        f"minutes), {whole - sum(r.cpu for r in results):.0f} of them for environments and "
        f"copies; {seconds:.0f} s by the clock."
    )
    print(f"{sum(r.passed for r in results)} passed, {failed} failed")
    return 1 if failed else 0


@contextlib.contextmanager
def one_at_a_time():
    """A second run in the same checkout waits: both would use the same copies.

    Begins and ends with nothing of an earlier run on this machine.
    """
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / ".check.lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                "Another run of the tests is at work in this checkout: waiting for its end.",
                flush=True,
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        RUN.begin()
        for line in leftovers.remove(RUN):
            print(f"From an earlier run: {line}", flush=True)
        try:
            yield
        finally:
            leftovers.remove(RUN)
            RUN.end()


class Interrupted(BaseException):
    """Somebody wants this run to end."""


def stop(signum, frame) -> None:
    # Once: whoever is impatient must not stop the clearing up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted


if __name__ == "__main__":
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        with one_at_a_time():
            sys.exit(main([name for name in sys.argv[1:] if name != "--all"]))
    except Missing as lack:
        sys.exit(str(lack))
    except Interrupted:
        sys.exit(130)
