# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The emulated Ksplice Uptrack agent: one program, whose name decides what it does.

Called as uptrack-upgrade, uptrack-install, uptrack-remove, uptrack-show, uptrack-uname, uname or
ksplice it answers as that command does, for the host whose files are below $UPTRACK_LAB_ROOT.  This
file stays tiny on purpose: Python compiles the started file on every run, but keeps the compiled
form of the package beside it.
"""

import sys


def main(argv):
    from uptrack_lab import cli

    return cli.main(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
