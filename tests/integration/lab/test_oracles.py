# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived and pacemaker themselves say what the readers of the collection have to find."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import keepalived_priority
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain.common import Trouble
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import keepalived
from extent import rounds, seed
from keepalived_files import ID, Writer, dumped, understood

HERE = Path(__file__).parent
FIXTURES = HERE.parents[1] / "fixtures/keepalived"
CLUSTERS = HERE.parents[1] / "fixtures/pacemaker"


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


def written_at_random(ha, folder, first, number):
    cases = []
    for one in range(number):
        writer = Writer(first * 1000 + one)
        for name, text in writer.files.items():
            path = Path(ha.root("lb"), folder, str(one), name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        cases.append([f"/{folder}/{one}/{writer.main}", ID])
    return cases


def test_no_instance_is_overlooked_in_what_is_written_at_random(ha):
    """Where keepalived has nothing to say against a file, each instance is understood as it does.

    Where it has, none is missing.
    """
    first = seed("KSPLICE_KEEPALIVED_SEED")
    cases = written_at_random(ha, "opt/random", first, rounds(256, short=24))
    answers, compared = asked(ha, cases), 0
    for path, answer in answers.items():
        theirs = [dumped(one) for one in answer["instances"]]
        try:
            ours = keepalived.instances(keepalived.read(keepalived.Source(ha.root("lb")), path, ID))
        except keepalived.Unreadable as error:
            assert not answer["accepted"], (path, str(error))
            continue
        ours = [understood(one) for one in ours]
        if answer["accepted"]:
            assert ours == theirs, path
            compared += len(theirs)
        assert {one["name"] for one in theirs} <= {one["name"] for one in ours}, path
    assert compared > len(cases) // 2


def test_what_is_lowered_is_so_for_keepalived(ha):
    """What keepalived takes without a word it takes with the priority lowered too, and finds 1
    everywhere.
    """
    first, lowered = seed("KSPLICE_KEEPALIVED_SEED"), []
    cases = written_at_random(ha, "opt/lowered", first + 1, rounds(256, short=24))
    before = asked(ha, cases)
    for path, config_id in cases:

        def read(source, path=path, config_id=config_id):
            return keepalived.read(source, path, config_id)

        source = keepalived.Source(ha.root("lb"))
        try:
            changes = keepalived_priority.lowered(source, read(source), "t", read)
        except (keepalived.Unreadable, Trouble):
            continue
        for name, lines in changes.items():
            text = "\n".join(keepalived_priority.changed(source.files[name], lines))
            Path(ha.root("lb") + name).write_bytes(text.encode())
        if before[path]["accepted"] and before[path]["instances"]:
            lowered.append([path, config_id])
    assert len(lowered) > len(cases) // 2
    for path, answer in asked(ha, lowered).items():
        names = [one["name"] for one in before[path]["instances"]]
        assert [(one["name"], one["priority"]) for one in answer["instances"]] == [
            (name, 1) for name in names
        ], path
        assert answer["accepted"], path


def test_the_stored_clusters_are_those_of_crm_mon(ha):
    """Small clusters in files, from a promoted replica of a bundle to a node that nobody knows the
    state of.
    """
    folder = Path(ha.root("lb"), "opt/clusters")
    shutil.copytree(CLUSTERS, folder, ignore=shutil.ignore_patterns("*.xml"))
    shutil.copy(HERE / "pacemaker_oracle.sh", folder)
    ha.shell("lb", "sh /opt/clusters/pacemaker_oracle.sh /opt/clusters")
    names = sorted(path.name for path in CLUSTERS.glob("*.xml"))
    assert len(names) == 2 * len(list(CLUSTERS.glob("*.cib")))
    for name in names:
        assert (folder / name).read_text() == (CLUSTERS / name).read_text(), name
