# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""write_report on the controller: in this process, since a module for each of these files would cost more than the survey of a hundred hosts."""

from __future__ import annotations

import json
import os
import tempfile

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import record as records


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, options = self.validate_argument_spec(
            {
                "directory": {"type": "path", "required": True},
                "record": {"type": "dict"},
                "template": {"type": "path"},
            },
            required_together=[("record", "template")],
        )
        directory = os.path.abspath(options["directory"])
        try:
            changed = not os.path.isdir(directory)
            # The record tells which CVEs are open where: not for every user of the controller. A directory that is there keeps its mode.
            os.makedirs(directory, mode=0o750, exist_ok=True)
            if options["record"] is not None:
                with open(options["template"], encoding="utf-8") as file:
                    page = records.page(options["record"], file.read())
                _replace(
                    directory,
                    "record.json",
                    json.dumps(options["record"], indent=4, sort_keys=True, ensure_ascii=False)
                    + "\n",
                )
                _replace(directory, "report.html", page)
                changed = True
        except OSError as error:
            raise AnsibleActionFail(
                f"The report cannot be written to {directory}: {error.strerror} ({error.filename}). What an earlier run left there is as "
                "it was. Give another directory (ksplice_report_directory)."
            )
        return dict(result, changed=changed, directory=directory)


def _replace(directory, name, text):
    """Write a file that nobody ever sees half of."""
    descriptor, path = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
    try:
        # What a host said in no known encoding must not cost the others their record.
        with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o640)
            os.fsync(file.fileno())
        os.replace(path, os.path.join(directory, name))
    except BaseException:
        os.unlink(path)
        raise
