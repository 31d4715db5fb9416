# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Taking out of service and putting back, by real keepalived, pacemaker, haproxy and nginx and by
commands; checks. See ha_hosts for what runs where.

A client asks the balancers for something some 40 times a second meanwhile, on a fresh connection
each time: not one request may fail.
"""

from __future__ import annotations

import json
import re
import zlib

import pytest
from ha_hosts import ADDRESS, DB, POOL, WEB4, WEB6, Traffic, keepalived

NODE = {"adapter": "pacemaker"}
WEB_A = {"adapter": "haproxy", "backend": "web", "server": "a"}
WEB_B = dict(WEB_A, server="b")
FILE = "/etc/nginx/conf.d/pool.conf"
POOL_A = {"adapter": "nginx", "file": FILE, "upstream": "pool", "server": "127.0.0.1:8081"}
POOL_B = dict(POOL_A, server="127.0.0.1:8082")
HOME = {"vip": ["p1"], "db": ["p1"], "watch": ["p1", "p2"], "fence": ["p2"]}
BOOK = "/var/lib/rebootless-ksplice/journal.json"


def failed(result, words):
    """The task failed with one sentence, or few, that begins or is as it should be."""
    assert result["failed"] and "\n" not in result["msg"] and result["msg"].endswith("."), result
    assert result["msg"] == words if words.endswith(".") else words in result["msg"], result["msg"]
    assert not result["changed"]


def said(what):
    return [one["what"] for one in what["drained"]]


# ---- keepalived ----

KEEPALIVED = {"adapter": "keepalived"}
CONF = "/etc/keepalived/keepalived.conf"


def vrrp(name, number, *lines, check=""):
    """An instance with the address 10.77.60.NUMBER."""
    return "\n".join(
        [
            f"vrrp_instance {name} {{",
            "    interface eth0",
            f"    virtual_router_id {number}",
            "    advert_int 1",
            *(f"    {line}" for line in lines),
            "    virtual_ipaddress {",
            f"        10.77.60.{number}/16",
            "    }",
            check + "}",
            "",
        ]
    )


def virtual(lab, name, where=""):
    """The numbers of the addresses that a host has of those instances."""
    return sorted(
        int(number)
        for number in re.findall(
            r"inet 10\.77\.60\.(\d+)/", lab.shell(name, f"{where} ip -o addr show")
        )
    )


def serving(lab, name):
    return lab.shell(name, "systemctl show -p MainPID keepalived")


@pytest.fixture
def vrrps(ha):
    """Gives both hosts a configuration of their own, and k1 the addresses; what was there before
    comes back.
    """

    def begin(first, second, addresses, where=""):
        for name in ("k1", "k2"):
            ha.shell(name, "systemctl stop keepalived; rm -rf /etc/keepalived/conf.d")
        for name, text in (("k1", first), ("k2", second)):
            ha.shell(name, f"cat > {CONF} <<'X'\n{text}X\nsystemctl start keepalived")
            # The first to start has the addresses, whatever its priority.
            ha.until(lambda: virtual(ha, "k1", where) == addresses, "the addresses with k1")
        return ha

    yield begin
    left = ha.saved("k1") + ha.saved("k2")
    for name in ("k1", "k2"):
        for path, text in keepalived(name).items():
            ha.shell(name, f"mkdir -p $(dirname {path}); cat > {path} <<'X'\n{text}X")
        ha.shell(name, f"rm -f {BOOK}; systemctl restart keepalived")
    ha.until(
        lambda: ha.held("k1") == {WEB4, WEB6} and ha.held("k2") == {DB}, "keepalived as it was"
    )
    assert left == []


SCRIPT = """global_defs {
    script_user root
}
vrrp_script chk_app {
    script "/bin/true"
    interval 1
    weight 60
}
vrrp_track_file load {
    file /run/load
    weight 2
}
"""
ADDRESSES = [four for four, _six in ADDRESS.values()]
MANY = """$MANY= \\
vrrp_instance many_${NUM} { \\
    interface eth0 \\
    state MASTER \\
    virtual_router_id ${NUM} \\
    priority $PRIO \\
    virtual_ipaddress { \\
        10.77.60.${NUM}/16 \\
    } \\
}

$NUM=11
$MANY

$NUM=12
$MANY

