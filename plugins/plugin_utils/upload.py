# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Puts the files of a report where they outlive the controller's folder: HTTP PUT, as WebDAV and
artifact stores take it, and S3 with a signature.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote, urlsplit

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import s3 as s3_store
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError

# Seconds to connect, and without a byte of an answer.
TIMEOUT = (10, 60)
# Of the files of a report, so that a store shows them as what they are.
TYPES = {
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".xml": "application/xml",
    ".md": "text/markdown; charset=utf-8",
    ".prom": "text/plain; charset=utf-8",
}
TAKEN = (200, 201, 204)
# Bytes that are read of what S3 says of an error.
LONGEST = 4096
# A server that is busy or restarts is asked again, after up to 1, 2 and 4 seconds.
RETRIES, BACKOFF, BUSY = 3, 1, (429, 500, 502, 503, 504)


def check(url, token, s3=None):
    """Complain of an address that nothing can be uploaded to, and of a token that is none.

    :param s3: the settings ksplice_report_s3; where they lack something, the environment counts.
    :raises PlanError: without a word of the token.
    """
    target(url, token, s3)


def target(url, token, s3=None):
    """Where a folder's files are put: its address, and C(auth) for requests.

    :raises PlanError: see check.
    """
    if token and not re.fullmatch("[\x21-\x7e]+", token):
        raise PlanError("ksplice_report_token has blanks, line ends or letters with accents in it.")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https", "s3") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise PlanError(
            "ksplice_report_url is no address: give one with http://, https:// or s3://."
        )
    if "@" in parts.netloc:
        raise PlanError(
            "ksplice_report_url has a user in it: set ksplice_report_token (for S3 "
            "ksplice_report_s3), or put user and password into ~/.netrc."
        )
    if parts.query or parts.fragment:
        raise PlanError(
            "ksplice_report_url has a ? or #: give the address of a folder, to which the names of "
            "the files are added."
        )
    if parts.scheme == "s3":
        found = s3_store.settings(s3, os.environ)
        return s3_store.folder(url, found), s3_store.Signature(found)
    return url.rstrip("/"), _Bearer(token) if token else None


def put(url, token, directory, names, s3=None):
    """Upload files of a directory; a sentence where one could not be, or None.

    :param token: sent as bearer token, unless empty.
    :param s3: see check.
    """
    try:
        folder, auth = target(url, token, s3)
    except PlanError as error:
        return f"Nothing was uploaded: {error}"
    to = f"{url} at {folder}" if url.startswith(s3_store.SCHEME) else url
    try:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry
    except ImportError:
        return (
            f"Nothing was uploaded to {to}: requests is not installed on the controller (pip "
            "install requests)."
        )
    again = Retry(
        total=RETRIES,
        backoff_factor=BACKOFF,
        status_forcelist=BUSY,
        allowed_methods=("PUT",),
        raise_on_status=False,
        # A server could make the run wait for a day.
        respect_retry_after_header=False,
    )
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=again))
        # Not as a header of the session, which ~/.netrc would replace.
        session.auth = auth
        for name in names:
            try:
                with open(os.path.join(directory, name), "rb") as file:
                    content = file.read()
                # Neither the report nor the token is for somebody else, and of an answer only its
                # status counts, however much else the server has to say.
                with session.put(
                    f"{folder}/{quote(name)}",
                    data=content,
                    headers={"Content-Type": TYPES[os.path.splitext(name)[1]]},
                    timeout=TIMEOUT,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    status = answer.status_code
                    why = (
                        None
                        if status in TAKEN
                        else f"HTTP {status}{_redirected(status)}{_code(answer, to != url)}"
                    )
            except requests.exceptions.SSLError:
                why = "its certificate is not accepted"
            except requests.exceptions.Timeout:
                why = "no answer in time"
            except Exception as error:  # its text may have the token in it
                why = f"no connection, {type(error).__name__}"
            if why:
                return f"{name} could not be uploaded to {to} ({why}). It is in {directory}."
    return None


def _redirected(status):
    return ", and redirects are not followed" if 300 <= status < 400 else ""


def _code(answer, of_s3):
    """What S3 calls an error, behind its status."""
    said = s3_store.code(answer.raw.read(LONGEST)) if of_s3 else None
    return f", {said}" if said else ""


class _Bearer:
    def __init__(self, token):
        self.token = token

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request
