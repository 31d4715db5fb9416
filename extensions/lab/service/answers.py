# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the service says to a request: to the web API (reference 5.1), the Inspector (5.5), an
agent's request for its status (5.6), and whoever looks at the status page.

It knows of the machines what the account's files say, and of updates what the rehearsal fleet's
kernels have. Nothing here touches a network.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

LAB = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(LAB / "agent"), str(LAB / "rehearsal"), str(LAB / "service")]
import hosts  # noqa: E402
import page  # noqa: E402
from uptrack_lab import account, scenario_check, server, yaml_files  # noqa: E402
from uptrack_lab.scenario_check import REQUIRED, count, line, list_of, one_of, optional  # noqa: E402

SETTINGS = scenario_check.mapping(
    {
        "user": (line, REQUIRED),
        "key": (line, REQUIRED),
        "access_keys": (optional(list_of(line)), None),
        "new_machines": (
            one_of(account.ALLOWED, account.DENIED, account.PENDING),
            account.ALLOWED,
        ),
        "inactive_after": (count, 86400),
    }
)
_PATHS = {
    "machines": ("GET", r"/api/1/machines"),
    "describe": ("GET", r"/api/1/machine/(?P<uuid>[^/]+)/describe"),
    "authorize": ("POST", r"/api/1/machine/(?P<uuid>[^/]+)/authorize"),
    "group": ("POST", r"/api/1/machine/(?P<uuid>[^/]+)/group"),
    "inspector": ("POST", r"/api/1/update-list/"),
    "status": ("POST", r"/update-repository/(?P<key>[^/]+)/\+uuid/(?P<uuid>[^/]+)/status"),
    "page": ("GET", r"/status"),
}
# What `machines` says of each, and what `describe` says besides.
LISTED = (
    *("uuid", "hostname", "ip", "active", "status", "authorization", "autoinstall"),
    *("mmap_min_addr", "uptrack_client_version", "last_seen"),
)
DESCRIBED = ("effective_kernel", "original_kernel", "group", "installed_updates", "steps")
_UNAME = ("sysname", "machine", "release", "version")


class Answer(NamedTuple):
    """An answer: C(kind) is its media type."""

    status: int
    kind: str
    body: bytes
    headers: dict = {}


class Request(NamedTuple):
    """A request: C(headers) by their names in lower case."""

    method: str
    path: str
    headers: dict = {}
    body: bytes = b""


def of_json(value, status=200):
    return Answer(status, "application/json", json.dumps(value).encode())


def refusal(status, why):
    return of_json({"error": why}, status)


REJECTED = refusal(401, "The user or the key is wrong.")
UNKNOWN = refusal(404, "There is nothing here.")
NO_MACHINE = refusal(404, "The account has no such machine.")


def settings(directory):
    """The account's settings, checked.

    :raises uptrack_lab.world.ScenarioError: if the file is wrong, in one line.
    """
    path = os.path.join(directory, account.SETTINGS)
    text = Path(path).read_text(encoding="utf-8")
    return scenario_check.whole(SETTINGS, scenario_check.parse_json(text, path), path)


def call_of(request):
    """Which of C(_PATHS) a request is for, and what is in its path; None if for none of them."""
    path = urlsplit(request.path).path
    for call, (method, pattern) in _PATHS.items():
        found = re.fullmatch(pattern, path)
        if found and method == request.method:
            return call, {name: unquote(value) for name, value in found.groupdict().items()}
    return None, {}


def answer(directory, request, now):
    """What the service of an account says.

    :param directory: that of the account.
    :param request: a Request.
    :param now: the time of it, with its zone.
    :raises uptrack_lab.world.ScenarioError: if the account's settings are wrong, in one line.
    """
    call, named = call_of(request)
    if call is None:
        return UNKNOWN
    own = settings(directory)
    if call == "inspector":
        return _inspector(request.body)
    if call == "page":
        text = page.of([_about(one, own, now) for one in account.machines(directory)], now)
        return Answer(200, "text/html; charset=utf-8", text.encode())
    if call == "status":
        return _status(directory, own, **named)
    if not _accepted(request.headers, own):
        return REJECTED
    if call == "machines":
        machines = [_about(one, own, now) for one in account.machines(directory)]
        return of_json([{key: one[key] for key in LISTED} for one in machines])
    try:
        known = _about(account.machine(directory, named["uuid"]), own, now)
        if call == "describe":
            return of_json({key: known[key] for key in (*LISTED, *DESCRIBED)})
        return _decide(directory, named["uuid"], call, request.body)
    except account.Missing:
        return NO_MACHINE


def _accepted(headers, own):
    given = (headers.get("x-uptrack-user", ""), headers.get("x-uptrack-key", ""))
    pairs = zip(given, (own["user"], own["key"]))
    return all([hmac.compare_digest(one.encode(), other.encode()) for one, other in pairs])


def _about(known, own, now):
    """A machine of the account's files as the API has it."""
    seen = datetime.fromisoformat(known["last_seen"].replace("Z", "+00:00"))
    status = "outofdate" if known["steps"] else "uptodate"
    return dict(
        known,
        active=(now - seen).total_seconds() <= own["inactive_after"],
        status="unsupported" if known["unsupported"] else status,
    )


def _decide(directory, uuid, call, body):
    key, kind = {"authorize": ("authorized", bool), "group": ("group_name", str)}[call]
    try:
        wish = json.loads(body)
    except ValueError:
        return refusal(400, "The body is not JSON.")
    if not isinstance(wish, dict) or not isinstance(wish.get(key), kind):
        return refusal(400, f"The body needs {key}, a {kind.__name__}.")
    if call == "authorize":
        state = account.ALLOWED if wish[key] else account.DENIED
        account.decide(directory, uuid, authorization=state)
    else:
        account.decide(directory, uuid, group=wish[key])
    return of_json({})


def _inspector(body):
    asked = body.decode("utf-8", "replace").splitlines()
    if len(asked) != len(_UNAME):
        return refusal(400, "The body needs four lines: uname -s, -m, -r and -v.")
    for kernel in hosts.KERNELS.values():
        if [{"sysname": "Linux", **kernel}[key] for key in _UNAME] == asked:
            names = "".join(f"{update['name']}\n" for update in hosts.catalogue(kernel))
            return Answer(200, "text/plain; charset=utf-8", names.encode())
    return refusal(404, "There are no updates for this kernel.")


def _status(directory, own, key, uuid):
    """What an agent is told before all else; machines become known by their shared files only."""
    if own["access_keys"] is not None and key not in own["access_keys"]:
        return refusal(403, "The access key is wrong.")
    try:
        authorization = account.machine(directory, uuid)["authorization"]
    except account.Missing:
        authorization = own["new_machines"]
    said = {}
    if authorization != account.ALLOWED:
        error = server.NOT_ACTIVATED
        said["Error"] = {"Code": error["code"], "Message": error["message"]}
    return Answer(200, "text/x-yaml", yaml_files.dump(said).encode())


def utc_now():
    return datetime.now(timezone.utc)
