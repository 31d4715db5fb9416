# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The commands of the documents, run as they stand there, over a rehearsal of the README's own
inventory.
"""

from __future__ import annotations

import email
import email.policy
import json
import shlex
import shutil
import socket
import sys
from importlib.util import find_spec

import pytest
import yaml
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import report
from extent import todays
from rehearsals import KEY, TOP, Rehearsal

sys.path.insert(0, str(TOP / "tests/unit/examples"))
sys.path.insert(0, str(TOP / "tests/unit/plugins/plugin_utils"))
sys.path.insert(0, str(TOP / "tests/unit/lab"))
import rolled  # noqa: E402
from emulated_service import KEY as API_KEY  # noqa: E402
from emulated_service import USER as API_USER  # noqa: E402
from emulated_service import emulated_service  # noqa: E402
from examples import all_of, commands  # noqa: E402
from report_server import report_server  # noqa: E402

# What an emulated host has not: that CVE, and packages that could be removed.
TELLS = {
    "cves=CVE-2026-12345": "No update for CVE-2026-12345",
    "ksplice_select=open_to": "ksplice_select finds no host",
    "ksplice.retire": "The kernel or the agent is still there",
}
ELSEWHERE = (
    "ansible-playbook -i INVENTORY",
    "ansible-playbook -i build/lab",
    # tests/integration/test_service.py
    "ansible-playbook -i inventory.yml -e @vault.yml --diff service.yml",
    "ansible all -m uptrack",
    "ansible wiki1 -m uptrack",
)


def runnable():
    found = [
        command
        for block in all_of("console")
        for command in commands(block)
        if shlex.split(command)[0] in ("ansible", "ansible-playbook")
    ]
    # Retiring comes last: nothing is left to look at afterwards.
    return sorted(
        (one for one in found if not one.startswith(ELSEWHERE)), key=lambda one: "retire" in one
    )


@pytest.fixture
def of_service(tmp_path):
    """of_service(command): what a command needs that asks the service: its environment, and words
    that lead it to the emulated one."""
    with emulated_service(tmp_path / "ksplice-rehearsal/service", tmp_path / "pki") as service:
        running = service.running
        variables = {
            "ksplice_api_url": running.url,
            "ksplice_api_ca": running.ca,
            "ksplice_inspector_url": running.inspector,
        }

        def needs(command):
            if not any(name in command for name in ("ksplice.reconcile", "ksplice.preview")):
                return {}, []
            credentials = {"UPTRACK_API_USERNAME": API_USER, "UPTRACK_API_KEY": API_KEY}
            return dict(credentials, HOME=str(tmp_path)), ["-e", json.dumps(variables)]

        yield needs


def test_the_commands_of_the_documents(tmp_path, of_service):
    (inventory,) = [
        yaml.safe_load(block.text)
        for block in all_of("yaml")
        if block.text.startswith("# inventory.yml")
    ]
    one = Rehearsal(tmp_path, inventory["all"]["hosts"], **inventory["all"]["vars"])
    (tmp_path / "vault.yml").write_text(yaml.safe_dump({"ksplice_access_key": KEY}))
    # Where a rehearsal puts its hosts, and what the documents say of that.
    one.made = tmp_path / "ksplice-rehearsal"
    one.make()
    for command in todays(runnable()):
        words = shlex.split(command)
        if "inventory.yml" in words and words[-1] != "rebootless.ksplice.rehearse":
            words[words.index("inventory.yml")] = str(one.emulated)
        env = {"ANSIBLE_INVENTORY": str(one.emulated)}
        if "ksplice_record" in command:
            one.command("ansible-playbook", "rebootless.ksplice.status", env=env)
            (tmp_path / "archive").mkdir(exist_ok=True)
            for day in ("monday", "tuesday"):
                shutil.copy(
                    tmp_path / "ksplice-report/record.json", tmp_path / f"archive/{day}.json"
                )
        more, options = of_service(command)
        run = one.command(*words, *options, env={**env, **more})
        expected = next((told for part, told in TELLS.items() if part in command), None)
        assert (run.status != 0) == bool(expected) and (expected or "") in run.output, (
            f"{command}\n{run.output}"
        )


PASSWORD = "s3cret-of-the-tickets"
SAID = "{{ lookup('pipe', 'id') }} @channel"


@pytest.fixture
def example(tmp_path):
    """Runs the example of docs/report.md that has a word in it, over a report, with other words in
    place of some.
    """
    document = rolled.document()
    document["hosts"][-1]["reason"] = SAID
    report.write(str(tmp_path / "report"), document, None, ["csv", "markdown"])
    (tmp_path / "vault.yml").write_text(yaml.safe_dump({"ticket_password": PASSWORD}))
    one = Rehearsal(tmp_path, {"none": {}})

    def run(word, **others):
        [text] = [block.text for block in all_of("yaml") if word in block.text]
        for old, new in {"/var/lib/ksplice-report": str(tmp_path / "report"), **others}.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "example.yml").write_text(text)
        done = one.command("ansible-playbook", "-v", "-e", "@vault.yml", "example.yml")
        assert done.status == 0 and PASSWORD not in done.output, done.output
        return document

    return run


def test_the_chat_and_the_ticket_of_the_documents(example, tmp_path):
    message = (tmp_path / "report/report.md").read_text().rstrip()
    with report_server(200, 201) as server:
        here = server.url.removesuffix("/reports")
        addresses = ("https://chat.example.com", "https://example.service-now.com")
        document = example("service-now", **dict.fromkeys(addresses, here))
    chat = json.loads(server.files["/hooks/0000"])
    assert chat == {"text": message} and "lookup" in message and "@" not in message
    ticket = json.loads(server.files["/api/now/table/incident"])
    assert ticket["short_description"] == "Ksplice: 2 hosts need attention"
    assert ticket["correlation_id"] == document["run"]["id"] and ticket["description"] == message
    assert server.requests[1][2].startswith("Basic ")


@pytest.mark.thorough
def test_the_mail_of_the_documents(example, tmp_path):
    if not find_spec("aiosmtpd") or not find_spec("ansible_collections.community"):
        pytest.skip(
            "community.general and aiosmtpd are not installed: Python 3.12 or later has them"
        )
    from aiosmtpd.controller import Controller

    class Mailbox:
        async def handle_DATA(self, _server, _session, envelope):
            mails.append(envelope)
            return "250 OK"

    mails = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Controller(Mailbox(), "127.0.0.1", port)
    server.start()
    try:
        example(
            "community.general.mail",
            **{"mail.example.com": "127.0.0.1", "port: 25": f"port: {port}"},
        )
    finally:
        server.stop()
    [mail] = mails
    assert mail.rcpt_tos == ["operators@example.com"]
    parts = email.message_from_bytes(mail.content, policy=email.policy.default)
    assert parts["subject"] == "Ksplice patch: 2 hosts need attention"
    [attached] = parts.iter_attachments()
    assert attached.get_filename() == "hosts.csv"
    body = parts.get_body(("plain",)).get_content()
    assert body.split() == (tmp_path / "report/report.md").read_text().split()
