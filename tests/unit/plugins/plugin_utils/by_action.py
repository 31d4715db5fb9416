# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""An action plugin as a task has it, without Ansible around it."""

from __future__ import annotations

from unittest import mock


def action(plugin, **task):
    """The action plugin of a module of plugins/action.

    :param task: more of its task.
    """
    given = dict({"args": {}, "async_val": 0, "check_mode": False, "delegate_to": None}, **task)
    return plugin.ActionModule(
        task=mock.MagicMock(**given),
        connection=mock.MagicMock(),
        play_context=mock.MagicMock(check_mode=False),
        loader=None,
        templar=None,
        shared_loader_obj=None,
    )
