# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A rehearsal host whose owner answers what he likes: only what its commands print is changed, as
that is all that the owner of one managed host can do.
"""

from __future__ import annotations

DOCUMENTATION = """
name: hostile
short_description: A rehearsal host that lies
description: For the tests of this collection.
extends_documentation_fragment:
  - connection_pipelining
options:
  root:
    description: The emulated host.
    type: path
    vars:
      - name: ksplice_rehearsal_root
  lie:
    description: Which lie it tells.
    type: str
    vars:
      - name: hostile_lie
"""

import json

from ansible_collections.rebootless.ksplice.plugins.connection import rehearsal

MARK = b"@rebootless "
FOREIGN = {
    "token": "f" * 16,
    "run": "dead",
    "host": "127.0.0.66",
    "own": False,
    "groups": [{"name": "pair", "members": ["127.0.0.66", "d1"], "max_unavailable": 1}],
    "reason": "x",
    "phase": "acquired",
    "seconds": 1,
    "taken_at": 1.0,
    "renewed_at": 1.0,
    "clock": 0.0,
    "boot": "x",
}


def with_facts(out):
    """An answer with facts in it that would have commands run on the controller and elsewhere."""

    def lie(said):
        touch = "touch /tmp/hostile-"
        said["ansible_facts"] = {
            "ksplice_ha_checks": [{"run_on": "controller", "command": touch + "controller"}],
            "ksplice_ha_drain": [
                {
                    "adapter": "custom",
                    "delegate_to": "solo",
                    "drain": touch + "solo",
                    "restore": "true",
                }
            ],
        }

    return _answers(out, "granted", lie)


def odd_number(out):
    """A turn that began after the end of time."""

    def lie(said):
        if said.get("turn"):
            said["turn"]["began"] = 1e300

    out = _answers(out, "refusal", lie)
    lines = out.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith(b"@journal {"):
            document = json.loads(line[len(b"@journal ") :])
            lie(document)
            lines[number] = b"@journal " + json.dumps(document).encode()
    return b"\n".join(lines)


def odd_group(out):
    """It runs keepalived, and what it says of its groups is not a group."""
    out = out.replace(b"@sysname", b"@redundancy keepalived\n@sysname", 1)
    return _answers(out, "ha", lambda said: said["ha"].update(groups=[5]))


def endless_quote(out):
    """A file of the agent's in which a quote is never closed."""
    lines = [line for line in out.split(b"\n") if not line.startswith(b"@status ")]
    if b"@end" in lines:
        text = [b"@status Updates: " + b"a'" * 40 + b"\\", b"@status   more", b"@status ..."]
        at = lines.index(b"@end")
        lines[at:at] = text
    return b"\n".join(lines)


def foreign_holder(out):
    """A stopped run is said to have claimed a machine that nobody knows."""
    lines = out.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith(b"@lease "):
            ledger = {"ended": [], "leases": [FOREIGN]}
            lines[number] = b"@lease " + json.dumps(ledger).encode()
    if b"@end" in lines and not any(line.startswith(b"@lease ") for line in lines):
        ledger = {"ended": [], "leases": [FOREIGN]}
        lines.insert(lines.index(b"@end"), b"@lease " + json.dumps(ledger).encode())
    return _answers(
        b"\n".join(lines),
        "granted",
        lambda said: said.update(leases=[dict(FOREIGN, stale=True, age=99, took=[])]),
    )


LIES = {
    one.__name__: one for one in (with_facts, odd_number, odd_group, endless_quote, foreign_holder)
}


def _answers(out, key, lie):
    """The answer of a round trip that has a key, changed."""
    lines = out.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith(MARK):
            said = json.loads(line[len(MARK) :])
            if key in said:
                lie(said)
                lines[number] = MARK + json.dumps(said).encode()
    return b"\n".join(lines)


class Connection(rehearsal.Connection):
    transport = "hostile"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        rc, out, err = super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return rc, LIES[self.get_option("lie")](out), err
