# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The client of the service's API, against a real HTTPS server that says what it likes."""

from __future__ import annotations

import json
import logging
import socket
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import service_api as api

sys.path.insert(0, str(Path(__file__).parent))
from api_server import Answer, api_server, certificate, json_of  # noqa: E402

USER, KEY, PASSWORD = "fleet-user-x7", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "proxy-pass-w9"
UUID = "00086980-47cb-4486-81c0-4fe3299bad90"
# Both as the reference has them (5.1).
MACHINE = {
    "status": "uptodate",
    "autoinstall": True,
    "uuid": UUID,
    "mmap_min_addr": 65536,
    "ip": "192.168.248.238",
    "hostname": "host1.example.com",
    "uptrack_client_version": "1.2.80",
    "active": True,
    "authorization": "allowed",
    "last_seen": "2025-05-12T11:19:21Z",
}
DESCRIBED = dict(
    MACHINE,
    status="outofdate",
    group="qa",
    original_kernel="5.15.0-304.171.4.el8uek",
    effective_kernel="5.15.0-304.171.4.el8uek",
    installed_updates=[{"ID": "diptbg4f", "Name": "CVE-2010-0415: Information Leak."}],
    steps=[["Install", {"ID": "dv4m9d3r", "Name": "Improved update."}]],
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(api, "BACKOFF", 0)
    monkeypatch.setattr(api, "SILENCE", 2)
    for name in ("HTTPS_PROXY", "https_proxy", "REQUESTS_CA_BUNDLE", *api.ENVIRONMENT.values()):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve(pair):
    """serve(*answers): a server, and a client of it."""
    opened = []

    def start(*answers, called=api.VARIABLES, **more):
        context = api_server(*pair, *answers)
        server = context.__enter__()
        opened.append(context)
        options = dict(url=server.url, user=USER, key=KEY, ca=str(pair[1]), **more)
        return server, api.Service(api.settings(options, {}, "/nowhere", called))

    yield start
    for context in opened:
        context.__exit__(None, None, None)


def test_machines_as_they_are_documented(serve):
    server, service = serve(json_of([MACHINE, dict(MACHINE, mmap_min_addr=None)]))
    found = service.machines()
    assert found == [MACHINE, dict(MACHINE, mmap_min_addr=None)]
    [(method, path, headers, body)] = server.requests
    assert (method, path, body) == ("GET", "/api/1/machines", b"")
    assert (headers["X-Uptrack-User"], headers["X-Uptrack-Key"]) == (USER, KEY)
    assert "Authorization" not in headers and USER not in path


def test_a_machine_as_it_is_documented(serve):
    server, service = serve(json_of(DESCRIBED))
    found = service.describe(UUID)
    assert found["steps"] == [{"verb": "Install", **DESCRIBED["steps"][0][1]}]
    assert {**found, "steps": None} == {**DESCRIBED, "steps": None}
    assert server.requests[0][1] == f"/api/1/machine/{UUID}/describe"


def test_what_is_posted(serve):
    server, service = serve(Answer(200, b"whatever it says"))
    service.authorize(UUID, False)
    service.group("../machines?x", "a b")
    found = [(method, path, json.loads(body)) for method, path, _headers, body in server.requests]
    assert found == [
        ("POST", f"/api/1/machine/{UUID}/authorize", {"authorized": False}),
        ("POST", "/api/1/machine/..%2Fmachines%3Fx/group", {"group_name": "a b"}),
    ]


def test_what_is_not_known_is_unknown(serve):
    _server, service = serve(json_of([dict(MACHINE, status="frozen", authorization=None)]))
    with pytest.raises(api.NotTheService):
        service.machines()
    _server, service = serve(json_of([dict(MACHINE, status="frozen", authorization="maybe")]))
    assert [service.machines()[0][key] for key in ("status", "authorization")] == ["unknown"] * 2


def test_an_address_is_one_or_none(serve):
    """What a machine says of itself ends as an argument of ssh."""
    said = ["-oProxyCommand=touch /tmp/x", "", "{{ 1 }}", "::1%`id`", "10.0.0.1 -v", "2001:DB8::1"]
    _server, service = serve(json_of([dict(MACHINE, ip=one) for one in [*said, None]]))
    assert [one["ip"] for one in service.machines()] == [None] * 5 + ["2001:db8::1", None]


@pytest.mark.parametrize(
    "answer, kind, words, asked",
    [
        (Answer(401), api.Rejected, "does not accept the API's user and key", 1),
        (Answer(403), api.Rejected, "they may not do that", 1),
        (Answer(404), api.NotTheService, "Check ksplice_api_url", 1),
        (Answer(429), api.RateLimited, "too often", 4),
        (Answer(429, headers={"Retry-After": "86400"}), api.RateLimited, "in 86400 s", 1),
        (Answer(429, headers={"Retry-After": "0"}), api.RateLimited, "too often", 4),
        (Answer(500), api.Failing, "error of its own", 4),
        (Answer(503), api.Failing, "HTTP 503", 4),
        (Answer(302, headers={"Location": "https://evil/"}), api.NotTheService, "HTTP 302", 1),
        (Answer(204, b""), api.NotTheService, "HTTP 204", 1),
        (Answer(200, b"[{"), api.NotTheService, "is not JSON", 1),
        (Answer(200, b"[" * 100_000), api.NotTheService, "is not JSON", 1),
        (Answer(200, b"<html>Login</html>"), api.NotTheService, "is not JSON", 1),
        (Answer(200, b"\xff\xfe"), api.NotTheService, "is not JSON", 1),
        (json_of({}), api.NotTheService, "is not a list", 1),
        (json_of([dict(MACHINE, uuid="../x")]), api.NotTheService, "uuid is not a UUID", 1),
        (json_of([dict(MACHINE, active="yes")]), api.NotTheService, "active is not true", 1),
        (json_of([dict(MACHINE, last_seen="now")]), api.NotTheService, "is not a time", 1),
        (Answer(200, b"[]", length=100), api.Unreachable, "no whole answer", 1),
        (Answer(200, b"[]", slow=4), api.Unreachable, "", 1),
    ],
)
def test_every_trouble_is_one_sentence_and_a_class(serve, answer, kind, words, asked):
    server, service = serve(answer)
    with pytest.raises(api.ApiError) as error:
        service.machines()
    assert type(error.value) is kind
    text = str(error.value)
    assert words in text and "\n" not in text and len(text) < 400
    assert len(server.requests) == asked
    assert USER not in text and KEY not in text


def test_a_service_that_is_busy_for_a_moment_is_asked_again(serve):
    server, service = serve(Answer(503), Answer(429, headers={"Retry-After": "1"}), json_of([]))
    assert service.machines() == [] and len(server.requests) == 3


def test_an_answer_without_end_is_left(serve, monkeypatch):
    monkeypatch.setattr(api, "LONGEST", 1000)
    _server, service = serve(Answer(200, b" " * 5000))
    with pytest.raises(api.NotTheService, match="more than 1000 bytes"):
        service.machines()


def test_an_answer_in_drops_is_left_in_time(serve, monkeypatch):
    """Each byte is in time, and the last would be after minutes."""
    monkeypatch.setattr(api, "WHOLE", 2)
    _server, service = serve(Answer(200, b" " * 100, pace=0.1))
    begun = time.monotonic()
    with pytest.raises(api.Unreachable, match="not ended its answer in 2 s"):
        service.machines()
    assert 1.9 < time.monotonic() - begun < 4


def test_a_uuid_is_in_small_letters(serve):
    _server, service = serve(json_of([dict(MACHINE, uuid=UUID.upper())]))
    assert [one["uuid"] for one in service.machines()] == [UUID]


def test_a_certificate_that_nobody_signed(pair):
    with api_server(*pair) as server:
        service = api.Service(api.settings({"url": server.url, "user": USER, "key": KEY}, {}, ""))
        with pytest.raises(api.Untrusted, match="ksplice_api_ca"):
            service.machines()
        assert not server.requests


def test_no_service_and_no_proxy(pair):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        options = {"url": f"https://127.0.0.1:{port}", "user": USER, "key": KEY}
        with pytest.raises(api.Unreachable, match="127.0.0.1 cannot be reached"):
            api.Service(api.settings(options, {}, "")).machines()
        with pytest.raises(api.Unreachable, match="no-such.invalid cannot be reached"):
            unknown = dict(options, url="https://no-such.invalid")
            api.Service(api.settings(unknown, {}, "")).machines()
        options["proxy"] = f"http://me:{PASSWORD}@127.0.0.1:{port}"
        with pytest.raises(api.Unreachable) as error:
            api.Service(api.settings(options, {}, "")).machines()
        assert PASSWORD not in str(error.value)


def test_no_secret_is_in_what_the_client_leaves(serve, caplog):
    """Neither in its log, at any level, nor in an error with all that led to it."""
    caplog.set_level(logging.DEBUG)
    import traceback

    for answer in (Answer(401), Answer(500), Answer(200, b"{"), Answer(200, b"[]", length=9)):
        _server, service = serve(answer)
        try:
            service.machines()
        except api.ApiError as error:
            said = "".join(traceback.format_exception(error))
            assert KEY not in said and USER not in said
    assert KEY not in caplog.text and USER not in caplog.text


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "There are no credentials"),
        ({"user": USER}, "There are no credentials"),
        ({"user": USER, "key": KEY + "\n"}, "ksplice_api_key has blanks"),
        ({"user": "a b", "key": KEY}, "ksplice_api_user has blanks"),
        ({"user": USER, "key": KEY, "url": "http://x/"}, "ksplice_api_url is no address"),
        ({"user": USER, "key": KEY, "url": "https://u:p@x/"}, "ksplice_api_url is no address"),
        ({"user": USER, "key": KEY, "url": "https://[x"}, "ksplice_api_url is no address"),
        ({"user": USER, "key": KEY, "ca": "/nowhere"}, "ksplice_api_ca: /nowhere is no file"),
    ],
)
def test_what_is_wrong_is_said_before_anybody_is_asked(options, words):
    with pytest.raises(api.Misconfigured, match=words) as error:
        api.settings(options, {}, "/nowhere")
    assert KEY not in str(error.value)


