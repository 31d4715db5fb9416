# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""For the tests: writes every host-task of a run into the file that ANSIBLE_TEST_EVENTS names, one
JSON line each.
"""

from __future__ import annotations

DOCUMENTATION = """
name: test_events
type: aggregate
short_description: Write down every host-task
description: For the tests of this collection.
"""

import json
import os

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "test_events"

    def _write(self, result, what):
        with open(os.environ["ANSIBLE_TEST_EVENTS"], "a", encoding="utf-8") as file:
            file.write(
                json.dumps(
                    {
                        "what": what,
                        "host": result._host.get_name(),
                        "task": result._task.get_name(),
                        "delegated": result._task.delegate_to,
                        "run_once": bool(result._task.run_once),
                        "result": result._result,
                    },
                    default=str,
                )
                + "\n"
            )

    def v2_runner_on_ok(self, result):
        self._write(result, "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._write(result, "failed")

    def v2_runner_on_unreachable(self, result):
        self._write(result, "unreachable")

    def v2_runner_on_skipped(self, result):
        self._write(result, "skipped")
