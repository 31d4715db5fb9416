# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The emulated service over HTTPS: to the collection's client and to bare requests."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import service_api as api

sys.path.insert(0, str(Path(__file__).parent))
from emulated_service import KEY, LAB, UPDATE, USER, emulated_service, seen  # noqa: E402
from emulated_service import lab_service as lab  # noqa: E402

sys.path.insert(0, str(LAB / "rehearsal"))
import hosts  # noqa: E402

ONE, TWO = "e82ba0ae-ad0a-4b92-a776-62b502bfd29d", "00086980-47cb-4486-81c0-4fe3299bad90"
HEADERS = {"X-Uptrack-User": USER, "X-Uptrack-Key": KEY}


@pytest.fixture(scope="module")
def ca_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("pki")


@pytest.fixture
def service(tmp_path, ca_dir):
    with emulated_service(tmp_path / "service", ca_dir) as one:
        yield one


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(api, "BACKOFF", 0)
    for name in ("HTTPS_PROXY", "https_proxy", "REQUESTS_CA_BUNDLE", *api.ENVIRONMENT.values()):
        monkeypatch.delenv(name, raising=False)


def client(service, **options):
    return api.Service(api.settings({**service.options, **options}, {}, "/nowhere"))


def bare(service, method, path, headers=HEADERS, **more):
    url = service.running.url.removesuffix("/api/1") + path
    return requests.request(
        method, url, headers=headers, verify=service.running.ca, timeout=10, **more
    )


def test_the_machines_and_one_of_them_as_the_reference_has_them(service):
    service.machine(ONE, "qa.example.com", steps=[["Install", UPDATE]])
    service.machine(TWO, "prod1", unsupported=True, last_seen=seen(90_000))
    found = {one["uuid"]: one for one in client(service).machines()}
    assert (found[ONE]["status"], found[ONE]["active"]) == ("outofdate", True)
    assert (found[TWO]["status"], found[TWO]["active"]) == ("unsupported", False)
    listed = bare(service, "GET", "/api/1/machines").json()
    assert {tuple(sorted(one)) for one in listed} == {
        tuple(
            "active authorization autoinstall hostname ip last_seen mmap_min_addr status "
            "uptrack_client_version uuid".split()
        )
    }
    about = client(service).describe(ONE)
    assert about["steps"] == [{"verb": "Install", **UPDATE}]
    assert about["original_kernel"] == "5.15.0-302.167.6.el9uek"
    described = bare(service, "GET", f"/api/1/machine/{ONE}/describe").json()
    more = {"effective_kernel", "original_kernel", "group", "installed_updates", "steps"}
    assert set(described) == set(listed[0]) | more
    assert described["steps"] == [["Install", UPDATE]]


def test_what_is_decided_stays_when_the_machine_checks_in(service):
    service.machine(ONE, "qa")
    one = client(service)
    one.authorize(ONE, False)
    one.group(ONE, "a group/with ü")
    service.machine(ONE, "qa", steps=[["Install", UPDATE]])
    about = one.describe(ONE)
    assert (about["authorization"], about["group"]) == ("denied", "a group/with ü")
    assert about["status"] == "outofdate"
    one.authorize(ONE, True)
    one.group(ONE, "")
    about = one.describe(ONE)
    assert (about["authorization"], about["group"]) == ("allowed", "")


@pytest.mark.parametrize("headers", [{}, {**HEADERS, "X-Uptrack-Key": "0"}, {"X-Uptrack-Key": KEY}])
@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/api/1/machines"),
        ("GET", f"/api/1/machine/{ONE}/describe"),
        ("POST", f"/api/1/machine/{ONE}/authorize"),
    ],
)
def test_without_the_key_nothing_is_told_or_done(service, method, path, headers):
    service.machine(ONE, "qa")
    said = bare(service, method, path, headers, json={"authorized": False})
    assert said.status_code == 401 and set(said.json()) == {"error"}
    assert "qa" not in said.text and service.known(ONE)["authorization"] == "allowed"


