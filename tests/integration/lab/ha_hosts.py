# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Hosts with real keepalived, pacemaker, haproxy and nginx: a pair of each of the former two, and
one that has both balancers.

- k1, k2: keepalived. The sync group of web4 and web6 is with k1, db with k2; the configuration
  calls each of them MASTER of everything.
- p1, p2: pacemaker. The group shop (an address and a slow database) likes p1 better, the fencing
  device p2.
- lb: haproxy on port 80 and nginx on port 8090, both before the servers a and b on ports 8081 and
  8082.
"""

from __future__ import annotations

import copy
import json
import os
import re
import threading
import time
from pathlib import Path

from real_hosts import Lab

# In no output of Ansible: keepalived's password.
AUTH_PASS = "hush4711"
WEB4, WEB6, DB = "10.77.50.1", "fd00:77::50", "10.77.50.3"
ADDRESS = {"k1": ("10.77.0.2", "fd00:77::2"), "k2": ("10.77.0.3", "fd00:77::3")}

KEEPALIVED = """! The pieces are in conf.d
global_defs {
    router_id %(name)s
}
include conf.d/*.conf
"""
WEB = """$ID=51
vrrp_sync_group web {
    group {
        web4
        web6
    }
}
vrrp_instance web4 {
    state MASTER   # of which keepalived makes what it likes
    interface eth0
    virtual_router_id $ID
    priority %(web)d
    advert_int 1
    unicast_src_ip %(own4)s
    unicast_peer {
        %(other4)s
    }
    virtual_ipaddress {
        10.77.50.1/16 dev eth0 label eth0:web
    }
}
vrrp_instance web6
{
    state MASTER
    interface eth0
    virtual_router_id 52
    priority %(web)d
    advert_int 1
    unicast_src_ip %(own6)s
    unicast_peer {
        %(other6)s
    }
    virtual_ipaddress {
        fd00:77:0::50/64
    }
}
"""
DATABASE = (
    """vrrp_instance db {
    state MASTER
    interface eth0
    virtual_router_id 53
    priority %(db)d
    authentication {
        auth_type PASS
        auth_pass """
    + AUTH_PASS
    + """
    }
    virtual_ipaddress {
        10.77.50.3/16
    }
}
"""
)


def keepalived(name):
    other = "k2" if name == "k1" else "k1"
    values = {
        "name": name,
        "web": 150 if name == "k1" else 50,
        "db": 50 if name == "k1" else 150,
        "own4": ADDRESS[name][0],
        "own6": ADDRESS[name][1],
        "other4": ADDRESS[other][0],
        "other6": ADDRESS[other][1],
    }
    return {
        "/etc/keepalived/keepalived.conf": KEEPALIVED % values,
        "/etc/keepalived/conf.d/10-web.conf": WEB % values,
        "/etc/keepalived/conf.d/20-db.conf": DATABASE % values,
    }


COROSYNC = """totem {
    version: 2
    cluster_name: shop
    transport: knet
    crypto_cipher: none
    crypto_hash: none
}
nodelist {
    node {
        name: p1
        nodeid: 1
        ring0_addr: 10.77.0.4
    }
    node {
        name: p2
        nodeid: 2
        ring0_addr: 10.77.0.5
    }
}
quorum {
    provider: corosync_votequorum
    two_node: 1
    wait_for_all: 0
}
logging {
    to_syslog: no
    to_logfile: yes
    logfile: /var/log/corosync.log
}
"""
# dc-deadtime: a cluster that begins waits so long for one that is there already, by default 20
# seconds.
CIB = """<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0"
 admin_epoch="1"><configuration>
<crm_config><cluster_property_set id="options">
  <nvpair id="options-stonith" name="stonith-enabled" value="false"/>
  <nvpair id="options-quorum" name="no-quorum-policy" value="ignore"/>
  <nvpair id="options-dc" name="dc-deadtime" value="2s"/>
</cluster_property_set></crm_config>
<nodes/>
<resources>
  <group id="shop">
    <primitive id="vip" class="ocf" provider="heartbeat" type="IPaddr2">
      <instance_attributes id="vip-is"><nvpair id="vip-ip" name="ip" value="10.77.50.9"/>
      <nvpair id="vip-mask" name="cidr_netmask" value="16"/></instance_attributes></primitive>
    <primitive id="db" class="ocf" provider="pacemaker" type="Dummy">
      <instance_attributes id="db-is"><nvpair id="db-slow" name="op_sleep" value="1"/>
      </instance_attributes></primitive>
  </group>
  <clone id="watch-all">
    <primitive id="watch" class="ocf" provider="pacemaker" type="Dummy"/></clone>
  <primitive id="fence" class="stonith" type="null"><instance_attributes id="fence-is">
    <nvpair id="fence-hosts" name="hostlist" value="p1 p2"/></instance_attributes></primitive>
</resources>
<constraints>
  <rsc_location id="shop-likes" rsc="shop" node="p1" score="10"/>
  <rsc_location id="fence-likes" rsc="fence" node="p2" score="10"/>
</constraints></configuration><status/></cib>
"""
CLUSTER = {"/etc/corosync/corosync.conf": COROSYNC, "/var/lib/pacemaker/cib/cib.xml": CIB}

# A server that says its name; /held answers once /run/release is there.
SERVER = """import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/held":
            open("/run/held-" + sys.argv[1], "w").close()
            while not os.path.exists("/run/release"):
                time.sleep(0.05)
        body = sys.argv[1].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""
# A client that opens a fresh connection some 40 times a second, and writes down what came of each:
# the time, and the server's name or what went wrong.
CLIENT = """import sys, time, urllib.request
log = open(sys.argv[2], "w", buffering=1)
while True:
    begun = time.time()
    try:
        with urllib.request.urlopen("http://127.0.0.1:%s/" % sys.argv[1], timeout=5) as answer:
            said = answer.read().decode()
    except Exception as error:
        said = "FAILED %r" % error
    print(begun, said, file=log)
    time.sleep(max(0, 0.025 - (time.time() - begun)))
"""
HAPROXY = """global
    stats socket /run/haproxy/admin.sock mode 660 level admin
    stats socket /run/haproxy/user.sock mode 660 level user
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    retries 0
frontend web
    bind :80
    default_backend web
backend web
    balance roundrobin
    use-server a if { path /held }
    server a 127.0.0.1:8081
    server b 127.0.0.1:8082
backend alone
    server only 127.0.0.1:8081
"""
POOL = """# Two pools of the same servers: only the first is ever touched.
upstream pool {
    server 127.0.0.1:8081 max_fails=0;   # server a, since 2019
    server 127.0.0.1:8082 max_fails=0;
    server 127.0.0.1:8083 down;
}
upstream other {
    server 127.0.0.1:8081 max_fails=0;   # server a, since 2019
    server 127.0.0.1:8082 max_fails=0;
}
upstream alone {
    server 127.0.0.1:8081;
    server 127.0.0.1:8083 down;
}
server {
    listen 8090;
    location / {
        proxy_pass http://pool;
        proxy_next_upstream off;
        proxy_http_version 1.1;
    }
}
"""
BALANCER = {
    "/etc/haproxy/haproxy.cfg": HAPROXY,
    "/etc/nginx/conf.d/pool.conf": POOL,
    "/opt/server.py": SERVER,
    "/opt/client.py": CLIENT,
}

HOSTS = {
    "k1": {"flavour": "debian", "files": keepalived("k1")},
    "k2": {"flavour": "debian", "files": keepalived("k2")},
    "p1": {"flavour": "debian", "files": CLUSTER},
    "p2": {"flavour": "debian", "files": CLUSTER},
    "lb": {"flavour": "debian", "files": BALANCER},
}


class HaLab(Lab):
    """The hosts, with all their services running."""

    def begin(self):
        self.down()
        self.up(HOSTS)
        assert [self.hosts()[name]["address"] for name in ("k1", "k2", "p1", "p2")] == [
            ADDRESS["k1"][0],
            ADDRESS["k2"][0],
            "10.77.0.4",
            "10.77.0.5",
        ]
        for name in ("p1", "p2"):
            self.shell(
                name,
                "chown -R hacluster:haclient /var/lib/pacemaker/cib; chmod 600 "
                "/var/lib/pacemaker/cib/cib.xml; systemctl enable -q corosync pacemaker; "
                "systemctl start --no-block corosync pacemaker",
            )
        for name in ("k1", "k2"):
            self.shell(
                name,
                f"ip addr add {ADDRESS[name][1]}/64 dev eth0 nodad; systemctl "
                "enable -q --now keepalived",
            )
        self.shell(
            "lb",
            "mkdir -p /run/haproxy; for s in a:8081 b:8082; do systemd-run -q "
            "--unit=web-${s%:*} python3 /opt/server.py ${s%:*} ${s#*:}; done; rm -f "
            "/etc/nginx/sites-enabled/default; systemctl start haproxy nginx",
        )
        self.until(
            lambda: (
                self.states()
                == {"vip": ["p1"], "db": ["p1"], "watch": ["p1", "p2"], "fence": ["p2"]}
            ),
            "the cluster",
            40,
        )
        self.until(
            lambda: self.held("k1") == {WEB4, WEB6} and self.held("k2") == {DB}, "keepalived", 20
        )
        self.until(
            lambda: (
                self.shell("lb", "curl -sf 127.0.0.1:80 && curl -sf 127.0.0.1:8090", check=False)
                in ("aa", "ab", "ba", "bb")
            ),
            "the balancers",
            10,
        )

    def shell(self, name, words, check=True):
        return self.run(name, ["sh", "-c", words], check=check)[1]

    @staticmethod
    def until(true, what, seconds=20.0):
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"{what}: not within {seconds} s"
            time.sleep(0.1)

    def held(self, name):
        """Which of the virtual addresses a host has."""
        return set(
            re.findall(r"inet6? ([0-9a-f:.]+)/", self.shell(name, "ip -o addr show eth0"))
        ) & {WEB4, WEB6, DB}

    def states(self):
        """Where the cluster's resources are up and at rest."""
        words = self.shell("p1", "crm_mon -1 --output-as=xml", check=False)
        return {
            name: sorted(
                set(
                    re.findall(
                        rf'<resource id="{name}"[^>]* role="Started"[^>]*>\s*<node name="(\w+)"',
                        words,
                    )
                )
            )
            for name in ("vip", "db", "watch", "fence")
        }

    def standby(self, name):
        return self.shell("p1", f"crm_attribute -t nodes -N {name} -n standby -G -q -d off").strip()

    def haproxy(self, command):
        return self.shell(
            "lb", f"echo '{command}' | socat - UNIX-CONNECT:/run/haproxy/admin.sock"
        ).strip()

    def admin_state(self, server):
        """What haproxy says was done to a server: 0 nothing, 1 maintenance, 8 drain."""
        rows = [line.split() for line in self.haproxy("show servers state web").splitlines()]
        return next(int(row[6]) for row in rows if len(row) > 6 and row[3] == server)

    def saved(self, name):
        """The saved states of the drains on a host, in full: the second line of its journal."""
        path = "/var/lib/rebootless-ksplice/journal.json"
        text = self.shell(name, f"test ! -e {path} || tail -n 1 {path}")
        return json.loads(text)["drained"] if text.strip() else []

    def ha(self, host, module, *steps):
        """The results of tasks of one module, one for each mapping of options; text between them is
        for the shell, and must not fail.
        """
        tasks = [
            {"ansible.builtin.shell": one}
            if isinstance(one, str)
            else {f"rebootless.ksplice.{module}": dict(one), "ignore_errors": True}
            for one in steps
        ]
        run = self.ansible([host], tasks)
        assert (
            len(run.events) == len(steps) and run.status == 0 and "Traceback" not in run.output
        ), run.output[-3000:]
        assert AUTH_PASS not in run.output and not any(
            AUTH_PASS in json.dumps(event) for event in run.events
        )
        return [
            dict(event["result"], failed=event["what"] == "failed")
            for step, event in zip(steps, run.events)
            if not isinstance(step, str)
        ]

    def facts(self, host, **options):
        return self.ha(host, "ha_facts", options)[0]["ansible_facts"]["ha"]

    def drain(self, host, *targets, of=None, token="run-1", **options):
        return self.ha(
            host,
            "ha_drain",
            dict(
                {"state": "drained", "host": of or host, "token": token, "targets": list(targets)},
                **options,
            ),
        )[0]

    def restore(self, host, of=None, token="run-1", **options):
        return self.ha(
            host,
            "ha_drain",
            dict({"state": "restored", "host": of or host, "token": token}, **options),
        )[0]

    def beside(self):
        """The same hosts, for a second run of Ansible at the same time."""
        other = copy.copy(self)
        other.directory = os.path.join(self.directory, "beside")
        os.makedirs(other.directory, exist_ok=True)
        Path(other.directory, "hosts.json").write_text(
            Path(self.directory, "hosts.json").read_text()
        )
        return other

    def meanwhile(self, host, *targets, **options):
        """Begin to drain; what comes back is called to wait for the result."""
        found = []
        thread = threading.Thread(
            target=lambda: found.append(self.beside().drain(host, *targets, **options))
        )
        thread.start()

        def wait(seconds):
            thread.join(seconds)
            return found[0] if found else None

        return wait


class Traffic:
    """Fresh requests to a port of the balancer, for as long as the block lasts."""

    def __init__(self, lab, port):
        self.lab, self.port, self.unit = lab, port, f"traffic-{port}"

    def __enter__(self):
        self.begun = time.time()
        self.lab.shell(
            "lb",
            f"systemd-run -q --unit={self.unit} python3 /opt/client.py {self.port} "
            f"/run/{self.unit}.log",
        )
        self.lab.until(lambda: self.now() == ["a", "b"], "traffic over both servers")
        return self

    def __exit__(self, *_what):
        self.lab.shell("lb", f"systemctl stop {self.unit}")

    def answers(self):
        """(time, server's name or what went wrong) of each request."""
        lines = self.lab.shell("lb", f"cat /run/{self.unit}.log").split("\n")[:-1]
        return [(float(line.partition(" ")[0]), line.partition(" ")[2]) for line in lines]

    def now(self):
        """Who answers now."""
        asked = time.time()
        time.sleep(0.4)
        return sorted({said for at, said in self.answers() if at > asked})

    def judge(self):
        """No request has failed, and there were many."""
        answers = self.answers()
        failed = [one for one in answers if one[1] not in ("a", "b")]
        assert failed == [], f"{len(failed)} of {len(answers)}: {failed[:5]}"
        seconds = answers[-1][0] - answers[0][0]
        assert len(answers) > 20 * seconds, (
            f"{len(answers)} requests in {seconds:.1f} s are too few"
        )
        return len(answers)