def test_errors_speak_of_what_was_given(serve, pair):
    """Of a module's arguments and a source's options by their names, and not by variables."""
    good = {"user": USER, "key": KEY}
    for prefix in ("api_", ""):
        called = api.names(prefix)
        for options, words in (
            ({}, f"set {prefix}user and {prefix}key "),
            ({**good, "key": "a b"}, f"{prefix}key has blanks"),
            ({**good, "url": "x"}, f"{prefix}url is no address"),
            ({**good, "ca": "/nowhere"}, f"{prefix}ca: /nowhere"),
        ):
            with pytest.raises(api.Misconfigured, match=words) as error:
                api.settings(options, {}, "/nowhere", called)
            assert "ksplice_" not in str(error.value)
        _server, service = serve(Answer(302), called=called)
        with pytest.raises(api.NotTheService, match=f"check {prefix}url"):
            service.describe(UUID)
        with api_server(*pair) as server, pytest.raises(api.Untrusted, match=f"[(]{prefix}ca[)]"):
            options = dict(good, url=server.url)
            api.Service(api.settings(options, {}, "", called)).machines()
    with pytest.raises(api.Misconfigured, match="ksplice_inspector_url is no address"):
        api.Inspector("http://x")


@pytest.mark.parametrize(
    "answers, in_doubt",
    [
        ([Answer(401)], False),
        ([Answer(404)], False),
        ([Answer(429, headers={"Retry-After": "86400"})], False),
        ([Answer(429), Answer(401)], False),
        ([Answer(503), Answer(401)], True),
        ([Answer(503)], True),
        ([Answer(302)], True),
        ([Answer(200, b"{", length=9)], True),
    ],
)
def test_what_was_posted_may_have_been_done(serve, answers, in_doubt):
    """Also by an attempt before the one that was refused."""
    _server, service = serve(*answers)
    with pytest.raises(api.ApiError) as error:
        service.group(UUID, "web")
    assert error.value.in_doubt is in_doubt
    assert "Nothing was changed" not in str(error.value)


