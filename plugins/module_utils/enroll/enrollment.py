# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a host lacks to be enrolled, and what it has to lose to be retired. Pure: what is there in,
needs out.

A need is a mapping with C(what) and what belongs to it; the action plugin of uptrack_config brings
it in, by the package modules of ansible.builtin. The facts about packages, channels and
repositories are those of the reference, section 3.
"""

import re
from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils import redact
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import openpgp

# The vendor's own repositories (reference 3.3), and where their files go on a host.
VENDOR = "https://www.ksplice.com"
NAME = "ksplice-uptrack"
YUM_FILE = f"/etc/yum.repos.d/{NAME}.repo"
YUM_KEY_FILE = "/etc/pki/rpm-gpg/RPM-GPG-KEY-ksplice"
APT_FILE = f"/etc/apt/sources.list.d/{NAME}.sources"
# The one fingerprint that is known in public. The yum key's is not: users of that repository have
# to provide it.
APT_FINGERPRINT = "5DE2D4F255E23055D3C40F2CF7CA6265B6D4038E"

YUM_TREES = {"ol": "ol", "centos": "centos", "rhel": "rhel", "fedora": "fedora"}
APT_DISTRIBUTIONS = ("ubuntu", "debian")
# Every package that carries the agent or belongs to it; what is called ksplice-updates-* or
# uptrack-updates-* comes on top.
ONLINE, OFFLINE = ("uptrack", "ksplice"), ("uptrack-offline", "ksplice-offline")
PACKAGES = (
    ONLINE
    + OFFLINE
    + ("ksplice-tools", "ksplice-core", "ksplice-helper", "ksplice-known-exploit-detection")
)
UPDATES = ("uptrack-updates-", "ksplice-updates-")

Distribution = namedtuple("Distribution", "id major codename machine name")


class Refused(Exception):
    """It cannot be had as asked; the words say why, and what was left as it is."""


def _refusal(words):
    return Refused(f"{words} Nothing was changed.")


def distribution(os_release, machine):
    """The distribution, from the text of /etc/os-release."""
    seen = {}
    for line in os_release.split("\n"):
        name, is_there, value = line.partition("=")
        if is_there and re.match(r"[A-Z_]+\Z", name):
            seen[name] = _unquoted(value.rstrip(" \t"))
    return Distribution(
        seen.get("ID", "linux"),
        seen.get("VERSION_ID", "").partition(".")[0],
        seen.get("VERSION_CODENAME") or seen.get("UBUNTU_CODENAME") or "",
        machine,
        seen.get("PRETTY_NAME", "an unknown system"),
    )


def _unquoted(value):
    value = value[1:] if value[:1] in ("'", '"') else value
    return value[:-1] if value[-1:] in ("'", '"') else value


def check(params):
    """Refuse options that contradict each other, before the host is inspected."""
    fingerprint = params["repository_key_fingerprint"]
    if fingerprint and not openpgp.well_formed(fingerprint):
        raise _refusal(
            f"repository_key_fingerprint is {fingerprint!r}: give the whole fingerprint, 40 "
            "hexadecimal digits (64 for newer keys). A short ID can be forged."
        )
    own = [
        name
        for name in ("repository_url", "repository_key", "repository_key_fingerprint")
        if params[name]
    ]
    if params["repository"] in ("platform", "none") and own:
        raise _refusal(
            f"repository={params['repository']} does not touch the host's "
            f"repositories, but {own[0]} describes one: choose one of the two."
        )
    packages = params["packages"] or []
    both = (
        [name for name in packages if name in OFFLINE],
        [name for name in packages if name == "uptrack"],
    )
    if all(both):
        raise _refusal(
            f"packages names {both[1][0]} and {both[0][0]}: the online and the offline edition "
            "exclude each other. Name one."
        )
    edition = params["edition"]
    if edition == "online" and both[0] or edition == "offline" and both[1]:
        raise _refusal(
            f"packages names {(both[0] or both[1])[0]}, which does not belong to the "
            f"requested edition ({edition}): choose one of the two."
        )
    if params["updates_package"] and edition == "online":
        raise _refusal(
            "updates_package belongs to the offline edition, but edition=online is "
            "requested: choose one of the two."
        )
    if params["state"] == "absent":
        named = [
            name
            for name in ("access_key", "edition", "packages", "updates_package", "disabled")
            if params[name] not in (None, [])
        ]
        if named:
            raise _refusal(
                f"state=absent removes everything, but {named[0]} configures it: choose "
                "one of the two."
            )


def supported(seen):
    """Refuse a distribution without an agent."""
    if (
        seen["distribution"].id not in YUM_TREES
        and seen["distribution"].id not in APT_DISTRIBUTIONS
    ):
        raise _refusal(
            f"There is no Ksplice agent for {seen['distribution'].name}: it is "
            "available for Oracle Linux and Ubuntu, and formerly was for RHEL, "
            "CentOS, Fedora and Debian."
        )


def wanted_packages(params, seen):
    """The packages that bring the agent, by edition, client and release (reference 3.1)."""
    if params["packages"]:
        return list(params["packages"])
    offline = (params["edition"] or seen["edition"]) == "offline"
    if (
        seen["distribution"].id == "ol"
        and seen["distribution"].major.isdigit()
        and int(seen["distribution"].major) >= 10
    ):
        return ["ksplice-offline"] if offline else ["ksplice"]
    names = ["uptrack-offline"] if offline else ["uptrack"]
    return (["ksplice-offline" if offline else "ksplice"] if params["enhanced"] else []) + names


def wanted_repository(params, seen):
    """The vendor's repository, or a mirror of it, as it should stand on this host; None where the
    host's own are to be used.
    """
    which = params["repository"]
    if which == "auto":
        if not params["repository_url"] and (seen["commands"] or seen["distribution"].id == "ol"):
            return None
        which = "vendor"
    if which != "vendor":
        return None
    system = seen["distribution"]
    if system.id in APT_DISTRIBUTIONS:
        if not system.codename:
            raise _refusal(
                f"{system.name} does not report its code name (VERSION_CODENAME in "
                "/etc/os-release), which its apt repository is named after."
            )
        url = params["repository_url"] or f"{VENDOR}/apt/"
        return {
            "kind": "apt",
            "url": url,
            "suite": system.codename,
            "component": "ksplice",
            "file": APT_FILE,
            "key": params["repository_key"] or f"{VENDOR}/apt/ksplice-archive.asc",
            "fingerprint": params["repository_key_fingerprint"] or APT_FINGERPRINT,
        }
    if not params["repository_key_fingerprint"]:
        raise _refusal(
            "repository_key_fingerprint is required: the fingerprint of the yum "
            "repository's key is not published, so you have to provide it (gpg "
            "--show-keys on a copy that you trust)."
        )
    return {
        "kind": "yum",
        "url": params["repository_url"]
        or f"{VENDOR}/yum/uptrack/{YUM_TREES[system.id]}/$releasever/$basearch/",
        "file": YUM_FILE,
        "key": params["repository_key"] or f"{VENDOR}/yum/RPM-GPG-KEY-ksplice",
        "key_file": YUM_KEY_FILE,
        "fingerprint": params["repository_key_fingerprint"],
    }


def channels(system):
    """The channels of which one has to be enabled (reference 3.1, 3.2), the likeliest first; a
    local mirror's has local_ in front.
    """
    base = f"ol{system.major}"
    return [
        f"{base}_{system.machine}_ksplice",
        f"{base}_ksplice",
        f"{base}_{system.machine}_ksplice_ELS",
        f"local_{base}_{system.machine}_ksplice",
    ]


def channel_problem(params, seen):
    """What is wrong with the repositories that come with the platform, as a sentence, or None."""
    if seen["distribution"].id != "ol" and not params["channel"]:
        return None
    expected = [params["channel"]] if params["channel"] else channels(seen["distribution"])
    if set(expected).intersection(seen["enabled_channels"] or ()):
        return None
    return (
        f"The channel {expected[0]} is not enabled on this host (nor is "
        f"{', '.join(expected[1:]) or 'any other'}): subscribe the host in ULN "
        f"(uln-channel --add --channel={expected[0]}), on OCI install the release "
        "package and enable it, or set channel to the "
        "repository that has the agent."
    )


def repository_file(seen):
    """Where the repository stands on a host."""
    return YUM_FILE if _kind(seen) == "yum" else APT_FILE


def repository_is_there(wanted, seen):
    """Whether the repository stands on the host as it should, with the key that it should have."""
    file = seen["repository_file"]
    if file is None or (has_password(wanted["url"]) and seen["repository_mode"] & 0o077):
        return False
    if wanted["kind"] == "apt":
        return _apt_is_there(wanted, file)
    said = {}
    for line in file.split("\n"):
        name, is_there, value = line.partition("=")
        if is_there and re.match(r"\w+\Z", name.strip(" \t")):
            said[name.strip(" \t")] = value.strip(" \t")
    return (
        said.get("baseurl") == wanted["url"]
        and said.get("gpgcheck") == "1"
        and said.get("enabled", "1") == "1"
        and said.get("gpgkey") == f"file://{wanted['key_file']}"
        and _is_key(seen["key_file"], wanted)
        and seen["key_imported"]
    )


def _apt_is_there(wanted, file):
    fields = {
        match.group(1).lower(): match.group(2).strip()
        for match in re.finditer(r"^([A-Za-z-]+):(.*(?:\n[ \t].*)*)", file, re.M)
    }
    key = "\n".join(
        "" if line.strip() == "." else line.strip()
        for line in fields.get("signed-by", "").splitlines()
    )
    return (
        fields.get("types") == "deb"
        and fields.get("uris") == wanted["url"]
        and fields.get("suites") == wanted["suite"]
        and fields.get("components") == wanted["component"]
        and fields.get("enabled", "yes").lower() == "yes"
        and _is_key(key, wanted)
    )


def _is_key(text, wanted):
    try:
        return openpgp.same(wanted["fingerprint"], openpgp.key(text or "").fingerprint)
    except openpgp.NotAKey:
        return False


def checked_key(text, wanted):
    """The key of the repository as it is to be installed: made of what was checked, and of nothing
    else.

    Refuses a key that is not the one whose fingerprint was given, or that comes with anything else.
    """
    try:
        found = openpgp.key(text)
    except openpgp.NotAKey as wrong:
        raise _refusal(
            f"The key of the repository ({_short(wanted['key'])}) cannot be used: "
            f"{wrong}. Give one public key and nothing else."
        )
    if not openpgp.same(wanted["fingerprint"], found.fingerprint):
        raise _refusal(
            f"The key of the repository ({_short(wanted['key'])}) has the fingerprint "
            f"{found.fingerprint}, but {wanted['fingerprint']} is expected. Somebody "
            "may have replaced the key: find out which is right before you change "
            "repository_key_fingerprint."
        )
    return found.armored


def has_password(url):
    """Whether an address has a user in it, and with that a password."""
    return redact.without_user(url) != url


def _short(key):
    return "given as text" if "\n" in key else redact.without_user(key)


def present(params, seen):
    """What is missing, in the order in which it has to come.

    Configuration is none of it: the module writes that.
    """
    if seen["emulated"]:
        return []
    needs = []
    edition = params["edition"]
    lacks_agent = not seen["commands"] or (params["enhanced"] and "ksplice" not in seen["commands"])
    # The edition of an agent that no package installed is unknown: it is left as it is.
    switches = bool(seen["commands"]) and edition and seen["edition"] and seen["edition"] != edition
    asked = [name for name in params["packages"] or () if name not in seen["packages"]]
    if lacks_agent or switches or asked or params["repository"] == "vendor":
        supported(seen)
    wanted = wanted_repository(params, seen)
    if wanted and not repository_is_there(wanted, seen):
        needs.append(dict(wanted, what="repository"))
    if lacks_agent or switches or asked:
        problem = (
            None if wanted or params["repository"] == "none" else channel_problem(params, seen)
        )
        if problem:
            raise _refusal(problem)
        need = {
            "what": "agent",
            "packages": wanted_packages(params, seen),
            "kind": _kind(seen),
            "old_yum": seen["old_yum"],
            "switch_from": seen["edition"] if switches else None,
        }
        if switches:
            new = need["packages"]
            need["remove"] = [
                name
                for name in seen["packages"]
                if _edition_of(name) == seen["edition"] and name not in new
            ]
        needs.append(need)
    return needs


def updates(params, seen, conf_of):
    """The package with the updates of the offline edition (reference 1.9), once the configuration
    is there.
    """
    if not params["updates_package"] or seen["emulated"]:
        return []
    name = f"uptrack-updates-{seen['release']}"
    if params["updates_package"] == "present" and name in seen["packages"]:
        return []
    check_updates(params, seen, conf_of)
    return [
        {
            "what": "updates",
            "packages": [name],
            "kind": _kind(seen),
            "old_yum": seen["old_yum"],
            "latest": params["updates_package"] == "latest",
        }
    ]


def check_updates(params, seen, conf_of):
    """Refuse the updates package where its installation would patch the kernel outside of any
    rollout (trap 17).
    """
    if not params["updates_package"]:
        return
    edition = params["edition"] or seen["edition"]
    if edition != "offline":
        raise _refusal(
            "updates_package belongs to the offline edition, and this host has "
            f"{'the ' + edition + ' edition' if edition else 'none'}: set edition=offline."
        )
    if not conf_of("skip_apply_after_pkg_install"):
        raise _refusal(
            f"The package uptrack-updates-{seen['release']} patches the running kernel "
            "when it is installed, outside of any rollout. Set "
            "skip_apply_after_pkg_install=true, and let uptrack_apply "
            "install the updates."
        )


def absent(seen):
    """What has to go by the package manager, after the updates have left the kernel."""
    if seen["emulated"]:
        return []
    needs = []
    if seen["packages"]:
        needs.append(
            {
                "what": "remove",
                "packages": sorted(seen["packages"]),
                "kind": _kind(seen),
                "old_yum": seen["old_yum"],
            }
        )
    if seen["repository_file"] is not None or seen["key_file"] is not None:
        needs.append(
            {
                "what": "forget",
                "kind": _kind(seen),
                "file": repository_file(seen),
                "key_file": YUM_KEY_FILE,
                "fingerprint": _first_fingerprint(seen["key_file"]),
                "url": _url(seen["repository_file"]),
            }
        )
    return needs


def _url(file):
    found = re.search(r"^(?:URIs:|baseurl[ \t]*=)[ \t]*(\S+)", file or "", re.M)
    return redact.without_user(found.group(1)) if found else None


def cached(need):
    """What the package manager keeps of a repository that is gone, as patterns of a shell."""
    if need["kind"] == "yum":
        return [f"/var/cache/dnf/{NAME}*"]
    # apt names its lists by the URL, without the scheme and with lines for slashes.
    lists = re.sub(r"^\w+://(?:[^/@]*@)?", "", need["url"] or "").strip("/").replace("/", "_")
    packages = [f"/var/cache/apt/archives/{name}_*.deb" for name in PACKAGES] + [
        f"/var/cache/apt/archives/{name}*.deb" for name in UPDATES
    ]
    return (
        [f"/var/lib/apt/lists/{lists}_*", f"/var/lib/apt/lists/partial/{lists}_*"] if lists else []
    ) + packages


def _first_fingerprint(text):
    try:
        return openpgp.key(text or "").fingerprint
    except openpgp.NotAKey:
        return None


def edition_of(owners):
    """The edition, from the packages that own the agent's commands; None where no package does."""
    editions = sorted({_edition_of(name) for name in owners} - {None})
    return "offline" if "offline" in editions else editions[0] if editions else None


def _edition_of(package):
    return "offline" if package in OFFLINE else "online" if package in ONLINE else None


def _kind(seen):
    return "apt" if seen["distribution"].id in APT_DISTRIBUTIONS else "yum"
