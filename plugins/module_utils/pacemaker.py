# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a pacemaker cluster says of itself: C(crm_mon)'s XML. Pure."""

import re
import xml.etree.ElementTree as ET

COROSYNC = "/etc/corosync/corosync.conf"


class Unreadable(Exception):
    """The cluster cannot be looked at; the words say why."""


def cluster_name(configuration):
    """C(cluster_name) of a corosync.conf, or an empty text."""
    found = re.search(r"^\s*cluster_name\s*:\s*(\S+)", configuration, re.MULTILINE)
    return found.group(1) if found else ""


def nodes(xml):
    """The nodes of the cluster: name to C(online), C(standby), C(maintenance), C(unclean), C(resources) (how many run there, clones included) and
    C(active) (whether anything runs there that runs nowhere else: a resource that is no clone, or the promoted instance of one)."""
    try:
        top = ET.fromstring(xml)
    except ET.ParseError as error:
        raise Unreadable("crm_mon's answer is no XML ({})".format(error))
    found = {}
    for node in top.iterfind("./nodes/node"):
        found[node.get("name")] = dict({key: node.get(key) == "true" for key in ("online", "standby", "maintenance", "unclean")},
                                       resources=int(node.get("resources_running") or 0), active=False)
    cloned = {id(resource) for clone in top.iterfind(".//clone") for resource in clone.iter("resource")}
    for resource in top.iterfind("./resources//resource"):
        promoted = resource.get("role") in ("Promoted", "Master")
        if resource.get("active") == "true" and (id(resource) not in cloned or promoted):
            for node in resource.iterfind("node"):
                if node.get("name") in found:
                    found[node.get("name")]["active"] = True
    if not found:
        raise Unreadable("crm_mon names no node")
    return found


def group(configuration, xml, own):
    """The redundancy group that the cluster is.

    :param own: the name of this node in the cluster.
    """
    known = nodes(xml)
    if own not in known:
        raise Unreadable("crm_mon does not name this node ({})".format(own))
    # Clusters of one house often share a name that nobody chose: the first node tells them apart.
    return {"name": "pacemaker-{}-{}".format(cluster_name(configuration) or "cluster", min(known)), "kind": "pacemaker", "addresses": [],
            "role": "active" if known[own]["active"] else "standby", "instances": sorted(known), "peers": []}
