# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Writes uptrack.conf and the file that disables the agent.

What a file should say is decided in conf, as pure text.
"""

import os
from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils import files, redact
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import conf
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll.enrollment import Refused

PATH, FLAG = "/etc/uptrack/uptrack.conf", "/etc/uptrack/disable"
# Options named otherwise than their key. `enabled` alone would say nothing.
_OPTIONS = {"accesskey": "access_key", "enabled": "known_exploit_detection"}


def option(key):
    """The module's option for a key of uptrack.conf."""
    return _OPTIONS.get(key.name, key.name)


def arguments():
    """The argument spec: one option for each key, typed as the key is."""
    spec = {
        option(key): {
            "type": "bool" if key.type == "bool" else "path" if key.type == "path" else "str"
        }
        for key in conf.KEYS
    }
    spec["access_key"]["no_log"] = True
    # Only user and password are secret in these: see forget_harmless.
    spec["https_proxy"]["no_log"] = True
    spec["update_repo_url"]["no_log"] = True
    spec["hostname_override_file"]["no_log"] = False
    spec["extra"] = {"type": "dict", "default": {}, "no_log": True}
    spec["disabled"] = {"type": "bool"}
    spec["backup"] = {"type": "bool", "default": False}
    return spec


# The file as it is (None: there is none) and as it is to be, and what each of the two says.
Plan = namedtuple("Plan", "old new before values")


def forget_harmless(params, no_log_values):
    """Of a URL only user and password are secret, of extra what stands in place of the key or a
    URL. All the rest of them, and above all words such as none and yes, must not be cut out of
    every result.
    """
    extra = [
        value
        for keys in params["extra"].values()
        if isinstance(keys, dict)
        for value in keys.values()
    ]
    urls = [
        str(value)
        for value in [
            params["https_proxy"],
            params["update_repo_url"],
            params.get("repository_url"),
        ]
        + extra
    ]
    # The key itself, given as text, is public.
    key = str(params.get("repository_key"))
    urls.append("" if "-----BEGIN" in key else key)
    keys = [
        str(value)
        for keys in params["extra"].values()
        if isinstance(keys, dict)
        for name, value in keys.items()
        if str(name).lower() == "accesskey"
    ]
    harmless = [url for url in urls if not redact.of_proxy(url)]
    for value in (
        harmless + ([] if urls[-1] else [key]) + [str(keys) for keys in params["extra"].values()]
    ):
        no_log_values.discard(value)
    no_log_values.update(
        part
        for url in urls
        if url not in harmless
        for part in redact.of_proxy(url)
        if len(part) >= redact.SHORTEST
    )
    no_log_values.update(keys)
    if params["access_key"]:
        no_log_values.add(params["access_key"])


def wishes(params):
    """What the task asks of the file: (section, key) to bool, text, or None to remove the key."""
    wanted = {}
    for key in conf.KEYS:
        value = params[option(key)]
        if value is not None:
            wanted[(key.section, key.name)] = value
    for section, keys in params["extra"].items():
        if not isinstance(keys, dict):
            raise Refused(
                f"extra: {section} must be a mapping of keys to values, like "
                f"{{'{section}': {{'key': 'value'}}}}. Nothing was changed."
            )
        if not section or "]" in section or "\n" in section:
            raise Refused(
                f"extra: {section!r} cannot be the name of a section. Nothing was changed."
            )
        for name, value in keys.items():
            place = (section, str(name).lower())
            own = [option(key) for key in conf.KEYS if (key.section, key.name) == place]
            if own and value is not None:
                raise Refused(
                    f"extra: [{section}] {name} has an option of its own, {own[0]}: use that. "
                    "Nothing was changed."
                )
            if place in wanted:
                raise Refused(
                    f"extra: [{section}] {name} is removed here and set by {own[0]}: choose "
                    "one of the two. Nothing was changed."
                )
            if any(mark in str(name) for mark in ":=\n[#;") or not str(name).strip():
                raise Refused(f"extra: {name!r} cannot be the name of a key. Nothing was changed.")
            if not isinstance(value, (bool, str, int, float, type(None))):
                raise Refused(
                    f"extra: [{section}] {name} must be a string, number or boolean, not "
                    f"{type(value).__name__}. Nothing was changed."
                )
            wanted[place] = value if isinstance(value, (bool, type(None))) else str(value)
    for (section, name), value in wanted.items():
        why = (
            None
            if value is None or isinstance(value, bool)
            else conf.value_problem(section, name, value)
        )
        if why:
            raise Refused(f"[{section}] {name} {why}. Nothing was changed.")
    return wanted


