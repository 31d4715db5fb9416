# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A task of uptrack_apply, for the module and for the program that asks in one round trip."""

import platform
import time

from ansible_collections.rebootless.ksplice.plugins.module_utils import commands
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.apply import (
    Agent,
    Refused,
    apply,
)


def perform(params, check_mode, agent):
    """The task's result; C(failed) says whether it failed."""
    begun = time.monotonic()
    try:
        result = apply(
            agent, params, check_mode, platform.node(), sleep=time.sleep, clock=time.monotonic
        )
    except Refused as refused:
        return dict(refused.result, failed=True, msg=str(refused), error_class=refused.error_class)
    return dict(result, seconds=round(time.monotonic() - begun, 3))


def diff(result):
    """What came and went, as Ansible shows it."""
    if "before" not in result:
        return None
    return {
        when: "".join(f"{ident}\n" for ident in result[when]["updates"])
        for when in ("before", "after")
    }


def answer(params, check_mode, root, _program):
    """As perform, for the program that asks in one round trip."""
    return perform(params, check_mode, Agent(commands.run, root=root))
