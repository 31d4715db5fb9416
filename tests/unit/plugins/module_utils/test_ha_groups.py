# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Which keepalived and which cluster a host has to be asked about, and what is told where that
cannot be read.
"""

import os

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups as ha_groups
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import (
    keepalived,
    keepalived_process,
    pacemaker,
)

INSTANCE = (
    "vrrp_instance a {\ninterface eth0\nvirtual_router_id 9\nvirtual_ipaddress {\n192.0.2.9\n}\n}\n"
)
ADDRESSES = (
    "2: eth0    inet 192.0.2.%d/24 brd 192.0.2.255 scope global eth0\\       valid_lft forever\n"
)
RAW = (
    "  sl  local_address rem_address   st\n  18: 00000000:0070 00000000:0000 07 0:0 0:0 0     "
    "0        0 4711 2 0 0\n"
)
XML = (
    '<crm_mon><nodes><node name="n1" online="true" type="member"/><node name="r1" online="true" '
    'type="remote"/></nodes><resources><resource id="db" role="Started"><node '
    'name="r1"/></resource></resources></crm_mon>'
)


class Host:
    """A tree of files, and what its commands answer: command line, or its beginning, to (status,
    output, error).
    """

    def __init__(self, root):
        self.root, self.answers, self.asked = str(root), {}, []
        self.answers["ip -o addr"] = (0, ADDRESSES % 11, "")

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "w") as file:
            file.write(text)

    def link(self, path, target):
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        os.symlink(target, self.root + path)

    def process(
        self,
        pid,
        words,
        parent=1,
        mounts="mnt:[1]",
        root=None,
        vrrp=False,
        name="keepalived",
        network="net:[1]",
        program="/usr/sbin/keepalived",
        exe=None,
    ):
        """A keepalived that runs. Its root is the host's own or that of a container."""
        here = f"/proc/{pid}/"
        self.write(here + "comm", name + "\n")
        self.write(here + "stat", f"{pid} (keepalived) S {parent} 1 1 0 -1 4194560\n")
        self.write(here + "cmdline", "\0".join([program] + words) + "\0")
        self.write(here + "net/raw", RAW if vrrp else RAW.split("\n", 1)[0] + "\n")
        self.link(here + "fd/13", f"socket:[{4711 if vrrp else 4712}]")
        self.link(here + "cwd", "/")
        if exe:
            self.link(here + "exe", exe)
        self.link(here + "ns/mnt", mounts)
        self.link(here + "root", root or self.root)
        self.link(here + "ns/net", network)
        if not os.path.lexists(self.root + "/proc/self"):
            self.link("/proc/self/ns/mnt", "mnt:[1]")
            self.link("/proc/self/ns/net", "net:[1]")

    def run(self, command):
        self.asked.append(" ".join(command))
        for words, answer in self.answers.items():
            if self.asked[-1].startswith(words):
                return answer
        return 1, "", "no answer"

    def discover(self):
        return ha_groups.discover(ha_groups.Machine(self.run, self.root))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def names(found):
    assert found["problems"] == []
    return [group["name"] for group in found["groups"]]


def test_a_running_keepalived_is_asked_even_if_its_service_is_not(host):
    host.write("/srv/lb.conf", INSTANCE + "@gw1 include more.conf\n")
    host.write("/srv/more.conf", INSTANCE.replace(" a ", " b ").replace("9\n", "8\n"))
    host.process(40, ["-D", "-f", "/srv/lb.conf", "-igw1"])
    host.process(41, ["-D", "-f", "/srv/lb.conf", "-igw1"], parent=40, vrrp=True)
    assert names(host.discover()) == ["vrrp-8-192.0.2.8", "vrrp-9-192.0.2.9"]
    assert not any(words.startswith("systemctl") and "keepalived" in words for words in host.asked)


def test_one_that_does_not_run_has_the_words_of_its_service(host):
    host.write("/srv/lb.conf", INSTANCE)
    host.write(
        "/etc/default/keepalived",
        '# DAEMON_ARGS="-i x"\nDAEMON_ARGS="-D --use-file=/srv/lb.conf"\n',
    )
    assert host.discover() == {"groups": [], "role": None, "problems": [], "host_id": None}
    host.answers["systemctl is-enabled keepalived"] = (0, "enabled", "")
    assert names(host.discover()) == ["vrrp-9-192.0.2.9"]


