# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Killed at any moment, on a full disk, on a read-only one: the next run tells the truth and gets
there.
"""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply
from extent import rounds, seed

IDS = ["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"]
MOMENTS = rounds(50, 12)


def truthful(host):
    """What the facts say of the host is what is in its kernel.

    An agent whose module was killed may still be at work.
    """
    before = set(host.in_kernel())
    seen = host.facts()
    kernel = host.in_kernel()
    assert before <= {one["id"] for one in seen["updates"]["installed"]} <= set(kernel)
    assert seen["verdict"] != "current" or kernel == IDS, seen
    return seen


def converges(host):
    result = host.apply(retries=3)
    assert not result["failed"] and host.in_kernel() == IDS, result
    assert truthful(host)["verdict"] == "current"


def in_a_process(host):
    """uptrack_apply in a process of its own, as the module is: its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            host.apply(retries=0)
        finally:
            os._exit(0)
    return pid


def agent_of(pid):
    """The agent that a module runs at the moment, or None."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(word) for word in file.read().split()]
        for child in children:
            with open(f"/proc/{child}/cmdline") as file:
                words = file.read().split("\0")
            if words[0] == "timeout":
                return agent_of(child)
            if any(os.path.basename(word).startswith("uptrack-") for word in words):
                return child
    except (OSError, ValueError):
        pass
    return None


def wait_for_agent(pid):
    """Until the module has started the agent, or has ended."""
    while (
        agent_of(pid) is None
        and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.002)


def test_killed_at_random_moments(make_host):
    chance = random.Random(seed("KSPLICE_TEST_SEED"))
    slow = {"seconds_per_update": 0.05, "seconds_per_contact": 0.01, "lock_wait": 5}
    # How long a run takes that nobody disturbs: on a busy machine the moments must spread wider.
    began = time.time()
    host = make_host(**slow)
    host.own_processes = True
    os.waitpid(in_a_process(host), 0)
    length = time.time() - began
    hit = {"module": 0, "agent": 0, "both": 0, "in between": 0}
    for number in range(MOMENTS):
        host = make_host(**slow)
        host.own_processes = True
        pid, victim = in_a_process(host), ["module", "agent", "both"][number % 3]
        if victim != "module":
            wait_for_agent(pid)
        while victim == "agent" and agent_of(pid) and not host.in_kernel():
            time.sleep(0.002)
        time.sleep(
            chance.uniform(
                0,
                {"module": length, "both": length / 3, "agent": slow["seconds_per_update"]}[victim],
            )
        )
        agent = agent_of(pid)
        for name, target in (("agent", agent), ("module", pid)):
            if target and victim in (name, "both"):
                try:
                    os.kill(target, signal.SIGKILL)
                    hit[victim] += 1
                except OSError:
                    pass
        os.waitpid(pid, 0)
        hit["in between"] += 0 < len(host.in_kernel()) < len(IDS)
        truthful(host)
        converges(host)
    assert hit["module"] and hit["agent"] and hit["both"] and hit["in between"], hit


@pytest.fixture
def small_disk(make_host, tmp_path):
    """A host whose /var is a file system of its own, 8 MB large: (host, remount)."""
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    host = make_host(installed=IDS[:1])
    var, kept = host.path("var"), str(tmp_path / "kept")
    shutil.move(var, kept)
    os.mkdir(var)
    if (
        subprocess.call(
            ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", var],
            stderr=subprocess.DEVNULL,
        )
        != 0
    ):
        os.rmdir(var)
        shutil.move(kept, var)
        pytest.skip("this machine lets nobody mount a file system")
    try:
        for name in os.listdir(kept):
            shutil.copytree(os.path.join(kept, name), os.path.join(var, name), symlinks=True)
        host.write("var/lib/uptrack-lab/state.json", f'{{"created": {time.time():f}}}')
        yield host, lambda how: subprocess.check_call(["mount", "-o", "remount," + how, var])
    finally:
        subprocess.call(["umount", "-l", var])


def test_a_full_disk(small_disk):
    host, _remount = small_disk
    filler = host.path("var/filler")
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    before = host.in_kernel()
    result = host.apply(retries=0)
    assert sorted(result["after"]["updates"]) == host.in_kernel()
    assert result["changed"] == (host.in_kernel() != before)
    truthful(host)
    os.unlink(filler)
    converges(host)


def test_a_read_only_var(small_disk):
    host, remount = small_disk
    remount("ro")
    before = host.in_kernel()
    # Who cannot write down that he is at work must not work.
    with pytest.raises(
        apply.Refused, match="Read-only file system.*Nothing was changed"
    ) as refused:
        host.apply(retries=0)
    assert (
        refused.value.error_class == "lease"
        and not refused.value.result["changed"]
        and host.in_kernel() == before
    )
    truthful(host)
    remount("rw")
    converges(host)
