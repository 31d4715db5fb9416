# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Servers that take what a report sends: any for HTTP, and a store compatible with S3."""

from __future__ import annotations

import contextlib
import http.server
import json
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
            server.requests.append((self.command, self.path, self.headers["Authorization"]))
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

        do_GET = do_POST = do_PUT

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


class Store:
    """A store compatible with S3, of moto, which checks each signature with botocore's signer:
    C(url) and C(keys) (as ksplice_report_s3 takes them).
    """

    def __init__(self, bucket):
        import boto3
        from moto.server import ThreadedMotoServer

        self.server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        # Before there is a user nothing is checked.
        anyone = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "anyone")
        words = dict(anyone, region_name="us-east-1", endpoint_url=self.url)
        self.s3, users = boto3.client("s3", **words), boto3.client("iam", **words)
        self.s3.create_bucket(Bucket=bucket)
        users.create_user(UserName="ksplice")
        may = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}
        users.put_user_policy(
            UserName="ksplice",
            PolicyName="reports",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": may}),
        )
        made = users.create_access_key(UserName="ksplice")["AccessKey"]
        self.keys = {
            "access_key_id": made["AccessKeyId"],
            "secret_access_key": made["SecretAccessKey"],
        }

    def files(self, bucket):
        """Name to content of what is in a bucket."""
        from moto.s3.models import s3_backends

        [backend] = s3_backends["123456789012"].values()
        return {key.name: key.value for key in backend.buckets[bucket].keys.values()}


@contextlib.contextmanager
def s3_store(bucket):
    """See Store."""
    from moto.core.authorization import enable_iam_authentication

    store = Store(bucket)
    try:
        with enable_iam_authentication():
            yield store
    finally:
        store.server.stop()
