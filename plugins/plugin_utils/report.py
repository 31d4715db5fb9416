# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Writes the record and its page into a directory of the controller's."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import stat
import tempfile

from ansible.errors import AnsibleActionFail
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import faces, records
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page import html
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError


def make(directory):
    """Have the directory: now, and not when the work is done and cannot be told.

    :returns: whether it was made.
    """
    with _Failure(directory):
        changed = not os.path.isdir(directory)
        # The record tells which CVEs are open where: not for every user of the controller. A
        # directory that is there keeps its mode.
        os.makedirs(directory, mode=0o750, exist_ok=True)
        return changed


def stopped(directory):
    """The run whose record lies here and says that it did not end: C(run), and C(known), the hosts
    of which that record knows the outcome. None where there is no such record.
    """
    try:
        path = os.path.join(directory, "record.json")
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, encoding="utf-8") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            found = json.load(file)
        if found["run"]["kind"] == "status" or found["run"]["ended"] is not None:
            return None
        # Of a host that was lost in its turn only its journal knows.
        known = [
            row["name"]
            for row in found["hosts"]
            if row["started"] and row["reason_code"] not in ("unreachable", "no_answer")
        ]
        return {"run": found["options"].get("run") or found["run"]["id"], "known": known}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # What lies there is replaced in any case.
        return None


def read(path, option="ksplice_record"):
    """The record in a file.

    :param option: where the file's name was given.
    :raises PlanError: where there is none that this collection can read.
    """
    advice = f"Give the record of a run of patch or status ({option})."
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(handle, encoding="utf-8") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise PlanError(f"{path} is no plain file. {advice}")
            found = json.load(file)
    except OSError as error:
        raise PlanError(f"{path} cannot be read ({error.strerror}). {advice}") from None
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path} is not a complete record ({error}). {advice}") from None
    return records.understood(found, path, advice)


def find(given, option):
    """The files of records that are meant by names of files, of directories with a record.json in
    them, and by patterns of these; each once.

    :raises PlanError: where there is none.
    """
    found = {}
    for one in filter(None, (str(one).strip() for one in given)):
        path = os.path.expanduser(one)
        matching = [path] if os.path.exists(path) else sorted(glob.glob(path, recursive=True))
        if not matching:
            raise PlanError(f"{option}: there is no file {one}.")
        for name in matching:
            name = os.path.join(name, "record.json") if os.path.isdir(name) else name
            found[os.path.realpath(name)] = name
    if not found:
        raise PlanError(f"Give records ({option}): files, or directories with record.json in them.")
    return list(found.values())


def write(directory, document, template, formats=()):
    """Write record.json, and the record in other formats.

    :param template: path of the page's Jinja template, for the format html.
    :param formats: see faces.FORMATS.
    :returns: the names of the files.
    """
    make(directory)
    with _Failure(directory):
        text = json.dumps(document, indent=4, sort_keys=True, ensure_ascii=False) + "\n"
        _replace(directory, "record.json", text)
        files = {}
        for name in formats:
            path, face = faces.FORMATS[name]
            if face:
                files[path] = face(document)
                continue
            files[path] = html.page(document, *os.path.split(os.path.abspath(template)))
        for name, text in files.items():
            _replace(directory, name, text)
    return ["record.json", *files]


def clear(directory, document):
    """Take away what another run left here in other formats: it would stand beside a record that is
    not its own.
    """
    try:
        with open(os.path.join(directory, "record.json"), encoding="utf-8") as file:
            same = json.load(file)["run"]["id"] == document["run"]["id"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        same = False
    if not same:
        with _Failure(directory):
            for path, _face in faces.FORMATS.values():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(directory, path))


def read_cache(path):
    """What was kept: a mapping; an empty one where nothing that can be read is there."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return {
            key: {"lines": [str(line) for line in one["lines"]], "at": int(one["at"])}
            for key, one in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def write_cache(path, value):
    """Keep a mapping. Where that cannot be written, nothing is lost but time."""
    folder, name = os.path.split(os.path.abspath(path))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _replace(folder, name, json.dumps(value))
    except OSError:
        pass


def check_text(path):
    """Complain of a file that could not be written, before there is anything to write.

    :raises PlanError:
    """
    path = os.path.abspath(path)
    if os.path.lexists(path) and not os.path.isfile(path):
        raise PlanError(f"ksplice_query_dest: {path} is no plain file. Give the name of one.")
    with _answer_to(path), tempfile.TemporaryFile(dir=os.path.dirname(path)):
        pass


def write_text(path, text):
    """Write a file that somebody asked for by its name.

    :raises PlanError:
    """
    path = os.path.abspath(path)
    with _answer_to(path):
        _replace(*os.path.split(path), text)


@contextlib.contextmanager
def _answer_to(path):
    try:
        yield
    except OSError as error:
        raise PlanError(
            f"ksplice_query_dest: {path} cannot be written ({error.strerror}). Give a file in a "
            "directory that is there and is yours."
        ) from None


class _Failure:
    """Tells what cannot be written as a failure of the task."""

    def __init__(self, directory):
        self.directory = os.path.abspath(directory)

    def __enter__(self):
        return self

    def __exit__(self, _kind, error, _trace):
        if isinstance(error, OSError):
            raise AnsibleActionFail(
                f"The report cannot be written to {self.directory}: {error.strerror} "
                f"({error.filename}). What an earlier run left there is as it was. Give another "
                "directory (ksplice_report_directory)."
            ) from error


def _replace(directory, name, text):
    """Write a file that is never visible half written."""
    descriptor, path = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
    try:
        # What a host said in no known encoding must not cost the others their record.
        with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o640)
            os.fsync(file.fileno())
        os.replace(path, os.path.join(directory, name))
    except BaseException:
        os.unlink(path)
        raise
