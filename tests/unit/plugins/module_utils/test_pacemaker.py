# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What crm_mon of pacemaker 2.1 says of a cluster, read for the group it makes and for what has to
move.
"""

import os

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import pacemaker

COROSYNC = """\
totem {
    version: 2
    # cluster_name: old
    cluster_name: shop
    transport: knet
}
nodelist {
    node {
        name: n1
    }
}
"""


def node(name, **more):
    told = dict(
        {
            "online": "true",
            "standby": "false",
            "standby_onfail": "false",
            "maintenance": "false",
            "pending": "false",
            "unclean": "false",
            "health": "green",
            "feature_set": "3.17.4",
            "shutdown": "false",
            "expected_up": "true",
            "is_dc": "false",
            "resources_running": "2",
            "type": "member",
        },
        **more,
    )
    return '<node name="{}" id="1" {}/>'.format(
        name, " ".join('{}="{}"'.format(*one) for one in sorted(told.items()))
    )


def resource(name, *nodes, **more):
    told = dict(
        {
            "role": "Started" if nodes else "Stopped",
            "active": "true" if nodes else "false",
            "resource_agent": "ocf:heartbeat:IPaddr2",
            "orphaned": "false",
            "blocked": "false",
            "maintenance": "false",
            "managed": "true",
            "failed": "false",
            "failure_ignored": "false",
        },
        **more,
    )
    inside = "".join(f'<node name="{one}" id="1" cached="true"/>' for one in nodes)
    attributes = " ".join(f'{key}="{value}"' for key, value in sorted(told.items()))
    return f'<resource id="{name}" {attributes} nodes_running_on="{len(nodes)}">{inside}</resource>'


def clone(name, *inside, **more):
    return (
        '<clone id="{}" multi_state="{}" unique="false" managed="true" disabled="false" '
        'failed="false" failure_ignored="false">{}</clone>'
    ).format(name, more.get("multi_state", "false"), "".join(inside))


def cluster(nodes, resources, maintenance="false"):
    return """<?xml version="1.0"?>
<pacemaker-result api-version="2.30" request="crm_mon -1 --output-as=xml">
  <summary>
    <stack type="corosync" pacemakerd-state="running"/>
    <current_dc present="true" version="2.1.7-5.el9" name="n1" id="1" with_quorum="true"
      mixed_version="false"/>
    <cluster_options stonith-enabled="true" symmetric-cluster="true" no-quorum-policy="stop"
      maintenance-mode="{}" stop-all-resources="false"/>
  </summary>
  <nodes>{}</nodes>
  <resources>{}</resources>
  <node_history><node name="n1">
    <resource_history id="vip" orphan="false" migration-threshold="3"/></node></node_history>
  <status code="0" message="OK"/>
