# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Playbooks reconcile and preview, and enrolment that joins: against the emulated service, at which
the emulated agents check in.
"""

from __future__ import annotations

import json
import shutil
import sys

import jsonschema
import pytest
from rehearsals import TOP, UEK6, alone, pair

sys.path[:0] = [str(TOP / "tests/unit/lab"), str(TOP / "tests/unit/examples")]
from emulated_service import KEY, USER, emulated_service, seen  # noqa: E402

CREDENTIALS = {"UPTRACK_API_USERNAME": USER, "UPTRACK_API_KEY": KEY}
STRANGER = "00000000-0000-4000-8000-000000000001"
SCHEMA = json.loads((TOP / "docs" / "record.schema.json").read_text())


@pytest.fixture(scope="module")
def ca_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("pki")


@pytest.fixture
def service(tmp_path, ca_dir):
    with emulated_service(tmp_path / "fleet/service", ca_dir) as one:
        yield one


def of_api(service):
    return {"ksplice_api_url": service.running.url, "ksplice_api_ca": service.running.ca}


def uuid_of(hosts, name):
    return (hosts.root(name) / "var/lib/uptrack/uuid").read_text().strip()


def reconcile(hosts, service, **more):
    done = hosts.play(
        "rebootless.ksplice.reconcile",
        env=CREDENTIALS,
        ksplice_refresh=True,
        **{**of_api(service), **more},
    )
    assert KEY not in done.output and KEY not in json.dumps(done.events)
    return done


def kinds(record):
    return [(one["kind"], one["host"]) for one in record["service"]["findings"]]


def test_where_service_inventory_and_hosts_disagree(fleet, service):
    hosts = fleet({**pair("web", "web1", "web2"), **alone("db1", "db2")}).make()
    # All is well as soon as each has asked once.
    done = reconcile(hosts, service)
    assert done.status == 0 and "Nothing disagrees." in done.output, done.output
    record = hosts.record()
    jsonschema.validate(record, SCHEMA)
    said = record["service"]
    assert (said["machines"], said["seats"], said["matched"]) == (4, 4, 4)
    # A clone, a machine that nobody knows, one that is denied, and one that has been silent.
    shutil.copy(hosts.root("db1") / "var/lib/uptrack/uuid", hosts.root("db2") / "var/lib/uptrack")
    service.machine(STRANGER, "stranger", last_seen=seen(60))
    path = service.directory / "machines" / f"{uuid_of(hosts, 'web1')}.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps(dict(known, steps=[], last_seen=seen(20 * 86400))))
    done = hosts.play(
        "rebootless.ksplice.reconcile",
        env=CREDENTIALS,
        ksplice_query_output="json",
        ksplice_query_dest=str(hosts.directory / "found.json"),
        **of_api(service),
    )
    assert done.status == 0, done.output
    record = hosts.record()
    jsonschema.validate(record, SCHEMA)
    found = kinds(record)
    assert ("clone", "db2") in found and ("not_in_inventory", None) in found
    assert ("disagree", "web1") in found
    assert json.loads((hosts.directory / "found.json").read_text()) == record["service"]["findings"]
    clone = next(one for one in record["service"]["findings"] if one["kind"] == "clone")
    assert "reset_identity=true on db2" in clone["advice"]
    page = (hosts.report / "report.html").read_text()
    assert "The service&#39;s view" in page or "The service's view" in page


def test_an_api_that_does_not_answer_costs_nobody_their_record(fleet, service):
    hosts = fleet(alone("db1")).make()
    service.faults({"key": "rejected"})
    # patch and status ask where credentials are given, and their own outcome stands.
    done = hosts.play("rebootless.ksplice.status", env=CREDENTIALS, **of_api(service))
    assert done.status == 0 and "could not be asked" in done.output, done.output
    assert "does not accept" in hosts.record()["service"]["error"]
    jsonschema.validate(hosts.record(), SCHEMA)
    # For reconcile that is no answer.
    service.faults({"key": "rejected"})
    done = reconcile(hosts, service)
    assert done.status != 0 and "does not accept" in done.output
    # Without credentials nobody asks.
    done = hosts.play("rebootless.ksplice.status", **of_api(service))
    assert done.status == 0 and hosts.record()["service"] is None
    done = hosts.play("rebootless.ksplice.reconcile", **of_api(service))
    assert done.status != 0 and "There are no credentials" in " ".join(done.output.split())
    assert "No host was asked anything." in " ".join(done.output.split())


def test_one_look_up_for_each_build_of_a_kernel(fleet, service, tmp_path):
    hosts = fleet({**alone("a", "b", "c"), **alone("d", **UEK6), **alone("x", unreachable=True)})
    hosts.make()
    variables = {
        "ksplice_inspector_url": service.running.inspector,
        "ksplice_api_ca": service.running.ca,
        "ksplice_cache": str(tmp_path / "cache/inspector.json"),
        "ksplice_query_output": "json",
        "ksplice_query_dest": str(tmp_path / "found.json"),
    }

    def look(**more):
        done = hosts.play("rebootless.ksplice.preview", **{**variables, **more})
        assert done.status == 0, done.output
        asked = [one for one in service.asked() if one[1] == "inspector"]
        return json.loads((tmp_path / "found.json").read_text()), len(asked), done.output

    found, asked, output = look()
    assert asked == len(found) == 2 and "Not known of 1 host (booted): x." in output
    assert sorted(one["booted_on"] for one in found) == [1, 3]
    assert all(one["updates"] and one["cves"] and one["note"] is None for one in found)
    # What was said is good for a day,
    again, asked, _output = look()
    assert [one["cves"] for one in again] == [one["cves"] for one in found] and asked == 2
    # of this Inspector,
    kept = json.loads((tmp_path / "cache/inspector.json").read_text())
    assert {key.partition(" ")[0] for key in kept} == {service.running.inspector.rstrip("/") + "/"}
    # and better than nothing, offline. What was never asked is not nothing.
    service.faults({"calls": ["inspector"], "times": 100, "status": 503})
    old = look(ksplice_cache_seconds=0)[0]
    assert [one["cves"] for one in old] == [one["cves"] for one in found]
    assert all("error of its own" in one["note"] for one in old)
    (tmp_path / "cache/inspector.json").write_text("torn")
    assert all(one["updates"] is one["cves"] is None for one in look()[0])


def test_a_host_is_authorized_and_grouped_when_it_is_enrolled(fleet, tmp_path, ca_dir):
    with emulated_service(tmp_path / "fleet/service", ca_dir, new_machines="pending") as service:
        hosts = fleet(alone("new1"))
        done = hosts.rehearse(
            ksplice_rehearsal_enroll=True,
            ksplice_authorize=True,
            ksplice_service_group="web",
            ksplice_api_user=USER,
            ksplice_api_key=KEY,
            **of_api(service),
        )
        assert done.status == 0, done.output
        assert KEY not in done.output and KEY not in json.dumps(done.events)
        # A module's warnings are none of what it returns.
        assert "the service does not let it in" in " ".join(done.output.split())
        assert "DEPRECAT" not in done.output
        machine = service.known(uuid_of(hosts, "new1"))
        assert (machine["authorization"], machine["group"]) == ("allowed", "web")
        assert hosts.rows()["new1"]["verdict"] == "current"
        uuid = machine["uuid"]

        def retire(*words, **more):
            wish = {"ksplice_retire": True, "ksplice_authorize": False, **of_api(service), **more}
            return hosts.play("rebootless.ksplice.retire", *words, env=CREDENTIALS, **wish)

        # In check mode nobody is denied, and nothing says so.
        done = retire("--check")
        assert "denied now" not in " ".join(done.output.split()), done.output
        assert "Deny it at the service" in done.output
        assert service.known(uuid)["authorization"] == "allowed" and hosts.kernel("new1")

        # Neither with a key that is wrong, nor as another machine, and the host is left as it is.
        done = retire(ksplice_api_key="wrong")
        words = " ".join(done.output.split())
        assert done.status != 0 and "No host was asked anything." in words, done.output
        service.machine(STRANGER, "stranger")
        file = hosts.root("new1") / "var/lib/uptrack/uuid"
        file.write_text(f"{STRANGER}\n")
        done = retire()
        words = " ".join(done.output.split())
        assert f"has the UUID {STRANGER}, which at the service is the machine stranger" in words
        assert service.known(STRANGER)["authorization"] == "pending" and hosts.kernel("new1")
        file.write_text(f"{uuid}\n")
        done = retire()
        # An emulated agent has no package that could be removed, so that it ends with an error.
        assert "The kernel or the agent is still there" in done.output, done.output
        assert service.known(uuid)["authorization"] == "denied"
        words = " ".join(done.output.split())
        assert "The account still has the machine" in words and uuid in words
        assert hosts.kernel("new1") == []
