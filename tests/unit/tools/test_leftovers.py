# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a killed run of the tests left is found by its names and removed; what only looks like it is
reported and not touched.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
leftovers = pytest.importorskip("leftovers")


@pytest.fixture
def run():
    """A run that is not of any checkout, dead from the start."""
    one = leftovers.Run(os.urandom(4).hex())
    one.begin()
    one.lock.close()
    yield one
    shutil.rmtree(one.directory, ignore_errors=True)


def start(run, seconds=300):
    """A process that a run of the tests left, deep in sleep and nobody's child."""
    code = (
        "import os, time\nif os.fork() == 0:\n    os.setsid(); print(os.getpid(), flush=True); "
        f"time.sleep({seconds})"
    )
    env = dict(os.environ, **{leftovers.VARIABLE: str(run.directory)})
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        return int(process.stdout.readline())


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_and_files_of_a_dead_run(run):
    (run.directory / "units").mkdir()
    (run.directory / "units" / "file").touch()
    pid = start(run)
    said = leftovers.remove()
    assert (
        any(f"ended process {pid}" in line for line in said)
        and not is_there(pid)
        and not run.directory.exists()
    ), said


def test_a_run_that_is_alive_is_not_touched(run):
    run.begin()
    pid = start(run, 20)
    (run.directory / "units").mkdir()
    leftovers.remove()
    assert is_there(pid) and (run.directory / "units").exists()
    # Of its own, which has begun and started nothing yet, everything is from a run before it.
    leftovers.remove(run)
    assert (
        not is_there(pid)
        and not (run.directory / "units").exists()
        and (run.directory / "lock").exists()
    )
    run.end()


@pytest.fixture
def root():
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("making namespaces and mounts needs root, and ip")
    made = []

    def namespace(name):
        made.append(name)
        if subprocess.run(
            ["ip", "netns", "add", name], stderr=subprocess.DEVNULL, check=False
        ).returncode:
            pytest.skip("this machine makes no network namespaces")

    yield namespace
    for name in made:
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def test_namespaces_mounts_and_control_groups_of_a_dead_run(run, root):
    root(f"{run.prefix}d-web1")
    place = run.directory / "t"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    groups = [
        Path(group) / f"rebootless-{run.prefix}d" / "web1"
        for group in leftovers.namespaced_hosts._cgroups()
    ]
    for group in groups:
        group.mkdir(parents=True)
    sleeper = subprocess.Popen(["sleep", "300"])
    for group in groups:
        (group / "cgroup.procs").write_text(str(sleeper.pid))
    said = leftovers.remove()
    assert sleeper.wait(20) == -9
    assert (
        not Path("/run/netns", f"{run.prefix}d-web1").exists()
        and not os.path.ismount(place)
        and not run.directory.exists()
    ), said
    assert not any(group.parent.exists() for group in groups)
    assert any("namespace" in line for line in said) and any("unmounted" in line for line in said)


def test_what_only_looks_like_it_is_reported(root):
    stranger = f"ksplice-{os.urandom(4).hex()}"
    root(f"{stranger}-web1")
    said = leftovers.remove()
    assert (
        any(line.startswith("not touched") and stranger in line for line in said)
        and Path("/run/netns", f"{stranger}-web1").exists()
    )