@pytest.mark.parametrize(
    "words, found",
    [
        (["-f", "x", "-i", "y", "-s", "z"], {"f": "x", "i": "y", "s": "z"}),
        (["-DfX", "-lnsns"], {"f": "X", "s": "ns"}),
        (["--use-file", "x", "--config-id=y", "--names", "z"], {"f": "x", "i": "y", "s": "z"}),
        (["-g/f", "-tx", "-p", "-f", "-Mi"], {}),
        (["--pid", "-f", "--log-file=-i", "--", "-f", "x"], {}),
    ],
)
def test_the_command_line(words, found):
    told = keepalived_process.options(words)
    assert {letter: told[letter] for letter in "fis" if letter in told} == found


# What keepalived 2.2.7 of Debian says to `keepalived -t` and these words: the file that it looks
# for, or None where it refuses them.
SAID = [
    ("-n --vrrp -f /x", "/x"),
    ("--snmp -f /x", "/x"),
    ("--vrrp --use-file=/x", "/x"),
    ("--check -f /x", "/x"),
    ("--core-dump -f /x", "/x"),
    ("--no_bfd -f /x", "/x"),
    ("--all -f /x", "/x"),
    ("--all-config -f /x", "/x"),
    ("--release -f /x", "/x"),
    ("--use /x", "/x"),
    ("--config-i y -f /x", "/x"),
    ("-nP -f/x", "/x"),
    ("-e -f /x", "/x"),
    ("-M -f /x", "/x"),
    ("--core-dump-pattern -f /x", "/x"),
    ("--config-test -f /x", "/x"),
    ("-lnsns -f /x", "/x"),
    ("-p -f -f /x", "/x"),
    ("-f /y -f /x", "/x"),
    ("stray -f /x", "/x"),
    ("--pid -f /x", "/etc/keepalived/keepalived.conf"),
    ("-- -f /x", "/etc/keepalived/keepalived.conf"),
    ("--vrr -f /x", None),
    ("--core -f /x", None),
    ("--config x -f /x", None),
    ("--perf -f /x", None),
    ("--dump-conf=x -f /x", None),
    ("-Z -f /x", None),
    ("--use-file=", None),
    ("--use-file", None),
    ("-n -f", None),
]


@pytest.mark.parametrize("line, path", SAID)
def test_the_command_line_is_read_as_keepalived_reads_it(host, line, path):
    host.process(40, line.split())
    if path is None:
        (problem,) = host.discover()["problems"]
        assert problem.startswith("keepalived (process 40) could not be read: its command line ")
    else:
        (one,) = ha_groups.Machine(host.run, host.root).keepaliveds()
        assert one.path == path


def test_options_of_the_service_that_are_not_known_are_a_problem(host):
    host.write("/etc/keepalived/keepalived.conf", INSTANCE)
    host.write("/etc/default/keepalived", 'DAEMON_ARGS="--frob /srv/lb.conf"\n')
    host.answers["systemctl is-enabled keepalived"] = (0, "", "")
    assert host.discover()["problems"] == [
        (
            "keepalived, as /etc/default/keepalived starts it, could not be read: its command line "
            "has the option --frob, which is not known."
        )
    ]


def test_addresses_are_looked_for_in_the_network_of_keepalived(host):
    host.write("/etc/keepalived/keepalived.conf", "net_namespace vpn\n" + INSTANCE)
    host.process(40, [], network="net:[2]")
    host.process(41, [], parent=40, network="net:[2]", vrrp=True)
    enter = f"nsenter --net={host.root}/proc/40/ns/net ip -o addr"
    host.answers[enter] = (0, ADDRESSES % 9, "")
    assert host.discover()["role"] == "active"
    # Whoever looks who has the address sees it too, and asks once.
    machine = ha_groups.Machine(host.run, host.root)
    host.asked = []
    assert machine.addresses() == {"192.0.2.9", "192.0.2.11"} and len(host.asked) == 2
    # One that ends meanwhile takes its addresses along; of one that lives they could not be read.
    host.answers[enter] = (1, "", "no such process")
    with pytest.raises(keepalived.Unreadable):
        machine.addresses()
    assert host.discover()["problems"] == [
        f"`{enter} show` does not report the addresses of this host (no such process)."
    ]


ON_LO = (
    "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n"
    "1: lo    inet 192.0.2.9/32 scope global lo:0\n"
)


