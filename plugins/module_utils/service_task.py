# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The arguments of the modules that ask the service's API, for the modules and their actions."""

API = {
    "api_user": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "api_url": {"type": "str"},
    "api_ca": {"type": "path"},
    # It may have a password in it.
    "api_proxy": {"type": "str", "no_log": True},
}
WHICH = {"uuid": {"type": "str"}, "name": {"type": "str"}}
MACHINE = dict(
    WHICH,
    authorized={"type": "bool"},
    group={"type": "str"},
    **API,
)
MACHINE_INFO = dict(
    WHICH,
    all={"type": "bool", "default": False},
    describe={"type": "bool", "default": True},
    **API,
)
EXCLUSIVE = [("uuid", "name")]
INFO_EXCLUSIVE = [("uuid", "name", "all")]
