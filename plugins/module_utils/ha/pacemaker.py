# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a pacemaker cluster says of itself: C(crm_mon)'s XML. Pure."""

import xml.etree.ElementTree as ET
from collections import namedtuple

COROSYNC = "/etc/corosync/corosync.conf"
# The daemon of a node without corosync, which a full member of the cluster runs, under its name of
# now and of before pacemaker 2. Its key may be anywhere, or certificates may be in its place: that
# it runs, or would at the next boot, is what counts.
REMOTE = ("pacemaker-remoted", "pacemaker_remoted")
# Where its key is by default. Full members that know such nodes have it too.
AUTHKEY = "/etc/pacemaker/authkey"
# What the kernel keeps of a process's name.
NAME_LENGTH = 15
# What crm_mon calls a resource that does its work; anything else waits to be promoted, is on its
# way (Starting, Stopping, Promoting, Demoting) or stopped.
SERVING = ("Started", "Promoted", "Master")
PROMOTED = ("Promoted", "Master")
# What stands for a remote node: the node with the connection serves nothing by that.
CONNECTION = "ocf:pacemaker:remote"

# One instance of a resource. single: whether no other node does the same work, so that where it
# runs is where the service is.
Resource = namedtuple("Resource", "name role nodes single")


class Unreadable(Exception):
    """The cluster cannot be inspected; the words say why."""


def cluster_name(configuration):
    """C(cluster_name) of a corosync.conf, or an empty text."""
    for line in configuration.split("\n"):
        name, _sign, value = line.partition(":")
        if name.strip() == "cluster_name" and value.split():
            return value.split()[0]
    return ""


def complaint(words):
    """What crm_mon says in place of a state, which may be XML too."""
    try:
        top = ET.fromstring(words)
        status = top.find("./status")
        found = ([status.get("message")] if status is not None else []) + [
            error.text for error in top.iter("error")
        ]
        return "; ".join(" ".join(one.split()) for one in found if one)[:200]
    except ET.ParseError:
        return " ".join(words.split())[:200]


def _parsed(xml):
    try:
        return ET.fromstring(xml)
    except ET.ParseError as error:
        raise Unreadable(f"crm_mon's answer is not XML ({error})")


def resources(xml):
    """Every instance of every resource, but for fencing devices: where one of those runs says
    nothing of the service.
    """
    top = _parsed(xml)
    shared = _shared(top)
    found = []
    for resource in top.iterfind("./resources//resource"):
        role = resource.get("role") or ""
        if not (resource.get("resource_agent") or "").startswith("stonith:"):
            found.append(
                Resource(
                    resource.get("id"),
                    role,
                    [node.get("name") for node in resource.iterfind("node")],
                    role in PROMOTED
                    or (
                        id(resource) not in shared and resource.get("resource_agent") != CONNECTION
                    ),
                )
            )
    return found


def _shared(top):
    """The instances of clones and bundles whose work is done on another node too, by their
    identities. All on one node are no redundancy.
    """
    guests = {
        node.get("name"): node.get("id_as_resource")
        for node in top.iterfind("./nodes/node")
        if node.get("id_as_resource")
    }
    places = {}
    for resource in top.iterfind("./resources//resource"):
        places.setdefault(resource.get("id"), []).extend(
            node.get("name") for node in resource.iterfind("node")
        )
    together = {}
    for clone in top.iterfind(".//clone"):
        for resource in clone.iter("resource"):
            # Instances of a globally unique clone have their number in their names.
            together.setdefault((id(clone), resource.get("id").partition(":")[0]), []).append(
                resource
            )
    for bundle in top.iterfind(".//bundle"):
        together[id(bundle)] = list(bundle.iter("resource"))
    found = set()
    for instances in together.values():
        on = {
            name
            for one in instances
            for node in one.iterfind("node")
            for name in places.get(guests.get(node.get("name"))) or [node.get("name")]
        }
        if len(on) > 1:
            found.update(id(one) for one in instances)
    return found


def nodes(xml):
    """The nodes of the cluster: name to C(online), C(standby), C(maintenance), C(able) (whether it
    could take over), C(member) (a node with corosync), C(guest) (the resource that it is, if it is
    one), C(resources) (what runs there) and C(services) (what of it runs on no other node:
    resources that are no clones, clones that run on one node only, and promoted instances).
    """
    top = _parsed(xml)
    options = top.find("./summary/cluster_options")
    frozen = options is not None and options.get("maintenance-mode") == "true"
    found = {}
    for node in top.iterfind("./nodes/node"):
        told = {
            key: node.get(key) == "true"
            for key in (
                "online",
                "standby",
                "standby_onfail",
                "maintenance",
                "unclean",
                "pending",
                "shutdown",
            )
        }
        maintenance = told["maintenance"] or frozen
        found[node.get("name")] = {
            "online": told["online"],
            "standby": told["standby"],
            "maintenance": maintenance,
            "member": node.get("type") in (None, "member"),
            # What runs as a resource itself, a guest or a replica of a bundle, goes with the node
            # that it runs on.
            "guest": node.get("id_as_resource"),
            "able": told["online"]
            and not maintenance
            and not node.get("id_as_resource")
            and not any(
                told[key] for key in ("standby", "standby_onfail", "unclean", "pending", "shutdown")
            ),
            "resources": set(),
            "services": set(),
        }
    if not found:
        raise Unreadable("crm_mon names no node")
    known = resources(xml)
    places = {}
    for resource in known:
        places.setdefault(resource.name, []).extend(resource.nodes)
    for resource in known:
        for name in resource.nodes:
            guest = found[name]["guest"] if name in found else None
            for place in [name] + (places.get(guest, []) if guest else []):
                if place in found:
                    found[place]["resources"].add(resource.name)
                    if resource.single:
                        found[place]["services"].add(resource.name)
    return found


def not_moved(xml, node, services, others):
    """What is missing until another node has taken over from C(node), or None.

    While a resource is on its way it runs nowhere, which must not be taken for drained.

    :param services: names of what ran on the node and nowhere else, see C(nodes).
    :param others: names of what ran there beside.
    """
    known = resources(xml)
    here = sorted({one.name for one in known if node in one.nodes})
    if here:
        return "{} still on it: {}".format(
            "one resource is" if len(here) == 1 else f"{len(here)} resources are", ", ".join(here)
        )
    moving = sorted(
        {
            one.name
            for one in known
            if one.name in set(services) | set(others) and one.role in ("Stopping", "Demoting")
        }
    )
    if moving:
        return "the cluster is still stopping {}".format(", ".join(moving))
    # The name of a clone's instance stands for all of them: one that was promoted here must be so
    # elsewhere.
    missing = sorted(
        set(services) - {one.name for one in known if one.role in SERVING and one.nodes}
    )
    return "no other node runs {}".format(", ".join(missing)) if missing else None


def group(name, xml, own):
    """The redundancy group that the cluster is.

    :param name: the cluster's, empty where it has none.
    :param own: the name of this node in the cluster.
    """
    known = nodes(xml)
    if own not in known:
        raise Unreadable(f"crm_mon does not name this node ({own})")
    # Clusters of one house often share a default name: the first node distinguishes them.
    # Guests and remote nodes come and go.
    members = sorted(name for name, node in known.items() if node["member"]) or sorted(known)
    return {
        "name": "pacemaker-{}-{}".format(name or "cluster", members[0]),
        "kind": "pacemaker",
        "addresses": [],
        "role": "active" if known[own]["services"] else "standby",
        "instances": members,
        "peers": [],
        "size": len(members),
        "node": own,
    }
