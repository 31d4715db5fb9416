# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Commands that are ended when they take too long."""

import shutil
import subprocess
import tempfile
import time

# Where ip and crm_mon are, also for a user who became root without root's PATH.
SYSTEM = "/usr/sbin:/sbin:/usr/local/sbin"


def meant_for_a_shell(words):
    """The first word that only a shell would understand, or None. Commands run without one, where
    it would be an argument like any other, and a check with C(|| exit 1) in it would pass.
    """
    signs = ("|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1", ">&2")
    return next(
        (word for word in words if word in signs or (len(word) > 1 and word.endswith(";"))), None
    )


# What timeout ends with when it had to end the command, or had to kill it (itself too, then);
# busybox reports the signal.
ENDED = (124, 137, 143, -9, -15)
# Seconds that a command has between being told to end and being killed.
GRACE = 10


def limited(words, seconds):
    """The command with a time limit, after which it is sent SIGTERM and, if it does not end,
    SIGKILL: it and what it started, nothing else. A host without C(timeout), which every coreutils
    and busybox has, has no limit.
    """
    return (
        ["timeout", "-k", str(GRACE), str(seconds)] + list(words)
        if shutil.which("timeout") is not None
        else list(words)
    )


def run(words, env=None, **_more):
    """As AnsibleModule.run_command, for a process that no module is: C((rc, stdout, stderr)).

    :param env: the whole environment, by default that of this process.
    """
    # By files: what a command leaves running would keep a pipe open for as long as it lives.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            # There is no AnsibleModule here whose run_command could be called.
            rc = subprocess.Popen(  # pylint: disable=ansible-bad-function,consider-using-with
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env
            ).wait()
        except OSError as error:
            return error.errno or 127, "", f"{words[0]} cannot be run ({error.strerror})"
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode("utf-8", "surrogateescape"))
    return rc, said[0], said[1]


def with_timeout(run_command, seconds, clock=time.monotonic):
    """As AnsibleModule.run_command, with so many seconds for all of them together; one that is
    ended has status 124. A program that is not there: 127.
    """
    end = clock() + seconds

    def run(words, **more):
        program = shutil.which(words[0]) or shutil.which(words[0], path=SYSTEM)
        if program is None:
            return 127, "", f"there is no {words[0]}"
        words = [program] + list(words[1:])
        left = max(1, int(end - clock()))
        if shutil.which("timeout") is not None:
            words = ["timeout", "-k", "2", str(left)] + list(words)
        rc, out, err = run_command(words, **more)
        return rc, out, err or (f"did not finish within {left} s" if rc == 124 else "")

    return run