</pacemaker-result>""".format(maintenance, "".join(nodes), "".join(resources))


BOTH = [node("n1", is_dc="true"), node("n2")]
FENCE = [
    resource("fence-n1", "n2", resource_agent="stonith:fence_ipmilan"),
    resource("fence-n2", "n1", resource_agent="stonith:fence_ipmilan"),
]
GROUP = (
    '<group id="service" number_resources="2" maintenance="false" managed="true" '
    'disabled="false">%s%s</group>'
)


def drbd(first, second, roles=("Promoted", "Unpromoted")):
    agent = "ocf:linbit:drbd"
    return clone(
        "drbd-clone",
        *[
            resource("drbd", *([where] if where else []), role=role, resource_agent=agent)
            for where, role in zip((first, second), roles)
        ],
        multi_state="true",
    )


USUAL = cluster(
    BOTH,
    FENCE
    + [
        GROUP % (resource("vip", "n1"), resource("web", "n1", resource_agent="systemd:nginx")),
        drbd("n1", "n2"),
        clone("dlm-clone", resource("dlm", "n1"), resource("dlm", "n2")),
    ],
)


def test_a_usual_cluster():
    found = pacemaker.nodes(USUAL)
    assert sorted(found) == ["n1", "n2"]
    # What runs everywhere, fencing and the copy that is not promoted are no reason to call a node
    # active.
    assert found["n1"]["services"] == {"vip", "web", "drbd"} and found["n2"]["services"] == set()
    assert found["n1"]["resources"] == {"vip", "web", "drbd", "dlm"} and found["n2"][
        "resources"
    ] == {"drbd", "dlm"}
    assert all(one["able"] and one["online"] and one["member"] for one in found.values())


def test_both_nodes_come_to_the_same_group():
    one, other = pacemaker.group("shop", USUAL, "n1"), pacemaker.group("shop", USUAL, "n2")
    assert (
        one["name"] == other["name"] == "pacemaker-shop-n1"
        and one["kind"] == "pacemaker"
        and one["instances"] == ["n1", "n2"]
    )
    assert (one["role"], other["role"]) == ("active", "standby")
    assert pacemaker.group("", USUAL, "n1")["name"] == "pacemaker-cluster-n1"


@pytest.mark.parametrize("old, new", [("Promoted", "Master"), ("Unpromoted", "Slave")])
def test_the_words_of_older_releases(old, new):
    xml = cluster(
        BOTH,
        [drbd("n2", "n1", [new if role == old else role for role in ("Promoted", "Unpromoted")])],
    )
    assert [pacemaker.group("shop", xml, name)["role"] for name in ("n1", "n2")] == [
        "standby",
        "active",
    ]


def test_guests_and_remote_nodes_do_not_name_the_group():
    xml = cluster([node("a-remote", type="remote")] + BOTH, [resource("vip", "a-remote")])
    found = pacemaker.group("shop", xml, "n2")
    assert (
        found["name"] == "pacemaker-shop-n1"
        and found["instances"] == ["n1", "n2"]
        and found["role"] == "standby"
    )
    assert not pacemaker.nodes(xml)["a-remote"]["member"]


@pytest.mark.parametrize(
    "state", ["standby", "standby_onfail", "maintenance", "unclean", "pending", "shutdown"]
)
def test_who_could_not_take_over(state):
    found = pacemaker.nodes(cluster([BOTH[0], node("n2", **{state: "true"})], []))
    assert found["n1"]["able"] and not found["n2"]["able"]
    assert found["n2"]["standby"] is (state == "standby") and found["n2"]["maintenance"] is (
        state == "maintenance"
    )


def test_no_node_takes_over_when_away_or_while_the_cluster_is_frozen():
    assert not pacemaker.nodes(cluster([BOTH[0], node("n2", online="false")], []))["n2"]["able"]
    frozen = pacemaker.nodes(cluster(BOTH, [], maintenance="true"))
    assert all(one["maintenance"] and not one["able"] for one in frozen.values())


def test_what_must_move_and_when_it_has_moved():
    services, others = {"vip", "web", "drbd"}, {"dlm"}

    def missing(*resources):
        return pacemaker.not_moved(cluster(BOTH, FENCE + list(resources)), "n1", services, others)

    assert (
        missing(resource("vip", "n1"), resource("web", "n1"))
        == "2 resources are still on it: vip, web"
    )
    assert missing(resource("vip", "n1")) == "one resource is still on it: vip"
    # Stopping is neither here nor there.
    assert (
        missing(resource("vip", role="Stopping"), resource("web", "n2"))
        == "the cluster is still stopping vip"
    )
    assert (
        missing(
            resource("vip", "n2", role="Starting"),
            resource("web", "n2"),
            drbd("n2", None, ("Promoted", "Stopped")),
        )
        == "no other node runs vip"
    )
    assert (
        missing(
            resource("vip", "n2"),
            resource("web", "n2"),
            drbd("n2", None, ("Unpromoted", "Stopped")),
        )
        == "no other node runs drbd"
    )
    assert (
        missing(
            resource("vip", "n2"),
            resource("web", "n2"),
            drbd("n2", None, ("Promoted", "Stopped")),
            clone("dlm-clone", resource("dlm", "n2"), resource("dlm")),
        )
        is None
    )


def test_bundles():
    def bundle(*replicas):
        inside = "".join(
            f'<replica id="{number}">{"".join(one)}</replica>'
            for number, one in enumerate(replicas)
        )
        return (
            '<bundle id="b" type="podman" image="i" unique="false" managed="true" '
            f'failed="false">{inside}</bundle>'
        )

    one = pacemaker.nodes(cluster(BOTH, [bundle([resource("b-podman-0", "n1")])]))
    assert one["n1"]["services"] == {"b-podman-0"}
    two = pacemaker.nodes(
        cluster(BOTH, [bundle([resource("b-podman-0", "n1")], [resource("b-podman-1", "n2")])])
    )
    assert two["n1"]["services"] == set() and two["n1"]["resources"] == {"b-podman-0"}


def test_a_clone_that_runs_on_one_node_is_a_service_there():
    def roles(*resources):
        return [
            pacemaker.group("shop", cluster(BOTH, resources), name)["role"] for name in ("n1", "n2")
        ]

    assert roles(clone("web-clone", resource("web", "n2"), resource("web"))) == [
        "standby",
        "active",
    ]
    assert roles(clone("web-clone", resource("web", "n1"), resource("web", "n2"))) == [
        "standby",
        "standby",
    ]
    # A globally unique one may have all its instances on one node.
    assert roles(clone("web-clone", resource("web:0", "n1"), resource("web:1", "n1"))) == [
        "active",
        "standby",
    ]
    assert roles(clone("web-clone", resource("web:0", "n1"), resource("web:1", "n2"))) == [
        "standby",
        "standby",
    ]
    # Of a clone of a group each resource counts for itself.
    assert roles(
        clone(
            "g-clone",
            GROUP % (resource("a", "n1"), resource("b", "n1")),
            GROUP % (resource("a", "n2"), resource("b")),
        )
    ) == ["active", "standby"]
    # The last copy, promoted or not.
    assert roles(drbd("n2", None, ("Unpromoted", "Stopped"))) == ["standby", "active"]
    # What was on one node has moved also where its instances are on several now.
    spread = cluster(
        BOTH + [node("n3")], [clone("web-clone", resource("web:0", "n2"), resource("web:1", "n3"))]
    )
    assert pacemaker.not_moved(spread, "n1", {"web:0", "web:1"}, set()) is None


def test_replicas_of_a_bundle_on_one_node_are_a_service_there():
    replicas = "".join(
        f'<replica id="{number}">{resource(f"b-podman-{number}", "n1")}</replica>'
        for number in (0, 1)
    )
    found = pacemaker.nodes(cluster(BOTH, [f'<bundle id="b" type="podman">{replicas}</bundle>']))
    assert (
        found["n1"]["services"] == {"b-podman-0", "b-podman-1"} and found["n2"]["services"] == set()
    )


@pytest.mark.parametrize(
    "xml, words",
    [
        ("", "not XML"),
        ("Connection refused", "not XML"),
        ("<pacemaker-result><nodes/></pacemaker-result>", "names no node"),
    ],
)
def test_what_is_no_answer(xml, words):
    with pytest.raises(pacemaker.Unreadable, match=words):
        pacemaker.nodes(xml)


def test_a_node_that_the_cluster_does_not_know():
    with pytest.raises(pacemaker.Unreadable, match=r"does not name this node \(n3\)"):
        pacemaker.group("shop", USUAL, "n3")


def test_complaints_are_one_line():
    xml = """<pacemaker-result api-version="2.30" request="crm_mon">
        <status code="102" message="Not connected"><errors>
        <error>crm_mon: Connection to cluster
        failed</error></errors></status></pacemaker-result>"""
    assert pacemaker.complaint(xml) == "Not connected; crm_mon: Connection to cluster failed"
    assert (
        pacemaker.complaint("Error: cluster is not\navailable on this node\n")
        == "Error: cluster is not available on this node"
    )
    assert pacemaker.complaint("") == "" and len(pacemaker.complaint("x" * 999)) == 200


@pytest.mark.parametrize(
    "text, name",
    [
        (COROSYNC, "shop"),
        ("totem {\n\tcluster_name :  a-b.c \n}", "a-b.c"),
        ("# cluster_name: x", ""),
        ("", ""),
    ],
)
def test_cluster_names(text, name):
    assert pacemaker.cluster_name(text) == name


# ---- what crm_mon itself says, see tests/integration/lab/pacemaker_oracle.sh ---------------------

FIXTURES = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "fixtures", "pacemaker"
)


def stored(name):
    with open(os.path.join(FIXTURES, name), encoding="ascii") as file:
        return file.read()


@pytest.mark.parametrize("form", ["xml", "old.xml"])
@pytest.mark.parametrize(
    "name, services, unable",
    [
        ("clones", {"node1": {"vip", "web"}, "node3": {"drbd"}}, []),
        # Clones are down to one node there.
        ("standby", {"node1": {"vip", "web", "watch", "drbd"}}, ["node2", "node3"]),
        ("unclean", {"node1": {"vip", "web"}}, ["node3"]),
        ("maintenance", {}, ["node1", "node2", "node3"]),
        # The promoted replica of the bundle runs in a container on node1, the virtual machine
        # guest1 on node2. The connection to the remote node is no service.
        (
            "bundle",
            {
                "node1": {"db"},
                "node2": {"vm", "in-vm"},
                "far": {"on-far"},
                "guest1": {"in-vm"},
                "db-bundle-1": {"db"},
            },
            ["db-bundle-0", "db-bundle-1", "guest1"],
        ),
    ],
)
def test_clusters_of_every_kind(name, services, unable, form):
    found = pacemaker.nodes(stored(f"{name}.{form}"))
    assert {node: one["services"] for node, one in found.items() if one["services"]} == services
    assert sorted(node for node, one in found.items() if not one["able"]) == unable
    assert sorted(node for node, one in found.items() if one["member"]) == [
        "node1",
        "node2",
        "node3",
    ]


def test_a_bundle_makes_the_node_active_that_its_container_runs_on():
    xml = stored("bundle.xml")
    roles = {
        own: pacemaker.group("shop", xml, own)["role"]
        for own in ("node1", "node2", "node3", "far", "guest1")
    }
    assert roles == {
        "node1": "active",
        "node2": "active",
        "node3": "standby",
        "far": "active",
        "guest1": "active",
    }
    assert {pacemaker.group("shop", xml, own)["name"] for own in roles} == {"pacemaker-shop-node1"}
    assert (
        pacemaker.not_moved(xml, "node1", {"db"}, set())
        == "3 resources are still on it: db-bundle-1, db-bundle-podman-1, far"
    )
