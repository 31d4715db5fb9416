# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Uploads to S3: the signature is the one that AWS's own library makes, and a server that checks
signatures (moto, with botocore's signer) takes it.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
import requests
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import s3, upload
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import report_server  # noqa: E402

SECRET, SESSION = "s3cret/key+of=the-store", "s3ssion/token+of=the-store"
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET}
AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=timezone.utc)
NAMES = st.text(st.characters(codec="utf-8"), max_size=20)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for names in s3.ENVIRONMENT.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def theirs(url, body, found, signed):
    """The signature of AWS's own library over the same request."""
    request = AWSRequest("PUT", url, dict(signed), body)
    request.context["timestamp"] = AT.strftime("%Y%m%dT%H%M%SZ")
    request.context["payload_signing_enabled"] = True
    keys = Credentials(
        found["access_key_id"], found["secret_access_key"], found["session_token"] or None
    )
    auth = S3SigV4Auth(keys, "s3", found["region"])
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return auth.signature(text, request)


@settings(max_examples=50, deadline=None)
@given(NAMES, st.binary(max_size=100), st.sampled_from([None, SESSION]), st.sampled_from([443, 9]))
def test_the_signature_is_that_of_the_library_of_aws(prefix, body, session, port):
    found = s3.settings(dict(KEYS, region="eu-central-1", session_token=session), {})
    found["endpoint"] = f"https://s3.example.com:{port}"
    try:
        url = f"{s3.folder(f's3://bucket/{prefix}', found)}/report~1.html"
    except PlanError:
        assert {".", ".."} & set(prefix.strip("/").split("/"))
        return
    request = requests.Request("PUT", url, data=body).prepare()
    s3.Signature(found, AT)(request)
    signed = re.search("SignedHeaders=([^,]+)", request.headers["Authorization"]).group(1)
    signed = {name: request.headers[name] for name in signed.split(";")}
    assert {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed)
    assert signed["host"] == ("s3.example.com" if port == 443 else "s3.example.com:9")
    assert ("x-amz-security-token" in signed) == bool(session)
    signature = re.search("Signature=([0-9a-f]{64})$", request.headers["Authorization"]).group(1)
    assert signature == theirs(request.url, body, found, signed)


@pytest.fixture(scope="module")
def store():
    """A store with a bucket and a user, that checks each signature."""
    with report_server.s3_store("reports") as found:
        yield found


@pytest.fixture
def put(tmp_path, monkeypatch, store):
    monkeypatch.setattr(upload, "BACKOFF", 0)
    for name in ("record.json", "hosts.csv"):
        (tmp_path / name).write_text(f"the {name}")

    def put(url, **more):
        given = dict(store.keys, endpoint=store.url, **more)
        return upload.put(url, None, str(tmp_path), ["record.json", "hosts.csv"], given)

    return put


def test_a_store_that_checks_signatures_takes_the_files(put, store):
    for prefix in ("", "/week 48/übung+a=b", "/x/"):
        assert put(f"s3://reports{prefix}") is None
    kept = {f"{folder}{name}" for folder in ("", "week 48/übung+a=b/", "x/") for name in FILES}
    assert set(store.files("reports")) == kept
    assert store.files("reports")["x/hosts.csv"] == b"the hosts.csv"


FILES = ("record.json", "hosts.csv")


@pytest.mark.parametrize(
    "url, more, why",
    [
        ("s3://reports/x", {"secret_access_key": SECRET}, "HTTP 403, SignatureDoesNotMatch"),
        ("s3://reports/x", {"access_key_id": "AKIDOTHER"}, "HTTP 403, InvalidAccessKeyId"),
        ("s3://others/x", {}, "HTTP 404, NoSuchBucket"),
    ],
)
def test_a_store_that_refuses_says_why_in_a_word(put, store, tmp_path, url, more, why):
    said = put(url, **more)
    assert said == (
        f"record.json could not be uploaded to {url} at {store.url}/{url[5:]} ({why}). It is in "
        f"{tmp_path}."
    )
    assert SECRET not in said and store.keys["secret_access_key"] not in said


