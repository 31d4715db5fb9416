# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the runner of the tests promises: a limit that says where, the cost of everything, and
nothing left behind.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
# Starts a process of its own session and forks away from it, as daemons do; it writes its number to
# a file and works a little.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        end = time.process_time() + 0.4
        while time.process_time() < end:
            pass
        with open(sys.argv[1], "w") as file:
            file.write(str(os.getpid()))
        time.sleep(300)
    os._exit(0)
os.wait()
while not os.path.exists(sys.argv[1]) or not os.path.getsize(sys.argv[1]):
    time.sleep(0.01)
"""


def supervise(tmp_path, seconds, *command, **more):
    return subprocess.Popen(
        [
            sys.executable,
            "-B",
            str(TOOLS / "supervise.py"),
            str(tmp_path / "result"),
            str(seconds),
            *map(str, command),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    )


def result(tmp_path):
    return json.loads((tmp_path / "result").read_text())


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid, seconds=20):
    end = time.monotonic() + seconds
    while alive(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.02)
    return True


def until_written(path):
    end = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    return int(path.read_text())


def test_a_daemon_is_counted_and_ended(tmp_path):
    process = supervise(tmp_path, 60, sys.executable, "-c", DAEMON, tmp_path / "pid")
    assert process.wait(60) == 0
    assert gone(int((tmp_path / "pid").read_text()))
    said = result(tmp_path)
    assert said["status"] == 0 and not said["cut_off"] and said["user"] + said["system"] >= 0.4


def test_the_exit_status_is_the_command_s(tmp_path):
    assert supervise(tmp_path, 60, "sh", "-c", "exit 7").wait(60) == 7
    assert result(tmp_path)["status"] == 7


HANGS = """
import time
def test_that_waits_for_what_never_comes():
    print("as far as here")
    while True:
        time.sleep(0.1)
"""


def test_what_is_cut_off_names_the_test_with_its_stack(tmp_path):
    (tmp_path / "test_hang.py").write_text(HANGS)
    env = dict(
        os.environ,
        KSPLICE_TEST_STACK=str(tmp_path / "stack"),
        KSPLICE_TEST_NAME=str(tmp_path / "name"),
        PYTHONPATH=f"{TOOLS.parent}:{os.environ.get('PYTHONPATH', '')}",
    )
    process = supervise(
        tmp_path,
        12,
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        tmp_path,
        tmp_path / "test_hang.py",
        env=env,
        cwd=tmp_path,
    )
    said = process.communicate(timeout=90)[0]
    assert process.returncode == 124
    assert "At work: test_hang.py::test_that_waits_for_what_never_comes" in said
    assert 'test_hang.py", line 6 in test_that_waits_for_what_never_comes' in said, "the stack"
    assert "as far as here" in said, "the last output"
    assert result(tmp_path)["cut_off"] and result(tmp_path)["test"].endswith("never_comes")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_command_ends_with_its_supervisor(tmp_path, number):
    process = supervise(
        tmp_path,
        60,
        sys.executable,
        "-c",
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); "
        "time.sleep(300)",
    )
    pid = until_written(tmp_path / "pid")
    process.send_signal(number)
    process.wait(60)
    assert gone(pid)


def test_the_end_of_the_runner_is_the_end_of_all(tmp_path):
    """SIGKILL, which nobody can clear up after: what was running ends by itself."""
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, "
        f"{str(TOOLS / 'supervise.py')!r}, {str(tmp_path / 'result')!r}, '60', sys.executable, "
        f"'-c', {DAEMON!r}, {str(tmp_path / 'pid')!r}]); time.sleep(300)"
    )
    runner = subprocess.Popen([sys.executable, "-c", code])
    pid = until_written(tmp_path / "pid")
    runner.kill()
    runner.wait()
    assert gone(pid)


@pytest.mark.parametrize("gets, status", [(1.0, 124), (0.1, 0)])
def test_on_a_machine_that_works_for_others_too_a_limit_lasts_longer(tmp_path, gets, status):
    code = (
        f"import sys; sys.path.insert(0, {str(TOOLS)!r}); import supervise; "
        f"supervise.MEASURED_EVERY = 0; supervise.share = lambda: {gets}; "
        f"sys.exit(supervise.main({str(tmp_path / 'result')!r}, '1.5', 'sleep', '4'))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], check=False)
    assert done.returncode == status and result(tmp_path)["cut_off"] is (status == 124)


def test_a_process_that_gets_all_the_time_that_it_wants_counts_seconds_in_full():
    sys.path.insert(0, str(TOOLS))
    import supervise

    assert 0 < supervise.share() <= 1
