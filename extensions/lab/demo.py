# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""make demo: rehearse the shipped fleet, then check that the record shows what its scenario must
lead to.

The emulated service runs meanwhile, and every host is to be known there. Ends with 0 only if all of
it is as it must be. The rollout itself ends with an error, as it should: one host cannot be
reached, and on one an update will not go in.
"""

import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "service"))
import service  # noqa: E402
from uptrack_lab import account  # noqa: E402

TOP = os.path.dirname(os.path.dirname(HERE))
RESULT = os.path.join(TOP, "build", "demo")
FLEET = os.path.join(RESULT, "fleet")
INVENTORY = os.path.join(HERE, "rehearsal", "demo.yml")

# The last effective kernel of each build's catalogue (rehearsal/hosts.py).
LATEST = {"el9uek": "5.15.0-313.167.6.el9uek.x86_64", "el8uek": "5.4.17-2147.330.7.1.el8uek.x86_64"}
# Every host that does not end as `current`.
OTHERS = {"fw1": "behind", "fw2": "unreachable", "batch3": "blocked"}


def rehearse(environment, variables):
    """Run the playbook; its exit status comes back.

    :param environment: variables for it, besides those of this process.
    :param variables: of Ansible's, besides those of the demo.
    """
    environment = dict(
        os.environ,
        **environment,
        ANSIBLE_CONFIG=os.path.join(TOP, "ansible.cfg"),
        ANSIBLE_NOCOWS="1",
        ANSIBLE_STDOUT_CALLBACK="rebootless.ksplice.rollout",
        ANSIBLE_LOCALHOST_WARNING="false",
    )
    return subprocess.call(
        [
            os.path.join(os.path.dirname(sys.executable), "ansible-playbook"),
            "rebootless.ksplice.rehearse",
            "-i",
            INVENTORY,
            "-e",
            json.dumps(
                {
                    "ksplice_rehearsal_directory": FLEET,
                    "ksplice_report_directory": RESULT,
                    "ksplice_rehearsal_enroll": True,
                    "ksplice_enroll_hosts": "new",
                    "ksplice_max_parallel": 6,
                    **variables,
                }
            ),
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def rehearse_with_service():
    """Run the playbook while the emulated service is at work; its exit status comes back, and the
    machines that the account knows in the end.
    """
    directory = os.path.join(FLEET, "service")
    shutil.rmtree(directory, ignore_errors=True)
    service.make_account(directory)
    with service.running(directory) as running:
        # As the vendor's own tools know them, and not in an argument.
        status = rehearse(
            {"UPTRACK_API_USERNAME": running.user, "UPTRACK_API_KEY": running.key},
            {"ksplice_api_url": running.url, "ksplice_api_ca": running.ca},
        )
    return status, account.machines(directory)


def not_known(record, machines):
    """Hosts of the record that the service does not know, or not as the record has them, as a list
    of sentences.
    """
    known = {machine["hostname"]: machine for machine in machines}
    found = []
    for row in record["hosts"]:
        machine = known.get(row["name"])
        if machine is None:
            found.append(f"the service does not know {row['name']}")
        elif row["verdict"] == "current" and machine["steps"]:
            found.append(f"the service has {row['name']} as one with updates pending")
    return found


def wrong(record, status):
    """What in the record is not as the scenario demands, as a list of sentences."""
    found = []

    def demand(truth, sentence):
        if not truth:
            found.append(sentence)

    rows = {row["name"]: row for row in record["hosts"]}
    demand(
        status == 2,
        f"the rollout ended with status {status} in place of 2, "
        "which says that hosts need a person",
    )
    demand(
        len(record["hosts"]) == len(rows) == 24,
        f"the record has {len(record['hosts'])} rows for 24 hosts",
    )
    for name, row in rows.items():
        expected = OTHERS.get(name, "current")
        demand(
            row["verdict"] == expected,
            f"{name} is {row['verdict']} in place of {expected}: {row['reason']}",
        )
        if expected == "current":
            latest = LATEST["el9uek" if "el9uek" in row["kernel_booted"] else "el8uek"]
            demand(
                row["kernel_after"] == latest,
                f"{name} runs {row['kernel_after']} in place of {latest}",
            )
            demand(not row["remaining"], f"{name} still has {row['remaining']} waiting")
    demand(
        "fw2" in rows["fw1"]["reason"],
        f"fw1 was not skipped because of fw2: {rows['fw1']['reason']}",
    )
    demand(
        len(rows["batch3"]["installed"]) == 2,
        f"batch3 installed {rows['batch3']['installed']} in place of two of its three updates",
    )
    demand(
        "rsyslogd" in rows["batch3"]["reason"],
        f"batch3 does not report what blocks it: {rows['batch3']['reason']}",
    )

    builds = {}
    for number, wave in enumerate(record["plan"]["waves"]):
        for group, known in record["plan"]["groups"].items():
            both = [name for name in wave if name in known["members"]]
            demand(len(both) < 2, f"wave {number + 1} holds {both} of the group {group}")
        for name in wave:
            builds.setdefault(rows[name]["kernel_booted"], []).append((number, name))
    for build, places in builds.items():
        first = [name for number, name in places if number == places[0][0]]
        demand(
            len(first) == 1 and rows[first[0]]["canary"],
            f"the build {build} has no single canary: {first}",
        )
    for group, known in record["plan"]["groups"].items():
        taken = sorted(
            (
                (rows[name]["started"], rows[name]["ended"], name)
                for name in known["members"]
                if rows[name]["started"]
            )
        )
        for (_start, end, one), (start, _end, other) in zip(taken, taken[1:]):
            demand(end <= start, f"{one} and {other} of {group} were claimed at the same time")
    for active, standby in (
        ("lb1", "lb2"),
        ("lb4", "lb3"),
        ("db1", "db2"),
        ("db4", "db3"),
        ("mail1", "mail2"),
        ("etcd1", "etcd2"),
        ("etcd1", "etcd3"),
    ):
        demand(
            rows[standby]["ended"]
            and rows[active]["started"]
            and rows[standby]["ended"] <= rows[active]["started"],
            f"{active} (active) was not patched after {standby} (standby)",
        )
    demand(
        record["summary"]["attention"] == ["batch3", "fw1", "fw2"],
        f"the hosts that need attention are {record['summary']['attention']}",
    )
    return found


def main():
    os.makedirs(RESULT, exist_ok=True)
    path = os.path.join(RESULT, "record.json")
    if os.path.exists(path):
        os.unlink(path)
    began = time.monotonic()
    print(
        "Three of the 24 emulated hosts are meant to fail: an update of batch3 is blocked, fw2 "
        "cannot be reached, and its peer fw1 is skipped therefore.",
        flush=True,
    )
    status, machines = rehearse_with_service()
    seconds = time.monotonic() - began
    if not os.path.exists(path):
        sys.exit(
            f"The demo went wrong: the rehearsal ended with status {status} and left no record."
        )
    with open(path, encoding="utf-8") as file:
        record = json.load(file)
    found = wrong(record, status) + not_known(record, machines)
    summary = record["summary"]
    print(
        f"\nDemo: {summary['hosts']} hosts in {seconds:.0f} s, "
        + ", ".join(f"{count} {verdict}" for verdict, count in summary["verdicts"].items() if count)
        + (
            f"; {summary['patched']} patched in {len(record['plan']['waves'])} waves, "
            f"{summary['cves_fixed']} CVEs fixed."
        )
    )
    print(
        f"Service: {len(machines)} machines, {sum(bool(one['steps']) for one in machines)} out of "
        f"date ({os.path.relpath(os.path.join(FLEET, 'service'), os.getcwd())})"
    )
    print(f"Record: {os.path.relpath(path, os.getcwd())}")
    print(f"Report: {os.path.relpath(os.path.join(RESULT, 'report.html'), os.getcwd())}")
    if found:
        sys.exit(
            "The record does not show what the scenario must lead to:\n  " + "\n  ".join(found)
        )
    print(
        "The record shows what the scenario must lead to: the three hosts that failed are meant to."
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("The demo was interrupted; its service has ended. make demo begins it anew.")
