# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The upload of a report to real servers that take it, refuse it, or are none."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import upload
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError

sys.path.insert(0, str(Path(__file__).parent))
from report_server import report_server  # noqa: E402

TOKEN = "s3cret-token"


@pytest.fixture
def put(tmp_path, monkeypatch):
    for name in ("record.json", "hosts.csv"):
        (tmp_path / name).write_text(f"the {name}")
    monkeypatch.setattr(upload, "BACKOFF", 0)
    monkeypatch.setattr(upload, "TIMEOUT", (2, 0.3))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def put(url, token=TOKEN):
        return upload.put(url, token, str(tmp_path), ["record.json", "hosts.csv"])

    return put


def test_each_file_is_put_beside_the_others(put):
    with report_server() as server:
        assert put(server.url) is None and put(server.url + "/") is None
    assert server.files == {
        "/reports/record.json": "the record.json",
        "/reports/hosts.csv": "the hosts.csv",
    }
    assert {one[2] for one in server.requests} == {f"Bearer {TOKEN}"}


def test_without_a_token_netrc_counts(put, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password pass\n")
    (tmp_path / ".netrc").chmod(0o600)
    with report_server() as server:
        assert put(server.url, None) is None
        assert {one[2] for one in server.requests} == {"Basic bWU6cGFzcw=="}
        server.requests.clear()
        assert put(server.url) is None
        assert {one[2] for one in server.requests} == {f"Bearer {TOKEN}"}


def test_a_busy_server_is_asked_again_and_does_not_say_when(put):
    with report_server(503, 429, 201) as server:
        assert put(server.url) is None
    assert len(server.requests) == 4


@pytest.mark.parametrize("status, asked", [(403, 1), (404, 1), (302, 1), (503, 4)])
def test_a_server_that_does_not_take_it(put, tmp_path, status, asked):
    words = f"{status}, and redirects are not followed" if status == 302 else status
    with report_server(status) as server:
        assert put(server.url) == (
            f"record.json could not be uploaded to {server.url} (HTTP {words}). It is in "
            f"{tmp_path}."
        )
    assert len(server.requests) == asked and not server.files


def test_no_server_or_one_that_says_nothing(put):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/x"
        assert "(no connection, ConnectionError)" in put(url)
        deaf.listen()
        said = put(url)
        assert "(no answer in time)" in said or "(no connection, ConnectionError)" in said


def test_a_certificate_that_nobody_signed(put, tmp_path, monkeypatch):
    key, cert = tmp_path / "key", tmp_path / "cert"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split()
    words += ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"]
    words += ["-keyout", str(key), "-out", str(cert)]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with report_server(context=context) as server:
        assert "(its certificate is not accepted)" in put(server.url)
        assert not server.requests
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
        assert put(server.url) is None


@pytest.mark.parametrize(
    "url, words",
    [
        ("reports.example.com", "is no address"),
        ("ftp://reports.example.com/", "is no address"),
        ("https://", "is no address"),
        ("https://x:99999/", "is no address"),
        ("https://[x/", "is no address"),
        ("https://me:pass@reports.example.com/", "has a user in it"),
        ("https://reports.example.com/?sig=abc", r"has a \? or #"),
    ],
)
def test_an_address_that_is_none(url, words):
    with pytest.raises(PlanError, match=words) as refused:
        upload.check(url, None)
    assert "pass" not in str(refused.value).replace("password", "") and "sig" not in str(
        refused.value
    )


def test_an_address():
    upload.check("https://reports.example.com:8443/ksplice/a%20b", TOKEN)


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f"\u201c{TOKEN}\u201d", f"\r{TOKEN}"])
def test_a_token_that_is_none_is_refused_without_a_word_of_it(put, token):
    with pytest.raises(PlanError, match="ksplice_report_token has blanks") as refused:
        upload.check("https://reports.example.com", token)
    assert TOKEN not in str(refused.value)
    with report_server() as server:
        assert TOKEN not in put(server.url, token) and not server.files


def test_an_address_that_no_library_takes(put):
    assert "(no connection, " in put("http://a..b/x")


def test_an_answer_without_an_end_is_not_read(put):
    with socket.socket() as endless:
        endless.bind(("127.0.0.1", 0))
        endless.listen()

        def answer():
            for _file in range(2):
                asked = endless.accept()[0]
                asked.recv(65536)
                asked.sendall(b"HTTP/1.1 201 Created\r\n\r\n" + b"x" * 100)
                talking.append(asked)

        talking = []
        threading.Thread(target=answer, daemon=True).start()
        assert put(f"http://127.0.0.1:{endless.getsockname()[1]}/x") is None
        assert len(talking) == 2
