# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""An emulated host of a pair, and the turns that it takes."""

import os

from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import (
    journal,
    lease_task,
    run,
    task,
)

IDS = ["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"]
PAIR = [{"name": "pair", "members": ["a", "b"], "max_unavailable": 1}]


def lease(emulated, state, **params):
    given = {name: spec.get("default") for name, spec in lease_task.ARGUMENTS.items()}
    given.update(
        {"run": "night", "host": "a", "member": "a", "groups": PAIR, "reason": "patching"},
        **dict(params, state=state),
    )
    return lease_task.run(given, False, emulated.root)


def script(host, name, text):
    path = host.path(name)
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


def order(host, **more):
    """A turn with a drain of its own and a check that fails where the file unhealthy is."""
    drain = {
        "adapter": "custom",
        "drain": script(host, "drain", f"echo out >> {host.path('log')}; touch {host.path('out')}"),
        "restore": script(
            host, "undo", f"echo back >> {host.path('log')}; rm -f {host.path('out')}"
        ),
    }
    check = script(host, "check", f"test ! -e {host.path('unhealthy')}")
    return dict(
        {
            "token": "t1",
            "run": "night",
            "host": "a",
            "drains": [drain],
            "checks": [{"name": "service", "command": check}],
            "check_timeout": 0,
            "drain_timeout": 5,
            "verdict_timeout": 0.2,
            "apply": {"retries": 0},
        },
        **more,
    )


def ask(emulated, state, **params):
    given = {name: spec.get("default") for name, spec in task.ARGUMENTS.items()}
    return task.perform(dict(given, state=state, **params), False, emulated.root, "")


def work(host):
    return run.Turn(host.root, host.run).run()


def turn_of(host):
    return journal.Journal(host.root).read()["turn"]


def names(turn):
    return [step["name"] for step in turn["steps"]]


def serves(host):
    return not os.path.exists(host.path("out"))
