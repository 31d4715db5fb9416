# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Commands that are ended when they take too long."""

import shutil
import time


def commands(run_command, seconds, clock=time.monotonic):
    """As AnsibleModule.run_command, with so many seconds for all of them together; one that is ended has status 124. A program that is not there: 127."""
    end = clock() + seconds

    def run(words, **more):
        if shutil.which(words[0]) is None:
            return 127, "", "there is no {}".format(words[0])
        left = max(1, int(end - clock()))
        if shutil.which("timeout") is not None:
            words = ["timeout", "-k", "2", str(left)] + list(words)
        rc, out, err = run_command(words, **more)
        return rc, out, err or ("not done after {} s".format(left) if rc == 124 else "")
    return run
