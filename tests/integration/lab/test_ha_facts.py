# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Which groups a host is in and whether it is active there, by real keepalived, real pacemaker and
a command. See ha_hosts for what runs where.
"""

from __future__ import annotations

import json

import pytest
from ha_hosts import AUTH_PASS, DB, WEB4, WEB6

PAIR, DATABASE, CLUSTER = f"vrrp-51-{WEB4}", f"vrrp-53-{DB}", "pacemaker-shop-p1"


def roles(facts):
    assert facts["problems"] == []
    return {group["name"]: group["role"] for group in facts["groups"]}


def one_look(ha, *hosts):
    run = ha.ansible(hosts, [{"rebootless.ksplice.ha_facts": {}}], verbose=3)
    assert run.status == 0 and AUTH_PASS not in run.output
    return {event["host"]: event["result"]["ansible_facts"]["ha"] for event in run.events}


def test_the_members_of_a_pair_come_to_the_same_names(ha):
    """Includes, a parameter, a sync group over both families, an address written differently,
    unicast and multicast: all in the hosts' configuration.
    """
    for name in ("k1", "k2"):
        ha.run(name, ["keepalived", "-t"])
    found = one_look(ha, "k1", "k2")
    # k1 holds the sync group and k2 the other one; of everything else each says MASTER too.
    assert ha.held("k1") == {WEB4, WEB6} and ha.held("k2") == {DB}
    assert roles(found["k1"]) == {PAIR: "active", DATABASE: "standby"} and roles(found["k2"]) == {
        PAIR: "standby",
        DATABASE: "active",
    }
    pair, database = found["k1"]["groups"]
    assert pair == {
        "name": PAIR,
        "kind": "keepalived",
        "role": "active",
        "addresses": [WEB4, WEB6],
        "instances": ["web4", "web6"],
        "peers": ["10.77.0.3", "fd00:77::3"],
        "size": 2,
        "node": None,
    }
    assert database == {
        "name": DATABASE,
        "kind": "keepalived",
        "role": "standby",
        "addresses": [DB],
        "instances": ["db"],
        "peers": [],
        "size": None,
        "node": None,
    }
    assert found["k1"]["role"] == found["k2"]["role"] == "active"


def test_the_role_follows_the_addresses(ha):
    ha.run("k1", ["systemctl", "stop", "keepalived"])
    ha.until(lambda: ha.held("k2") == {WEB4, WEB6, DB}, "the peer with all addresses")
    found = one_look(ha, "k1", "k2")
    # It would run again after a boot, so that it is still a member.
    assert (
        roles(found["k1"]) == {PAIR: "standby", DATABASE: "standby"}
        and found["k1"]["role"] == "standby"
    )
    assert roles(found["k2"]) == {PAIR: "active", DATABASE: "active"}
    # Also where a drop-in of the unit names another file.
    ha.shell(
        "k1",
        "cd /etc/keepalived; mv keepalived.conf moved.conf; mkdir "
        "/etc/systemd/system/keepalived.service.d; printf "
        "'[Service]\\nEnvironment=MORE=-D\\nExecStart=\\nExecStart=/usr/sbin/keepalived -n $MORE "
        "-f ${NONE}/etc/keepalived/moved.conf\\n' > "
        "/etc/systemd/system/keepalived.service.d/moved.conf; systemctl daemon-reload",
    )
    try:
        assert roles(ha.facts("k1")) == {PAIR: "standby", DATABASE: "standby"}
    finally:
        ha.shell(
            "k1",
            "cd /etc/keepalived; mv moved.conf keepalived.conf; rm -r "
            "/etc/systemd/system/keepalived.service.d; systemctl daemon-reload",
        )
    ha.run("k1", ["systemctl", "start", "keepalived"])
    ha.until(
        lambda: ha.held("k1") == {WEB4, WEB6} and ha.held("k2") == {DB},
        "the addresses where they were",
    )


@pytest.mark.thorough
def test_addresses_that_cannot_be_read_make_no_standby(ha):
    ha.shell(
        "k1",
        "printf '#!/bin/sh\\necho no netlink >&2\\nexit 1\\n' > /usr/local/sbin/ip; chmod 755 "
        "/usr/local/sbin/ip",
    )
    try:
        facts = ha.facts("k1")
        assert facts.pop("host_id") and facts == {
            "groups": [],
            "role": None,
            "problems": [
                "`ip -o addr show` does not report the addresses of this host (no netlink)."
            ],
        }
        [drained] = ha.ha(
            "k1",
            "ha_drain",
            {
                "state": "drained",
                "host": "k1",
                "token": "run-1",
                "targets": [{"adapter": "keepalived"}],
                "timeout": 2,
            },
        )
        assert drained["failed"] and drained["msg"] == (
            "`ip -o addr show` does not report the addresses of this host (no "
            "netlink). Nothing was changed."
        )
    finally:
        ha.run("k1", ["rm", "/usr/local/sbin/ip"])


GOOD = "vrrp_instance a {\n virtual_router_id 9\n virtual_ipaddress {\n 10.77.50.99\n }\n}\n"
BAD = [
    (
        f"vrrp_instance a {{\n authentication {{\n auth_pass {AUTH_PASS}\n",
        "/etc/keepalived/keepalived.conf line 2: the block authentication is not closed.",
    ),
    (
        "vrrp_instance a {\n}\n}\n",
        "/etc/keepalived/keepalived.conf line 3: a brace closes nothing.",
    ),
    ("include keepalived.conf\n", "/etc/keepalived/keepalived.conf includes itself."),
    (
        "include missing/*.conf\ninclude dangling\n",
        "/etc/keepalived/dangling cannot be read (No such file or directory).",
    ),
    (None, "/etc/keepalived/keepalived.conf cannot be read (Is a directory)."),
]


@pytest.mark.thorough
def test_configurations_that_are_not_or_cannot_be_read(ha):
    folder = "/etc/keepalived"
    looks = [("disable", GOOD)] + [
        ("enable", words) for words in [GOOD] + [words for words, _problem in BAD]
    ]
    tasks = []
    for verb, words in looks:
        script = (
            f"rm -rf {folder}; mkdir -p {folder}; ln -s nowhere {folder}/dangling; systemctl "
            f"{verb} -q keepalived; "
        )
        script += (
            f"mkdir {folder}/keepalived.conf"
            if words is None
            else f"cat > {folder}/keepalived.conf <<'X'\n{words}X\n"
        )
        tasks += [
            {"ansible.builtin.shell": script, "no_log": True},
            {"rebootless.ksplice.ha_facts": {}},
        ]
    run = ha.ansible(["lb"], tasks, verbose=3)
    ha.shell("lb", f"systemctl disable -q keepalived; rm -rf {folder}")
    assert run.status == 0 and AUTH_PASS not in run.output, run.output[-2000:]
    unused, used, *bad = [event["result"]["ansible_facts"]["ha"] for event in run.events[1::2]]
    assert all(facts.pop("host_id") == unused["host_id"] for facts in [used, *bad])
    assert unused.pop("host_id")
    assert unused == {"groups": [], "role": None, "problems": []}
    assert roles(used) == {"vrrp-9-10.77.50.99": "standby"}
    assert bad == [{"groups": [], "role": None, "problems": [problem]} for _words, problem in BAD]


ELSEWHERE = """net_namespace vpn
vrrp_instance NS {
    interface eth0
    virtual_router_id 86
    @gw1 priority 255
    virtual_ipaddress {
        198.51.100.90/24
    }
}
vrrp_instance CLOUD {
    interface eth0
    virtual_router_id 53
    unicast_peer {
        192.0.2.12
        192.0.2.11
    }
    notify /bin/true
}
"""
BEGIN_ELSEWHERE = """ip netns add vpn && ip -n vpn link add eth0 type veth peer name eth1
ip -n vpn link set eth0 up && ip -n vpn link set eth1 up
ip -n vpn addr add 192.0.2.11/24 dev eth0 && echo '# Not this one' > /etc/keepalived/keepalived.conf
echo 'DAEMON_ARGS="-D -f /etc/keepalived/other.conf -i gw1"' > /etc/default/keepalived
systemctl start keepalived"""


def test_a_keepalived_in_a_network_of_its_own_and_one_in_a_container(ha):
    """Another file, another configuration ID and another network, all by what it was started with;
    and an instance of which nobody sees who is active.
    """
    try:
        ha.shell(
            "lb",
            "mkdir -p /etc/keepalived; cat > /etc/keepalived/other.conf <<'X'\n"
            f"{ELSEWHERE}X\n{BEGIN_ELSEWHERE}",
        )
        ha.until(lambda: "198.51.100.90" in ha.shell("lb", "ip -n vpn -o addr"), "the address")
        found = ha.facts("lb")
        assert (
            roles(found) == {"vrrp-53-192.0.2.11": None, "vrrp-86-198.51.100.90": "active"}
            and found["role"] == "active"
        )
        assert [(group["peers"], group["size"]) for group in found["groups"]] == [
            (["192.0.2.12"], 2),
            ([], None),
        ]
        [gate] = ha.ha("lb", "ha_check", {"addresses": ["198.51.100.90", "198.51.100.91"]})
        assert gate["holds"] == ["198.51.100.90"]
        ha.shell(
            "lb",
            "systemctl stop keepalived; rm /etc/keepalived/*; unshare -m sh -c 'mount -t tmpfs "
            "none /etc/keepalived; "
            'printf "vrrp_instance A {\\ninterface eth0\\nvirtual_router_id '
            '99\\nvirtual_ipaddress {\\n10.77.50.99\\n}\\n}\\n" '
            "> /etc/keepalived/keepalived.conf; keepalived -P'",
        )
        [problem] = ha.facts("lb")["problems"]
        assert problem.startswith("keepalived (process ") and problem.endswith(
            ") runs in a container, where its configuration could not be read."
        )
        [survey] = ha.ha("lb", "uptrack_facts", {})
        assert "keepalived" in survey["ansible_facts"]["uptrack"]["redundancy"]
    finally:
        ha.shell(
            "lb",
            "systemctl stop keepalived; kill $(cat /run/keepalived.pid); ip netns del vpn; rm "
            "-rf /etc/keepalived; echo 'DAEMON_ARGS=\"\"' > /etc/default/keepalived",
        )


def test_a_cluster(ha):
    """The same name on both, and active where the service is: a fencing device and a clone on the
    other node make that one no active.
    """
    found = one_look(ha, "p1", "p2")
    assert ha.states() == {"vip": ["p1"], "db": ["p1"], "watch": ["p1", "p2"], "fence": ["p2"]}
    assert found["p1"] == {
        "groups": [
            {
                "name": CLUSTER,
                "kind": "pacemaker",
                "role": "active",
                "addresses": [],
                "instances": ["p1", "p2"],
                "peers": [],
                "size": 2,
                "node": "p1",
            }
        ],
        "role": "active",
        "problems": [],
        "host_id": found["p1"]["host_id"],
    }
    # Two hosts of one kernel are two machines.
    assert len({found[name]["host_id"] for name in found} - {None}) == len(found)
    assert roles(found["p2"]) == {CLUSTER: "standby"}


def test_the_role_in_a_cluster_follows_the_resource_and_a_dead_one_is_a_problem(ha):
    ha.run("p1", ["systemctl", "stop", "pacemaker"])
    try:
        ha.until(
            lambda: (
                'id="db"'
                in ha.shell(
                    "p2",
                    "crm_mon -1 --output-as=xml | grep -A1 'id=\"db\".*Started' | grep -B1 "
                    "'name=\"p2\"'",
                    check=False,
                )
            ),
            "the service on p2",
        )
        found = one_look(ha, "p1", "p2")
        # A member that is not there is not forgotten: the name stays.
        assert roles(found["p2"]) == {CLUSTER: "active"}
        assert found["p1"]["groups"] == [] and found["p1"]["role"] is None
        [problem] = found["p1"]["problems"]
        assert (
            problem.startswith("crm_mon does not report the state of the cluster (Not connected; ")
            and "<" not in problem
            and problem.endswith(".")
        )
    finally:
        ha.run("p1", ["systemctl", "start", "pacemaker"])


def test_a_command(ha):
    """What it answers is taken as documented, in place of what runs on the host."""
    answer = {
        "groups": [
            {"name": "billing-db", "role": "active", "addresses": ["192.0.2.10", "2001:db8:0::1"]},
            {"name": "cache", "role": "standby"},
        ]
    }
    ha.shell(
        "k2",
        f"printf '#!/bin/sh\\ncat <<X\\n%s\\nX\\n' '{json.dumps(answer)}' > /usr/local/bin/state; "
        "chmod 755 /usr/local/bin/state",
    )
    # Quotes are the shell's, but there is none.
    ident = ha.facts("k2")["host_id"]
    assert ha.facts("k2", command="/usr/local/bin/state 'two words' $HOME") == {
        "role": "active",
        "problems": [],
        "host_id": ident,
        "groups": [
            {
                "name": "billing-db",
                "kind": "command",
                "role": "active",
                "addresses": ["192.0.2.10", "2001:db8::1"],
                "instances": [],
                "peers": [],
                "size": None,
                "node": None,
            },
            {
                "name": "cache",
                "kind": "command",
                "role": "standby",
                "addresses": [],
                "instances": [],
                "peers": [],
                "size": None,
                "node": None,
            },
        ],
    }


@pytest.mark.thorough
def test_commands_that_answer_something_else(ha):
    cases = [
        ("echo standby", "The command {} did not return JSON ("),
        (
            "echo '[]'",
            (
                "The command {} did not answer in the documented format (it must be a "
                "mapping with a list of groups)."
            ),
        ),
        (
            """echo '{"groups": {"db": "active"}}'""",
            (
                "The command {} did not answer in the documented format (it must be a "
                "mapping with a list of groups)."
            ),
        ),
        (
            """echo '{"groups": ["db"]}'""",
            (
                "The command {} did not answer in the documented format (each group "
                "must have a name)."
            ),
        ),
        (
            """echo '{"groups": [{"name": "db", "role": "MASTER"}]}'""",
            (
                "The command {} did not answer in the documented format (the role of db "
                "must be active or standby)."
            ),
        ),
        (
            """echo '{"groups": [{"name": "db", "role": "active", "addresses": "10.0.0.1"}]}'""",
            (
                "The command {} did not answer in the documented format (the addresses "
                "of db must be a list of IP addresses)."
            ),
        ),
        ("ls /nowhere", "The command {} exited with status 2: "),
        (
            "/usr/local/bin/nothing",
            "The command {} exited with status 127: there is no /usr/local/bin/nothing.",
        ),
        ("sleep 60", "The command {} exited with status 124: did not finish within 1 s."),
        ("echo 'open", "Cannot parse the command {} (No closing quotation)."),
        (" ", "The command is empty."),
    ]

    # Its arguments may hold a password.
    def told(command):
        return f"{command.split()[0]} …" if len(command.split()) > 1 else command

    results = ha.ha(
        "lb", "ha_facts", *({"command": command, "timeout": 1} for command, _words in cases)
    )
    for (command, words), result in zip(cases, results):
        found = result["ansible_facts"]["ha"]
        assert found["groups"] == [] and found["role"] is None and not result["failed"]
        [problem] = found["problems"]
        assert (
            problem.startswith(words.format(told(command)))
            and "\n" not in problem
            and problem.endswith(".")
        ), problem
