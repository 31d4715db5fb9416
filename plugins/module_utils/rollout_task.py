# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The arguments of a task of rollout. All of it runs on the controller, in the action plugin."""

STATES = (
    "ready",
    "asked",
    "left_behind",
    "taken_over",
    "plan",
    "select",
    "record",
    "report",
    "query",
    "merge",
    "compare",
    "findings",
    "preview",
)
# Where S3, or a server compatible with it, takes the report; what is missing the environment has.
S3 = {
    "endpoint": {"type": "str"},
    "region": {"type": "str"},
    "access_key_id": {"type": "str"},
    "secret_access_key": {"type": "str", "no_log": True},
    "session_token": {"type": "str", "no_log": True},
}
# Of the service's API, see service_api.settings.
API = {
    "user": {"type": "str"},
    "key": {"type": "str", "no_log": True},
    "url": {"type": "str"},
    "ca": {"type": "path"},
    "proxy": {"type": "str", "no_log": True},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": list(STATES), "required": True},
    "scope": {"type": "str", "choices": ["run", "play", "last"], "default": "run"},
    "kind": {"type": "str", "default": "patch"},
    "hosts": {"type": "list", "elements": "str"},
    "who": {"type": "str"},
    "options": {"type": "dict", "default": {}},
    "survey": {"type": "dict", "default": {}},
    "taken": {"type": "dict"},
    "results": {"type": "dict"},
    "directory": {"type": "path"},
    "template": {"type": "path"},
    "formats": {"type": "list", "elements": "str", "default": ["html"]},
    "record": {"type": "path"},
    "records": {"type": "list", "elements": "str"},
    "compare_with": {"type": "list", "elements": "str"},
    "query": {"type": "str"},
    "output": {"type": "str", "choices": ["table", "json", "csv", "markdown"], "default": "table"},
    "dest": {"type": "path"},
    "url": {"type": "str"},
    "token": {"type": "str", "no_log": True},
    "s3": {"type": "dict", "options": S3},
    "stats": {"type": "bool", "default": True},
    "api": {"type": "dict", "options": API},
    "ask_api": {"type": "bool", "default": False},
    "silent_days": {"type": "int", "default": 14},
    "inspector_url": {"type": "str"},
    "cache": {"type": "path"},
    "cache_seconds": {"type": "int", "default": 86400},
}
