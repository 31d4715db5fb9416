# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""Which command was this called as?"""

import os

CLIENT_COMMANDS = ("uptrack-upgrade", "uptrack-install", "uptrack-remove", "uptrack-show")
UNAME_COMMANDS = ("uptrack-uname", "uname")


def main(argv):
    command = os.path.basename(argv[0])
    if command in CLIENT_COMMANDS:
        from . import agent

        return agent.main(command, argv[1:])
    if command in UNAME_COMMANDS:
        from . import uname

        return uname.main(command, argv[1:])
    if command == "ksplice":
        from . import enhanced

        return enhanced.main(argv[1:])
    return 255
