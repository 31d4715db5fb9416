# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""uptrack.conf, read as Python 2's SafeConfigParser reads it (reference, section 2.2), traps
included.
"""

import re

SHOWN_PATH = "/etc/uptrack/uptrack.conf"
PLACEHOLDER = "INSERT_ACCESS_KEY"
DEFAULT_URL = "https://updates.ksplice.com/update-repository"

_BOOLEANS = {
    "1": True,
    "yes": True,
    "true": True,
    "on": True,
    "0": False,
    "no": False,
    "false": False,
    "off": False,
}
_OPTION = re.compile(r"([^:=\s][^:=]*)\s*([:=])\s*(.*)$")
_HEADER = re.compile(r"\[([^]]+)\]")
_REFERENCE = re.compile(r"%\(([^)]+)\)s")

# (section, key, default); a bad one of these breaks every command.
BOOLEANS = (
    ("Auth", "use_hw_uuid", False),
    ("Network", "gconf_proxy_lookup", True),
    ("Settings", "install_on_reboot", True),
    ("Settings", "upgrade_on_reboot", False),
    ("Settings", "autoinstall", False),
    ("Settings", "no_rmmod", False),
    ("Settings", "suppress_ip", False),
    ("Settings", "debug_to_server", True),
    ("Settings", "cron_output_install", False),
    ("Settings", "cron_output_available", False),
    ("Settings", "cron_output_error", False),
    ("Settings", "skip_apply_after_pkg_install", False),
    ("Known-Exploit-Detection", "enabled", False),
)
TEXTS = (
    ("Auth", "accesskey"),
    ("Network", "https_proxy"),
    ("Network", "ssl_ca_cert_file"),
    ("Network", "ssl_ca_cert_dir"),
    ("Network", "update_repo_url"),
    ("Settings", "hostname_override_file"),
    ("Settings", "effective_version"),
    ("User", "yum_userspace_ksplice_repo_name"),
)


class ConfigError(Exception):
    """The file cannot be used; the client says so and ends with 1."""


class InterpolationCrash(Exception):
    """A lone % in a value: the client does not expect that and crashes."""


def parse(text):
    """{section: {key: raw value}}; later ones win, [DEFAULT] counts for all sections."""
    sections, current, option, bad = {}, None, None, []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line[0] in "#;":
            continue
        if line.split(None, 1)[0].lower() == "rem" and line[0] in "rR":
            continue
        if line[0].isspace() and current is not None and option:
            if line.strip():
                current[option] += "\n" + line.strip()
            continue
        header = _HEADER.match(line)
        if header:
            current, option = sections.setdefault(header.group(1), {}), None
            continue
        if current is None:
            raise ConfigError(
                (
                    "Unable to parse config file: File contains no section headers.\n"
                    f"file: {SHOWN_PATH}, line: {number}\n{line!r}"
                )
            )
        entry = _OPTION.match(line)
        if not entry:
            bad.append(f"\t[line {number:2d}]: {line!r}")
            continue
        option, value = entry.group(1).rstrip().lower(), entry.group(3)
        comment = value.find(";")
        if comment > 0 and value[comment - 1].isspace():
            value = value[:comment]
        value = value.strip()
        current[option] = "" if value == '""' else value
    if bad:
        raise ConfigError(
            "Unable to parse config file: File contains parsing errors: {}\n{}".format(
                SHOWN_PATH, "\n".join(bad)
            )
        )
    return sections


class Config(object):
    """The settings by name, as attributes; those not in the file have their default."""

    def __init__(self, text):
        self.sections = parse(text or "")
        for section, key in TEXTS:
            setattr(self, key, self.get(section, key))
        for section, key, default in BOOLEANS:
            setattr(
                self,
                "known_exploit_detection" if section.startswith("Known") else key,
                self.boolean(section, key, default),
            )

    def get(self, section, key):
        """The value with interpolation; None if it is not set."""
        raw = self._raw(section, key)
        return None if raw is None else self._interpolate(section, key, raw, depth=10)

    def _raw(self, section, key):
        if section not in self.sections:
            return None
        value = self.sections[section].get(key)
        return self.sections.get("DEFAULT", {}).get(key) if value is None else value

    def _interpolate(self, section, key, text, depth):
        if depth == 0:
            raise InterpolationCrash(f"value of {key!r} refers to itself")
        result = []
        while True:
            before, percent, text = text.partition("%")
            result.append(before)
            if not percent:
                return "".join(result)
            if text.startswith("%"):
                result.append("%")
                text = text[1:]
                continue
            reference = _REFERENCE.match("%" + text)
            if reference is None:
                raise InterpolationCrash(
                    f"'%' must be followed by '%' or '(' in the value of {key!r}"
                )
            value = self._raw(section, reference.group(1).lower())
            if value is None:
                raise InterpolationCrash(
                    f"{key!r} refers to {reference.group(1)!r}, which is not set"
                )
            result.append(self._interpolate(section, key, value, depth - 1))
            text = text[reference.end() - 1 :]

    def boolean(self, section, key, default):
        value = self.get(section, key)
        if value is None:
            return default
        if value.lower() not in _BOOLEANS:
            raise ConfigError(f"Unable to read {key} setting from {SHOWN_PATH}.")
        return _BOOLEANS[value.lower()]

    @property
    def has_key(self):
        return (self.accesskey or "") not in ("", PLACEHOLDER)

    @property
    def url(self):
        return self.update_repo_url or DEFAULT_URL

    @property
    def cron_output(self):
        return self.cron_output_install or self.cron_output_available or self.cron_output_error

    def proxy(self, environment):
        """The proxy in use; None for a direct connection."""
        if self.https_proxy:
            return None if self.https_proxy.lower() == "none" else self.https_proxy
        for name in ("https_proxy", "HTTPS_PROXY", "http_proxy"):
            if environment.get(name):
                return environment[name]
        return None
