# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Runs code of module_utils on a host in one round trip: one program, fed to Python on its
standard input.

A module costs a question ten times as much, on both sides: a folder, a zip file, and all that
AnsibleModule brings. What is asked goes in on standard input as well, so that it stands in no list
of processes. What does not get through this way (no Python where it usually is, a sudo that wants
a terminal) the caller asks by the module of the same name.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shlex
import tempfile
import zlib

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.rebootless.ksplice.plugins.module_utils import times

OURS = "ansible_collections.rebootless.ksplice.plugins.module_utils"
IMPORT = re.compile(
    rf"^ *from {re.escape(OURS)}([.\w]*) import (?:\(([^)]*)\)|(.*))$", re.MULTILINE
)
# Enterprise Linux 8 and later keep the system's own Python there, whatever else is installed.
PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python", "python3")
MARK = "@rebootless "
BEGUN = "@rebootless-begun"
# The modules are found by their own names, and compiled when they are first asked for.
HARNESS = """\
import base64, importlib.machinery, json, os, sys
SOURCES = json.loads(@SOURCES@)
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        package = any(known.startswith(name + ".") for known in SOURCES)
        if package or name in SOURCES:
            return importlib.machinery.ModuleSpec(name, Finder, is_package=package)
    @staticmethod
    def create_module(spec):
        return None
    @staticmethod
    def exec_module(module):
        exec(compile(SOURCES.get(module.__name__, ""), module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Finder)
"""
# The text of the program that a detached process runs is made on the host, of the same sources.
ASK = """\
from {module} import answer
asked = json.loads(base64.b64decode(b"".join(iter(LINES, b""))).decode("utf-8"))
print("{begun}", flush=True)
program = {harness!r}.replace("@SOURCES@", repr(json.dumps(SOURCES))) + {detached!r}
try:
    said = answer(asked["params"], asked["check"], os.environ.get("UPTRACK_LAB_ROOT", ""), program)
except Exception as error:
    said = dict(failed=True, msg="%s: %s" % (type(error).__name__, error))
print("\\n{mark}" + json.dumps(said))
"""
DETACHED = f"""\
from {OURS}.turn.process import main
main()
"""
# In short lines up to an empty one: where ssh is told to have a terminal (-tt), its longest line is
# 4095 characters, and the rest of a longer one is lost.
FIRST = (
    "import base64,sys,zlib;LINES=lambda:sys.stdin.buffer.readline().strip();"
    "exec(zlib.decompress(base64.b64decode(b''.join(iter(LINES,b'')))).decode('utf-8'))"
)


class Unanswered(Exception):
    """The host gave no answer that is one; the words say what it said instead.

    C(begun) is whether the program began its work.
    """

    begun = False


class Unreachable(Unanswered, AnsibleConnectionFailure):
    """The host cannot be reached: to Ansible as well, where it is not caught."""


def sources(module):
    """The text of a module of ours, and of all those of ours that it imports, by name."""
    folder = os.path.dirname(times.__file__)
    found, left = {}, [module]
    while left:
        name = left.pop()
        if f"{OURS}.{name}" in found:
            continue
        with open(os.path.join(folder, *name.split(".")) + ".py", encoding="utf-8") as file:
            text = found[f"{OURS}.{name}"] = file.read()
        for package, several, one in IMPORT.findall(text):
            path = os.path.join(folder, *package.split("."))
            if os.path.isfile(path + ".py"):
                left.append(package[1:])
                continue
            for word in (several or one).split(","):
                if word.strip():
                    left.append(f"{package}.{word.split()[0]}".lstrip("."))
    return found


def command(interpreter=""):
    """The shell command that runs what comes on its standard input."""
    pythons = [shlex.quote(interpreter)] if interpreter else PYTHONS
    search = f"for p in {' '.join(pythons)}; do command -v $p >/dev/null 2>&1 && break; done"
    return f'{search}; $p -I -c "{FIRST}"'


def packed(module):
    """The program that asks a module: what comes first on standard input. Made once in a run, and
    kept in Ansible's local temporary folder for all its workers."""
    path = os.path.join(C.DEFAULT_LOCAL_TMP, f"rebootless-{module}")
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        pass
    text = HARNESS.replace("@SOURCES@", repr(json.dumps(sources(module)))) + ASK.format(
        module=f"{OURS}.{module}", mark=MARK, begun=BEGUN, harness=HARNESS, detached=DETACHED
    )
    lines = base64.encodebytes(zlib.compress(text.encode(), 9)) + b"\n"
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=C.DEFAULT_LOCAL_TMP)
        with open(handle, "wb") as file:
            file.write(lines)
        os.replace(temporary, path)
    return lines


def sent(module, params, check):
    """What goes in on standard input: the program, and what is asked.

    :param module: of module_utils, with a function C(answer).
    """
    asked = base64.encodebytes(json.dumps({"params": params, "check": check}).encode())
    return packed(module) + asked + b"\n"


def ask(action, module, params, task_vars):
    """Ask the host of an action plugin's task.

    :returns: what C(answer) of the module gave, unchecked.
    :raises Unanswered: where nothing came back.
    """
    given = sent(module, params, action._task.check_mode)
    try:
        said = action._low_level_execute_command(
            exported(action, command(interpreter(action, task_vars))), in_data=given
        )
    except AnsibleConnectionFailure as error:
        raise Unreachable(" ".join(str(error).split())) from None
    if said["rc"] < 0:
        # Killed was what connects, such as ssh, and not the program at its other end.
        raise Unreachable(f"The connection was killed (signal {-said['rc']}).")
    for line in reversed(said["stdout"].splitlines()):
        if line.startswith(MARK):
            try:
                return json.loads(line[len(MARK) :])
            except (ValueError, RecursionError):
                raise _unanswered("its answer is not JSON", said) from None
    words = " ".join((said["stderr"] or said["stdout"]).split())[-300:]
    raise _unanswered(f"status {said['rc']}: {words}", said)


def _unanswered(words, said):
    unanswered = Unanswered(words)
    unanswered.begun = BEGUN in said["stdout"]
    return unanswered


def exported(action, script):
    """The shell script with the task's C(environment)."""
    variables = action._compute_environment_string()
    return f"export {variables}; {script}" if variables else script


def interpreter(action, task_vars):
    """What the inventory says the host's Python is, if it is one and not a way to look for one."""
    variables = task_vars
    if action._task.delegate_to:
        delegated = task_vars.get("ansible_delegated_vars", {})
        variables = delegated.get(action._task.delegate_to, {})
    given = action._templar.template(variables.get("ansible_python_interpreter") or "")
    return "" if given.startswith("auto") else given