@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("GET", f"/api/1/machine/{TWO}/describe", "", 404),
        ("POST", f"/api/1/machine/{TWO}/authorize", '{"authorized": true}', 404),
        ("POST", f"/api/1/machine/{TWO}/group", '{"group_name": "x"}', 404),
        ("GET", "/api/1/machine/..%2Fservice/describe", "", 404),
        ("GET", "/api/1/machine/../service/describe", "", 404),
        ("GET", "/api/1/", "", 404),
        ("POST", "/api/1/machines", "", 404),
        ("POST", f"/api/1/machine/{ONE}/authorize", '{"authorized": "true"}', 400),
        ("POST", f"/api/1/machine/{ONE}/authorize", "[]", 400),
        ("POST", f"/api/1/machine/{ONE}/authorize", "{", 400),
        ("POST", f"/api/1/machine/{ONE}/authorize", b"\xff", 400),
        ("POST", f"/api/1/machine/{ONE}/group", '{"group_name": null}', 400),
    ],
)
def test_what_is_refused_is_json_and_changes_nothing(service, method, path, body, status):
    service.machine(ONE, "qa")
    before = service.known(ONE)
    said = bare(service, method, path, data=body)
    assert said.status_code == status and set(said.json()) == {"error"}
    assert service.known(ONE) == before and KEY not in said.text


def test_the_inspector_lists_what_the_lab_has_for_a_kernel(service):
    inspector = api.Inspector(service.running.inspector, service.running.ca)
    for kernel in hosts.KERNELS.values():
        found = inspector.updates({"sysname": "Linux", **kernel})
        assert found == [update["name"] for update in hosts.catalogue(kernel)]
    with pytest.raises(api.NotFound):
        inspector.updates({"sysname": "Linux", **kernel, "version": "#1"})
    assert bare(service, "POST", "/api/1/update-list/", {}, data="Linux\n").status_code == 400


def test_an_agent_is_told_whether_it_is_allowed(service):
    path = f"/update-repository/any-key/+uuid/{ONE}/status"
    service.machine(ONE, "qa")
    assert "Error" not in bare(service, "POST", path).text
    client(service).authorize(ONE, False)
    said = bare(service, "POST", path).text
    assert "Code: 19" in said and "This machine has not been activated." in said
    settings = service.directory / "service.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "access_keys": ["other"]}))
    assert bare(service, "POST", path).status_code == 403
    assert "any-key" not in (service.directory / "requests.log").read_text()


def test_the_status_page_has_every_machine_and_no_key(service):
    service.machine(ONE, "<b>qa</b>", steps=[["Remove", UPDATE], ["Install", UPDATE]])
    service.machine(TWO, "prod1", ip=None)
    said = bare(service, "GET", "/status", {})
    assert said.status_code == 200 and said.headers["Content-Type"].startswith("text/html")
    assert "2 machines: 1 outofdate, 1 uptodate." in said.text
    assert "&lt;b&gt;qa&lt;/b&gt;" in said.text and "<b>" not in said.text
    [row] = [line for line in said.text.splitlines() if ONE in line]
    assert "<td>outofdate<td>allowed<td>yes<td>" in row and "<td>1<td>1<td>" in row
    assert KEY not in said.text


FAULTS = [
    ({"status": 429, "retry_after": 86400}, api.RateLimited, "in 86400 s"),
    ({"status": 500, "times": 4}, api.Failing, "HTTP 500"),
    ({"key": "rejected"}, api.Rejected, "does not accept"),
    ({"body": "html"}, api.NotTheService, "is not JSON"),
    ({"body": "malformed"}, api.NotTheService, "is not JSON"),
    ({"body": "torn"}, api.Unreachable, "no whole answer"),
    ({"seconds": 1.5}, api.Unreachable, "in time"),
    ({"certificate": "self-signed"}, api.Untrusted, "certificate"),
]


