# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A server that takes files by HTTP PUT."""

from __future__ import annotations

import contextlib
import http.server
import threading


@contextlib.contextmanager
def report_server(*statuses, context=None):
    """A server on loopback: C(url), C(files) (path to content) and C(requests) (method, path,
    authorization).

    :param statuses: of its answers, one after the other; the last one for all others.
    :param context: for HTTPS.
    """
    statuses = list(statuses) or [201]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.requests.append(("PUT", self.path, self.headers["Authorization"]))
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            if status < 300:
                server.files[self.path] = body.decode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{server.url}/elsewhere")
            if status == 503:
                self.send_header("Retry-After", "86400")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT

        def log_message(self, *_words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if context else "http"
    server.url = f"{scheme}://127.0.0.1:{server.server_port}/reports"
    server.files, server.requests = {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
