# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""nginx's configuration by words, with nginx's own parser of configurations (crossplane) as the
judge.
"""

import glob
import os
import random

import crossplane
import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import nginx_config
from extent import rounds, seed


def read(path):
    with open(path) as file:
        return file.read()


def servers(path, upstream):
    found = nginx_config.servers(read, lambda pattern: sorted(glob.glob(pattern)), path, upstream)
    return [[(one.address, one.down) for one in block] for block in found]


def judged(path, upstream):
    payload = crossplane.parse(
        path, combine=True, catch_errors=False, check_ctx=False, check_args=False
    )
    found = []

    def walk(block):
        for one in block:
            if one["directive"] == "upstream" and one["args"] == [upstream] and "block" in one:
                found.append(
                    [
                        (server["args"][0], "down" in server["args"][1:])
                        for server in one["block"]
                        if server["directive"] == "server"
                        and server["args"]
                        and "block" not in server
                    ]
                )
            walk(one.get("block") or [])

    walk(payload["config"][0]["parsed"])
    return found


CASES = {
    "parameters on the next lines": "upstream shop {\n zone shop 64k;\n server 10.0.0.1:8080\n"
    "  weight=5\n  max_fails=3;\n server 10.0.0.2:8080 weight=5;\n}",
    "all on one line": "http{upstream shop{server a:1;server b:2 down;server c:3;}}",
    "quotes": 'upstream "shop" { server \'a:1\' weight=2 ; server "b" "down"; }',
    "comments": "# upstream shop { server x; }\n"
    "upstream shop # the shop\n"
    "{ # server y;\n server a:1 # {\n ; server b;#}\n }",
    "a brace on the next line": "upstream shop\n{\nserver a:1;\n}\n",
    "variables": "map $x ${y}z { default 1; }\n"
    "upstream shop { server a:1; hash ${x}y consistent; }",
    "down in other words": "upstream shop { server down:1; server a:1 route=down; server "
    "b:1 slow_start=5s down backup; }",
    "others beside it": "upstream shopping { server x; }\n"
    "upstream shop2 { server y; }\n"
    "server { server_name shop; location / { proxy_pass http://shop; } }\n"
    "upstream shop { server a; }",
    "escapes": "log_format x 'a\\'b{;}' \"c\\\"d\";\n"
    "upstream shop { server a\\;b:1; server 'un it:/x y'; }",
    "braces in words": 'server { location ~ "^/a{2};" { return 200 ab; } }\n'
    "upstream shop { server a:1; }",
    "two of one name": "http { upstream shop { server a; } }\n"
    "stream { upstream shop { server b; server c; } }",
    "none": "server { listen 80; }",
    "empty": "upstream shop { }",
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_as_nginx_reads_it(tmp_path, name):
    path = tmp_path / "pool.conf"
    path.write_text(CASES[name])
    assert servers(str(path), "shop") == judged(str(path), "shop")


def test_the_case_that_failed(tmp_path):
    path = tmp_path / "pool.conf"
    path.write_text(CASES["parameters on the next lines"])
    assert servers(str(path), "shop") == [[("10.0.0.1:8080", False), ("10.0.0.2:8080", False)]]


def test_blocks_of_lua_are_no_configuration(tmp_path):
    """The judge takes them for some, as soon as a brace stands in a comment or a string."""
    path = tmp_path / "pool.conf"
    lua = (
        "content_by_lua_block { local t = {1} -- it's {\n ngx.say(\"{it's}\", [[}]], [=[ ]] } "
        "]=], '\\'}') --[[ } ]] }"
    )
    path.write_text(f"location / {{ {lua} }}\nupstream shop {{ server a; }}")
    assert servers(str(path), "shop") == [[("a", False)]]
    path.write_text(f"location / {{\n{lua[:-1]}\nupstream shop {{ server a; }}")
    with pytest.raises(nginx_config.Unreadable, match="line 2: the block of Lua is not closed"):
        servers(str(path), "shop")


def test_included_files(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "servers").mkdir()
    (tmp_path / "nginx.conf").write_text("events {}\nhttp { include conf.d/*.conf; }\n")
    (tmp_path / "conf.d/pool.conf").write_text(
        "upstream shop { server a; include servers/*; server d down; }"
    )
    (tmp_path / "servers/1").write_text("server b;\n")
    (tmp_path / "servers/2").write_text("server c\ndown;\n")
    expected = [[("a", False), ("b", False), ("c", True), ("d", True)]]
    # By the file that the upstream stands in, and by the one that includes it.
    for path in ("conf.d/pool.conf", "nginx.conf"):
        assert servers(str(tmp_path / path), "shop") == expected
    assert judged(str(tmp_path / "nginx.conf"), "shop") == expected
    assert servers(str(tmp_path / "nginx.conf"), "other") == []
    (tmp_path / "servers/3").write_text("include servers/*;")
    with pytest.raises(nginx_config.Unreadable, match="includes too many files, or itself"):
        servers(str(tmp_path / "nginx.conf"), "shop")


@pytest.mark.parametrize(
    "text, words",
    [
        ("upstream shop {\nserver a;\n", "ends within a block"),
        ("upstream shop { server a }", "line 1: a brace closes an unfinished statement"),
        ("}\n", "line 1: a brace closes nothing"),
        ("server a;\nupstream 'shop", "line 2: the quote is not closed"),
        ("a;\n;", "line 2: there is nothing before ;"),
        ("server a", "ends within a statement"),
    ],
)
def test_what_cannot_be_understood_names_file_and_line(tmp_path, text, words):
    path = tmp_path / "pool.conf"
    path.write_text(text)
    with pytest.raises(nginx_config.Unreadable) as error:
        servers(str(path), "shop")
    assert words in str(error.value) and str(path) in str(error.value)


PIECES = [
    "server a:1",
    "server  b",
    "server 'c d'",
    "server\ne\tdown",
    "down",
    "weight=2",
    "'down'",
    '"x\\"y"',
    "upstream shop",
    "upstream 'shop'",
    "upstream y",
    "http",
    "{",
    "{",
    "}",
    "}",
    ";",
    ";",
    ";",
    " ",
    "\n",
    "# down ; {\n",
    "${a}b",
    "$x",
    "a\\;b",
    "a#b",
    "\\{",
]


def test_any_text(tmp_path):
    """Generated files: what nginx's parser reads is read alike, and what it refuses is refused or
    harmless.
    """
    chance, path, read_by_both = random.Random(seed("NGINX_SEED")), tmp_path / "pool.conf", 0
    for number in range(rounds(2000, 400)):
        # Apart from each other: within a word nginx takes a closing brace for a part of it, and
        # this judge does not.
        inside = "".join(
            chance.choice(PIECES) + chance.choice([" ", "\n"])
            for _piece in range(chance.randrange(12))
        )
        around = chance.choice(
            [
                "{}",
                "upstream shop {{ {} }}",
                "upstream shop {{ server z; {}; }}",
                "http {{ upstream 'shop' {{ {} server y down; }} }}",
            ]
        )
        text = around.format(inside)
        path.write_text(text)
        try:
            expected = judged(str(path), "shop")
        except (crossplane.errors.NgxParserBaseException, IndexError):
            continue
        try:
            found = servers(str(path), "shop")
        except nginx_config.Unreadable:
            continue
        assert found == expected, text
        read_by_both += bool(expected)
    assert read_by_both > 20 and os.path.exists(str(path))