def plan(params, root):
    """What is to become of uptrack.conf, checked by the agent's own rules;
    nothing is written yet.
    """
    wanted = wishes(params)
    path = root + PATH
    old = _read(path)
    # Without a wish the file is none of this task's business, such as when a host is only to be
    # disabled.
    new = conf.edit(old or "", wanted) if wanted else old or ""
    wrong = conf.faults(new) if wanted else []
    if wrong:
        raise Refused(
            f"{path}: line {_line_in(old or new, wrong[0], new)} {wrong[0].what}. The agent "
            "cannot read such a file. Correct that line by hand, or set its option here; the "
            "file was left as it was."
        )
    return Plan(old, new, conf.values(old or ""), conf.values(new))


def configure(module, root, planned):
    """Bring the files to what was planned; the module's result comes back."""
    path, old, new = root + PATH, planned.old, planned.new
    keys = sorted(
        f"{section}/{name}"
        for section, name in set(planned.before) | set(planned.values)
        if planned.before.get((section, name)) != planned.values.get((section, name))
    )
    result = {"changed": new != (old or ""), "path": path, "changed_keys": keys}
    diffs = []
    if result["changed"]:
        diffs.append(
            {
                "before_header": path,
                "after_header": path,
                "before": _shown(old or ""),
                "after": _shown(new),
            }
        )
        if "Auth/accesskey" in keys and old:
            diffs[0]["after"] = diffs[0]["after"].replace(
                f"accesskey = {conf.MASK}", f"accesskey = {conf.MASK} (a different one)"
            )
        if not module.check_mode:
            if module.params["backup"] and old is not None:
                result["backup_file"] = _backup(path)
            _write(module, path, new)
    wish, disabled = module.params["disabled"], os.path.exists(root + FLAG)
    if wish is not None and wish != disabled:
        result["changed"] = True
        diffs.append(
            {
                "before_header": root + FLAG,
                "after_header": root + FLAG,
                "before": "present\n" if disabled else "absent\n",
                "after": "present\n" if wish else "absent\n",
            }
        )
        if not module.check_mode:
            if wish:
                write_flag(module, root)
            else:
                os.unlink(root + FLAG)
    result["disabled"] = disabled if wish is None else wish
    if diffs:
        result["diff"] = diffs
    return result


def put_back(module, root, planned):
    """Undo what configure did to uptrack.conf."""
    if planned.old is None:
        os.unlink(root + PATH)
    else:
        _write(module, root + PATH, planned.old)


def write_flag(module, root):
    """Disable the agent."""
    _write(module, root + FLAG, "Disabled by rebootless.ksplice.uptrack_config.\n")


def _backup(path):
    try:
        return files.backup(path)
    except OSError as error:
        raise Refused(
            f"No backup of {path} can be made ({error.strerror}): check space and permissions. "
            "The file was left as it was."
        )


def _shown(text):
    """The file for a diff: without secrets, and without bytes that are no text."""
    return conf.masked(text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _line_in(text, problem, new):
    """The number of the wrong line in the file that is on disk: an edit may have moved it."""
    wrong = new.split("\n")[problem.line - 1]
    lines = text.split("\n")
    return lines.index(wrong) + 1 if wrong in lines else problem.line


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read().replace("\r\n", "\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(
            f"{path} cannot be read ({error.strerror}): run with become: true. Nothing was changed."
        )


def _write(module, path, text):
    """Replace the file; a new one is for root (and group root) alone, since it holds the key."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        try:
            files.replace(path, text, 0o640)
        except files.Lossy as loss:
            module.warn(f"{path}: {loss.strerror}. It was replaced nevertheless.")
            files.replace(path, text, lossy=True)
    except OSError as error:
        raise Refused(
            f"{path} cannot be written ({error.strerror}): check space and permissions. The file "
            "was left as it was."
        )
