# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What Ksplice would fix in kernels, by the build."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import preview, report, service_api

sys.path.insert(0, str(Path(__file__).parent))
from api_server import Answer, api_server, certificate  # noqa: E402


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(service_api, "BACKOFF", 0)


def host(booted, version="#1", on_disk=None, on_disk_version=None, machine="x86_64"):
    kernel = {"booted": booted, "version": version, "machine": machine}
    return {"kernel": dict(kernel, on_disk=on_disk or booted, on_disk_version=on_disk_version)}


def test_ten_thousand_hosts_with_twelve_builds_are_twelve_look_ups(tmp_path):
    surveys = {
        f"h{number}": host(f"5.15.0-{number % 6}", f"#{number // 6 % 2}")
        for number in range(10_000)
    }
    builds, unknown = preview.kernels_of(surveys)
    assert sum(len(one["booted"]) for one in builds) == 10_000
    assert unknown == {"booted": [], "on_disk": []}
    pair = certificate(tmp_path)
    answers = [Answer(200, b"CVE-2026-1000: A.")] * 5 + [Answer(404)] + [Answer(503)]
    with api_server(*pair, *answers) as server:
        inspector = service_api.Inspector(server.url, str(pair[1]))
        found = preview.look_up(builds, inspector.updates, {}, 1000, 60)
        # Five answers and one that it does not know; then it fails, after three times more, and
        # nobody waits for five others to fail.
        assert len(server.requests) == 6 + 4
        assert sum("lines" in one for one in found.values()) == 5 and len(found) == 12
    with api_server(*pair, Answer(200, b"CVE-2026-2000: B.")) as server:
        inspector = service_api.Inspector(server.url, str(pair[1]))
        again = preview.look_up(builds, inspector.updates, {}, 1000, 60)
        assert len(server.requests) == 12 and all("lines" in one for one in again.values())
        # What was said is good for a while, and better than nothing after it.
        assert preview.look_up(builds, inspector.updates, again, 1059, 60) == again
        assert len(server.requests) == 12
    old = preview.look_up(builds, inspector.updates, again, 1061, 60)
    assert all(one["lines"] == ["CVE-2026-2000: B."] and one["error"] for one in old.values())


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


def test_answers_are_kept_in_a_file_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report.write_cache("inspector.json", {"k": {"lines": ["a"], "at": 1}})
    assert report.read_cache("inspector.json") == {"k": {"lines": ["a"], "at": 1}}
