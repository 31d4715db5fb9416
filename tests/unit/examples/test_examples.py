# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Whatever stands in the documents as an example is one: Ansible's own loader reads it, and every
name in it exists.
"""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import get_docstring
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import rollout
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import (
    ha_settings,
    run_variables,
    window,
)

sys.path.insert(0, str(Path(__file__).parent))
from examples import TOP, all_of, commands, name_of  # noqa: E402

OURS = "rebootless.ksplice."
# In a row as the documents have them. A block that is none of these kinds is an example of nothing.
YAML = all_of("yaml")
PLAYS = ("hosts", "import_playbook", "ansible.builtin.import_playbook")


def loaded(block):
    return DataLoader().load(block.text, file_name=str(TOP / name_of(block)))


def kind(document):
    if isinstance(document, list):
        plays = [any(key in one for key in PLAYS) for one in document]
        # A list of both is neither.
        return "plays" if all(plays) else "tasks" if not any(plays) else None
    if "plugin" in document:
        return "source"
    if list(document) == ["minor_changes"]:
        return "changelog"
    if set(document) <= {"all"}:
        return "inventory"
    if list(document) == ["hosts"]:
        return "anything"
    if all(key.startswith("ksplice_") for key in document):
        return "variables"
    if all(
        isinstance(one, dict) and all(key.startswith("ksplice_") for key in one)
        for one in document.values()
    ):
        return "hosts"
    return (
        "anything"
        if "rebootless.ksplice.r" in str(document) or "rebootless.ksplice.plan" in str(document)
        else None
    )


def tasks_of(document):
    for one in document:
        inside = [
            task
            for key in ("tasks", "pre_tasks", "post_tasks", "block")
            for task in one.get(key) or ()
        ]
        if inside:
            yield from tasks_of(inside)
        elif not any(key in one for key in PLAYS):
            yield one


def roles_of(document):
    for play in document:
        for role in play.get("roles") or ():
            yield (role, {}) if isinstance(role, str) else (role["role"], role.get("vars") or {})
    for task in tasks_of(document):
        for key in ("include_role", "import_role"):
            if task.get(f"ansible.builtin.{key}"):
                yield task[f"ansible.builtin.{key}"]["name"], task.get("vars") or {}


class Spec(Exception):
    pass


def arguments_of(module, monkeypatch):
    """What a module says of its arguments to AnsibleModule."""

    def told(self, *_unnamed, **named):
        raise Spec(named)

    program = importlib.import_module(
        f"ansible_collections.rebootless.ksplice.plugins.modules.{module}"
    )
    monkeypatch.setattr(basic.AnsibleModule, "__init__", told)
    with pytest.raises(Spec) as spec:
        program.main()
    rules = (
        "mutually_exclusive",
        "required_together",
        "required_one_of",
        "required_if",
        "required_by",
    )
    named = spec.value.args[0]
    return ArgumentSpecValidator(
        named["argument_spec"], **{rule: named[rule] for rule in rules if rule in named}
    )


def options_of(inventory_plugin):
    """The options of an inventory plugin of ours, those that it shares with others included."""
    path = TOP / "plugins" / "inventory" / f"{inventory_plugin[len(OURS) :]}.py"
    found, _examples, _returns, _metadata = get_docstring(str(path), fragment_loader)
    return set(found["options"])


def check_variables(name, variables, everyone):
    """As a run checks what stands in the inventory, and stricter: there is no variable of another's
    here.
    """
    unknown = [
        one for one in variables if one not in run_variables.RUN and one not in run_variables.HOST
    ]
    assert unknown == [], f"nothing reads {unknown}"
    run_variables.check(variables)
    ha_settings.names(name, variables)
    for drain in ha_settings.drains(name, variables):
        assert drain["delegate_to"] in everyone
    ha_settings.wanted_checks(name, variables)
    if "ksplice_window" in variables:
        window.read(variables["ksplice_window"])


def test_there_are_examples_of_every_kind():
    kinds = {kind(loaded(block)) for block in YAML}
    assert {
        "plays",
        "tasks",
        "inventory",
        "source",
        "variables",
        "hosts",
        "changelog",
        "anything",
    } == kinds, kinds


@pytest.mark.parametrize("block", YAML, ids=name_of)
def test_a_yaml_example(block, monkeypatch):
    document = loaded(block)
    # The loader of users' editors and linters sees the same: an `on` that is no word differs.
    assert yaml.safe_load(block.text) == document
    what = kind(document)
    if what == "variables":
        check_variables("one", document, ["one"])
    elif what == "hosts":
        named = {
            place
            for one in document.values()
            for drain in one.get("ksplice_ha_drain") or ()
            for place in drain.get("delegate_to") or ()
        }
        for name, variables in document.items():
            check_variables(name, variables, {*document, *named})
    elif what == "inventory":
        hosts = {name: variables or {} for name, variables in document["all"]["hosts"].items()}
        about = {"options": {"max_parallel": 10}}
        assert rollout.ready(hosts, list(hosts), list(hosts), about) == about
    elif what == "source":
        assert set(document) <= options_of(document["plugin"])
    elif what in ("plays", "tasks"):
        for task in tasks_of(document):
            for key, given in task.items():
                if key.startswith(OURS):
                    with monkeypatch.context() as patched:
                        checker = arguments_of(key[len(OURS) :], patched)
                    assert checker.validate(given or {}).error_messages == [], key
        for role, variables in roles_of(document):
            entry = "main"
            specs = yaml.safe_load(
                (TOP / "roles" / role[len(OURS) :] / "meta/argument_specs.yml").read_text()
            )["argument_specs"]
            assert set(variables) <= set(specs[entry]["options"]), role
    else:
        assert what in ("changelog", "anything"), "an example of what?"


def of_the_community(document):
    """The collections of others that plays or tasks use."""
    names = [key.rsplit(".", 1)[0] for task in tasks_of(document) for key in task]
    return {name for name in names if "." in name} - {"ansible.builtin", OURS[:-1]}


def test_ansible_reads_every_play_and_task(tmp_path):
    """One look at the syntax of all of them; tests/integration/test_examples.py runs those that
    need more than ansible-core has.
    """
    playbook, others = [], set()
    for block in YAML:
        document = yaml.safe_load(block.text)
        if isinstance(document, list) and of_the_community(document):
            others |= of_the_community(document)
            continue
        if kind(document) == "plays":
            playbook += document
        elif kind(document) == "tasks":
            playbook.append({"name": name_of(block), "hosts": "all", "tasks": document})
    (tmp_path / "all.yml").write_text(yaml.safe_dump(playbook, sort_keys=False))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ansible",
            "playbook",
            "--syntax-check",
            "-i",
            "x,",
            str(tmp_path / "all.yml"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert len(playbook) > 10 and others == {"community.general"}


def test_every_command_names_what_there_is():
    seen = set()
    makefile = (TOP / "Makefile").read_text()
    for block in [*all_of("console"), *all_of("sh"), *all_of("")]:
        for command in commands(block):
            for words in [shlex.split(part) for part in command.replace("&&", ";").split(";")]:
                seen.add(words[0])
                where = f"{name_of(block)}: {command}"
                if words[0] == "make":
                    assert f"\n{words[1]}:" in makefile or f" {words[1]} " in makefile, where
                for number, word in enumerate(words):
                    if word.startswith(OURS) and words[0] == "ansible-playbook":
                        assert (TOP / "playbooks" / f"{word[len(OURS) :]}.yml").exists(), where
                    if word == "-m":
                        assert (
                            TOP / "plugins/modules" / f"{words[number + 1].replace(OURS, '')}.py"
                        ).exists(), where
                    if word == "-e" and not words[number + 1].startswith("@"):
                        given = words[number + 1]
                        variables = (
                            json.loads(given)
                            if given.startswith("{")
                            else dict(one.split("=", 1) for one in given.split())
                        )
                        assert not set(variables) - set(run_variables.RUN), where
    assert {"make", "ansible", "ansible-playbook", "ansible-galaxy"} <= seen
