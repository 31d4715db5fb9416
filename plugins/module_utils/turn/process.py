# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The process that carries a turn out: detached from whoever began it, and started anew when it
dies.

The program (all of this collection that it needs, as one text) lies beside the journal while a turn
lasts. Where systemd runs the host, C(systemd-run) starts it, restarts it when it is killed, and a
unit of its own starts it at the next boot. Elsewhere it is a process of a session of its own, with
a guardian that starts it anew, and cron starts it after a boot.
"""

import contextlib
import os
import shutil
import signal
import sys

from ansible_collections.rebootless.ksplice.plugins.module_utils import commands, files
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import ledger

PROGRAM = ledger.DIRECTORY + "/turn.py"
UNIT = "rebootless-ksplice-turn"
BOOT_UNIT = "/etc/systemd/system/rebootless-ksplice-resume.service"
BOOT_WANTED = "/etc/systemd/system/multi-user.target.wants/rebootless-ksplice-resume.service"
CRON = "/etc/cron.d/rebootless-ksplice"
# The guardian of the process: starts it anew when it dies, so often.
GUARD = """i=0
while [ $i -lt 20 ]; do
    "$1" -I "$2" && exit
    i=$((i + 1))
    sleep 1
done
"""


def start(root, program):
    """Start the process that carries on what stands in the journal.

    :param program: the text of a program that calls main, as plugin_utils/host_program makes it.
    :raises OSError: where the program cannot be written; nothing was started then.
    """
    files.replace(root + PROGRAM, program)
    systemd = not root and os.path.isdir("/run/systemd/system")
    _at_boot(root, systemd)
    if not (systemd and _by_systemd()):
        _by_fork(root)


def _by_systemd():
    if not shutil.which("systemd-run"):
        return False
    # What is left of an earlier one that failed keeps the name.
    commands.run(["systemctl", "reset-failed", UNIT + ".service"])
    words = ["systemd-run", "--quiet", f"--unit={UNIT}"]
    for setting in ("Restart=on-failure", "RestartSec=1", "Description=Ksplice turn of this host"):
        words += ["-p", setting]
    return commands.run(words + [sys.executable, "-I", PROGRAM])[0] == 0


def _by_fork(root):
    """Twice, so that no process waits for the second; in a session of its own, deaf to SIGHUP."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            os.chdir("/")
            words = ["sh", "-c", GUARD, "guard", sys.executable, root + PROGRAM]
            os.execve("/bin/sh", words, dict(os.environ, UPTRACK_LAB_ROOT=root))
    finally:
        os._exit(0)


def _at_boot(root, systemd):
    """Have the turn carried on after a boot. Where that cannot be had, the next run does it."""
    command = f"{sys.executable} -I {PROGRAM}"
    with contextlib.suppress(OSError):
        if systemd:
            files.replace(
                BOOT_UNIT,
                "[Unit]\nDescription=Carry on the Ksplice turn that a boot cut off\n"
                f"ConditionPathExists={PROGRAM}\nAfter=network-online.target\n"
                f"Wants=network-online.target\n[Service]\nExecStart={command}\n"
                "Restart=on-failure\nRestartSec=1\n[Install]\nWantedBy=multi-user.target\n",
                mode=0o644,
            )
            os.makedirs(os.path.dirname(BOOT_WANTED), exist_ok=True)
            if not os.path.islink(BOOT_WANTED):
                os.symlink(BOOT_UNIT, BOOT_WANTED)
        elif os.path.isdir(root + os.path.dirname(CRON)):
            files.replace(
                root + CRON,
                f"# Carries on the Ksplice turn that a boot cut off.\n@reboot root {command}\n",
                mode=0o644,
            )


def _clean_up(root):
    """Nothing stays behind but the journal."""
    places = [root + PROGRAM, root + CRON] + ([] if root else [BOOT_WANTED, BOOT_UNIT])
    for path in places:
        with contextlib.suppress(OSError):
            os.unlink(path)


def main():
    """What the program does: carry the turn on."""
    # Only here: whoever asks the host to begin a turn needs nothing of it.
    from ansible_collections.rebootless.ksplice.plugins.module_utils.turn.run import Turn

    root = os.environ.get("UPTRACK_LAB_ROOT", "")
    # Whoever became root by sudo need not have root's PATH.
    os.environ["PATH"] = os.environ.get("PATH") or "/usr/bin:/bin"
    for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin"):
        if folder not in os.environ["PATH"].split(":"):
            os.environ["PATH"] += ":" + folder
    if Turn(root).run(lambda: _clean_up(root)) is None:
        # Whoever guards it starts it anew: what is at work may be a command by hand.
        sys.exit(1)
