# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The output of a rollout on a terminal, in a log or in a job."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout
type: stdout
short_description: Shows a rollout as a whole, in place of each task on each host
description:
  - Says first what will be done (hosts, waves, about how long), then one line for each host that is
    finished and for each wave, and at the end a table of the hosts that need attention. What a host
    does is said step by step only when its turn takes longer than ten seconds.
  - Of other tasks it says how many hosts they changed. What fails is one sentence.
  - With C(-v) the output is that of P(ansible.builtin.default#callback), and these lines within it.
  - On a terminal there is a progress bar, with the number of hosts and the time left, if the Python
    package C(rich) is there for the Python of Ansible. Elsewhere, and with C(TERM=dumb), there are
    plain lines only.
  - Where the output belongs to another callback, as in AWX, use
    P(rebootless.ksplice.rollout_lines#callback).
options:
  progress_bar:
    description: Whether there may be a progress bar.
    type: bool
    default: true
    env:
      - name: KSPLICE_PROGRESS_BAR
    ini:
      - section: callback_rollout
        key: progress_bar
extends_documentation_fragment:
  - default_callback
  - result_format_callback
author:
  - rebootless.ksplice contributors (@rebootless)
"""

import atexit
import os
import sys

from ansible import constants as C
from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import progress, turns, wording

BUILTIN = ("ansible.builtin", "ansible.legacy", "")
COLOURS = {"plain": None, "changed": C.COLOR_CHANGED, "bad": C.COLOR_ERROR}


class CallbackModule(Default):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "rebootless.ksplice.rollout"

    def __init__(self):
        super().__init__()
        self._progress = progress.Progress()
        progress.by_callback = True
        # Whether each task is shown as ansible.builtin.default shows it.
        self._whole = self._display.verbosity > 0
        self._bar = None
        # Of tasks that are no steps of the rollout, by their IDs, as under some strategies many go
        # on at once: the task and how many hosts it changed; and with the host, why an item failed.
        self._changed, self._items = {}, {}

    def set_options(self, *args, **kwargs):
        super().set_options(*args, **kwargs)
        if self.get_option("progress_bar") and not self._whole:
            self._bar = _bar()

    # ---- what is said ----

    def _say(self, lines):
        for line in lines:
            self._display.display(line.text, color=COLOURS[line.kind])
        if self._bar:
            self._bar.show(self._progress.bar)

    def _seen(self, result):
        """Say what a result is for the rollout. Whether it is one of its steps, of which no more is
        said, comes back."""
        action = _of_space(result, progress.OURS)
        lines = self._progress.seen(action, result._host.get_name(), result._result)
        self._say(lines)
        return bool(lines) or action in ("rollout", "uptrack_turn", "ha_lease")

    def _ended(self):
        """Say what tasks changed that are no steps of the rollout, once they are over."""
        for task, count in self._changed.values():
            hosts = wording.count(count, "host")
            name = wording.printable(task.get_name(include_role_fqcn=False).strip())
            changed = "would change" if task.check_mode else "changed on"
            self._say([progress.Line(f"{name}: {changed} {hosts}", "changed")])
        self._changed, self._items = {}, {}

    # ---- what Ansible tells ----

    def v2_playbook_on_play_start(self, play):
        self._ended()
        if self._whole:
            super().v2_playbook_on_play_start(play)
        self._play = play

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._task_begins(task, "TASK")

    def v2_playbook_on_handler_task_start(self, task):
        self._task_begins(task, "RUNNING HANDLER")

    def _task_begins(self, task, prefix):
        if self._play.strategy.rpartition(".")[2] == "linear":
            self._ended()
        if self._whole:
            self._task_start(task, prefix=prefix)
        else:
            self._last_task_name = task.get_name().strip()

    def v2_runner_on_ok(self, result):
        step = self._seen(result)
        if self._whole:
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings(result._result)
        if step:
            return
        if _of_space(result, *BUILTIN) == "debug":
            self._debug(result)
        elif result._result.get("changed"):
            task, count = self._changed.get(result._task._uuid, (result._task, 0))
            self._changed[result._task._uuid] = task, count + 1

    def _debug(self, result):
        message = result._result.get("msg")
        if "results" in result._result:
            # Each item was said.
            return
        if isinstance(message, str):
            text = wording.printable(f"{result._host.get_name()}: {message}")
            self._say([progress.Line(text)])
        else:
            super().v2_runner_on_ok(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if self._whole:
            self._seen(result)
            super().v2_runner_on_failed(result, ignore_errors)
            return
        self._handle_warnings(result._result)
        name, host = result._task.get_name().strip(), result._host.get_name()
        # Of a loop, why its first item did.
        words = self._items.get((result._task._uuid, host)) or _why(result)
        if words in self._progress.said.get(host, ()):
            # The playbook fails a host for its exit status, with a sentence that was said.
            return
        ignored = " (ignored)" if ignore_errors else ""
        if _of_space(result, *BUILTIN) == "fail":
            # Its message is the sentence; one that is there once is about the run.
            who = "the run" if result._task.run_once else host
            self._say(self._progress.failed(who, f"{ignored.strip()} {words}".strip()))
        elif _of_space(result, progress.OURS) == "rollout":
            # What the controller does itself is nothing that a host did. An expression that is
            # wrong has its caret on a line of its own.
            lines = str(result._result.get("msg") or words).splitlines()
            self._say(self._progress.failed("the controller", f"{name} failed: {lines[0]}"))
            self._say(progress.Line(wording.printable(line), "bad") for line in lines[1:])
        else:
            self._say(self._progress.failed(host, f"{name} failed{ignored}: {words}"))

    def v2_runner_on_unreachable(self, result):
        words = f"unreachable: {_why(result)}"
        lines = self._progress.failed(result._host.get_name(), words, unreachable=True)
        if self._whole:
            super().v2_runner_on_unreachable(result)
        else:
            self._say(lines)

    def v2_runner_on_skipped(self, result):
        if self._whole:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_ok(self, result):
        if self._whole:
            super().v2_runner_item_on_ok(result)
        elif _of_space(result, *BUILTIN) == "debug":
            if isinstance(result._result.get("msg"), str):
                self._debug(result)
            else:
                super().v2_runner_item_on_ok(result)

    def v2_runner_item_on_failed(self, result):
        self._items.setdefault((result._task._uuid, result._host.get_name()), _why(result))
        if self._whole:
            super().v2_runner_item_on_failed(result)

    def v2_runner_item_on_skipped(self, result):
        if self._whole:
            super().v2_runner_item_on_skipped(result)

    def v2_playbook_on_include(self, included_file):
        if self._whole:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_matched(self):
        # A rollout has plays for hosts of which there may be none.
        if self._whole or not self._progress.begun:
            super().v2_playbook_on_no_hosts_matched()

    def v2_playbook_on_stats(self, stats):
        self._ended()
        if self._bar:
            self._bar.show(None)
        if self._whole or not self._progress.ended:
            super().v2_playbook_on_stats(stats)


def _of_space(result, *spaces):
    """The last word of the name of a task's action, where it is of one of these namespaces: others
    may have modules called as ours."""
    space, _dot, word = (result._task.resolved_action or result._task.action).rpartition(".")
    return word if space in spaces else None


def _why(result):
    """Why a task failed, in a sentence."""
    found = result._result
    if "censored" in found:
        return "its result is hidden, as no_log is set."
    words = found.get("msg") or found.get("stderr") or found.get("module_stderr")
    return turns.one_line(words, "It gave no reason; -v shows its whole result.")


def _bar():
    """The progress bar; None where there is no terminal, or nothing that can draw one."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return None
    try:
        from rich import progress as drawn
    except ImportError:
        return None
    return _Bar(drawn)


class _Bar:
    """A bar below all lines. Drawn only when something happened: a thread that draws it might hold
    the terminal's lock while Ansible forks a worker."""

    def __init__(self, drawn):
        self._drawn = drawn.Progress(
            drawn.TextColumn("{task.description}"),
            drawn.BarColumn(),
            drawn.MofNCompleteColumn(),
            drawn.TextColumn("hosts  {task.fields[more]}"),
            auto_refresh=False,
            transient=True,
            # What goes elsewhere stays there.
            redirect_stderr=sys.stderr.isatty(),
        )
        self._row = None
        atexit.register(self.show, None)

    def show(self, bar):
        """Draw a progress.Bar, or take the bar away."""
        if bar is None or not bar.total:
            if self._row is not None:
                self._drawn.stop()
                self._drawn.remove_task(self._row)
                self._row = None
            return
        if self._row is None:
            self._row = self._drawn.add_task(bar.title, total=bar.total, more=bar.more)
            self._drawn.start()
            # It hides the cursor, which would stay so if somebody kills Ansible.
            self._drawn.console.show_cursor(True)
        self._drawn.update(
            self._row,
            description=bar.title,
            completed=bar.done,
            total=bar.total,
            more=bar.more,
        )
        self._drawn.refresh()