@pytest.mark.parametrize(
    "old, new, role",
    [
        ("", "", "standby"),
        ("192.0.2.9\n", "192.0.2.9/32 dev lo\n", "active"),
        ("192.0.2.9\n", "192.0.2.9 dev eth0\n", "standby"),
        ("eth0", "lo", "active"),
        (
            "eth0\nvirtual_router_id 9\nvirtual_ipaddress {\n192.0.2.9\n",
            "lo\nvirtual_router_id 9\nvirtual_ipaddress {\n192.0.2.9 dev eth0\n",
            "standby",
        ),
    ],
)
def test_an_address_on_lo_counts_where_keepalived_puts_it_there(host, old, new, role):
    """Directors of LVS-DR that are real servers too have it there whoever is active."""
    host.write("/etc/keepalived/keepalived.conf", INSTANCE.replace(old, new) if old else INSTANCE)
    host.process(40, [])
    host.answers["ip -o addr"] = (0, ON_LO + ADDRESSES % 11, "")
    assert host.discover()["role"] == role
    # Drains and checks look at the same.
    held = ha_groups.Machine(host.run, host.root).addresses()
    assert ("192.0.2.9" in held) is (role == "active") and "192.0.2.11" in held
    host.answers["ip -o addr"] = (0, ON_LO + ADDRESSES % 9, "")
    assert host.discover()["role"] == "active"
    assert "192.0.2.9" in ha_groups.Machine(host.run, host.root).addresses()


def test_an_own_address_on_lo_is_no_further_member(host):
    peers = "unicast_peer {\n192.0.2.9\n192.0.2.12\n}\n"
    text = INSTANCE.replace("virtual_ipaddress {\n192.0.2.9\n}\n", peers)
    host.write("/etc/keepalived/keepalived.conf", text)
    host.process(40, [])
    host.answers["ip -o addr"] = (0, ON_LO, "")
    (group,) = host.discover()["groups"]
    assert group["peers"] == ["192.0.2.12"] and group["name"] == "vrrp-9-192.0.2.9"


@pytest.mark.parametrize("words", ["net_namespace vpn\n", ""])
def test_one_that_does_not_run_would_go_into_its_namespace(host, words):
    host.write("/etc/keepalived/keepalived.conf", words + INSTANCE)
    host.answers["systemctl is-enabled keepalived"] = (0, "", "")
    if not words:
        host.write("/etc/sysconfig/keepalived", "KEEPALIVED_OPTIONS='-D -s vpn'\n")
    host.answers["ip netns exec vpn ip -o addr"] = (0, ADDRESSES % 9, "")
    assert host.discover()["role"] == "active"


def test_a_keepalived_in_a_container_could_not_be_read(host, tmp_path):
    host.process(40, [], mounts="mnt:[2]", root=str(tmp_path / "container"))
    assert host.discover()["problems"] == [
        "keepalived (process 40) runs in a container, where its configuration could not be read."
    ]
    # A file at the same place in both is another file.
    host.write("/etc/keepalived/keepalived.conf", INSTANCE)
    host.write("/container/etc/keepalived/keepalived.conf", INSTANCE)
    assert "runs in a container" in host.discover()["problems"][0]


def test_a_service_with_mounts_of_its_own_is_no_container(host):
    host.write("/etc/keepalived/keepalived.conf", INSTANCE)
    host.process(40, [], mounts="mnt:[2]")
    # What looks at keepalived from a container is none.
    root = host.root + "/container"
    exporter = "/usr/bin/keepalived_exporter"
    host.process(30, [], mounts="mnt:[3]", root=root, name="keepalived_expo", program=exporter)
    assert names(host.discover()) == ["vrrp-9-192.0.2.9"]


# What `systemctl show -p ExecStart -p Environment -p EnvironmentFiles keepalived` answers.
UNIT = (
    "ExecStart={ path=%s ; argv[]=%s ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; "
    "pid=0 ; code=(null) ; status=0/0 }\n"
    'Environment=NODE=gw1 "MORE=-i gw1"\nEnvironmentFiles=/etc/default/ha (ignore_errors=yes)\n'
)


