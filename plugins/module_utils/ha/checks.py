# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Checks: what must be true of a host before it is claimed, and again before it is restored."""

import base64
import re
import shlex
import socket
import time
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ansible_collections.rebootless.ksplice.plugins.module_utils import commands, redact
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import keepalived_data
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups, keepalived

KINDS = ("command", "url", "port", "unit")
ARGUMENTS = {
    "checks": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str"},
            "command": {"type": "str"},
            "url": {"type": "str"},
            "status": {"type": "list", "elements": "int"},
            "port": {"type": "int"},
            "address": {"type": "str", "default": "127.0.0.1"},
            "unit": {"type": "str"},
        },
    },
    "addresses": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "int", "default": 30},
    "stable_for": {"type": "int", "default": 0},
    "fail": {"type": "bool", "default": True},
}


class Wrong(ValueError):
    """A check that is not valid; the text says which."""


def title(check):
    """The name of a check, or what it checks."""
    if check.get("name"):
        return check["name"]
    if check.get("port"):
        return "port {} of {}".format(check["port"], check["address"])
    if check.get("unit"):
        return "unit {}".format(check["unit"])
    return (
        "url {}".format(redact.address(check["url"]))
        if check.get("url")
        else "command {}".format(redact.program(check["command"]))
    )


def look_over(checks):
    """Complain of a check that asks for nothing, for two things, or for what cannot be."""
    for check in checks:
        kinds = [kind for kind in KINDS if check.get(kind)]
        if len(kinds) != 1:
            raise Wrong(
                "The check {} has {}: give exactly one of {}. Nothing was checked.".format(
                    check.get("name") or "without a name",
                    " and ".join(kinds) or "nothing to check",
                    ", ".join(KINDS),
                )
            )
        wrong = mistake(check)
        if wrong:
            raise Wrong(f"The check {title(check)} is not valid: {wrong}. Nothing was checked.")


def mistake(check):
    """Why a check is not valid, as a clause, or None."""
    if check.get("port") and not 0 < check["port"] < 65536:
        return "ports are 1 to 65535"
    if check.get("url") and not re.match(r"https?://[^/\s]+", check["url"]):
        return "a URL begins with http:// or https:// and a host"
    if check.get("status") and not check.get("url"):
        return "status goes with url only"
    if check.get("command"):
        try:
            words = shlex.split(check["command"])
        except ValueError as error:
            return f"the command cannot be parsed ({error})"
        if not words:
            return "the command is blank"
        if commands.meant_for_a_shell(words):
            return (
                f"the command has {commands.meant_for_a_shell(words)}, which only a shell "
                "understands: write sh -c '…'"
            )
    return None


def look(machine, check, seconds, addresses=()):
    """What is wrong with one check, or None; it takes no longer than so many seconds.

    :param addresses: virtual ones. A keepalived that runs, and is in FAULT with one of them,
        would not take it.
    """
    if check.get("command"):
        rc, out, err = machine.within(seconds).run_command(shlex.split(check["command"]))
        words = redact.output(check["command"], err if err.strip() else out)
        return None if rc == 0 else f"status {rc}: {words}" if words else f"status {rc}"
    if check.get("unit"):
        rc, out, err = machine.within(seconds).run_command(
            ["systemctl", "is-active", check["unit"]]
        )
        if rc:
            return "it is {}".format(" ".join((out or err).split())[:200] or "not there")
        faults = (
            keepalived_data.in_fault(keepalived_data.of(machine.within(seconds)), addresses)
            if check["unit"] == "keepalived" and addresses
            else ()
        )
        return "it is in FAULT with {}".format(", ".join(faults)) if faults else None
    seconds = min(10, seconds)
    if check.get("port"):
        try:
            socket.create_connection((check["address"], check["port"]), timeout=seconds).close()
            return None
        except (OSError, UnicodeError) as error:
            return getattr(error, "strerror", None) or str(error)
    wanted = check.get("status") or range(200, 400)
    try:
        with build_opener(_NoRedirect).open(_request(check["url"]), timeout=seconds) as answer:
            status = answer.getcode()
    except HTTPError as error:
        status = error.code
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        return (
            getattr(reason, "strerror", None)
            or redact.mask(str(reason), [])
            or type(reason).__name__
        )
    return None if status in wanted else f"status {status}"


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an answer like any other."""

    def redirect_request(self, *_arguments):
        return None


def _request(url):
    """The request for a URL, which may have user and password in it."""
    parts = urlsplit(url)
    who, at, place = parts.netloc.rpartition("@")
    request = Request(urlunsplit(parts._replace(netloc=place)))
    if at:
        word = base64.b64encode(unquote(who).encode("utf-8")).decode("ascii")
        request.add_unredirected_header("Authorization", f"Basic {word}")
    return request


def run(machine, params, sleep=time.sleep, clock=time.monotonic):
    """Check until every check has passed for C(stable_for) consecutive seconds, or C(timeout)
    seconds have gone by without that.

    :returns: C(ok), C(checks) (C(name), C(ok), C(msg)), C(holds) (which of the addresses this
        host has), C(seconds).
    """
    look_over(params["checks"])
    begun = clock()
    good_since = None
    while True:
        found = []
        for check in params["checks"]:
            # One that hangs must not keep the others from being looked at.
            seconds = (
                max(1, min(5, params["timeout"]), params["timeout"] - (clock() - begun))
                if params["timeout"]
                else 10
            )
            found.append(
                {"name": title(check), "msg": look(machine, check, seconds, params["addresses"])}
            )
        now = clock()
        if any(one["msg"] for one in found):
            good_since = None
            if now - begun >= params["timeout"]:
                break
        else:
            good_since = now if good_since is None else good_since
            if now - good_since >= params["stable_for"]:
                break
        sleep(0.5 if params["timeout"] or params["stable_for"] else 0)
    held = machine.within(10).addresses() if params["addresses"] else set()
    checks = [dict(one, ok=one["msg"] is None) for one in found]
    return {
        "ok": all(one["ok"] for one in checks),
        "changed_nothing": True,
        "checks": checks,
        "seconds": round(clock() - begun, 1),
        "holds": [one for one in params["addresses"] if keepalived.address(one) in held],
    }


def answer(params, _check_mode, root, _program):
    """As run, for the program that asks in one round trip."""
    try:
        return dict(run(groups.Machine(commands.run, root), params), changed=False)
    except (Wrong, keepalived.Unreadable) as error:
        return {"failed": True, "msg": str(error), "changed_nothing": True}