"""
TRACK = (
    "    track_script {\n        chk_app\n    }\n    track_interface "
    "{\n        lo weight 20\n    }\n"
)


def test_a_living_holder_hands_over_by_its_priority(vrrps):
    """A priority that depends on the host, state MASTER that cancels nopreempt, checks that add to
    the priority, a definition of several lines, a list of peers with this host in it, no address,
    one line for two things.
    """

    def text(first):
        return (
            SCRIPT
            + "@k1 $PRIO=150\n@k2 $PRIO=120\n"
            + MANY
            + vrrp("by_id", 71, "state BACKUP", "priority $PRIO")
            + vrrp("master", 82, "state MASTER", "nopreempt", f"priority {100 if first else 90}")
            + vrrp(
                "lifted",
                66,
                "state BACKUP",
                f"priority {100 if first else 50}",
                check=TRACK if first else "",
            )
            + vrrp(
                "listed",
                83,
                "state MASTER",
                "nopreempt",
                f"priority {100 if first else 90}",
                "unicast_peer {",
                *ADDRESSES,
                "}",
            )
            + vrrp("bare", 99, f"priority {100 if first else 90}").replace(
                "        10.77.60.99/16\n", ""
            )
            + vrrp("one_line", 67, "state BACKUP", check=f"    priority {100 if first else 90} ")
        )

    lab = vrrps(text(True), text(False), [11, 12, 66, 67, 71, 82, 83])
    lab.run("k1", ["chown", "daemon:adm", CONF])
    lab.run("k1", ["chmod", "640", CONF])
    pid = serving(lab, "k1")
    drained = lab.drain("k1", KEEPALIVED, timeout=20)
    assert drained["changed"] and said(drained) == ["keepalived"], drained
    assert virtual(lab, "k1") == [] and virtual(lab, "k2") == [11, 12, 66, 67, 71, 82, 83]
    assert (
        lab.shell("k2", "journalctl -u keepalived -o cat").count("(bare) Entering MASTER STATE")
        == 1
    )
    restored = lab.restore("k1", timeout=20)
    assert restored["changed"] and restored["drained"] == restored["left"] == []
    assert virtual(lab, "k1") == [11, 12, 66, 67, 71, 82, 83] and serving(lab, "k1") == pid, (
        "told only once it is so, and nothing was restarted"
    )
    assert lab.shell("k1", f"cat {CONF}") == text(True) and lab.shell(
        "k1", f"stat -c '%U %G %a' {CONF}"
    ).split() == ["daemon", "adm", "640"]


def test_a_peer_that_takes_nothing_from_a_living_holder(vrrps):
    """Only the peer says nopreempt, or preempt_delay, or it has the lowest priority too; and
    what does not come back by itself is told.
    """
    first = (
        vrrp("theirs", 60, "state BACKUP", "priority 50")
        + vrrp("both", 61, "state BACKUP", "priority 1")
        + vrrp("late", 62, "state BACKUP", "priority 150", "preempt_delay 600")
    )
    second = (
        vrrp("theirs", 60, "state BACKUP", "nopreempt", "priority 100")
        + vrrp("both", 61, "state BACKUP", "priority 1")
        + vrrp("late", 62, "state BACKUP", "priority 100")
    )
    lab = vrrps(first, second, [60, 61, 62])
    drained = lab.drain("k1", KEEPALIVED, timeout=30)
    assert drained["changed"] and virtual(lab, "k1") == [] and virtual(lab, "k2") == [60, 61, 62], (
        drained
    )
    restored = lab.restore("k1", timeout=20)
    assert (
        not restored["failed"]
        and lab.shell("k1", f"cat {CONF}") == first
        and virtual(lab, "k1") == []
    )
    assert restored["left"] == [
        "keepalived is back as a standby; 10.77.60.60, 10.77.60.61, 10.77.60.62 may stay where "
        "they are: the holder's priority 100 is not below 50, the highest that theirs can have; "
        "the holder's priority 1 is not below 1, the highest that both can have; late says "
        "preempt_delay, and waits 600 s."
    ]


def test_no_peer_takes_over(vrrps):
    failing = "vrrp_script bad {\n    script /bin/false\n    interval 1\n}\n"
    lab = vrrps(
        vrrp("web", 60, "priority 50"),
        failing + vrrp("web", 60, "priority 40", check="    track_script {\n        bad\n    }\n"),
        [60],
    )
    # Which the check says before anything is tried.
    check = {"checks": [{"unit": "keepalived"}], "timeout": 3, "fail": False}
    theirs, others = lab.ha(
        "k2",
        "ha_check",
        dict(check, addresses=["10.77.60.60"]),
        dict(check, addresses=["10.77.60.61"]),
    )
    assert [one["msg"] for one in theirs["checks"] + others["checks"]] == [
        "it is in FAULT with web",
        None,
    ]
    by_priority, restarted, bad = lab.ha(
        "k1",
        "ha_drain",
        *[
            dict(
                {"state": "drained", "host": "k1", "token": "run-1", "timeout": 12},
                targets=[dict(KEEPALIVED, **more)],
            )
            for more in ({"mode": "priority"}, {}, {"mode": "track_file", "track_file": "load"})
        ],
    )
    still = "keepalived was not drained: after 12 s it still holds 10.77.60.60: "
    failed(
        by_priority,
        still + "Its instances announce the priority 1, and the peer does not take over",
    )
    failed(
        restarted,
        still
        + (
            "keepalived was restarted here with the priority 1, and received no other "
            "router's advertisement since. No peer runs that this host hears and that "
            "is not in FAULT. What this attempt had begun was restored."
        ),
    )
    failed(
        bad,
        "keepalived's configuration defines no track_file load; see vrrp_track_file in "
        "keepalived.conf(5). Nothing was changed.",
    )
    assert virtual(lab, "k1") == [60] and lab.shell("k1", f"cat {CONF}") == vrrp(
        "web", 60, "priority 50"
    )


def test_a_tracked_file_lowers_the_priority_and_no_configuration_changes(vrrps):
    tracking = "    track_file {\n        load\n    }\n"
    first = (
        SCRIPT
        + vrrp("web", 60, "priority 150", check=tracking)
        + vrrp("db", 61, "priority 200", check=tracking.replace("load", "load weight 3"))
    )
    second = vrrp("web", 60, "priority 100") + vrrp("db", 61, "priority 100")
    lab = vrrps(first, second, [60, 61])
    lab.shell("k1", "echo ' 3' > /run/load; chown daemon:adm /run/load; chmod 664 /run/load")
    as_it_was = lab.shell("k1", f"stat -c %Y.%i {CONF}")
    target = dict(KEEPALIVED, mode="track_file", track_file="load")
    drained = lab.drain("k1", target, timeout=20)
    assert (
        drained["changed"]
        and virtual(lab, "k2") == [60, 61]
        and lab.shell("k1", "cat /run/load") == "-84\n"
    ), drained
    restored = lab.restore("k1", timeout=20)
    assert restored["changed"] and restored["left"] == [] and virtual(lab, "k1") == [60, 61]
    assert lab.shell("k1", "cat /run/load; stat -c '%U %G %a' /run/load") == " 3\ndaemon adm 664\n"
    assert lab.shell("k1", f"stat -c %Y.%i {CONF}") == as_it_was


def test_addresses_in_another_network_namespace(vrrps, ha):
    for number, name in enumerate(("k1", "k2"), 1):
        ha.shell(
            name,
            "ip netns add vpn; ip link add link eth0 name m0 type macvlan mode bridge; ip link "
            "set m0 netns vpn; ip -n vpn link set m0 name eth0 up; ip -n vpn addr add "
            f"10.77.61.{number}/16 dev eth0; ip -n vpn link set lo up",
        )
    try:
        lab = vrrps(
            "net_namespace vpn\n" + vrrp("ns", 86, "priority 100"),
            "net_namespace vpn\n" + vrrp("ns", 86, "priority 50"),
            [86],
            "ip netns exec vpn",
        )
        assert virtual(lab, "k1") == []
        drained = lab.drain("k1", KEEPALIVED, timeout=20)
        assert drained["changed"] and drained["active"], drained
        assert virtual(lab, "k1", "ip netns exec vpn") == [] and virtual(
            lab, "k2", "ip netns exec vpn"
        ) == [86]
        restored = lab.restore("k1", timeout=20)
        assert (
            restored["changed"]
            and restored["left"] == []
            and virtual(lab, "k1", "ip netns exec vpn") == [86]
        )
    finally:
        for name in ("k1", "k2"):
            ha.shell(name, "systemctl stop keepalived; ip netns del vpn")


# ---- pacemaker ----


@pytest.fixture
def cluster(ha):
    """The cluster as it is at home, before and after."""
    ha.until(lambda: ha.states() == HOME, "the cluster at home")
    yield ha
    left = ha.saved("p1") + ha.saved("p2")
    ha.shell(
        "p1",
        "for n in p1 p2; do crm_standby -N $n -l forever -D; done; crm_attribute -n "
        "maintenance-mode -D; cibadmin -D -X '<rsc_location id=\"db-never\"/>'",
        check=False,
    )
    for name in ("p1", "p2"):
        ha.shell(name, f"rm -f {BOOK}")
    ha.until(lambda: ha.states() == HOME, "the cluster at home")
    assert left == []


def test_a_node_goes_into_standby_and_comes_back(cluster):
    drained = cluster.drain("p1", NODE, timeout=30)
    # The group is stopped here and started there, a second for each: both must be over.
    assert (
        cluster.states() == {"vip": ["p2"], "db": ["p2"], "watch": ["p2"], "fence": ["p2"]}
        and cluster.standby("p1") == "on"
    )
    assert drained["changed"] and drained["active"] is True and said(drained) == ["pacemaker"]
    again, other, back, twice = cluster.ha(
        "p1",
        "ha_drain",
        *[
            dict(one, host="p1")
            for one in (
                {"state": "drained", "token": "run-1", "targets": [NODE]},
                {"state": "restored", "token": "run-2"},
                {"state": "restored", "token": "run-1"},
                {"state": "restored", "token": "run-1"},
            )
        ],
    )
    assert not again["changed"] and said(again) == ["pacemaker"]
    # Another attempt's saved state is its own.
    assert not other["changed"] and said(other) == ["pacemaker"]
    # The cluster has brought back what likes this node better, and is at rest.
    assert cluster.states() == HOME and cluster.standby("p1") == "off"
    assert back["changed"] and back["drained"] == [] and not twice["changed"]


@pytest.mark.thorough
def test_a_node_that_a_person_put_into_standby_stays_so(cluster):
    cluster.run("p2", ["crm_standby", "-N", "p2", "-l", "forever", "-v", "on"])
    plain, always, restored = cluster.ha(
        "p2",
        "ha_drain",
        *[
            dict(one, host="p2", token="run-1")
            for one in (
                {"state": "drained", "targets": [NODE]},
                {"state": "drained", "targets": [NODE], "when": "always"},
                {"state": "restored"},
            )
        ],
    )
    for result in (plain, always):
        assert (
            not result["changed"]
            and result["drained"] == []
            and result["left"] == ["pacemaker was out of service already, and stays so."]
        )
    assert not restored["changed"] and cluster.standby("p2") == "on"
    # And nobody is there to take over from the other one.
    failed(
        cluster.drain("p1", NODE),
        "No other node of the cluster is online and out of standby: no node would "
        "take over from p1. Nothing was changed.",
    )
    assert cluster.standby("p1") == "off" and cluster.states()["db"] == ["p1"]


@pytest.mark.thorough
def test_a_standby_is_drained_only_when_asked_to(cluster):
    plain = cluster.drain("p2", NODE)
    assert (
        not plain["changed"]
        and plain["active"] is False
        and plain["drained"] == []
        and cluster.standby("p2") == "off"
    )
    check = cluster.ansible(
        ["p2"],
        [
            {
                "rebootless.ksplice.ha_drain": {
                    "state": "drained",
                    "host": "p2",
                    "token": "t",
                    "targets": [NODE],
                    "when": "always",
                }
            }
        ],
        check=True,
    ).result("p2")
    assert check["changed"] and cluster.standby("p2") == "off" and cluster.saved("p2") == []
    always = cluster.drain("p2", NODE, when="always")
    assert always["changed"] and cluster.standby("p2") == "on" and cluster.states()["db"] == ["p1"]
    assert cluster.restore("p2")["changed"] and cluster.standby("p2") == "off"


@pytest.mark.thorough
def test_a_move_that_does_not_come_about_is_taken_back(cluster):
    cluster.run(
        "p1",
        [
            "cibadmin",
            "-C",
            "-o",
            "constraints",
            "-X",
            '<rsc_location id="db-never" rsc="db" node="p2" score="-INFINITY"/>',
        ],
    )
    result = cluster.drain("p1", NODE, timeout=4)
    failed(
        result,
        "pacemaker was not drained: after 4 s no other node runs db. What this "
        "attempt had begun was restored.",
    )
    assert cluster.standby("p1") == "off" and result["drained"] == [] and cluster.saved("p1") == []
    cluster.until(lambda: cluster.states()["db"] == ["p1"], "the database where it was")


@pytest.mark.thorough
def test_what_a_cluster_cannot_do(cluster):
    failed(
        cluster.drain("p1", dict(NODE, node="p9")),
        "The cluster has no node p9; there are p1, p2. Nothing was changed.",
    )
    cluster.run("p1", ["crm_attribute", "-n", "maintenance-mode", "-v", "true"])
    failed(
        cluster.drain("p1", NODE),
        "p1 is in maintenance, in which the cluster moves nothing. Nothing was changed.",
    )
    failed(
        cluster.drain("lb", NODE),
        "The cluster cannot be inspected: crm_node does not report the name of this node (",
    )


# ---- balancers ----


@pytest.fixture
def balancer(ha):
    """haproxy and nginx with both servers in service, before and after."""
    ha.shell("lb", "rm -f /run/release /run/held-*")
    yield ha
    ha.shell("lb", f"touch /run/release; rm -f {BOOK} /etc/nginx/conf.d/zz-*")
    for server in ("a", "b"):
        ha.haproxy(f"set server web/{server} state ready")
        ha.haproxy(f"set server web/{server} weight 100%")
    if ha.shell("lb", f"cat {FILE}") != POOL:
        ha.shell("lb", f"cat > {FILE} <<'X'\n{POOL}X\nnginx -s reload")


@pytest.mark.parametrize("target, port", [(WEB_A, 80), (POOL_A, 8090)], ids=["haproxy", "nginx"])
def test_a_server_goes_and_comes_back_and_no_client_notices(balancer, target, port):
    lab = balancer
    with Traffic(lab, port) as traffic:
        lab.shell(
            "lb",
            f"systemd-run -q --unit=held-{port} sh -c 'curl -s http://127.0.0.1:{port}/held > "
            "/run/held.out'",
        )
        lab.until(
            lambda: (
                "held" in lab.shell("lb", "ls /run/held-* 2>&1", check=False).replace("No such", "")
            ),
            "a request that lasts",
        )
        wait = lab.meanwhile("lb", target, of="web-a", timeout=30)
        lab.until(lambda: traffic.now() == ["b"], "nothing new for a")
        # The one that lasts is waited for; whoever drains another server through this balancer is
        # not kept by that.
        assert wait(1.5) is None
        [saved] = lab.saved("lb")
        assert (saved["host"], saved["token"]) == ("web-a", "run-1")
        shown = lab.ha(
            "lb",
            "ha_drain",
            {"state": "shown"},
            {
                "state": "drained",
                "host": "x",
                "token": "y",
                "timeout": 5,
                "targets": [{"adapter": "custom", "drain": "true", "restore": "true"}],
            },
            {"state": "restored", "host": "x", "token": "y"},
        )
        assert (
            len(shown[0]["drained"]) == 1
            and shown[1]["changed"]
            and shown[2]["changed"]
            and wait(0) is None
        )
        lab.run("lb", ["touch", "/run/release"])
        drained = wait(20)
        assert (
            drained
            and drained["changed"]
            and drained["active"] is True
            and len(drained["drained"]) == 1
        ), drained
        assert lab.shell("lb", "cat /run/held.out") in ("a", "b")
        # It may be stopped now.
        assert traffic.now() == ["b"]
        lab.shell(
            "lb",
            "systemctl stop web-a; sleep 0.5; systemd-run -q --unit=web-a python3 /opt/server.py "
            "a 8081; until curl -s 127.0.0.1:8081; do sleep 0.05; done",
        )
        assert traffic.now() == ["b"]
        restored, twice = lab.ha(
            "lb", "ha_drain", *[{"state": "restored", "host": "web-a", "token": "run-1"}] * 2
        )
        assert restored["changed"] and restored["drained"] == [] and not twice["changed"]
        assert traffic.now() == ["a", "b"]
    assert traffic.judge() > 100
    assert (
        lab.shell("lb", f"cat {FILE}") == POOL
        and lab.admin_state("a") == 0
        and lab.saved("lb") == []
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    "target, port, still",
    [
        (WEB_A, 80, "one session is still open"),
        (POOL_A, 8090, "of nginx's workers still serve earlier requests"),
    ],
    ids=["haproxy", "nginx"],
)
def test_a_session_that_does_not_end_in_time(balancer, target, port, still):
    lab = balancer
    lab.shell(
        "lb",
        f"systemd-run -q --unit=long-{port} sh -c 'curl -s http://127.0.0.1:{port}/held > "
        "/run/held.out'",
    )
    lab.until(
        lambda: (
            "held" in lab.shell("lb", "ls /run/held-* 2>&1", check=False).replace("No such", "")
        ),
        "a request that lasts",
    )
    result = lab.drain("lb", target, of="web-a", timeout=2)
    failed(result, still)
    assert (
        result["msg"].endswith("What this attempt had begun was restored.")
        and result["drained"] == []
    )
    assert (
        lab.admin_state("a") == 0
        and lab.shell("lb", f"cat {FILE}") == POOL
        and lab.saved("lb") == []
    )
    # Nothing was cut off.
    lab.run("lb", ["touch", "/run/release"])
    lab.until(lambda: lab.shell("lb", "cat /run/held.out") in ("a", "b"), "the end of it")


@pytest.mark.thorough
def test_a_server_that_a_person_drained_stays_so(balancer):
    def set_state(words):
        return f"echo 'set server web/a {words}' | socat - UNIX-CONNECT:/run/haproxy/admin.sock"

    def is_still(state):
        return (
            "echo 'show servers state web' | socat - UNIX-CONNECT:/run/haproxy/admin.sock | grep "
            f"-q ' a 127.0.0.1 . {state} '"
        )

    theirs = [
        {"state": "drained", "host": "web-a", "targets": [WEB_A]},
        {"state": "drained", "host": "web-a", "targets": [WEB_A], "when": "always"},
        {"state": "restored", "host": "web-a", "force": True},
    ]
    last = {"state": "drained", "host": "web-b", "targets": [WEB_B]}
    steps = [
        set_state("state drain"),
        *theirs,
        is_still(8),
        last,
        set_state("state maint"),
        *theirs,
        is_still(1),
        last,
        # Others drain by a weight of 0.
        set_state("state ready"),
        set_state("weight 0"),
        last,
    ]
    *results, by_weight = balancer.ha(
        "lb",
        "ha_drain",
        *[step if isinstance(step, str) else dict(step, token="run-1") for step in steps],
    )
    for plain, always, restored, refused in (results[:4], results[4:]):
        for result in (plain, always):
            assert not result["changed"] and result["drained"] == []
            assert result["left"] == [
                "haproxy /run/haproxy/admin.sock web/a was out of service already, and stays so."
            ]
        assert not restored["changed"]
        failed(
            refused,
            "b is the last server of haproxy's backend web that is up. Nothing was changed.",
        )
    failed(
        by_weight, "b is the last server of haproxy's backend web that is up. Nothing was changed."
    )
    assert balancer.admin_state("b") == 0


@pytest.mark.thorough
def test_maintenance_that_somebody_began_meanwhile_is_theirs(balancer):
    assert balancer.drain("lb", WEB_A, of="web-a")["changed"]
    balancer.haproxy("set server web/a state maint")
    restored = balancer.restore("lb", of="web-a")
    assert restored["left"] == [
        (
            "haproxy /run/haproxy/admin.sock web/a was put into maintenance "
            "by another party meanwhile, and was left so."
        )
    ]
    assert restored["drained"] == [] and balancer.admin_state("a") == 1


@pytest.mark.thorough
def test_what_haproxy_cannot_do(balancer):
    cases = [
        (
            dict(WEB_A, backend="shop"),
            "haproxy has no backend shop (Can't find backend). Nothing was changed.",
        ),
        (
            dict(WEB_A, server="c"),
            "haproxy's backend web has no server c; it has a, b. Nothing was changed.",
        ),
        (
            dict(WEB_A, backend="alone", server="only"),
            "only is the last server of haproxy's backend alone that is up. Nothing was changed.",
        ),
        (
            dict(WEB_A, socket="/run/nowhere.sock"),
            "haproxy's runtime API at /run/nowhere.sock does not answer (No such file or "
            "directory): haproxy must run, with `stats socket /run/nowhere.sock level admin`. "
            "Nothing was changed.",
        ),
        (
            {"adapter": "haproxy", "backend": "web"},
            "The adapter haproxy needs server. Nothing was changed.",
        ),
        (
            dict(WEB_A, upstream="web"),
            (
                "The adapter haproxy has no option upstream; it has backend, server, socket. "
                "Nothing was changed."
            ),
        ),
    ]
    # One that may look but not touch: what was not begun is not to be put back either.
    cases += [
        (
            dict(WEB_A, socket="/run/haproxy/user.sock"),
            "it needs `stats socket /run/haproxy/user.sock level admin`",
        )
    ]
    results = balancer.ha(
        "lb",
        "ha_drain",
        *[
            {"state": "drained", "host": "web-a", "token": "run-1", "targets": [target]}
            for target, _words in cases
        ],
    )
    for (_target, words), result in zip(cases, results):
        failed(result, words)
    assert balancer.admin_state("a") == 0 and balancer.saved("lb") == []


def test_only_the_one_server_of_the_one_upstream_changes(balancer):
    assert balancer.drain("lb", POOL_A, of="web-a")["changed"]
    text = balancer.shell("lb", f"cat {FILE}")
    # Before the semicolon of the one server, and with a comment that ends with its line.
    inserted = " down # rebootless.ksplice run-1\n"
    assert text == POOL.replace(
        "    server 127.0.0.1:8081 max_fails=0;   # server a",
        f"    server 127.0.0.1:8081 max_fails=0{inserted};   # server a",
        1,
    )
    # Whoever wrote the line anew meanwhile has the last word.
    balancer.shell(
        "lb", f"sed -i 's/ down # rebootless.ksplice run-1/ down # broken, hands off/' {FILE}"
    )
    restored = balancer.restore("lb", of="web-a")
    assert (
        restored["left"]
        == [
            (
                f"nginx {FILE} pool 127.0.0.1:8081 is marked down by somebody else's line, "
                "and was left so."
            )
        ]
        and restored["drained"] == []
    )
    assert "8081 max_fails=0 down # broken, hands off\n;" in balancer.shell("lb", f"cat {FILE}")


@pytest.mark.thorough
def test_what_nginx_cannot_do(balancer):
    down = dict(POOL_A, server="127.0.0.1:8083")
    cases = [
        (
            dict(POOL_A, upstream="alone"),
            (
                "127.0.0.1:8081 is the last server of nginx's upstream alone that is not down. "
                "Nothing was changed."
            ),
        ),
        (
            dict(POOL_A, server="10.0.0.1"),
            (
                f"the upstream pool in {FILE} has no server 10.0.0.1, and there must be one. It "
                "has 127.0.0.1:8081 (line "
            ),
        ),
        (
            dict(POOL_A, server="127.0.0.1"),
            f"the upstream pool in {FILE} has 3 times the server 127.0.0.1, and there must be one. "
            "It has 127.0.0.1:8081 (line ",
        ),
        (
            dict(POOL_A, upstream="shop"),
            f"{FILE} and the files that it includes have no upstream shop. Nothing was changed.",
        ),
        (
            dict(POOL_A, file="/etc/nginx/nowhere"),
            "/etc/nginx/nowhere cannot be read (No such file or directory). Nothing was changed.",
        ),
    ]
    plain, always, restored, *results = balancer.ha(
        "lb",
        "ha_drain",
        *[
            dict(one, host="web-a", token="run-1")
            for one in (
                {"state": "drained", "targets": [down]},
                {"state": "drained", "targets": [down], "when": "always"},
                {"state": "restored", "force": True},
                *({"state": "drained", "targets": [target]} for target, _words in cases),
            )
        ],
    )
    for result in (plain, always):
        assert not result["changed"] and result["left"] == [
            f"nginx {FILE} pool 127.0.0.1:8083 was out of service already, and stays so."
        ]
    assert not restored["changed"]
    for (_target, words), result in zip(cases, results):
        failed(result, words)
    assert balancer.shell("lb", f"cat {FILE}") == POOL and balancer.saved("lb") == []


def test_a_server_over_several_lines_in_an_included_file(balancer):
    """Whatever nginx reads as one: parameters on the next lines, names in quotes, servers in a file
    of their own.
    """
    server, other = (
        "127.0.0.1:8081\n        weight=5\n        max_fails=3;\n",
        "server\n'127.0.0.1:8082' weight=5; ",
    )
    pool = (
        'upstream "shop" { zone shop 64k; include shop.servers; }\n'
        "server { listen 8095; location / { proxy_pass http://shop; } }\n"
    )
    balancer.shell(
        "lb",
        f"cat > /etc/nginx/shop.servers <<'X'\nserver {server}{other}\nX\n"
        f"cat > /etc/nginx/conf.d/zz-shop.conf <<'X'\n{pool}X\nnginx -s reload",
    )
    before = balancer.shell("lb", "cat /etc/nginx/shop.servers")
    target = dict(POOL_A, file="/etc/nginx/conf.d/zz-shop.conf", upstream="shop")
    assert balancer.drain("lb", target, of="web-a")["changed"]
    assert {balancer.shell("lb", "curl -sf 127.0.0.1:8095") for _time in range(8)} == {"b"}
    failed(
        balancer.drain("lb", dict(target, server="127.0.0.1:8082"), of="web-b"),
        "127.0.0.1:8082 is the last server of nginx's upstream shop",
    )
    assert balancer.restore("lb", of="web-a")["changed"]
    assert {balancer.shell("lb", "curl -sf 127.0.0.1:8095") for _time in range(16)} == {"a", "b"}
    assert balancer.shell("lb", "cat /etc/nginx/shop.servers") == before
    balancer.shell("lb", "rm /etc/nginx/shop.servers")


@pytest.mark.thorough
def test_a_configuration_that_nginx_refuses_is_restored(balancer):
    balancer.shell("lb", "echo 'nonsense;' > /etc/nginx/conf.d/zz-broken.conf")
    result = balancer.drain("lb", POOL_A, of="web-a", timeout=5)
    failed(
        result,
        f"nginx {FILE} pool 127.0.0.1:8081 was not drained: `nginx -t -q` failed, "
        f"{FILE} is as it was: ",
    )
    assert 'unknown directive "nonsense"' in result["msg"] and result["msg"].endswith(
        "What this attempt had begun was restored."
    )
    assert (
        balancer.shell("lb", f"cat {FILE}") == POOL
        and balancer.saved("lb") == []
        and balancer.shell("lb", "curl -sf 127.0.0.1:8090") in ("a", "b")
    )


# ---- commands ----


def custom(command):
    """What a drain by a command is called: its arguments may hold a password."""
    return f"custom {command.split()[0]} ({zlib.crc32(command.encode()):08x})"


OUT = {
    "adapter": "custom",
    "drain": "touch /run/out",
    "restore": "rm /run/out",
    "is_active": "test ! -e /run/out",
    "is_drained": "test -e /run/out",
}


@pytest.fixture
def own(ha):
    yield ha
    ha.shell("k2", f"rm -rf /run/out /run/back /run/n {BOOK}")


def tasks(lab, *steps):
    return lab.ha(
        "k2",
        "ha_drain",
        *[
            one if isinstance(one, str) else dict({"host": "k2", "token": "run-1"}, **one)
            for one in steps
        ],
    )


def test_own_commands(own):
    # In the end a person takes it out.
    drained, again, restored, twice, plain, always, back = tasks(
        own,
        *[{"state": "drained", "targets": [OUT]}] * 2,
        "test -e /run/out",
        *[{"state": "restored"}] * 2,
        "test ! -e /run/out && touch /run/out",
        {"state": "drained", "targets": [OUT]},
        {"state": "drained", "targets": [OUT], "when": "always"},
        {"state": "restored"},
        "test -e /run/out",
    )
    assert (
        drained["changed"]
        and drained["active"]
        and said(drained) == said(again) == [custom("touch /run/out")]
        and not again["changed"]
    )
    assert restored["changed"] and restored["drained"] == [] and not twice["changed"]
    assert not plain["changed"] and not always["changed"] and not back["changed"]
    assert (
        plain["left"]
        == always["left"]
        == [custom("touch /run/out") + " was out of service already, and stays so."]
    )


@pytest.mark.thorough
def test_own_commands_that_do_not_do(own):
    """Whatever the command that drains did or did not: what puts back has run, and nothing hangs
    longer than it may.
    """
    undo = "sh -c 'echo back >> /run/back'"
    cases = [
        (
            {"drain": "sh -c 'echo no way; exit 3' --password=hunter2"},
            "The command sh … exited with status 3: (hidden) way.",
        ),
        ({"drain": "true", "is_drained": "false"}, "after 1 s false does not say so."),
        (
            {"drain": "sleep 300"},
            "The command sleep … exited with status 124: did not finish within 1 s.",
        ),
        (
            {"drain": "/opt/nothing"},
            "The command /opt/nothing exited with status 127: there is no /opt/nothing.",
        ),
    ]
    for (words, begin), result in zip(
        cases,
        tasks(
            own,
            *[
                {
                    "state": "drained",
                    "timeout": 1,
                    "targets": [dict({"adapter": "custom", "restore": undo}, **words)],
                }
                for words, _begin in cases
            ],
        ),
    ):
        failed(
            result,
            f"{custom(words['drain'])} was not drained: {begin} What this attempt "
            "had begun was restored.",
        )
        assert "hunter2" not in json.dumps(
            {key: value for key, value in result.items() if key != "invocation"}
        )
    assert own.shell("k2", "cat /run/back") == "back\n" * len(cases) and own.saved("k2") == []
    bad, blank, lost = tasks(
        own,
        *[
            {"state": "drained", "timeout": 1, "targets": [dict(OUT, **words)]}
            for words in ({"restore": "echo 'open"}, {"drain": " "}, {"is_active": "/opt/nothing"})
        ],
    )
    failed(bad, "Cannot parse the command of restore (No closing quotation). Nothing was changed.")
    failed(blank, "The command of drain is empty. Nothing was changed.")
    failed(lost, "The command /opt/nothing gave no answer (it cannot be run). Nothing was changed.")
    assert own.saved("k2") == []


def test_what_cannot_be_restored_keeps_its_saved_state(own):
    drained, restored, shown, back, again, stays, done = tasks(
        own,
        {"state": "drained", "targets": [dict(OUT, restore="ls /run/nowhere")]},
        {"state": "restored", "timeout": 1},
        {"state": "shown"},
        "mkdir /run/nowhere; rm /run/out",
        {"state": "restored", "token": "another", "force": True},
        "rmdir /run/nowhere",
        {"state": "drained", "targets": [dict(OUT, restore="true")]},
        {"state": "restored", "timeout": 1},
        f"grep -q run-1 {BOOK} && rm /run/out",
        {"state": "restored"},
    )
    assert drained["changed"] and restored["failed"]
    assert restored["msg"].startswith(
        custom("touch /run/out")
        + " is NOT back in service: The command ls … exited with status 2: "
    )
    assert (
        said(restored) == said(shown) == [custom("touch /run/out")]
        and shown["drained"][0]["token"] == "run-1"
    )
    assert not back["failed"] and back["drained"] == [] and again["changed"]
    # Success of the command is not enough.
    assert stays["failed"] and stays["msg"].startswith(
        custom("touch /run/out")
        + " is NOT back in service: after 1 s test … says it is drained still. "
    )
    assert (
        said(stays) == [custom("touch /run/out")]
        and not done["failed"]
        and done["drained"] == []
        and own.saved("k2") == []
    )


def test_the_second_of_two_fails_and_the_first_comes_back(own):
    second = {"adapter": "custom", "drain": "false", "restore": "true"}
    fails, refused = tasks(
        own,
        {"state": "drained", "targets": [OUT, second]},
        f"test ! -e /run/out && tail -n 1 {BOOK} | grep -q '\"drained\": \\[\\]'",
        {"state": "drained", "targets": [dict(OUT, drain="touch /run/back"), WEB_A]},
        "test ! -e /run/back",
    )
    failed(
        fails,
        custom("false") + " was not drained: The command false exited with status 1",
    )
    # What is refused is so before the first is touched.
    failed(refused, "haproxy's runtime API at /run/haproxy/admin.sock does not answer")


# ---- saved state ----


@pytest.mark.thorough
def test_the_mark_is_there_before_anything_changes(own):
    target = {"adapter": "custom", "drain": f"cp {BOOK} /run/back", "restore": "true"}
    assert tasks(
        own,
        {"state": "drained", "targets": [target]},
        f"test $(stat -c %a {BOOK}) = 600",
        {"state": "restored"},
    )[0]["changed"]
    _about, journal = own.shell("k2", "cat /run/back").splitlines()
    [seen] = json.loads(journal)["drained"]
    assert (seen["host"], seen["token"], seen["target"]) == (
        "k2",
        "run-1",
        target,
    ) and "done" not in seen


@pytest.mark.thorough
def test_a_run_that_died_between_mark_and_change(own):
    """The module is killed by the very command that it runs: the state is saved, the host is as it
    was.
    """
    killer = {
        "adapter": "custom",
        "drain": "sh -c 'test -e /run/n || { touch /run/n; kill -9 $(ps -o ppid= $PPID); }'",
        "restore": "sh -c 'echo back >> /run/back'",
    }
    run = own.ansible(
        ["k2"],
        [
            {
                "rebootless.ksplice.ha_drain": {
                    "state": "drained",
                    "host": "k2",
                    "token": "dead-run",
                    "targets": [killer],
                }
            }
        ],
    )
    assert run.status != 0 and len(own.saved("k2")) == 1 and "done" not in own.saved("k2")[0]
    shown, other, nothing, restored, after = tasks(
        own,
        {"state": "shown"},
        {"state": "drained", "targets": [killer]},
        {"state": "restored"},
        {"state": "restored", "force": True},
        {"state": "shown"},
    )
    assert [one["token"] for one in shown["drained"]] == ["dead-run"]
    failed(
        other,
        f"{custom(killer['drain'])} is out of service since a run that did not end (dead-run): "
        "restore it first, with state=restored and force=true. Nothing was changed.",
    )
    assert not nothing["changed"] and own.shell("k2", "cat /run/back") == "back\n"
    assert (
        restored["changed"]
        and restored["drained"] == after["drained"] == []
        and own.saved("k2") == []
    )


@pytest.mark.thorough
def test_the_same_attempt_goes_on_where_it_was_killed(own):
    killer = {
        "adapter": "custom",
        "drain": "sh -c 'test -e /run/n || { touch /run/n; kill -9 $(ps "
        "-o ppid= $PPID); }; touch /run/out'",
        "restore": "rm -f /run/out",
    }
    own.ansible(
        ["k2"],
        [
            {
                "rebootless.ksplice.ha_drain": {
                    "state": "drained",
                    "host": "k2",
                    "token": "run-1",
                    "targets": [killer],
                }
            }
        ],
    )
    assert len(own.saved("k2")) == 1
    own.shell("k2", "rm -f /run/out")
    again, restored = tasks(own, {"state": "drained", "targets": [killer]}, {"state": "restored"})
    assert (
        again["changed"]
        and len(again["drained"]) == 1
        and restored["changed"]
        and own.saved("k2") == []
    )


@pytest.mark.thorough
def test_a_run_that_died_while_it_waited(balancer):
    lab = balancer
    lab.shell(
        "lb", "systemd-run -q --unit=died sh -c 'curl -s http://127.0.0.1:80/held > /run/held.out'"
    )
    lab.until(
        lambda: lab.run("lb", ["ls", "/run/held-a"], check=False)[0] == 0, "a request that lasts"
    )
    lab.shell(
        "lb",
        f"systemd-run -q --unit=reaper sh -c 'until grep -q done {BOOK}; do sleep 0.1; done; kill "
        '-9 $(pgrep -f "^[^ ]*python3 [-]I -c")\'',
    )
    run = lab.ansible(
        ["lb"],
        [
            {
                "rebootless.ksplice.ha_drain": {
                    "state": "drained",
                    "host": "web-a",
                    "token": "dead-run",
                    "targets": [WEB_A],
                    "timeout": 20,
                }
            }
        ],
    )
    assert run.status != 0 and "drained" not in run.result("lb")
    assert lab.admin_state("a") == 8 and [saved["token"] for saved in lab.saved("lb")] == [
        "dead-run"
    ]
    lab.run("lb", ["touch", "/run/release"])
    theirs, restored = lab.ha(
        "lb",
        "ha_drain",
        {"state": "restored", "host": "web-a", "token": "run-2"},
        {"state": "restored", "host": "web-a", "force": True},
    )
    assert (
        not theirs["changed"]
        and restored["changed"]
        and lab.admin_state("a") == 0
        and lab.saved("lb") == []
    )


@pytest.mark.thorough
def test_marks_that_cannot_be_read(own):
    own.shell("k2", f"mkdir -p $(dirname {BOOK}); printf '[{{\"key\"' > {BOOK}")
    *results, nobody = tasks(
        own,
        {"state": "shown"},
        {"state": "drained", "targets": [OUT]},
        {"state": "restored"},
        {"state": "restored", "token": ""},
    )
    for result in results:
        failed(result, f"{BOOK} is not a complete journal (")
        assert "Nothing was changed." in result["msg"]
    assert (
        own.shell("k2", f"cat {BOOK}") == '[{"key"'
        and own.run("k2", ["ls", "/run/out"], check=False)[0] != 0
    )
    failed(
        nobody,
        "With state=restored give the token of the attempt that is to be restored, or "
        "force=true. Nothing was changed.",
    )


# ---- checks ----


def test_checks(own):
    good = [
        {"command": "test 'a b' = 'a b'"},
        {"unit": "ssh"},
        {"port": 22},
        {"port": 22, "address": "10.77.0.3"},
        {"url": "http://10.77.0.6/", "name": "the shop"},
        {"url": "http://10.77.0.6:8090/nothing", "status": [200, 404]},
    ]
    bad = [
        {"command": "sh -c 'echo full; exit 2'"},
        {"command": "false"},
        {"command": "sleep 60"},
        {"unit": "nginx"},
        {"unit": "nothing"},
        {"port": 23},
        {"url": "http://10.77.0.6/", "status": [204]},
        {"url": "http://127.0.0.1:22/"},
        {"url": "http://127.0.0.1:23/"},
        {"url": "http://nowhere.invalid/"},
    ]
    well, ill, fails = own.ha(
        "k2",
        "ha_check",
        {"checks": good, "addresses": ["10.77.0.3", "10.77.0.2", "fd00:77:0::3"], "timeout": 5},
        {"checks": good + bad, "timeout": 1, "fail": False},
        {"checks": [{"command": "false", "name": "the queue"}], "timeout": 0},
    )
    assert (
        well["ok"]
        and not well["changed"]
        and well["seconds"] < 4
        and all(one == dict(one, ok=True, msg=None) for one in well["checks"])
    )
    assert [one["name"] for one in well["checks"]] == [
        "command test …",
        "unit ssh",
        "port 22 of 127.0.0.1",
        "port 22 of 10.77.0.3",
        "the shop",
        "url http://10.77.0.6:8090/nothing",
    ]
    assert well["holds"] == ["10.77.0.3", "fd00:77:0::3"]
    assert (
        not ill["ok"]
        and not ill["failed"]
        and [one["ok"] for one in ill["checks"]] == [True] * len(good) + [False] * len(bad)
        and ill["seconds"] < 10
    )
    assert [one["msg"] for one in ill["checks"][len(good) :]][:8] == [
        "status 2: full",
        "status 1",
        "status 124: did not finish within 1 s",
        "it is inactive",
        "it is inactive",
        "Connection refused",
        "status 200",
        "SSH-2.0-" + ill["checks"][len(good) + 7]["msg"][len("SSH-2.0-") :],
    ]
    assert ill["checks"][-2]["msg"] == "Connection refused" and "ame" in ill["checks"][-1]["msg"]
    assert (
        fails["failed"]
        and not fails["ok"]
        and fails["msg"].startswith("Unhealthy after 0.")
        and fails["msg"].endswith(" s: the queue (status 1).")
    )


@pytest.mark.thorough
def test_a_check_waits_and_a_check_that_flaps_is_not_stable(own):
    later = {"command": "sh -c 'echo x >> /run/n; test $(wc -l < /run/n) -gt 2'"}
    flaps = {"command": "sh -c 'echo x >> /run/back; test $(($(wc -l < /run/back) % 4)) -ne 3'"}
    waited, held, without, over = own.ha(
        "k2",
        "ha_check",
        {"checks": [later], "timeout": 10},
        {"checks": [{"unit": "ssh"}], "stable_for": 2, "timeout": 1},
        {"checks": [flaps], "timeout": 2},
        {"checks": [flaps], "timeout": 2, "stable_for": 2, "fail": False},
    )
    assert waited["ok"] and 1 <= waited["seconds"] < 4
    assert held["ok"] and held["seconds"] >= 2
    assert without["ok"] and without["seconds"] < 1
    assert not over["ok"] and 2 <= over["seconds"] < 6 and over["checks"][0]["msg"] == "status 1"


@pytest.mark.thorough
def test_checks_that_make_no_sense(own):
    cases = [
        (
            {"name": "web", "port": 80, "url": "http://127.0.0.1/"},
            "The check web has url and port: give exactly one of command, url, port, unit.",
        ),
        (
            {"status": [200]},
            (
                "The check without a name has nothing to check: give exactly "
                "one of command, url, port, unit."
            ),
        ),
        (
            {"port": 70000},
            "The check port 70000 of 127.0.0.1 is not valid: ports are 1 to 65535.",
        ),
        (
            {"url": "127.0.0.1/health"},
            (
                "The check url 127.0.0.1/health is not valid: a URL begins "
                "with http:// or https:// and a host."
            ),
        ),
        (
            {"unit": "ssh", "status": [200]},
            "The check unit ssh is not valid: status goes with url only.",
        ),
        (
            {"command": "echo 'open"},
            "The check command echo … is not valid: the command cannot be parsed "
            "(No closing quotation).",
        ),
    ]
    for (_check, words), result in zip(
        cases,
        own.ha(
            "k2",
            "ha_check",
            *[{"checks": [{"command": "touch /run/out"}, check]} for check, _words in cases],
        ),
    ):
        assert result["failed"] and result["msg"] == words + " Nothing was checked."
    assert own.run("k2", ["ls", "/run/out"], check=False)[0] != 0
