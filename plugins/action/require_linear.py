# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""require_linear on the controller: only here can a task see the strategy of its play."""

from __future__ import annotations

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset()

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        strategy = self._task.get_play().strategy
        if strategy not in ("linear", "ansible.builtin.linear"):
            return dict(
                result,
                failed=True,
                msg=f"The play uses the strategy {strategy}, with which hosts do not wait "
                "for each other, so that "
                "two of a redundancy group could be claimed at once. Use strategy: linear "
                "(Ansible's default). No host was changed.",
            )
        return dict(result, changed=False)