@pytest.mark.parametrize("fault, kind, words", FAULTS, ids=[str(one[0]) for one in FAULTS])
def test_each_fault_is_what_the_client_knows_it_as_and_then_over(
    service, monkeypatch, fault, kind, words
):
    monkeypatch.setattr(api, "SILENCE", 0.3)
    service.machine(ONE, "qa")
    service.faults(fault)
    with pytest.raises(kind, match=words):
        client(service).machines()
    assert [one["uuid"] for one in client(service).machines()] == [ONE]


def test_faults_are_counted_by_what_they_are_for(service):
    service.machine(ONE, "qa")
    service.faults({"calls": ["authorize"], "skip": 1, "status": 500})
    one = client(service)
    one.machines()
    one.authorize(ONE, False)
    # The second time: the client asks again.
    one.authorize(ONE, True)
    assert service.asked() == [
        ("GET", "machines", "-", "200"),
        ("POST", "authorize", ONE, "200"),
        ("POST", "authorize", ONE, "500"),
        ("POST", "authorize", ONE, "200"),
    ]


@pytest.mark.parametrize("file", ["faults.json", "service.json"])
def test_a_mistake_in_a_file_is_told_to_whoever_asks(service, file):
    path = service.directory / file
    before = path.read_text() if path.exists() else "[]"
    path.write_text('[{"sttaus": 500}]' if file == "faults.json" else "{}")
    said = bare(service, "GET", "/api/1/machines")
    assert said.status_code == 500 and str(path) in said.json()["error"]
    path.write_text(before)
    os.utime(path, (1, 1))
    assert bare(service, "GET", "/api/1/machines").status_code == 200


def test_who_hangs_holds_up_nobody(service, capfd):
    port = int(service.running.url.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port)):
        assert client(service).machines() == []
    # Neither is one that speaks no TLS, or trusts nobody, a line on the console.
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        plain.recv(100)
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", port)) as stranger:
        ssl.create_default_context().wrap_socket(stranger, server_hostname="127.0.0.1")
    assert client(service).machines() == [] and capfd.readouterr().err == ""


def test_the_program(tmp_path, ca_dir):
    directory = tmp_path / "service"
    program = [sys.executable, str(LAB / "service/service.py"), str(directory)]
    started = subprocess.Popen(
        [*program, "--ca-dir", str(ca_dir)], stdout=subprocess.PIPE, text=True
    )
    try:
        said = dict(
            line.strip().split(": ", 1) for line in (started.stdout.readline() for _ in range(5))
        )
        own = json.loads((directory / "service.json").read_text())
        assert stat.S_IMODE((directory / "service.json").stat().st_mode) == 0o600
        options = {"url": said["API"].strip(), "ca": said["CA"].strip(), **own}
        assert api.Service(api.settings(options, {}, "")).machines() == []
        assert own["key"] not in str(said)
        started.send_signal(signal.SIGINT)
        assert started.wait(10) == 0
    finally:
        started.kill()
        started.wait()
        started.stdout.close()
    (directory / "service.json").write_text('{"user": "x"}')
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"{directory}/service.json: key: is missing, and has to be given. The "
        + ("service was not started.\n")
    )


def test_nothing_is_left_of_a_service_that_has_ended(tmp_path, ca_dir):
    before = threading.active_count()
    with emulated_service(tmp_path / "service", ca_dir) as one:
        port = int(one.running.url.split(":")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert threading.active_count() <= before + 1 and KEY not in repr(one.running)


def test_every_key_is_in_the_readme():
    readme = (LAB / "service/README.md").read_text()
    keys = [
        *lab.faults.FAULTS([{}], "")[0],
        *lab.answers.SETTINGS({"user": "a", "key": "b"}, ""),
        *lab.faults.CALLS,
    ]
    assert [key for key in keys if f"`{key}`" not in readme] == []
