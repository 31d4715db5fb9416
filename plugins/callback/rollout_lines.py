# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The lines of a rollout beside the output of another callback."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout_lines
type: aggregate
short_description: Shows a rollout beside the output of another callback
description:
  - Says the same lines as P(rebootless.ksplice.rollout#callback) and leaves the output of the
    stdout callback as it is. For AWX, which has a stdout callback of its own, and for whoever wants
    to keep theirs.
  - It is silent where P(rebootless.ksplice.rollout#callback) is the stdout callback.
requirements:
  - enable in configuration (C(callbacks_enabled) in C(ansible.cfg), or
    E(ANSIBLE_CALLBACKS_ENABLED))
author:
  - rebootless.ksplice contributors (@rebootless)
"""

from ansible.plugins.callback import CallbackBase
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import progress


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "rebootless.ksplice.rollout_lines"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self.disabled = progress.by_callback
        progress.by_callback = True
        self._progress = progress.Progress()

    def v2_runner_on_ok(self, result):
        space, _dot, action = (result._task.resolved_action or "").rpartition(".")
        if space != progress.OURS:
            return
        for line in self._progress.seen(action, result._host.get_name(), result._result):
            self._display.display(line.text)

    def v2_runner_on_unreachable(self, result):
        # The stdout callback says it.
        self._progress.failed(result._host.get_name(), "unreachable", unreachable=True)
