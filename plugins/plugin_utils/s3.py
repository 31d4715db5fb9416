# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Where S3 or a server compatible with it takes a file by HTTP PUT, and the signature it wants:
AWS Signature Version 4, https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timezone
from urllib.parse import quote, urlsplit

from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError

# Setting of ksplice_report_s3 -> the environment variables that AWS's own tools read, first first.
ENVIRONMENT = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
}
SCHEME = "s3://"
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
# What an error of S3 says of itself, of which nothing else is shown.
CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,60})</Code>")


def settings(given, environ):
    """The settings of ksplice_report_s3, those that are missing from the environment.

    Credentials are taken from one place: with an access key of one's own the environment's session
    token is somebody else's.
    """
    found = {key: value for key, value in (given or {}).items() if value}
    own = "access_key_id" in found
    for key, names in ENVIRONMENT.items():
        if key not in found and not (own and key in ("secret_access_key", "session_token")):
            found[key] = next((environ[name] for name in names if environ.get(name)), None)
    return {key: found.get(key) for key in ENVIRONMENT} | {"region": found["region"] or "us-east-1"}


def folder(url, found):
    """The address under which the files of s3://BUCKET/PREFIX are put.

    :param found: see settings.
    :raises PlanError: where an address or credentials are missing or wrong, without a word of them.
    """
    bucket, _slash, prefix = url[len(SCHEME) :].partition("/")
    if not BUCKET.fullmatch(bucket):
        raise PlanError("ksplice_report_url is no address of a bucket: give s3://BUCKET/PREFIX.")
    prefix = prefix.strip("/")
    if {".", ".."} & set(prefix.split("/")):
        raise PlanError("ksplice_report_url has a . or .. between slashes: leave it out.")
    _check(found)
    endpoint = found["endpoint"]
    if endpoint:
        base = f"{endpoint.rstrip('/')}/{bucket}"
    elif "." in bucket:
        # No certificate is for a bucket with dots in its name.
        base = f"https://s3.{found['region']}.amazonaws.com/{bucket}"
    else:
        base = f"https://{bucket}.s3.{found['region']}.amazonaws.com"
    return f"{base}/{quote(prefix, safe='/-_.~')}".rstrip("/")


def _check(found):
    missing = [key for key in ("access_key_id", "secret_access_key") if not found[key]]
    if missing:
        raise PlanError(
            f"ksplice_report_url is a bucket of S3, and ksplice_report_s3 has no "
            f"{' and no '.join(missing)}: give it, or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY in the environment of ansible-playbook."
        )
    for key in ENVIRONMENT:
        if found[key] is not None and not re.fullmatch("[\x21-\x7e]+", str(found[key])):
            raise PlanError(
                f"{key} of ksplice_report_s3 (or {ENVIRONMENT[key][0]} of the environment) has "
                "blanks, line ends or letters with accents in it."
            )
    if not re.fullmatch("[a-z0-9-]+", found["region"]):
        raise PlanError("region of ksplice_report_s3 is none: give one such as eu-central-1.")
    if found["endpoint"]:
        try:
            parts = urlsplit(found["endpoint"])
            plain = not (parts.query or parts.fragment or "@" in parts.netloc)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            good = plain = False
        if not good or not plain:
            raise PlanError(
                "endpoint of ksplice_report_s3 is no address: give one such as "
                "https://s3.example.com:9000, without user, ? and #."
            )


class Signature:
    """Signs a request, as requests' C(auth).

    :param found: see settings.
    :param now: the time in UTC; by default that of the request.
    """

    def __init__(self, found, now=None):
        self.found, self.now = found, now

    def __call__(self, request):
        now = self.now or datetime.now(timezone.utc)
        at, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        parts = urlsplit(request.url)
        default = {"http": 80, "https": 443}[parts.scheme]
        host = parts.netloc if parts.port != default else parts.netloc.rpartition(":")[0]
        signed = {
            "host": host,
            "x-amz-content-sha256": hashlib.sha256(request.body or b"").hexdigest(),
            "x-amz-date": at,
        }
        if self.found["session_token"]:
            signed["x-amz-security-token"] = self.found["session_token"]
        headers = ";".join(signed)
        canonical = "\n".join(
            [
                request.method,
                parts.path or "/",
                "",
                *(f"{name}:{value}" for name, value in signed.items()),
                "",
                headers,
                signed["x-amz-content-sha256"],
            ]
        )
        scope = f"{day}/{self.found['region']}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.found['secret_access_key']}".encode()
        for part in scope.split("/"):
            key = _hmac(key, part).digest()
        signature = _hmac(key, f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}").hexdigest()
        request.headers.update(signed)
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.found['access_key_id']}/{scope}, "
            f"SignedHeaders={headers}, Signature={signature}"
        )
        return request


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256)


def code(body):
    """The code of an error of S3, or None: of what a server says nothing else is to be shown."""
    found = CODE.search(body)
    return found.group(1).decode() if found else None
