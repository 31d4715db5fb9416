# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The emulated service: HTTPS on loopback for an account that emulated agents check in at.

As a program:  service.py DIRECTORY [--port PORT] [--ca-dir DIRECTORY]

It makes what is missing in the directory: the account's settings with a key of its own
(C(service.json)) and the lab's CA (C(pki), or the directory that is named). Without a port it takes
one that is free. It ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.server
import json
import os
import secrets
import signal
import ssl
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "agent"), str(HERE.parent / "packages")]
import answers  # noqa: E402
import faults  # noqa: E402
import pki  # noqa: E402
from uptrack_lab import account, scenario_check  # noqa: E402
from uptrack_lab.world import ScenarioError  # noqa: E402

ADDRESS = "127.0.0.1"
LOG = "requests.log"
LONGEST = 1 << 20
HTML = answers.Answer(200, "text/html", b"<!DOCTYPE html><html><title>Sign in</title></html>")


@dataclasses.dataclass(frozen=True)
class Running:
    """A service that is at work: its addresses, the file with its CA, and the account's user."""

    directory: str
    url: str
    inspector: str
    page: str
    ca: str
    user: str
    key: str = dataclasses.field(repr=False)


def make_account(directory, **settings):
    """Make the directory of an account, if there is none yet.

    :param settings: see README.md; the key is a new one where none is given.
    :raises uptrack_lab.world.ScenarioError: if one of them is wrong, in one line.
    """
    os.makedirs(directory, exist_ok=True)
    given = {"user": "lab", "key": secrets.token_hex(16), **settings}
    checked = scenario_check.whole(answers.SETTINGS, given, account.SETTINGS)
    text = json.dumps(checked, indent=1) + "\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with contextlib.suppress(FileExistsError):
        handle = os.open(os.path.join(directory, account.SETTINGS), flags, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)


@contextlib.contextmanager
def running(directory, port=0, ca_dir=None):
    """The service at work, in threads of this process: a Running.

    :param directory: of an account, see make_account.
    :param port: 0 takes one that is free.
    :param ca_dir: where the CA is, or is made; by default C(pki) in the directory.
    :raises uptrack_lab.world.ScenarioError: if the account's settings are wrong, in one line.
    """
    directory = os.path.abspath(directory)
    ca_dir = os.path.abspath(ca_dir or os.path.join(directory, "pki"))
    own = answers.settings(directory)
    if not pki.lasts(ca_dir):
        pki.make(ca_dir, "localhost", f"DNS:localhost,IP:{ADDRESS}")
    server = Server(directory, port, ca_dir)
    base = f"https://{ADDRESS}:{server.server_port}"
    urls = (f"{base}/api/1", f"{base}/api/1/update-list/", f"{base}/status")
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    try:
        yield Running(directory, *urls, f"{ca_dir}/ca.crt", own["user"], own["key"])
    finally:
        server.shutdown()
        server.server_close()


class Server(http.server.ThreadingHTTPServer):
    """The server, each of whose connections takes one request."""

    def __init__(self, directory, port, ca_dir):
        self.directory, self.logging = directory, threading.Lock()
        self.faults = faults.Faults(os.path.join(directory, "faults.json"))
        self.signed = _context(ca_dir, "server.crt")
        self.self_signed = _context(ca_dir, "self-signed.crt")
        super().__init__((ADDRESS, port), Handler)

    def get_request(self):
        connection, address = super().get_request()
        context = self.signed
        # A mistake in the file is told when the request is answered.
        with contextlib.suppress(ScenarioError):
            if self.faults.next(faults.CONNECTION):
                context = self.self_signed
        # The handshake is for the request's own thread, where one that hangs holds up nobody.
        options = {"server_side": True, "do_handshake_on_connect": False}
        return context.wrap_socket(connection, **options), address

    def handle_error(self, request, client_address):
        # Of clients that went away, or do not trust the certificate.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def log(self, *words):
        """A line for a request, without what is secret in it."""
        path = os.path.join(self.directory, LOG)
        with self.logging, open(path, "a", encoding="utf-8") as file:
            file.write(" ".join(str(word) for word in words) + "\n")


def _context(ca_dir, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{ca_dir}/{certificate}", f"{ca_dir}/server.key")
    return context


class Handler(http.server.BaseHTTPRequestHandler):
    server_version = "uptrack-lab"
    timeout = 60

    def do_GET(self):
        request = self._request()
        call, named = answers.call_of(request)
        try:
            fault = self.server.faults.next(call)
            answer = spoiled(self._answer(request, fault), fault)
        except (ScenarioError, OSError) as mistake:
            fault, answer = {}, answers.refusal(500, f"The lab: {mistake}")
        uuid = quote(named.get("uuid", "-"), safe="")
        self.server.log(self.command, call or "nothing", uuid, answer.status)
        time.sleep(fault.get("seconds", 0))
        self._send(answer, torn=fault.get("body") == "torn")

    do_POST = do_GET

    def _request(self):
        length = self.headers.get("Content-Length") or "0"
        wanted = min(int(length), LONGEST) if length.isdigit() else 0
        headers = {name.lower(): value for name, value in self.headers.items()}
        return answers.Request(self.command, self.path, headers, self.rfile.read(wanted))

    def _answer(self, request, fault):
        # Whatever it says in the end, a request that fails has done nothing.
        if fault.get("key") == "rejected":
            return answers.REJECTED
        if fault.get("status"):
            return answers.refusal(fault["status"], "The lab's faults say so.")
        return answers.answer(self.server.directory, request, answers.utc_now())

    def _send(self, answer, torn):
        self.send_response(answer.status)
        headers = {"Content-Type": answer.kind, "Content-Length": len(answer.body)}
        for name, value in {**headers, **answer.headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if torn else answer.body)

    def log_message(self, *_words):
        """Its lines would have the access keys of paths."""


def spoiled(answer, fault):
    """An answer with what a fault makes of it, but for the time it takes and where it ends."""
    headers = {}
    if fault.get("retry_after") is not None:
        headers["Retry-After"] = fault["retry_after"]
    if fault.get("body") == "html":
        answer = HTML._replace(status=answer.status)
    if fault.get("body") == "malformed":
        answer = answer._replace(body=answer.body[: len(answer.body) // 2])
    return answer._replace(headers=headers)


def main(arguments):
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(description="The emulated service of Ksplice Uptrack.")
    parser.add_argument("directory")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ca-dir")
    wish = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        make_account(wish.directory)
        with running(wish.directory, wish.port, wish.ca_dir) as service:
            print(f"API:         {service.url}")
            print(f"Inspector:   {service.inspector}")
            print(f"Status page: {service.page}")
            print(f"CA:          {service.ca}")
            print(f"Credentials: {service.directory}/{account.SETTINGS}", flush=True)
            stopped.wait()
    except (ScenarioError, OSError) as error:
        sys.exit(f"{error}. The service was not started.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
