# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Configurations of keepalived as people write them and as nobody would: every way to say the same,
by a seed.
"""

import random

ID = "me"
# What stands beside instances, in blocks that are not ours to understand.
BESIDE = [
    "global_defs {\n    router_id lb1\n    notification_email {\n        a@example.com\n    }\n}",
    'vrrp_script chk {\n    script "/bin/true # {"\n    interval 2\n    weight 3\n}',
    "static_routes {\n    198.18.0.0/24 via 192.0.2.1 dev eth0\n}",
    "static_ipaddress\n{\n    198.18.1.1/32 dev eth0\n}",
    "virtual_server 198.51.100.1 80 {\n    lb_algo rr\n    lb_kind NAT\n    protocol TCP\n    "
    "real_server 192.0.2.50 80 {\n        weight 1\n        TCP_CHECK {\n            "
    "connect_timeout 3\n     "
    "   }\n    }\n}",
    "vrrp_track_process proc {\n    process sshd\n    weight 5\n}",
    "vrrp_track_file file {\n    file /tmp/none\n}",
    "# vrrp_instance NOT {\n# }",
    "! include nothing.conf",
    (
        "@other vrrp_instance NOT {\n"
        "@other     interface eth0\n"
        "@other     virtual_router_id "
        "9\n@other }"
    ),
    "@^me include nothing.conf",
    "$UNUSED= \\\nvrrp_instance NOT { \\\n    interface eth0 \\\n}\n",
]
# In an instance, of no account for what is compared.
INSIDE = [
    "advert_int 1",
    'authentication {\n    auth_type PASS\n    auth_pass "a{#!b"\n}',
    "track_interface {\n    eth1 weight 5\n}",
    'notify "/bin/true priority 5 {"',
    "smtp_alert",
    "# priority 7",
    "! }",
    "",
    "@other priority 9",
    "@^me priority 9",
    "garp_master_delay 1",
    "virtual_routes {\n    198.18.2.0/24 via 192.0.2.1 dev eth0\n}",
    "notify_master /bin/true\\#1",
]


class Writer:
    """One configuration: C(files) is the name of each file to its text; C(main) is the one that
    keepalived is started with.
    """

    def __init__(self, seed):
        self.random, self.files, self.number, self.names = random.Random(seed), {}, 0, 0
        self.main = "keepalived.conf"
        self.files[self.main] = self.broken(
            "global_defs {\n    script_user root\n    enable_script_security\n}\n"
            + "\n".join(self.top())
            + "\n"
        )

    def chance(self, one_of):
        return not self.random.randrange(one_of)

    def fresh(self):
        self.names += 1
        return "".join(self.random.choice("ABC_xyz") for _letter in range(2)) + str(self.names)

    def top(self):
        lines = []
        for _part in range(self.random.randrange(1, 5)):
            some = self.random.choice(
                [self.plain, self.plain, self.several, self.sequence, self.listed, self.nested]
            )()
            some = self.random.sample(BESIDE, self.random.randrange(3)) + some
            lines += self.included(some) if self.chance(3) else some
        return [line for part in lines for line in part.split("\n")]

    def broken(self, text):
        """One in four has a mistake, as typing makes them."""
        lines = text.split("\n")
        for _mistake in range(self.random.randrange(1, 3) if self.chance(4) else 0):
            at = self.random.randrange(len(lines))
            what = self.random.randrange(6)
            if what == 0:
                del lines[at]
                lines = lines or [""]
            elif what == 1:
                lines.insert(at, self.random.choice(lines))
            elif what == 2:
                lines.insert(
                    at,
                    self.random.choice(
                        [
                            "}",
                            "{",
                            '"',
                            "\\",
                            "$",
                            "unknown {",
                            "~SEQ(x, 1",
                            "@me",
                            "include",
                            "vrrp_instance",
                            "$X=\\",
                        ]
                    ),
                )
            elif what == 3 and lines[at]:
                cut = self.random.randrange(len(lines[at]))
                lines[at] = (
                    lines[at][:cut]
                    + self.random.choice(
                        ["", " ", '"', "{", "}", "#", "\\", "$", "@", "\t", "\r", "é"]
                    )
                    + lines[at][cut + 1 :]
                )
            elif what == 4:
                lines[at] += self.random.choice([" \\", " {", "}", ' "', " # é", "  "])
            else:
                lines[at] = self.random.choice(["@me ", "@^other ", "\t", "   "]) + lines[at]
        return self.random.choice(["\n", "\n", "\n", "\r\n"]).join(lines)

    def included(self, lines):
        """The same lines in a file that is included, in one of the ways to say so."""
        self.number += 1
        name = f"part{self.number}.conf"
        folder = self.random.choice(["", "conf.d/", "conf.d/deep/"])
        self.files[folder + name] = "\n".join(lines) + self.random.choice(["\n", ""])
        if folder and self.chance(4):
            self.files[folder + "more.inc"] = "# nothing\n"
        return [
            self.random.choice(
                [
                    f"include {folder}{name}",
                    f"include  {folder}part{self.number}*.conf",
                    "include ${_PWD}/" + folder + name,
                    f"include {folder}{{none,part{self.number}}}.conf",
                    f"include {folder}[p]art{self.number}.con?",
                    f"includer {folder}{name} # here",
                    f"@me include {folder}{name}",
                    f"$PART={folder}{name}\ninclude $PART",
                    f"include {folder}[^x]art{self.number}.conf",
                ]
            )
        ]

    def instance(self, name, router, address, priority, more=()):
        """The lines of an instance, without what the caller does with them."""
        parts = [
            f"interface {self.random.choice(['eth0', 'eth1'])}",
            f"virtual_router_id {router}",
            f"priority {priority}",
        ]
        if self.chance(2):
            parts.append("state " + self.random.choice(["MASTER", "BACKUP", "BACKUP"]))
        elif self.chance(2):
            parts.append("nopreempt")
        block = self.random.choice(
            ["virtual_ipaddress", "virtual_ipaddress", "virtual_ipaddress_excluded"]
        )
        inside = [f"{address}{self.random.choice(['', '/24', '/32 dev eth0', ' label eth0:v'])}"]
        if self.chance(3):
            inside += ["@other 203.0.113.9", f"@me 203.0.113.{self.random.randrange(1, 250)}"]
        if self.chance(5):
            inside += [f"~SEQ(n, {self.random.choice([1, 2])}, 3) 203.0.114.${{n}}"]
        if block.endswith("excluded"):
            parts.append(f"virtual_ipaddress {{\n    198.18.3.{self.random.randrange(1, 250)}\n}}")
        parts.append(
            block
            + self.random.choice([" {\n", "\n{\n", "{\n"])
            + "\n".join("    " + one for one in inside)
            + "\n}"
        )
        if self.chance(4):
            parts.append(
                f"unicast_peer {{\n    192.0.2.12\n    192.0.2.{self.random.randrange(13, 99)} "
                "# other\n}"
            )
        parts += list(more)
        self.random.shuffle(parts)
        lines = [line for part in parts for line in part.split("\n")]
        opening = self.random.choice(
            [
                "vrrp_instance {} {{",
                "vrrp_instance {}\n{{",
                "vrrp_instance {}{{",
                'vrrp_instance "{}" {{',
                "vrrp_instance {} {{ # open",
            ]
        )
        return (
            opening.format(name).split("\n")
            + ["    " + line if line else line for line in lines]
            + ["}"]
        )

    def some_inside(self):
        return self.random.sample(INSIDE, self.random.randrange(4))

    def numbers(self):
        return (
            self.random.randrange(1, 256),
            ".".join(["10", *(str(self.random.randrange(1, 250)) for _part in range(3))]),
            self.random.randrange(1, 256),
        )

    def plain(self):
        router, address, priority = self.numbers()
        lines = self.instance(self.fresh(), router, address, priority, self.some_inside())
        if self.chance(3):
            lines = [
                line.replace(
                    f"priority {priority}",
                    self.random.choice(
                        ["priority $P", "priority ${P}", "priority\t$P # said", "$LINE"]
                    ),
                )
                for line in lines
            ]
            lines = [f"@me $P={priority}", "@other $P=7", "$LINE=priority ${P}"] + lines
        if self.chance(4):
            # A piece of it is included.
            at = self.random.randrange(1, len(lines))
            depth = sum(
                line.count("{") - line.count("}")
                for line in lines[:at]
                if '"' not in line and line.lstrip()[:1] not in ("#", "!")
            )
            if depth == 1 and not any("\\" in line or '"' in line for line in lines):
                lines = lines[:at] + self.included(["    advert_int 2"]) + lines[at:]
        if self.chance(6):
            lines = ["@me " + line for line in lines]
        if self.chance(6):
            return (
                [" ".join(line.strip() for line in lines if "#" not in line)]
                if not any(
                    "\n" in line or line.strip()[:1] in ("!", "@", "$", "i", "~") or '"' in line
                    for line in lines
                )
                else lines
            )
        return lines

    def definition(self, name, lines):
        """A parameter of several lines.

        A line without a backslash, or a blank one, would end it.
        """
        lines = [
            line.partition(" #")[0]
            for line in lines
            if line.strip() and line.strip()[0] not in "#!"
        ]
        head = f"${name}=" + self.random.choice([" ", "", "\t"])
        if self.chance(2):
            return (
                [head + "\\"]
                + [line + self.random.choice([" \\", "\\"]) for line in lines[:-1]]
                + [lines[-1]]
                + [""]
            )
        return [head + lines[0].lstrip() + " \\"] + [line + " \\" for line in lines[1:]] + [""]

    def several(self):
        """One block for several instances, each with its own number."""
        name, prefix = self.fresh(), self.fresh()
        lines = self.definition(
            name,
            self.instance(
                f"{prefix}_${{NUM}}",
                "${NUM}",
                "10.0.${NUM}.254",
                self.random.choice(["$PRI", "${PRI}", "130"]),
            ),
        )
        lines.append(f"$PRI={self.random.randrange(1, 250)}")
        for number in self.random.sample(range(1, 250), self.random.randrange(1, 4)):
            lines += (
                [f"$NUM={number}"]
                + ([f"$PRI={self.random.randrange(1, 250)}"] if self.chance(2) else [])
                + [self.random.choice([f"${name}", f"${{{name}}}"])]
            )
        return lines

    def nested(self):
        """A block in which a line is another parameter of several lines."""
        name, inner, prefix = self.fresh(), self.fresh(), self.fresh()
        router, address, priority = self.numbers()
        lines = self.definition(
            inner, ["virtual_ipaddress {", f"    {address}", "}", f"priority {priority}"]
        )
        lines += self.definition(
            name,
            [
                f"vrrp_instance {prefix} {{",
                "    interface eth0",
                f"    ${inner}",
                f"    virtual_router_id {router}",
                "}",
            ],
        )
        return lines + [f"${name}"]

    def sequence(self):
        name, prefix = self.fresh(), self.fresh()
        first = self.random.randrange(1, 100)
        lines = self.definition(
            name, self.instance(f"{prefix}_${{NUM}}", "$NUM", "10.1.${NUM}.1", 100)
        )
        how = self.random.choice(
            [
                f"({first}, {first + 2})",
                f"({first + 4}, -2, {first})",
                f"({first})",
                "(2)",
                f"($FIRST, {first + 1})",
            ]
        ).replace("(", "(NUM, ", 1)
        if "(NUM, $" not in how and len(how) < 10:
            how = "(NUM, 2)"
        return lines + [f"$FIRST={first}", f"~SEQ{how} ${name}"]

    def listed(self):
        name, prefix = self.fresh(), self.fresh()
        first, second, third = self.random.sample(range(1, 250), 3)
        lines = self.definition(
            name, self.instance(f"{prefix}_${{NUM}}", "$NUM", "10.2.${NUM}.1", "${PRI}")
        )
        how = self.random.choice(
            [
                f"(NUM, {first}, {second},{third}) ",
                f"({{NUM, PRI}}, {{{first}, 7}}, {{{second},8}}) ",
                f"({{PRI,NUM}},{{9 , {third}}}) ",
            ]
        )
        return lines + ["$PRI=50", f"~LST{how}${name}"]


def understood(one):
    """An instance as the reader of the collection has it, in the words of keepalived's own dump
    (integration/lab/keepalived_oracle.py). Without a state keepalived goes by the priority, and the
    other way round.
    """
    priority = one.priority or (255 if one.state == "MASTER" else 100)
    return {
        "name": one.name,
        "router_id": one.router_id,
        "priority": priority,
        "interface": one.interface,
        "nopreempt": one.nopreempt,
        "addresses": sorted(one.addresses),
        "peers": sorted(one.peers),
    }


def dumped(one):
    """An instance of keepalived's dump, to compare with what was understood."""
    return {
        key: sorted(value) if isinstance(value, list) else value
        for key, value in one.items()
        if key != "state"
    }
