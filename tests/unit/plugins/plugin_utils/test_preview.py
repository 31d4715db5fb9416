# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What Ksplice would fix in kernels, by the build."""

from __future__ import annotations

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import preview


def host(booted, version="#1", on_disk=None, on_disk_version=None, machine="x86_64"):
    kernel = {"booted": booted, "version": version, "machine": machine}
    return {"kernel": dict(kernel, on_disk=on_disk or booted, on_disk_version=on_disk_version)}


def test_one_look_up_for_each_build_however_many_hosts():
    surveys = {
        f"h{number}": host(f"5.15.0-{number % 6}", f"#{number % 2}") for number in range(10_000)
    }
    builds, unknown = preview.kernels_of(surveys)
    # The number of a build has the parity of its kernel's here.
    assert len(builds) == 6 and sum(len(one["booted"]) for one in builds) == 10_000
    assert unknown == {"booted": [], "on_disk": []}


def test_a_kernel_on_disk_by_its_image_or_by_who_has_booted_it():
    surveys = {
        "a": host("k1"),
        "b": host("k1", on_disk="k2", on_disk_version="#2"),
        "c": host("k3", "#3"),
        "d": host("k1", on_disk="k3"),
        "e": host("k1", on_disk="k9"),
        "f": host(None, None),
    }
    builds, unknown = preview.kernels_of(surveys)
    found = {(one["release"], one["version"]): (one["booted"], one["on_disk"]) for one in builds}
    assert found == {
        ("k1", "#1"): (["a", "b", "d", "e"], []),
        ("k2", "#2"): ([], ["b"]),
        ("k3", "#3"): (["c"], ["d"]),
    }
    assert unknown == {"booted": ["f"], "on_disk": ["e"]}


def test_what_is_not_known_is_not_nothing():
    builds, _unknown = preview.kernels_of({"a": host("k1"), "b": host("k2")})
    lines = ["[x] CVE-2026-10000: A.", "* CVE-2026-99, CVE-2026-10000", "Known exploit detection."]
    answers = {
        "Linux//x86_64//k1//#1": {"lines": lines, "at": 100},
        "Linux//x86_64//k2//#1": {"error": "No answer."},
    }
    one, other = preview.rows(builds, answers, 160)
    assert (one["updates"], one["cves"], one["age_seconds"]) == (3, ["CVE-2026-10000"], 60)
    assert (other["updates"], other["cves"], other["note"]) == (None, None, "No answer.")
