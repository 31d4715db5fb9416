# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""An HTTPS server on loopback that answers as a test tells it, bytes and silence included."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import subprocess
import threading
import time
from typing import NamedTuple


class Answer(NamedTuple):
    """What the server says: C(length) other than the body's tears the answer, C(slow) is how many
    seconds pass before the body, C(pace) before each byte of it."""

    status: int = 200
    body: bytes = b"[]"
    headers: dict = {}
    length: int | None = None
    slow: float = 0
    pace: float = 0


def json_of(value, status=200):
    return Answer(status, json.dumps(value).encode())


def certificate(folder):
    """A key, and a certificate for loopback that it signed itself."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split()
    words += ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"]
    words += ["-keyout", str(key), "-out", str(cert)]
    subprocess.run(words, check=True, capture_output=True)
    return key, cert


@contextlib.contextmanager
def api_server(key, cert, *answers):
    """A server: C(url), C(requests) (method, path, headers, body).

    :param answers: one after the other; the last one for all others.
    """
    answers = list(answers) or [Answer()]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.requests.append((self.command, self.path, dict(self.headers), body))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(answer.length or len(answer.body)))
            self.end_headers()
            self.wfile.flush()
            time.sleep(answer.slow)
            with contextlib.suppress(OSError):
                parts = [answer.body]
                if answer.pace:
                    parts = [bytes([one]) for one in answer.body]
                for part in parts:
                    time.sleep(answer.pace)
                    self.wfile.write(part)
            self.close_connection = True

        do_POST = do_GET

        def log_message(self, *_words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url, server.requests = f"https://127.0.0.1:{server.server_port}/api/1", []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
