# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived and pacemaker themselves say what the readers of the collection have to find."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import keepalived
from extent import rounds, seed
from keepalived_files import ID, Writer, dumped, understood

HERE = Path(__file__).parent
FIXTURES = HERE.parents[1] / "fixtures/keepalived"


def asked(ha, cases):
    """What keepalived makes of files on a host: [[FILE, CONFIGURATION ID], ...]."""
    shutil.copy(HERE / "keepalived_oracle.py", Path(ha.root("lb"), "opt/oracle.py"))
    Path(ha.root("lb"), "opt/cases.json").write_text(json.dumps(cases))
    # Few files may be open, since keepalived closes each that could be.
    return json.loads(
        ha.shell(
            "lb", "ulimit -n 1024; unshare -n python3 /opt/oracle.py </opt/cases.json 2>/dev/null"
        )
    )


def test_the_stored_answers_are_those_of_keepalived(ha):
    stored = json.loads((FIXTURES / "expected.json").read_text())
    folder = Path(ha.root("lb"), "opt/stored")
    shutil.copytree(FIXTURES, folder)
    cases = []
    for one in stored:
        # One file may be asked for with several IDs.
        name = f"{one['id']}-{one['file']}"
        shutil.copy(folder / one["file"], folder / name)
        cases.append([f"/opt/stored/{name}", one["id"]])
    answers = asked(ha, cases)
    for one, (path, _id) in zip(stored, cases):
        assert answers[path] == {key: one[key] for key in ("accepted", "instances")}, one["file"]


def test_no_instance_is_overlooked_in_what_is_written_at_random(ha):
    """Where keepalived has nothing to say against a file, each instance is understood as it does. Where it has, none is missing."""
    first, folder = seed("KSPLICE_KEEPALIVED_SEED"), Path(ha.root("lb"), "opt/random")
    cases = []
    for number in range(rounds(256, short=24)):
        writer = Writer(first * 1000 + number)
        for name, text in writer.files.items():
            path = folder / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        cases.append([f"/opt/random/{number}/{writer.main}", ID])
    answers, compared = asked(ha, cases), 0
    for path, answer in answers.items():
        theirs = [dumped(one) for one in answer["instances"]]
        try:
            ours = keepalived.instances(
                keepalived.read(keepalived.Source(ha.root("lb")), path, ID)
            )
        except keepalived.Unreadable as error:
            assert not answer["accepted"], (path, str(error))
            continue
        ours = [understood(one) for one in ours]
        if answer["accepted"]:
            assert ours == theirs, path
            compared += len(theirs)
        assert {one["name"] for one in theirs} <= {one["name"] for one in ours}, path
    assert compared > len(cases) // 2