@pytest.mark.parametrize(
    "words, missing",
    [
        ("-f /srv/lb.conf", None),
        ("--dont-fork $DAEMON_ARGS", None),
        ("--dont-fork $MORE --use-file=/srv/${FILE} $NONE", None),
        ("-i ${NODE} -f /srv/none.conf", "/srv/none.conf cannot be read"),
        ("-f $(cat /srv/file)", "starts keepalived with $(cat, which cannot be parsed"),
        (
            "--frob -f /srv/lb.conf",
            "the unit keepalived starts it, could not be read: its command line has",
        ),
    ],
)
def test_one_that_does_not_run_has_the_words_of_its_unit(host, words, missing):
    """A drop-in may name another file, of which the defaults of the distribution know nothing."""
    host.write("/srv/lb.conf", INSTANCE)
    host.write("/etc/default/keepalived", 'DAEMON_ARGS="-f /elsewhere"\n')
    host.write(
        "/etc/default/ha", '# DAEMON_ARGS=x\nDAEMON_ARGS="-D -f /srv/lb.conf"\nFILE=lb.conf\n'
    )
    host.answers["systemctl show"] = (0, UNIT % (DAEMON, f"{DAEMON} {words}"), "")
    assert host.discover()["problems"] == []
    host.answers["systemctl is-enabled keepalived"] = (0, "", "")
    if missing:
        (problem,) = host.discover()["problems"]
        assert missing in problem
    else:
        assert names(host.discover()) == ["vrrp-9-192.0.2.9"]


def test_a_unit_that_starts_a_script_could_not_be_read(host):
    host.write("/etc/keepalived/keepalived.conf", INSTANCE)
    host.answers["systemctl show"] = (0, UNIT % ("/opt/ha.sh", "/opt/ha.sh start"), "")
    host.answers["systemctl is-enabled keepalived"] = (0, "", "")
    assert host.discover()["problems"] == [
        (
            "the unit keepalived starts `/opt/ha.sh start`, so the configuration of "
            "keepalived could not be determined."
        )
    ]


def test_one_without_a_configuration_that_was_just_installed_is_none(host):
    host.answers["systemctl show"] = (0, UNIT % (DAEMON, f"{DAEMON} --dont-fork $DAEMON_ARGS"), "")
    host.answers["systemctl is-enabled keepalived"] = (0, "", "")
    assert names(host.discover()) == []


SHELL = "/usr/bin/dash"
DAEMON = "/usr/sbin/keepalived"


@pytest.mark.parametrize("name", ["keepalived.sh", "keepalived"])
def test_a_script_that_starts_keepalived_is_none(host, name):
    host.write("/etc/ha/k.conf", INSTANCE)
    words = ["-n", "-P", "-f", "/etc/ha/k.conf"]
    host.process(40, ["/opt/" + name], name=name, program="/bin/sh", exe=SHELL)
    host.process(41, words, parent=40, exe=DAEMON)
    host.process(42, words, parent=41, vrrp=True, exe=DAEMON)
    assert names(host.discover()) == ["vrrp-9-192.0.2.9"]


@pytest.mark.parametrize("exe", [DAEMON, "/opt/ha/sbin/keepalived (deleted)", None])
@pytest.mark.parametrize("first, second", [("ha_lb", "ha_vrrp"), ("keepalived", "keepalived_vrrp")])
def test_keepalived_under_the_names_that_its_configuration_gives_it(host, first, second, exe):
    host.write("/etc/ha/k.conf", INSTANCE)
    words = ["-f", "/etc/ha/k.conf"]
    host.process(40, words, name=first, exe=exe)
    host.process(41, words, parent=40, vrrp=True, name=second, exe=exe)
    assert names(host.discover()) == ["vrrp-9-192.0.2.9"]
    # By its program alone.
    host.write("/proc/40/cmdline", "ha\0-f\0/etc/ha/k.conf\0")
    host.write("/proc/41/cmdline", "ha\0-f\0/etc/ha/k.conf\0")
    if exe:
        assert names(host.discover()) == ["vrrp-9-192.0.2.9"]


def test_a_renamed_program_is_known_by_its_name(host):
    host.write("/etc/keepalived/keepalived.conf", INSTANCE)
    host.process(40, [], program="keepalived", exe="/opt/bin/keepalived-2.2.8")
    host.process(41, [], parent=40, program="keepalived", exe="/opt/bin/keepalived-2.2.8")
    assert names(host.discover()) == ["vrrp-9-192.0.2.9"]


def test_a_child_without_its_parent_could_not_be_read(host):
    host.process(41, [], name="keepalived_vrrp", vrrp=True, exe=DAEMON)
    assert host.discover()["problems"] == [
        (
            "keepalived (process 41) could not be read: it is keepalived_vrrp, a child of "
            "keepalived, and its parent was not found."
        )
    ]


def test_vrrp_that_no_process_is_found_to_speak_could_not_be_read(host):
    host.write("/proc/net/raw", RAW.replace(":0070", ":0001"))
    assert host.discover()["problems"] == []
    host.write("/proc/net/raw", RAW)
    assert host.discover()["problems"] == [
        (
            "something on this host speaks VRRP (a raw socket of protocol 112 is "
            "open), but no keepalived was found that it could belong to."
        )
    ]