def test_of_what_a_store_says_only_a_code_is_shown(put):
    assert s3.code(b"<Error><Code>Slow.Down</Code><Message>x</Message></Error>") == "Slow.Down"
    for said in (b"", b"<Code>a b</Code>", b"<Code>\x1b[2J</Code>", b"<Code>" + b"a" * 99):
        assert s3.code(said) is None


@pytest.mark.parametrize(
    "url, given, folder",
    [
        ("s3://reports", {}, "https://reports.s3.us-east-1.amazonaws.com"),
        (
            "s3://reports/a b/",
            {"region": "eu-west-1"},
            "https://reports.s3.eu-west-1.amazonaws.com/a%20b",
        ),
        ("s3://my.reports/a", {}, "https://s3.us-east-1.amazonaws.com/my.reports/a"),
        # As S3 itself writes a name before it signs it.
        (
            "s3://my.reports/a+=~ü",
            {},
            "https://s3.us-east-1.amazonaws.com/my.reports/a%2B%3D~%C3%BC",
        ),
        ("s3://reports/a", {"endpoint": "http://127.0.0.1:9/"}, "http://127.0.0.1:9/reports/a"),
    ],
)
def test_where_a_file_goes(url, given, folder):
    assert upload.target(url, None, dict(KEYS, **given))[0] == folder


def test_what_is_not_set_comes_from_the_environment():
    environ = {
        "AWS_ACCESS_KEY_ID": "A",
        "AWS_SECRET_ACCESS_KEY": "B",
        "AWS_SESSION_TOKEN": "C",
        "AWS_DEFAULT_REGION": "eu-west-2",
        "AWS_ENDPOINT_URL": "https://a",
        "AWS_ENDPOINT_URL_S3": "https://b",
    }
    assert s3.settings(None, environ) == {
        "endpoint": "https://b",
        "region": "eu-west-2",
        "access_key_id": "A",
        "secret_access_key": "B",
        "session_token": "C",
    }
    # Whoever gives a key gives all of it: the rest would be of another one.
    assert s3.settings({"access_key_id": "D"}, environ) == dict(
        s3.settings(None, environ), access_key_id="D", secret_access_key=None, session_token=None
    )


@pytest.mark.parametrize(
    "url, given, words",
    [
        ("s3://", KEYS, "is no address"),
        ("s3://x", KEYS, "no address of a bucket"),
        ("s3://reports:9/x", KEYS, "no address of a bucket"),
        ("s3://me:s3cret@reports/x", KEYS, "has a user in it"),
        ("s3://reports/x?y", KEYS, "has a . or #"),
        ("s3://reports/../x", KEYS, "has a . or .. between slashes"),
        (
            "s3://reports/x",
            {},
            "ksplice_report_s3 has no access_key_id and no secret_access_key: give it",
        ),
        (
            "s3://reports/x",
            {"access_key_id": "A"},
            "ksplice_report_s3 has no secret_access_key: give it",
        ),
        ("s3://reports/x", dict(KEYS, secret_access_key=f"{SECRET}\n"), "has blanks"),
        ("s3://reports/x", dict(KEYS, session_token=f"\u201c{SESSION}"), "has blanks"),
        ("s3://reports/x", dict(KEYS, region="eu/west"), "region of ksplice_report_s3 is none"),
        ("s3://reports/x", dict(KEYS, endpoint="s3.example.com"), "endpoint of .* is no address"),
        ("s3://reports/x", dict(KEYS, endpoint="https://[x"), "endpoint of .* is no address"),
        ("s3://reports/x", dict(KEYS, endpoint=f"https://me:{SECRET}@x"), "is no address"),
    ],
)
def test_settings_that_are_none_are_refused_without_a_word_of_a_secret(tmp_path, url, given, words):
    with pytest.raises(PlanError, match=words) as refused:
        upload.check(url, None, given)
    assert "s3cret" not in str(refused.value) and SESSION not in str(refused.value)
    said = upload.put(url, None, str(tmp_path), ["record.json"], given)
    assert said == f"Nothing was uploaded: {refused.value}"
    assert json.dumps(said)