def test_what_is_here():
    for url in ("https://127.0.0.1:8443/api/1", "https://localhost/x", "https://[::1]/"):
        assert api.is_here(url)
    for url in (None, "", api.URL, "https://127.0.0.1.example.com/", "https://[x", "127.0.0.1"):
        assert not api.is_here(url)


def test_where_credentials_come_from(tmp_path):
    path = tmp_path / "uptrack-api.conf"
    path.write_text(f"[uptrack]\nusername = {USER}\napi_key = {KEY}%\nhttps_proxy = http://p:1\n")
    found = api.settings({}, {}, str(path))
    assert (found["user"], found["key"], found["proxy"]) == (USER, KEY + "%", "http://p:1")
    assert found["url"] == api.URL
    environ = {"UPTRACK_API_USERNAME": "me", "UPTRACK_API_KEY": "mine"}
    found = api.settings({"user": "first"}, environ, str(path))
    assert (found["user"], found["key"], found["proxy"]) == ("first", "mine", None)
    path.write_text(f"username = {USER}\napi_key = {KEY}\n")
    with pytest.raises(api.Misconfigured) as error:
        api.settings({}, {}, str(path))
    assert "cannot be read" in str(error.value) and KEY not in str(error.value)


KERNEL = {
    "sysname": "Linux",
    "machine": "x86_64",
    "release": "5.15.0-1.el9uek.x86_64",
    "version": "#2 SMP",
}


