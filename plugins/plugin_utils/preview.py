# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What Ksplice would fix in the kernels of a fleet, before anybody has installed its agent. Pure.

The Inspector is asked about each build of a kernel once, however many hosts have it.
"""

from __future__ import annotations

import re

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import service_api
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import natural

CVE = re.compile(r"CVE-\d{4}-\d{4,}")
PLACES = ("booted", "on_disk")


def kernels_of(surveys):
    """The builds of the kernels of hosts: a list of C(sysname), C(machine), C(release), C(version),
    C(booted) and C(on_disk) (names of hosts); and C(unknown), hosts of which a kernel is not known
    well enough, by where it is.

    :param surveys: host to its facts, see uptrack_facts.
    """
    # A build that one host has booted is known for all that have it on disk.
    versions, found, unknown = {}, {}, {place: [] for place in PLACES}
    for facts in surveys.values():
        kernel = facts["kernel"]
        if kernel["booted"] and kernel["version"]:
            versions[(kernel["machine"], kernel["booted"])] = kernel["version"]
    for name, facts in surveys.items():
        kernel = facts["kernel"]
        machine, on_disk = kernel["machine"], kernel.get("on_disk")
        seen = {"booted": (kernel["booted"], kernel["version"])}
        if on_disk != kernel["booted"]:
            version = kernel.get("on_disk_version") or versions.get((machine, on_disk))
            seen["on_disk"] = (on_disk, version)
        for place, (release, version) in seen.items():
            if not (machine and release and version):
                unknown[place].append(name)
                continue
            build = found.setdefault((machine, release, version), {one: [] for one in PLACES})
            build[place].append(name)
    builds = [
        {"sysname": "Linux", "machine": key[0], "release": key[1], "version": key[2], **hosts}
        for key, hosts in found.items()
    ]
    builds.sort(key=lambda one: (natural(one["release"]), one["version"], one["machine"]))
    return builds, unknown


def key_of(kernel):
    """By what the answers about kernels are kept."""
    return "//".join(kernel[key] for key in ("sysname", "machine", "release", "version"))


def look_up(builds, ask, cached, now, seconds):
    """What the Inspector says of each build, by key_of: C(lines) and C(at); of one that it does not
    answer for, what it said before, or nothing, and why as C(error).

    :param ask: gives the lines for a build, see service_api.Inspector.updates.
    :param cached: what it said before, in the same shape.
    :param now: seconds since 1970.
    :param seconds: how long that is good without asking.
    """
    found, failure = {}, None
    for build in builds:
        key = key_of(build)
        kept = cached.get(key)
        if kept and 0 <= now - kept["at"] < seconds:
            found[key] = kept
            continue
        try:
            if failure:
                raise failure
            found[key] = {"lines": ask(build), "at": int(now)}
        except service_api.NotFound as error:
            found[key] = {"error": str(error)}
        except service_api.ApiError as error:
            # Nobody has to wait for the others to fail as well.
            failure = error
            found[key] = dict(kept or {}, error=str(error))
    return found


def cves(lines):
    """The CVEs that lines of the Inspector name; how it lays them out is not documented."""
    return sorted({cve for line in lines for cve in CVE.findall(line)}, key=natural)


def short(rows):
    """The rows as a person reads them: counts in place of lists, and what is not known by word."""
    return [
        {
            "kernel": f"{row['kernel']} {row['build']}",
            "booted on": row["booted_on"],
            "on disk of": row["on_disk_of"],
            "updates": "unknown" if row["updates"] is None else row["updates"],
            "CVEs": "unknown" if row["cves"] is None else len(row["cves"]),
            "as of": "-" if row["age_seconds"] is None else f"{row['age_seconds']} s ago",
            "note": row["note"] or "",
        }
        for row in rows
    ]


def rows(builds, answers, now):
    """For each build how many hosts have it, and what the Inspector says.

    :param answers: by key_of: C(lines), C(at) (seconds since 1970, when that was said); or C(error)
        in their place.
    :param now: seconds since 1970.
    """
    found = []
    for build in builds:
        answer = answers[key_of(build)]
        row = {
            "kernel": build["release"],
            "build": build["version"],
            "machine": build["machine"],
            "booted_on": len(build["booted"]),
            "on_disk_of": len(build["on_disk"]),
            "updates": None,
            "cves": None,
            "age_seconds": None,
            "note": answer.get("error"),
        }
        if "lines" in answer:
            row["updates"] = len(answer["lines"])
            row["cves"] = cves(answer["lines"])
            row["age_seconds"] = max(0, int(now - answer["at"]))
        found.append(row)
    return found