def test_a_configuration_in_which_no_instance_is_understood_is_a_problem(host):
    host.write("/etc/keepalived/keepalived.conf", "global_defs {\n}\n$A=vrrp_instance a {\n")
    host.process(40, [])
    assert host.discover()["problems"] == [
        (
            "/etc/keepalived/keepalived.conf line 3 has a vrrp_instance, but the "
            "configuration read from /etc/keepalived/keepalived.conf defines none."
        )
    ]
    host.write("/etc/keepalived/keepalived.conf", "@elsewhere vrrp_instance a {\n")
    assert host.discover()["problems"] == []
    host.process(41, [], parent=40, vrrp=True, name="keepalived_vrrp")
    assert host.discover()["problems"] == [
        (
            "keepalived (process 40) speaks VRRP, but the configuration read from "
            "/etc/keepalived/keepalived.conf defines no vrrp_instance."
        )
    ]


def test_a_keepalived_without_its_configuration(host):
    host.process(40, [])
    assert host.discover()["problems"] == [
        "/etc/keepalived/keepalived.conf cannot be read (No such file or directory)."
    ]


def test_a_host_that_cannot_be_seen_to_be_active_counts_as_active(host):
    host.write(
        "/etc/keepalived/keepalived.conf",
        INSTANCE.replace("virtual_ipaddress {\n192.0.2.9\n}\n", ""),
    )
    host.process(40, [])
    found = host.discover()
    assert (
        names(found) == ["vrrp-9-192.0.2.0/24"]
        and found["groups"][0]["role"] is None
        and found["role"] == "active"
    )


# ---- pacemaker -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer, name",
    [
        ((0, "shop\n", ""), "pacemaker-shop-n1"),
        ((105, "", "x"), "pacemaker-cluster-n1"),
        ((6, "", "Error performing operation: No such device or address"), "pacemaker-cluster-n1"),
    ],
)
def test_a_remote_node_comes_to_the_name_of_the_full_members(host, answer, name):
    host.write("/etc/pacemaker/authkey", "secret")
    host.answers.update(
        {
            "systemctl is-active pacemaker_remote": (0, "", ""),
            "crm_mon": (0, XML, ""),
            "crm_node": (0, "r1\n", ""),
            "crm_attribute": answer,
        }
    )
    found = host.discover()
    assert (
        names(found) == [name]
        and found["role"] == "active"
        and found["groups"][0]["node"] == "r1"
        and found["groups"][0]["instances"] == ["n1"]
    )
    full = pacemaker.group("" if "cluster" in name else "shop", XML, "n1")
    assert full["name"] == name and full["role"] == "standby"


def test_a_remote_node_whose_cluster_does_not_answer_could_not_be_read(host):
    host.write("/etc/pacemaker/authkey", "secret")
    assert host.discover()["problems"] == []
    host.answers["systemctl is-enabled pacemaker_remote"] = (0, "", "")
    assert host.discover()["problems"] == [
        "crm_attribute does not report the name of the cluster (no answer)."
    ]


@pytest.mark.parametrize(
    "left_over", [None, "/etc/pacemaker/authkey", "/etc/corosync/corosync.conf"]
)
@pytest.mark.parametrize(
    "sign", ["is-active", "is-enabled", "pacemaker-remoted", "pacemaker_remoted", None]
)
def test_a_remote_node_is_one_wherever_its_key_is(host, sign, left_over):
    """PCMK_authkey_location and certificates are nobody's business here: the daemon is."""
    if left_over:
        host.write(left_over, "")
    host.answers.update(
        {
            "crm_mon": (0, XML, ""),
            "crm_node": (0, "r1\n", ""),
            "crm_attribute": (0, "shop\n", ""),
        }
    )
    if sign and sign.startswith("is-"):
        host.answers[f"systemctl {sign} pacemaker_remote"] = (0, "", "")
    elif sign:
        host.write("/proc/50/comm", sign[:15] + "\n")
    assert names(host.discover()) == (["pacemaker-shop-n1"] if sign else [])


@pytest.mark.parametrize("key", [True, False])
def test_without_systemctl_the_key_tells_of_a_remote_node(host, key):
    host.answers["systemctl"] = (127, "", "not found")
    if key:
        host.write("/etc/pacemaker/authkey", "secret")
    assert len(host.discover()["problems"]) == key