def test_the_inspector_is_asked_for_a_kernel(pair):
    said = b"\n* CVE-2026-1: A.\n\n* CVE-2026-2: B.\n"
    with api_server(*pair, Answer(200, said), Answer(200, b"<!DOCTYPE html><HTML>")) as server:
        inspector = api.Inspector(server.url, str(pair[1]))
        assert inspector.updates(KERNEL) == ["* CVE-2026-1: A.", "* CVE-2026-2: B."]
        [(method, path, headers, body)] = server.requests
        assert (method, path) == ("POST", "/api/1/")
        assert body == b"Linux\nx86_64\n5.15.0-1.el9uek.x86_64\n#2 SMP\n"
        assert headers["Accept"] == "text/text" and "X-Uptrack-Key" not in headers
        with pytest.raises(api.NotTheService):
            inspector.updates(KERNEL)


@pytest.mark.parametrize(
    "said",
    [
        b'{"message": "Not here"}',
        b'[{"id": 1}]',
        b'"text"',
        b"<head><title>Login</title>",
        b"\n<!doctype html>",
        b"x" * 1000 + b"<BODY>",
        b"CVE-2026-1\0",
    ],
)
def test_what_is_no_list_of_the_inspector(pair, said):
    with api_server(*pair, Answer(200, said)) as server:
        with pytest.raises(api.NotTheService, match="in place of a list"):
            api.Inspector(server.url, str(pair[1])).updates(KERNEL)


def test_lines_of_the_inspector_may_begin_with_a_bracket(pair):
    with api_server(*pair, Answer(200, b"[x1y2] CVE-2026-1: A.\n")) as server:
        lines = api.Inspector(server.url, str(pair[1])).updates(KERNEL)
        assert lines == ["[x1y2] CVE-2026-1: A."]
