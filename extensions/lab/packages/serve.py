# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Serve the repositories that build.py made, over HTTPS.

As a program:  serve.py DIRECTORY ADDRESS PORT

`DIRECTORY/requests.log` gets a line for each request. A file `DIRECTORY/trouble.json` says what
goes wrong from now on: `{"from": 3, "status": 503}` answers so from the third request on, counted
from when the file was written.
"""

import functools
import http.server
import json
import os
import ssl
import sys


class Trouble:
    """What goes wrong, as the file says it; counts the requests since the file changed."""

    def __init__(self, path):
        self.path, self.seen, self.count = path, None, 0

    def status(self):
        try:
            written = os.stat(self.path).st_mtime_ns
            with open(self.path, encoding="utf-8") as file:
                trouble = json.load(file)
        except (OSError, ValueError):
            return None
        if written != self.seen:
            self.seen, self.count = written, 0
        self.count += 1
        return trouble["status"] if self.count >= trouble.get("from", 1) else None


class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments, trouble, log, **more):
        self.trouble, self.log = trouble, log
        super().__init__(*arguments, **more)

    def do_GET(self):
        status = self.trouble.status()
        if status:
            self.send_error(status)
        else:
            super().do_GET()

    def log_message(self, form, *values):
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(form % values + "\n")


def main(directory, address, port):
    handler = functools.partial(
        Handler,
        directory=os.path.join(directory, "www"),
        trouble=Trouble(os.path.join(directory, "trouble.json")),
        log=os.path.join(directory, "requests.log"),
    )
    server = http.server.ThreadingHTTPServer((address, int(port)), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        os.path.join(directory, "pki/server.crt"), os.path.join(directory, "pki/server.key")
    )
    # The handshake in the thread of its request, so that one that hangs does not hold up the
    # others.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
