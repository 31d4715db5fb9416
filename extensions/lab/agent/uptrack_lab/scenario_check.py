# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The scenario's grammar: strict, defaults filled in, one clear line for a mistake: the file, the
place, what to do.

Only loaded when a scenario is new; see scenario.py.
"""

import json
import re

from .world import CHANGING_COMMANDS, ScenarioError


class _Bad(Exception):
    def __init__(self, where, what):
        Exception.__init__(self, where, what)
        self.where, self.what = where, what


REQUIRED = object()
_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d(?:\.\d+)?)Z$")
_AGO = re.compile(r"[-+]\d+(?:\.\d+)?s$")
_ID = re.compile(r"[a-z0-9]+$")


# ---- checks: (value, where) -> value, or _Bad ----------------------------------------------------


def text(value, where):
    if not isinstance(value, str):
        raise _Bad(where, f"must be a text in double quotes, not {_shown(value)}")
    return value


def word(value, where):
    if not text(value, where) or "/" in value or "\n" in value or "\0" in value:
        raise _Bad(where, "must be a text without slash or line break, and not empty")
    return value


def line(value, where):
    if not text(value, where) or "\n" in value:
        raise _Bad(where, "must be one line of text, and not empty")
    return value


def absolute(value, where):
    if not line(value, where).startswith("/"):
        raise _Bad(where, f"must be the whole path of a directory, not {_shown(value)}")
    return value


def name_of_update(value, where):
    """A line that may be empty: real names have been odd."""
    if "\n" in text(value, where):
        raise _Bad(where, "must be one line of text")
    return value


def boolean(value, where):
    if not isinstance(value, bool):
        raise _Bad(where, f"must be true or false, not {_shown(value)}")
    return value


def number(value, where):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise _Bad(where, f"must be a number, 0 or more, not {_shown(value)}")
    return value


def count(value, where):
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Bad(where, f"must be a whole number, 0 or more, not {_shown(value)}")
    return value


def update_id(value, where):
    if not _ID.match(text(value, where)):
        raise _Bad(where, f"an ID has only lower-case letters and digits, not {_shown(value)}")
    return value


def moment(value, where):
    """Seconds since 1970; a moment relative to the host's creation stays a text."""
    seconds = value if _AGO.match(text(value, where)) else parse_moment(value)
    if seconds is None:
        raise _Bad(
            where,
            'must be a moment like "2026-11-22T02:40:00Z", or seconds from the host\'s creation '
            f'like "-600s", not {_shown(value)}',
        )
    return seconds


def optional(check):
    return lambda value, where: None if value is None else check(value, where)


def either(first_type, first, second):
    return lambda value, where: (first if isinstance(value, first_type) else second)(value, where)


def one_of(*words):
    def check(value, where):
        if value not in words:
            raise _Bad(
                where,
                "must be one of {}, not {}{}".format(
                    ", ".join(words), _shown(value), _meant(value, words)
                ),
            )
        return value

    return check


def list_of(check):
    def check_list(value, where):
        if not isinstance(value, list):
            raise _Bad(where, f"must be a list in [ ], not {_shown(value)}")
        return [check(item, f"{where}[{place}]") for place, item in enumerate(value)]

    return check_list


def mapping(keys, fill=True):
    """`keys`: {name: (check, default)}.  With fill=False keys that are not given stay away."""

    def check(value, where):
        if not isinstance(value, dict):
            raise _Bad(where, f"must be a mapping in {{ }}, not {_shown(value)}")
        for key in value:
            if key not in keys:
                hint = _meant(key, keys) or f"; there are: {', '.join(sorted(keys))}"
                raise _Bad(_join(where, key), f"there is no such key{hint}")
        result = {}
        for key, (check_one, default) in keys.items():
            if key in value:
                result[key] = check_one(value[key], _join(where, key))
            elif default is REQUIRED:
                raise _Bad(_join(where, key), "is missing, and has to be given")
            elif fill:
                result[key] = (
                    json.loads(json.dumps(default))
                    if isinstance(default, (dict, list))
                    else default
                )
        return result

    return check


