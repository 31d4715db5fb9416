# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived's configuration, read with its includes. Pure but for Source, which reads files.

The grammar is keepalived.conf(5)'s: words on a line, braces around blocks, C(#) and C(!) begin comments, C(include) takes a pattern relative to the file it
stands in, C($NAME=words) defines a parameter of one line. Lines for one configuration ID only (C(@id)) are passed over: which ID keepalived was started with
stands in no file.
"""

import glob
import ipaddress
import os
import re
from collections import namedtuple

CONFIGURATION = "/etc/keepalived/keepalived.conf"
DEFAULT_PRIORITY = 100

# A block or line of the configuration: its words, the blocks and lines inside, and where it stands (path, number of the line from 0). Of a block also where
# its braces stand.
Statement = namedtuple("Statement", "words inside path line brace end")
# priority: None where the configuration names none. places: (path, line) of its priority lines; brace: of the line its block opens on.
Instance = namedtuple("Instance", "name interface router_id priority nopreempt family addresses peers places brace")


_MOST_EXPANDED = 65536


class Unreadable(Exception):
    """The configuration cannot be understood; the words say where."""


class Source:
    """The files of a configuration.

    :param root: of an emulated host, empty on a real one.
    """

    def __init__(self, root=""):
        self.root, self.files = root, {}

    def lines(self, path):
        try:
            # As it stands, line ends included, so that it can be put back as it was.
            with open(self.root + path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                self.files[path] = file.read().split("\n")
        except OSError as error:
            raise Unreadable("{} cannot be read ({})".format(path, error.strerror))
        return self.files[path]

    def matching(self, pattern):
        return sorted(path[len(self.root):] for path in glob.glob(self.root + pattern))


def read(source, path=CONFIGURATION):
    """The statements of a configuration and all it includes."""
    return _nest(_tokens(source, path, {}, ()))


def _tokens(source, path, parameters, inside):
    if path in inside:
        raise Unreadable("{} includes itself".format(path))
    for number, line in enumerate(source.lines(path)):
        words = _words(line)
        if not words or words[0].startswith("@"):
            continue
        name, is_there, value = _bare(line).strip().partition("=")
        if is_there and re.match(r"\$\w+\Z", name.rstrip()):
            parameters[name.rstrip()[1:]] = _expanded(value.lstrip(), parameters)
            continue
        if any("$" in word for word in words):
            words = _words(_expanded(line, parameters))
            if not words:
                continue
        if words[0] in ("include", "includer", "includem", "includew", "includeb") and len(words) == 2:
            for found in source.matching(os.path.join(os.path.dirname(path), words[1])):
                yield from _tokens(source, found, parameters, inside + (path,))
            continue
        for word in words:
            yield word, path, number
        yield None, path, number


def _expanded(text, parameters):
    expanded = re.sub(r"\$\{?(\w+)\}?", lambda found: parameters.get(found.group(1), found.group(0)), text)
    if len(expanded) > max(_MOST_EXPANDED, len(text)):
        # Parameters of parameters grow without end.
        raise Unreadable("its parameters stand for more than {} characters".format(_MOST_EXPANDED))
    return expanded


def _bare(line):
    """A line without its comment, which begins anywhere but inside of quotes."""
    quoted = False
    for place, sign in enumerate(line):
        if sign == '"':
            quoted = not quoted
        elif sign in "#!" and not quoted:
            return line[:place]
    return line


def _words(line):
    return [word.strip('"') for word in re.findall(r'"[^"]*"|[{}]|[^\s{}"]+', _bare(line))]


def _nest(tokens):
    top = []
    stack, words, where = [top], [], None
    for word, path, number in tokens:
        if word not in (None, "{", "}"):
            words.append(word)
            where = where or (path, number)
            continue
        if word == "{":
            if words:
                stack[-1].append(Statement(words, [], where[0], where[1], (path, number), None))
            elif stack[-1] and not stack[-1][-1].inside:
                # The brace of a block may stand on the line below its name.
                stack[-1][-1] = stack[-1][-1]._replace(brace=(path, number))
            else:
                raise Unreadable("{} line {}: a brace opens a block without a name".format(path, number + 1))
            stack.append(stack[-1][-1].inside)
        else:
            if words:
                stack[-1].append(Statement(words, [], where[0], where[1], None, None))
            if word == "}":
                if len(stack) == 1:
                    raise Unreadable("{} line {}: a brace closes nothing".format(path, number + 1))
                stack.pop()
                stack[-1][-1] = stack[-1][-1]._replace(end=(path, number))
        words, where = [], None
    if len(stack) > 1:
        block = stack[-2][-1]
        raise Unreadable("{} line {}: the block {} is not closed".format(block.path, block.line + 1, " ".join(block.words[:2])))
    return top


def instances(statements):
    """The VRRP instances of a configuration, in its order."""
    return [_instance(one) for one in statements if one.words[0] == "vrrp_instance" and len(one.words) > 1]


def _instance(block):
    one = {"interface": None, "router_id": None, "priority": None, "nopreempt": False, "family": None, "addresses": [], "peers": [], "places": []}
    for statement in block.inside:
        key, value = statement.words[0], statement.words[1] if len(statement.words) > 1 else None
        if key == "interface":
            one["interface"] = value
        elif key == "virtual_router_id" and str(value).isdigit():
            one["router_id"] = int(value)
        elif key == "priority" and str(value).isdigit():
            one["priority"] = int(value)
            one["places"].append((statement.path, statement.line))
        elif key in ("nopreempt", "preempt"):
            one["nopreempt"] = key == "nopreempt"
        elif key == "native_ipv6":
            one["family"] = 6
        elif key in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
            one["addresses"] += [found for found in (address(line.words[0]) for line in statement.inside) if found]
        elif key == "unicast_peer":
            one["peers"] += [found for found in (address(line.words[0]) for line in statement.inside) if found]
    return Instance(block.words[1], brace=block.brace, **one)


def address(word):
    """An address in its shortest form without its mask, or None for what is none."""
    try:
        return str(ipaddress.ip_address(word.partition("/")[0].partition("%")[0]))
    except ValueError:
        return None


def synchronised(statements):
    """The sync groups: name to the names of their instances."""
    found = {}
    for block in statements:
        if block.words[0] == "vrrp_sync_group" and len(block.words) > 1:
            inside = [one for part in block.inside if part.words[0] == "group" for one in part.inside]
            found[block.words[1]] = [word for one in inside for word in one.words]
    return found


def groups(statements, held):
    """The redundancy groups that a host's configuration makes it a member of.

    One for each instance; instances that a sync group holds together are one. The name is made of what all members must agree on, the router ID and the
    addresses, so that each of them comes to the same name alone.

    :param held: the addresses that the host's interfaces have now. Who holds the address is active, whatever the configuration calls it.
    """
    known = {one.name: one for one in instances(statements) if one.router_id is not None and one.addresses}
    together = [[known[name] for name in names if name in known] for names in synchronised(statements).values()]
    alone = [[one] for one in known.values() if not any(one in group for group in together)]
    result = []
    for members in filter(None, together + alone):
        names = sorted((one.router_id, _order(min(one.addresses, key=_order))) for one in members)
        addresses = sorted({found for one in members for found in one.addresses}, key=_order)
        router_id = names[0][0]
        first = min((found for one in members if one.router_id == router_id for found in one.addresses), key=_order)
        result.append({"name": "vrrp-{}-{}".format(router_id, first), "kind": "keepalived", "addresses": addresses,
                       "role": "active" if set(addresses).intersection(held) else "standby", "instances": sorted(one.name for one in members),
                       "peers": sorted({peer for one in members for peer in one.peers}, key=_order)})
    return sorted(result, key=lambda group: group["name"])


def _order(text):
    found = ipaddress.ip_address(text)
    return (found.version, int(found))
