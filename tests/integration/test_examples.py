# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The commands of the documents, run as they stand there, over a rehearsal of the README's own
inventory.
"""

from __future__ import annotations

import shlex
import sys

import yaml
from extent import todays
from rehearsals import KEY, TOP, Rehearsal

sys.path.insert(0, str(TOP / "tests/unit/examples"))
from examples import all_of, commands  # noqa: E402

# What an emulated host has not: that CVE, and packages that could be removed.
TELLS = {
    "cves=CVE-2026-12345": "No update for CVE-2026-12345",
    "ksplice_select=open_to": "ksplice_select finds no host",
    "ksplice.retire": "The kernel or the agent is still there",
}
ELSEWHERE = (
    "ansible-playbook -i INVENTORY",
    "ansible-playbook -i build/lab",
    "ansible all -m uptrack",
    "ansible wiki1 -m uptrack",
)


def runnable():
    found = [
        command
        for block in all_of("console")
        for command in commands(block)
        if shlex.split(command)[0] in ("ansible", "ansible-playbook")
    ]
    # Retiring comes last: nothing is left to look at afterwards.
    return sorted(
        (one for one in found if not one.startswith(ELSEWHERE)), key=lambda one: "retire" in one
    )


def test_the_commands_of_the_documents(tmp_path):
    (inventory,) = [
        yaml.safe_load(block.text)
        for block in all_of("yaml")
        if block.text.startswith("# inventory.yml")
    ]
    one = Rehearsal(tmp_path, inventory["all"]["hosts"], **inventory["all"]["vars"])
    (tmp_path / "vault.yml").write_text(yaml.safe_dump({"ksplice_access_key": KEY}))
    # Where a rehearsal puts its hosts, and what the documents say of that.
    one.made = tmp_path / "ksplice-rehearsal"
    one.make()
    for command in todays(runnable()):
        words = shlex.split(command)
        if words[0] == "ansible-playbook" and words[-1] != "rebootless.ksplice.rehearse":
            words[words.index("inventory.yml")] = str(one.emulated)
        env = {"ANSIBLE_INVENTORY": str(one.emulated)}
        if "ksplice_record=" in command:
            one.command("ansible-playbook", "rebootless.ksplice.status", env=env)
        run = one.command(*words, env=env)
        expected = next((told for part, told in TELLS.items() if part in command), None)
        assert (run.status != 0) == bool(expected) and (expected or "") in run.output, (
            f"{command}\n{run.output}"
        )
