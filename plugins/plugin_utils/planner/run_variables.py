# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The variables that steer a run: which there are, of which kind, and what is wrong with those
given. Pure.

Ansible ignores a misspelt variable, and takes `1d` for the number 0. Both are
found here, before any host is asked anything.
"""

from __future__ import annotations

import difflib
import re

from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import window
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import (
    PlanError,
    budget,
)

TEN_YEARS = 3650
# Variable of a run -> its kind. docs/running.md and docs/enrollment.md describe them.
RUN = {
    "ksplice_hosts": "text",
    "ksplice_report_directory": "text",
    "ksplice_report_formats": "any",
    "ksplice_report_url": "text",
    "ksplice_report_token": "text",
    "ksplice_report_s3": "s3",
    "ksplice_api_user": "text",
    "ksplice_api_key": "text",
    "ksplice_api_url": "text",
    "ksplice_api_ca": "text",
    "ksplice_api_proxy": "text",
    "ksplice_silent_days": "days",
    "ksplice_authorize": "truth",
    "ksplice_service_group": "text",
    "ksplice_inspector_url": "text",
    "ksplice_cache": "text",
    "ksplice_cache_seconds": "seconds",
    "ksplice_records": "any",
    "ksplice_compare_with": "any",
    "ksplice_record": "text",
    "ksplice_query": "text",
    "ksplice_query_output": "output",
    "ksplice_query_dest": "text",
    "ksplice_select": "text",
    "ksplice_max_age": "seconds",
    "ksplice_refresh": "truth",
    "ksplice_refresh_older_than": "seconds",
    "ksplice_max_parallel": "count",
    "ksplice_max_failures": "budget",
    "ksplice_stages": "list",
    "ksplice_ha_groups": "mapping",
    "ksplice_partial_groups": "truth",
    "ksplice_retries": "number",
    "ksplice_retry_delay": "seconds",
    "ksplice_access_key": "text",
    "ksplice_https_proxy": "text",
    "ksplice_install_on_reboot": "truth",
    "ksplice_upgrade_on_reboot": "truth",
    "ksplice_autoinstall": "truth",
    "ksplice_rehearsal_directory": "text",
    "ksplice_rehearsal_enroll": "truth",
    "ksplice_edition": "text",
    "ksplice_enhanced": "truth",
    "ksplice_packages": "list",
    "ksplice_updates_package": "text",
    "ksplice_repository": "text",
    "ksplice_repository_url": "text",
    "ksplice_repository_key": "text",
    "ksplice_repository_key_fingerprint": "text",
    "ksplice_channel": "text",
    "ksplice_settings": "settings",
    "ksplice_check": "text",
    "ksplice_check_hours": "any",
    "ksplice_image": "truth",
    "ksplice_retire": "truth",
    "ksplice_enroll_hosts": "text",
    "ksplice_enroll_fail": "truth",
    "ksplice_run_kind": "text",
    "ksplice_report_default": "text",
    "ksplice_drain": "drain",
    "ksplice_soak": "seconds",
    "ksplice_wave_soak": "seconds",
    "ksplice_promote": "truth",
    "ksplice_self_update": "self_update",
    "ksplice_stop_file": "path",
    "ksplice_window": "window",
    "ksplice_lease_seconds": "count",
    "ksplice_timeout": "count",
    "ksplice_lease_wait": "seconds",
    "ksplice_drain_timeout": "count",
    "ksplice_on_lost_controller": "on_lost_controller",
    "ksplice_verdict_timeout": "count",
}
# Not kept with the others for the planner, which has no use for them.
SECRET = (
    "ksplice_access_key",
    "ksplice_https_proxy",
    "ksplice_report_token",
    "ksplice_report_s3",
    "ksplice_api_user",
    "ksplice_api_key",
    "ksplice_api_proxy",
)
CHOICES = {
    "output": ("table", "json", "csv", "markdown"),
    "on_lost_controller": ("restore", "stay"),
    "drain": ("never", "active", "always"),
    "self_update": ("refuse", "warn", "allow"),
}
# Variables of a host, checked by the planner.
HOST = (
    "ksplice_ha_group",
    "ksplice_ha_role",
    "ksplice_ha_max_unavailable",
    "ksplice_stage",
    "ksplice_rehearsal",
    "ksplice_rehearsal_root",
    "ksplice_ha_discover",
    "ksplice_ha_command",
    "ksplice_ha_drain",
    "ksplice_ha_checks",
    "ksplice_ha_gates",
    "ksplice_ha_addresses",
    "ksplice_canary",
    "ksplice_uuid",
)
# What role rolling takes, see roles/rolling/meta/argument_specs.yml.
ROLE = (
    "rolling_drain_mode",
    "rolling_drain_timeout",
    "rolling_groups",
    "rolling_lease_seconds",
    "rolling_lease_wait",
    "rolling_lock_timeout",
    "rolling_max_failures",
    "rolling_max_parallel",
    "rolling_on_lost_controller",
    "rolling_pause",
    "rolling_promote",
    "rolling_reason",
    "rolling_refresh_older_than",
    "rolling_retries",
    "rolling_retry_delay",
    "rolling_run",
    "rolling_scope",
    "rolling_self_update",
    "rolling_soak",
    "rolling_stages",
    "rolling_stop_file",
    "rolling_timeout",
    "rolling_verdict_timeout",
    "rolling_wave_soak",
    "rolling_window",
)
OURS = ("ksplice_", "rolling_")
# Those of them by which one host is treated unlike another; a group and a role it may have under
# each of its names.
TREATMENT = (
    "ksplice_ha_addresses",
    "ksplice_ha_command",
    "ksplice_ha_discover",
    "ksplice_ha_drain",
    "ksplice_ha_checks",
    "ksplice_ha_gates",
    "ksplice_ha_max_unavailable",
    "ksplice_stage",
)
# Those of a run that are read once, for all of its hosts.
ONCE = (
    "ksplice_drain",
    "ksplice_ha_groups",
    "ksplice_max_failures",
    "ksplice_max_parallel",
    "ksplice_partial_groups",
    "ksplice_promote",
    "ksplice_self_update",
    "ksplice_soak",
    "ksplice_stages",
    "ksplice_stop_file",
    "ksplice_wave_soak",
    "ksplice_window",
)
TRUTHS = ("true", "false", "yes", "no", "on", "off", "1", "0", "y", "n", "t", "f")


def check(variables):
    """Complain of the first thing that is wrong with the variables of a run.

    :raises PlanError: in one sentence.
    """
    for name, kind in RUN.items():
        value = variables.get(name)
        if value is None:
            continue
        text = str(value).strip()
        if kind in ("seconds", "number", "count", "days"):
            if (
                isinstance(value, bool)
                or not re.fullmatch("[0-9]+", text)
                or (kind in ("count", "days") and int(text) < 1)
                or (kind == "days" and int(text) > TEN_YEARS)
            ):
                what = {
                    "seconds": "a number of seconds, 0 or more",
                    "number": "a number, 0 or more",
                    "count": "a number, 1 or more",
                    "days": f"a number of days, 1 to {TEN_YEARS}",
                }[kind]
                raise PlanError(f"{name} is {value!r}: give {what}.")
        elif kind == "window" and value not in ("", {}):
            try:
                window.read(value)
            except window.Closed as error:
                raise PlanError(
                    f"{name} is not valid ({error}): correct it. Until then no wave begins."
                ) from None
        elif kind == "path" and text and not text.startswith("/"):
            raise PlanError(f"{name} is {value!r}: give an absolute path.")
        elif kind == "text" and isinstance(value, (dict, list, tuple)):
            raise PlanError(f"{name} is a list or mapping: give text.")
        elif kind == "truth" and text.lower() not in TRUTHS:
            raise PlanError(f"{name} is {value!r}: give true or false.")
        elif kind == "list" and not (
            isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        ):
            raise PlanError(f"{name} is {value!r}: give a list of names.")
        elif kind == "mapping" and not isinstance(value, dict):
            raise PlanError(f"{name} is {value!r}: give a mapping of names to lists of hosts.")
        elif kind == "settings" and not isinstance(value, dict):
            # Not what it is: it may be meant to hold a password.
            raise PlanError(
                f"{name} is not a mapping: give a mapping of options of uptrack_config "
                "to their values."
            )
        elif kind == "s3" and not isinstance(value, dict):
            raise PlanError(f"{name} is not a mapping: give endpoint, region, or credentials.")
        elif kind == "budget":
            budget(value, 1)
        elif kind in CHOICES and value not in CHOICES[kind]:
            raise PlanError(f"{name} is {value!r}: give one of {', '.join(CHOICES[kind])}.")


def differing(first, variables_of, names):
    """Complain of a variable of the run that hosts differ in: it is read once, and one of them
    would get what is meant for another.

    :raises PlanError: in one sentence.
    """
    known = {key: variables_of[first].get(key) for key in ONCE}
    for name in names:
        variables = variables_of[name]
        for key in ONCE:
            if (key in variables or known[key] is not None) and variables.get(key) != known[key]:
                raise PlanError(
                    f"{key} differs between {first} and {name}, but applies to the whole run: "
                    "set the same for all hosts of the run, or run once for each "
                    "(ksplice_hosts)."
                )


def misspelt(name, variables):
    """Complain of a variable of a host (or of the run: those stand among each host's) that is
    nearly one of ours.

    Only near misses: others may well have variables of their own whose names start alike.

    :raises PlanError: in one sentence.
    """
    known = [*RUN, *HOST, *ROLE]
    for variable in variables:
        if variable.startswith(OURS) and variable not in known:
            # Options of the role are few and alike; what begins as one does is meant as that one.
            near = 0.85 if variable.startswith("ksplice_") else 0.75
            meant = difflib.get_close_matches(variable, known, 1, near) or [
                one for one in ROLE if one.startswith(f"{variable}_")
            ]
            if meant:
                raise PlanError(
                    f"Host {name} has the variable {variable}, which does not exist (did you "
                    f"mean {meant[0]}?): correct it, or rename it."
                )