def process(value, where):
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not isinstance(value[0], str)
        or isinstance(value[1], bool)
        or not isinstance(value[1], int)
    ):
        raise _Bad(where, f'must be a pair like ["bash", 1234], not {_shown(value)}')
    return value


def config_sections(value, where):
    """{section: {key: value}}; null takes a key of the shipped file out."""
    if not isinstance(value, dict):
        raise _Bad(
            where, f"must be the text of the file, or a mapping of sections, not {_shown(value)}"
        )
    for section, keys in value.items():
        if not isinstance(keys, dict):
            raise _Bad(_join(where, section), f"must be a mapping of keys, not {_shown(keys)}")
        for key, setting in keys.items():
            if isinstance(setting, (dict, list)):
                raise _Bad(
                    _join(_join(where, section), key),
                    f"must be a single value, not {_shown(setting)}",
                )
    return value


def _join(where, key):
    return f"{where}.{key}" if where else key


def _shown(value):
    shown = json.dumps(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _meant(value, words):
    import difflib

    near = difflib.get_close_matches(value, list(words), 1) if isinstance(value, str) else []
    return f"; did you mean '{near[0]}'?" if near else ""


def parse_moment(value):
    """Seconds since 1970 of `2026-11-22T02:40:00Z`; None if it is not one."""
    found = _MOMENT.match(value)
    if found is None:
        return None
    year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
    if not (
        1 <= month <= 12
        and 1 <= day <= 31
        and hour < 24
        and minute < 60
        and float(found.group(6)) < 61
    ):
        return None
    # Days since 1970 in a calendar whose years begin in March, so that the leap day comes last.
    if month <= 2:
        year, month = year - 1, month + 12
    days = (
        365 * year
        + year // 4
        - year // 100
        + year // 400
        + (153 * (month - 3) + 2) // 5
        + day
        - 719469
    )
    return days * 86400 + hour * 3600 + minute * 60 + float(found.group(6))


# ---- the keys ------------------------------------------------------------------------------------

ABORTS = (
    "no_match",
    "bad_system_map",
    "code_busy",
    "module_busy",
    "out_of_memory",
    "failed_to_find",
    "already_reversed",
    "missing_export",
    "unexpected_running_task",
    "target_not_loaded",
    "call_failed",
    "cold_update_loaded",
    "unexpected",
    "unknown",
    "OTHER",
)

KERNEL = mapping(
    {
        "release": (word, REQUIRED),
        "version": (word, REQUIRED),
        "machine": (word, "x86_64"),
        "sysname": (word, "Linux"),
        "package_version": (optional(line), None),
    }
)

EFFECTIVE = mapping(
    {
        "release": (word, REQUIRED),
        "version": (word, REQUIRED),
        "package_version": (optional(line), None),
    }
)

CLIENT = mapping(
    {
        "version": (line, "1.2.80"),
        "edition": (one_of("online", "offline", "absent"), "online"),
        "enhanced": (boolean, False),
        "required_to_install": (optional(line), None),
        "required_to_parse": (optional(line), None),
        "tools_api": (line, "1"),
        "required_tools_api": (optional(line), None),
    }
)

UPDATE = mapping(
    {
        "id": (update_id, REQUIRED),
        "name": (name_of_update, REQUIRED),
        "effective": (optional(EFFECTIVE), None),
        "requires": (list_of(update_id), []),
        "supersedes": (list_of(update_id), []),
        "details": (
            optional(text),
            "A security fix, applied to the running kernel without a reboot.",
        ),
        "published": (optional(moment), None),
        "modules": (list_of(word), []),
        "seconds": (optional(number), None),
        "download": (one_of("ok", "error", "missing"), "ok"),
        "detection": (boolean, False),
    }
)

FAILURE = mapping(
    {
        "id": (update_id, REQUIRED),
        "abort": (one_of(*ABORTS), REQUIRED),
        "says": (optional(line), None),
        "verb": (one_of("install", "remove"), "install"),
        "times": (optional(count), None),
        "attempts": (optional(count), None),
        "processes": (list_of(process), []),
        "modules": (list_of(word), []),
        "removable": (list_of(word), []),
        "rmmod": (one_of("works", "fails"), "works"),
        "virtualbox": (boolean, False),
        "seconds": (number, 0.0),
    }
)

SERVER_ERROR = mapping(
    {
        "code": (count, REQUIRED),
        "message": (text, REQUIRED),
    }
)

# What a fault of some runs may change for their time.
PASSING = {
    "network": (
        one_of(
            "ok",
            "dns",
            "connect",
            "timeout",
            "tls",
            "proxy",
            "other",
            "server_error",
            "http_error",
            "list_error",
            "plan_error",
            "plan_server_error",
            "plan_refused",
            "result_error",
        ),
        "ok",
    ),
    "access_key": (one_of("ok", "missing", "bad", "expired", "not_activated"), "ok"),
    "unsupported": (boolean, False),
    "bad_signature": (boolean, False),
    "error": (optional(SERVER_ERROR), None),
    "alert": (optional(text), None),
    "message": (optional(text), None),
    "warning": (optional(text), None),
    "desupported": (optional(either(bool, boolean, text)), None),
    "backoff": (optional(count), None),
    "regenerate_cron": (boolean, False),
    "regenerate_uuid": (boolean, False),
    "lock_held": (number, 0),
    "seconds_per_update": (number, 0.0),
    "seconds_per_contact": (number, 0.0),
    "effective_line_unknown": (boolean, False),
    "depmod_fails": (boolean, False),
    "dies_after": (optional(count), None),
    "crash": (boolean, False),
}

FAULT = mapping(
    dict(
        PASSING,
        **{
            "times": (count, 1),
            "skip": (count, 0),
            "commands": (list_of(one_of(*CHANGING_COMMANDS)), list(CHANGING_COMMANDS)),
        },
    ),
    fill=False,
)

USER_UPDATE = mapping(
    {
        "id": (update_id, REQUIRED),
        "name": (line, REQUIRED),
        "details": (optional(text), None),
    }
)

USER_PROCESS = mapping(
    {
        "name": (line, REQUIRED),
        "pid": (count, REQUIRED),
        "target": (line, REQUIRED),
        "namespace": (boolean, False),
        "installed": (list_of(update_id), []),
    }
)

USER_SPACE = mapping(
    {
        "targets": (
            list_of(mapping({"name": (line, REQUIRED), "updates": (list_of(USER_UPDATE), [])})),
            [],
        ),
        "processes": (list_of(USER_PROCESS), []),
    }
)

SCENARIO_KEYS = dict(
    PASSING,
    **{
        "comment": (text, ""),
        "kernel": (KERNEL, REQUIRED),
        "hostname": (optional(word), None),
        "service": (optional(absolute), None),
        "client": (CLIENT, CLIENT({}, "")),
        "agent": (boolean, True),
        "updates": (list_of(UPDATE), []),
        "installed": (list_of(update_id), []),
        "checked": (optional(moment), None),
        "modules": (list_of(word), []),
        "config": (either(str, text, config_sections), {}),
        "accepted_keys": (optional(list_of(line)), None),
        "expired_message": (
            text,
            "Your Ksplice Uptrack subscription has expired. Please renew it with your vendor.",
        ),
        "refusal": (text, "No plan can be made for this machine."),
        "container": (boolean, False),
        "openvz": (boolean, False),
        "disabled": (boolean, False),
        "nouptrack": (boolean, False),
        "offline_package": (boolean, True),
        "user": (one_of("root", "other"), "root"),
        "lock_wait": (number, 10),
        "retry_wait": (number, 1),
        "cron_sleep": (number, 59),
        "failures": (list_of(FAILURE), []),
        "faults": (list_of(FAULT), []),
        "list_effective_blank_line": (one_of("after", "before", "absent"), "after"),
        "sysfs_layout": (one_of("kernel", "module"), "kernel"),
        "user_space": (USER_SPACE, USER_SPACE({}, "")),
        "other_kernels": (
            list_of(
                mapping(
                    {
                        "kernel": (KERNEL, REQUIRED),
                        "updates": (list_of(UPDATE), []),
                        "unsupported": (boolean, False),
                    }
                )
            ),
            [],
        ),
    },
)
_SCENARIO = mapping(SCENARIO_KEYS)


# ---- the whole -----------------------------------------------------------------------------------


def whole(check_all, raw, source):
    """What a check makes of a whole document; ScenarioError with one line if something is wrong.

    :param check_all: one of the checks above.
    :param source: where the document is from.
    """
    try:
        return check_all(raw, "")
    except _Bad as bad:
        raise ScenarioError("{}: {}: {}".format(source, bad.where or "the whole", bad.what))


def check(raw, source="scenario"):
    """The scenario with every default filled in; ScenarioError with one line if something is
    wrong.
    """
    return whole(_check, raw, source)


def _check(raw, where):
    scenario = _SCENARIO(raw, where)
    _check_catalogue(scenario["updates"], "updates")
    for place, other in enumerate(scenario["other_kernels"]):
        _check_catalogue(other["updates"], f"other_kernels[{place}].updates")
    known = {update["id"] for update in scenario["updates"]}
    _refer(scenario["installed"], known, "installed")
    for place, failure in enumerate(scenario["failures"]):
        _refer_one(failure["id"], known, f"failures[{place}].id")
    for place, one in enumerate(scenario["installed"]):
        if one in scenario["installed"][:place]:
            raise _Bad(f"installed[{place}]", f"'{one}' is there twice; take one out")
    return scenario


def check_updates(raw, source):
    """A catalogue that came with an offline updates package."""

    def check_all(raw, dummy):
        updates = list_of(UPDATE)(raw, "updates")
        _check_catalogue(updates, "updates")
        return updates

    return whole(check_all, raw, source)


def _check_catalogue(updates, where):
    known = {}
    for place, update in enumerate(updates):
        if update["id"] in known:
            raise _Bad(
                f"{where}[{place}].id",
                f"'{update['id']}' is already that of {where}[{known[update['id']]}]; give each "
                "update its own",
            )
        known[update["id"]] = place
    for place, update in enumerate(updates):
        for key in ("requires", "supersedes"):
            _refer(update[key], known, f"{where}[{place}].{key}")
            if update["id"] in update[key]:
                raise _Bad(f"{where}[{place}].{key}", "names the update itself; take it out")
    _refuse_circles(updates, known, where)


def _refuse_circles(updates, known, where):
    """Peel off updates whose requirements are peeled off; what stays requires
    itself by some way.
    """
    left = {update["id"]: set(update["requires"]) for update in updates if update["requires"]}
    while left:
        free = [one for one, needs in left.items() if not any(need in left for need in needs)]
        if not free:
            first = min(left, key=known.get)
            raise _Bad(
                f"{where}[{known[first]}].requires",
                f"leads back to '{first}' itself; break the circle",
            )
        for one in free:
            del left[one]


def _refer(ids, known, where):
    for place, one in enumerate(ids):
        _refer_one(one, known, f"{where}[{place}]")


def _refer_one(one, known, where):
    if one not in known:
        raise _Bad(where, f"no update has the ID '{one}'{_meant(one, known)}")


def parse(source_text, source):
    """Text of a scenario file -> scenario."""
    return check(parse_json(source_text, source), source)


def parse_json(source_text, source):
    try:
        return json.loads(source_text, object_pairs_hook=_no_doubles)
    except ValueError as error:
        raise ScenarioError(f"{source}: is not JSON: {error}")


def _no_doubles(pairs):
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, dummy in pairs]
        double = [key for key in keys if keys.count(key) > 1][0]
        raise ValueError(f"the key '{double}' is there twice in one mapping")
    return result
