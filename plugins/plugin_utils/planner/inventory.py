# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Ansible's inventory: whether all of it was read, and patterns that mean one host each."""

from __future__ import annotations

import os
import re

import yaml
from ansible.inventory.manager import IGNORED, InventoryManager, split_host_pattern
from ansible.parsing.dataloader import DataLoader
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError

NO_HOST = "all:!all"
# In a folder of inventories, what is none.
VARIABLES = ("group_vars", "host_vars", "vars_plugins")


def everybody(groups, sources, limit=None):
    """The pattern of a playbook's first play: all hosts, or the controller where there are none.

    :param groups: Ansible's C(groups); None where it only looks at the syntax.
    :raises PlanError: where there are none and a limit forbids even the controller, since Ansible
        would then skip one play after the other and end with success.
    """
    if groups is None or groups.get("all"):
        return "all"
    if limit:
        raise PlanError(f"{empty(sources)} No host was asked anything.")
    return "localhost"


def empty(sources):
    """What is said of an inventory without hosts."""
    return (
        f"The inventory has no hosts ({', '.join(map(str, sources)) or 'none was given'}): it is "
        "missing, empty, or could not be parsed. Ansible's warnings above say which. Give "
        "another one with -i."
    )


def complaint(sources, files, groups=()):
    """What of the inventory could not be read, as a sentence, or None.

    Ansible goes on with whatever it could parse, the first half of a file as well, and says so only
    in a warning. So files are parsed again; scripts and plugins, which may take their time, only
    where no host came of them.

    :param sources: as they were given to Ansible.
    :param files: where its hosts come from, as their inventory_file.
    :param groups: that Ansible knows, which a file may speak of though another one defines them.
    """
    known = {os.path.realpath(path) for path in files if path}
    manager = InventoryManager(DataLoader(), sources=[], parse=False)
    for group in groups:
        manager.add_group(group)
    for source in map(str, sources):
        if "," in source:
            continue
        if not os.path.exists(source):
            return (
                f"The inventory {source} does not exist: correct -i (or inventory in ansible.cfg)."
            )
        for path in _files_of(source):
            kind = _kind(path)
            # What is encrypted needs a password, which only Ansible itself was given.
            asked = kind == "static" or (kind == "asks" and os.path.realpath(path) not in known)
            mistake = _mistake(path) if kind == "static" else None
            if mistake:
                return f"The inventory {path} {mistake}, so that hosts may be missing: correct it."
            if asked and not _is_parsed(manager, path):
                return (
                    f"The inventory {path} could not be parsed, so that hosts may be missing: "
                    f"correct it, or leave it out. `ansible-inventory -i {path} --list` "
                    "reports what is wrong with it."
                )
    return None


def _files_of(source):
    """The files of a source, in the order in which Ansible reads them."""
    if not os.path.isdir(source):
        return [source]
    names = [name for name in sorted(os.listdir(source)) if not IGNORED.search(name.encode())]
    paths = [os.path.join(source, name) for name in names if name not in VARIABLES]
    return [file for path in paths for file in _files_of(path)]


def _kind(path):
    """What a file is: static, with the hosts in it, whatever its mode; encrypted; or a program or
    a plugin's configuration, which asks somebody else."""
    try:
        with open(path, "rb") as file:
            head = file.read(65536)
    except OSError:
        return "static"
    if head.startswith(b"$ANSIBLE_VAULT"):
        return "encrypted"
    if head.startswith((b"#!", b"\x7fELF")) or re.search(rb"^plugin[ \t]*:", head, re.MULTILINE):
        return "asks"
    return "static"


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML of which nothing is dropped: a key that stands twice is a mistake."""


def _mapping(loader, node):
    seen = set()
    for key, _value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in seen:
                raise _Twice(
                    f"line {key.start_mark.line + 1} has {key.value!r} for the second time"
                )
            seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


class _Twice(Exception):
    pass


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# What is tagged, such as a secret, is none of this one's business.
_Strict.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def _mistake(path):
    """What Ansible would pass over in an inventory in YAML with a warning, as a clause, or None."""
    if not path.endswith((".yml", ".yaml", ".json")):
        return None
    try:
        with open(path, "rb") as file:
            document = yaml.load(file, Loader=_Strict)
    except _Twice as twice:
        return str(twice)
    except (OSError, ValueError, yaml.YAMLError):
        # Then Ansible's own reader says so.
        return None
    groups = list(document.items()) if isinstance(document, dict) else []
    while groups:
        group, content = groups.pop()
        for key, value in content.items() if isinstance(content, dict) else ():
            if key not in ("hosts", "children", "vars"):
                return (
                    f"has {key!r} in the group {group}, where only hosts, "
                    "children and vars are allowed"
                )
            if key == "children" and isinstance(value, dict):
                groups += value.items()
    return None


def _is_parsed(manager, path):
    try:
        return bool(manager.parse_source(path))
    except Exception:  # whatever a plugin raises: it has not parsed it
        return False


def patterns(names):
    """Patterns of a play, each of which means the host of exactly that name.

    Ansible takes a name that stands in the inventory for that host, but only after it has cut the
    pattern into pieces at commas, colons, blanks and brackets. What would not survive that becomes
    a regular expression with every such sign written as its number.
    """
    return [name if _is_kept(name) else f"~{_escaped(name)}\\Z" for name in names] or [NO_HOST]


def _is_kept(name):
    return name[:1] not in "!&~@" and split_host_pattern([name]) == [name]


def _escaped(name):
    return "".join(
        sign if sign.isalnum() and sign.isascii() else f"\\U{ord(sign):08x}" for sign in name
    )


def check_name(name, groups):
    """Refuse a name that no pattern can distinguish from a group's.

    :raises PlanError: for a host called as a group is, with signs that patterns are made of.
    """
    if name in groups and not _is_kept(name):
        raise PlanError(
            f"A host and a group are both called {name!r}, and no pattern can tell "
            "them apart: rename one of them."
        )


def group_names(variables):
    """The names of all groups, from the variables of any host."""
    return set(variables.get("groups") or ()).difference(("all", "ungrouped"))
