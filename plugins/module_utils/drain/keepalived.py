# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: keepalived on the host itself.

The priority of every instance is lowered to 1, with nothing that lifts it, and the configuration
read again. The peer, whose priority is higher now, takes the addresses before this host lets
them go, so that there is always a holder. The host stays a standby: should the peer die meanwhile,
it takes the addresses back. A peer that says C(nopreempt) or C(preempt_delay), or that has the
priority 1 too, takes nothing from a living holder. That stands in its own configuration, so that
this host sees it by waiting: where the addresses have not moved, keepalived is restarted with the
low priority. There is no holder between its last advertisement and the peer's first (0.2 to 0.7
seconds were seen), and the host is a standby again after it.

Where somebody else owns keepalived's files, a file that keepalived tracks gets a number that lowers
the priority.
"""

import os
import time

from ansible_collections.rebootless.ksplice.plugins.module_utils import files
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import (
    keepalived_data,
    keepalived_priority,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain.common import (
    Trouble,
    systemctl,
    write_same,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import (
    keepalived,
    keepalived_process,
)

OPTIONS = {"mode": ("auto", "priority", "restart", "track_file"), "track_file": ()}
# Seconds that are to be left for a restart: one that is cut off in the middle would be a gap for
# nothing.
RESTART = 5
# What a standby waits for the holder's word, in advertisement intervals (VRRP's master down
# interval with the lowest priority is just below four).
SILENCE = 4


def mistake(given):
    """What is wrong with the options together, in a sentence, or None."""
    if (given.get("mode") == "track_file") == bool(given.get("track_file")):
        return None
    return "mode: track_file and track_file, the name of what keepalived tracks, go together."


class Adapter:
    def __init__(self, machine, options):
        self.machine, self.options = machine, options
        self.key = "keepalived"
        self.mode = options.get("mode") or "auto"
        self.restarted, self.late, self.stays, self.since = False, False, None, 0.0
        self.reported, self.asked = {}, -2.0
        self.end = float("inf")

    def _read(self):
        """The configuration of the service's keepalived, as it was started."""
        main = keepalived_data.main_pid(self.machine)
        running = self.machine.keepaliveds()
        strangers = [one for one in running if one.pid != main and one.speaks_vrrp]
        if strangers:
            raise Trouble(
                f"keepalived (process {strangers[0].pid}, {strangers[0].path}) does not "
                "belong to the service keepalived, so its addresses would stay here: "
                "drain it with the adapter custom"
            )
        self.started = next(
            (one for one in running if one.pid == main), None
        ) or keepalived_process.at_rest(self.machine)
        self.source = keepalived.Source(self.machine.root)
        try:
            self.statements = self._statements(self.source)
        except keepalived.Unreadable as error:
            raise Trouble(f"keepalived's configuration cannot be parsed: {error}.")
        self.wills = keepalived_priority.wills(self.statements)

    def _statements(self, source):
        return keepalived.read(source, self.started.path, self.started.config_id)

    def look(self):
        self._read()
        running = self._runs()
        held = self.holds()
        found = {
            "active": running and bool(held),
            "drained": not running,
            "held": held,
            "interval": keepalived_priority.interval(self.statements),
        }
        if self.mode == "track_file":
            found["track"] = keepalived_priority.tracked(
                self.statements, self.options["track_file"]
            )
        return found

    def _runs(self):
        return systemctl(self.machine, "is-active", "keepalived")[0] == 0

    def holds(self):
        """What this host has of keepalived's: addresses, and the names of instances without one.
        For those it is keepalived's state that counts, and no state does not mean that the peer has
        them.
        """
        found = self.machine.addresses()
        bare = [name for name, will in self.wills.items() if name in will.addresses]
        reported = self._reported() if bare else {}
        found |= {name for name in bare if name not in reported or reported[name].state == "MASTER"}
        return sorted(
            found.intersection(one for will in self.wills.values() for one in will.addresses)
        )

    def plan(self, before, token):
        """What drain will do, for the saved state."""
        if not self.wills:
            raise Trouble("keepalived's configuration has no VRRP instance.")
        if self.mode != "track_file":
            return dict(
                before,
                files=keepalived_priority.lowered(
                    self.source, self.statements, token, self._statements
                ),
            )
        return dict(
            before, track=dict(before["track"], before=self._content(before["track"]["file"]))
        )

    def _content(self, path):
        try:
            return self.machine.read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Trouble(f"{path} cannot be read ({error.strerror})")

    # ---- out of service ----

    def drain(self, saved):
        if saved.get("track"):
            self._write_number(
                saved["track"]["file"], saved["track"]["before"], saved["track"]["after"]
            )
            return
        # Of a drain that was killed the lines may be there already.
        source = keepalived_priority.Edited(
            self.source,
            lambda path, lines: keepalived_priority.restored(lines, saved["files"].get(path, [])),
        )
        if keepalived_priority.lowered(
            source, self._statements(source), saved["token"], self._statements
        ) != _tuples(saved["files"]):
            raise Trouble(
                "keepalived's configuration was changed by another party since this drain began, "
                "and was left as it is"
            )
        self._write(
            {
                path: keepalived_priority.changed(source.files[path], changes)
                for path, changes in saved["files"].items()
            }
        )
        seconds = SILENCE * saved["interval"]
        if self.mode != "restart":
            _must(self.machine, "reload")
            # The additional interval is for the advertisement that informs the peer.
            if self.mode == "priority" or self._gone_within(seconds + saved["interval"] + 1):
                return
            if time.monotonic() + RESTART > self.end:
                self.late = True
                return
        _must(self.machine, "restart")
        self.restarted = True
        # Only then it is known that it was the peer that took over, and that this host does not
        # take the addresses back.
        time.sleep(seconds)

    def _gone_within(self, seconds):
        end = min(time.monotonic() + seconds, self.end)
        while self.holds():
            if time.monotonic() >= end:
                return False
            time.sleep(0.2)
        return True

    def _write(self, texts):
        """Write files; if keepalived itself rejects them, they are restored."""
        before = {path: self.source.files[path] for path in texts}
        accepted = self._refusal() is None
        for path, lines in texts.items():
            write_same(self.machine, path, "\n".join(lines))
        refusal = self._refusal() if accepted else None
        if refusal:
            for path, lines in before.items():
                write_same(self.machine, path, "\n".join(lines))
            raise Trouble(
                "keepalived does not accept its configuration with the priority lowered, and its "
                f"files are as they were: {refusal}"
            )

    def _refusal(self):
        """What keepalived says of its configuration, or None where it says nothing. It also
        complains of what it takes, so that only a configuration that it took without a word can
        become worse.
        """
        rc, out, err = self.machine.run_command(
            ["keepalived", "-t", "-f", self.started.path]
            + (["-i", self.started.config_id] if self.started.config_id is not None else [])
        )
        return " ".join((err or out or f"status {rc}").split())[:300] if rc else None

    def lacks(self, saved):
        """What is missing for the host to be drained, or None."""
        held = self.holds()
        if not held:
            return None
        return "it still holds {}: {}".format(", ".join(held), self._why(saved, held))

    def _why(self, saved, held):
        """Why an address does not move, as far as this host can know."""
        reported = self._reported()
        for will in self.wills.values():
            mine = reported.get(will.name)
            if (
                mine
                and mine.priority > keepalived_priority.LOWEST
                and set(will.addresses).intersection(held)
            ):
                if not saved.get("track") and mine.base > keepalived_priority.LOWEST:
                    return (
                        f"keepalived has not loaded the lowered configuration: {will.name} still "
                        f"has the priority {mine.base}; its log says why"
                    )
                return f"{will.name} still announces the priority {mine.priority}"
        silent = [name for name in held if name in self.wills and name not in reported]
        if silent:
            return (
                f"keepalived does not report whether it is MASTER in {', '.join(silent)}, "
                "which has no address"
            )
        if self.restarted:
            return (
                "keepalived was restarted here with the priority 1, and received no other "
                "router's advertisement since. No peer runs that this host hears and that "
                "is not in FAULT"
            )
        said = "Its instances announce" if reported else "Its configuration says"
        more = (
            "a restart, and no time was left for it: raise the timeout"
            if self.late
            else "mode=auto, which restarts keepalived"
        )
        return (
            f"{said} the priority 1, and the peer does not take over from a living "
            "holder. Only the peer knows why: it may be stopped or in FAULT, not "
            "receive this host's advertisements, have nopreempt or preempt_delay, or "
            "have no higher priority itself. For the last three there is "
        ) + more

    def _reported(self):
        """What keepalived reports of its instances; nothing where it does not."""
        # It writes each time into its log that it was asked.
        if time.monotonic() > self.asked + 2:
            self.reported, self.asked = keepalived_data.of(self.machine), time.monotonic()
        return self.reported

    # ---- restored ----

    def restore(self, saved):
        track = saved.get("track")
        if track:
            now = self._content(track["file"])
            if now == track["after"]:
                self._write_number(track["file"], track["after"], track["before"])
            elif now != track["before"]:
                self.stays = "{} was meanwhile rewritten by another party, and was left so.".format(
                    track["file"]
                )
        for path, changes in saved.get("files", {}).items():
            text = self._content(path)
            # A file that is gone has nothing of ours in it.
            lines = text.split("\n") if text is not None else []
            restored = keepalived_priority.restored(lines, changes)
            if restored != lines:
                write_same(self.machine, path, "\n".join(restored))
            ours = keepalived_priority.left(restored, saved["token"])
            if ours:
                raise Trouble(
                    f"{path} line {ours} was written by this drain and has been changed by "
                    "somebody else since, so it cannot be restored: set the priority that the "
                    "line should have, and remove its comment"
                )
        if not self._runs():
            _must(self.machine, "start")
        elif not track:
            _must(self.machine, "reload")
        self.since = time.monotonic()

    def _write_number(self, path, before, after):
        real = self.machine.root + path
        if before is not None and after is not None:
            write_same(self.machine, path, after)
            return
        try:
            if after is None:
                os.unlink(real)
            else:
                files.replace(real, after, 0o644)
        except OSError as error:
            raise Trouble(f"{path} cannot be written ({error.strerror}); it was left as it was")

    def lacks_restored(self, saved):
        """What is missing for the host to be back in service, or None.

        C(stays) says what need not come back, and why.
        """
        if not self._runs():
            return "keepalived is not running"
        if not saved["active"]:
            return None
        self._read()
        lacking = sorted(set(saved["held"]).difference(self.holds()))
        waiting, why = self._expected(lacking, saved)
        if waiting:
            return "it does not hold {} again{}".format(", ".join(waiting), why)
        if lacking:
            where = "they are" if len(lacking) > 1 else "it is"
            why_not = (
                f"keepalived is back as a standby; {', '.join(lacking)} "
                f"may stay where {where}: {why}."
            )
            self.stays = f"{self.stays} {why_not}" if self.stays else why_not
        return None

    def _expected(self, lacking, saved):
        """Which of the addresses that this host lacks are to come back, and what is known of it;
        where none is, why they need not.
        """
        wills = [will for will in self.wills.values() if set(will.addresses).intersection(lacking)]
        reasons, waiting, why = [], [], ""
        # In the first moments keepalived knows nothing of the peer.
        reported = (
            self._reported()
            if wills and time.monotonic() > self.since + SILENCE * saved["interval"]
            else {}
        )
        for will in wills:
            mine = reported.get(will.name)
            if will.nopreempt:
                reasons.append(f"{will.name} says nopreempt")
            elif will.delay:
                reasons.append(f"{will.name} says preempt_delay, and waits {will.delay:g} s")
            elif mine and mine.state == "BACKUP" and mine.master and mine.master >= will.most:
                reasons.append(
                    f"the holder's priority {mine.master} is not below {will.most}, the highest "
                    f"that {will.name} can have"
                )
            else:
                waiting += [found for found in will.addresses if found in lacking]
                if mine:
                    heard = f", and hears a holder with {mine.master}" if mine.master else ""
                    why = f": {will.name} is {mine.state} with the priority {mine.priority}{heard}"
        known = {found for will in wills for found in will.addresses}
        if set(lacking).difference(known):
            reasons.append("the configuration no longer names it")
        return waiting, why if waiting else "; ".join(reasons)


def _tuples(files):
    """What JSON made lists of."""
    return {path: [tuple(change) for change in changes] for path, changes in files.items()}


def _must(machine, verb):
    rc, words = systemctl(machine, verb, "keepalived")
    if rc:
        raise Trouble(f"systemctl {verb} keepalived failed: {words}")
