# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived's priority, lowered and restored."""

import os
import sys

import pytest
from extent import rounds

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import (
    common,
    keepalived_priority,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import keepalived
from test_keepalived import EXPECTED, FIXTURES, MAIN, instances, on_disk, read  # noqa: E402

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")


def lower(text, token="t1"):
    source, statements = read(text)
    changes = keepalived_priority.lowered(source, statements, token, keepalived.read).get(MAIN, [])
    return keepalived_priority.changed(text.split("\n"), changes), changes


def test_a_comment_goes_and_comes_back_and_a_missing_priority_is_added():
    text = "vrrp_instance a {\n  priority 150 # the first\n}\nvrrp_instance b\n{\n}\n"
    lines, changes = lower(text)
    assert [line.strip() for line in lines if "rebootless" in line] == [
        "priority 1 # rebootless.ksplice t1 1",
        "priority 1 # rebootless.ksplice t1 2",
    ]
    assert [one.priority for one in instances("\n".join(lines))] == [1, 1]
    assert "\n".join(keepalived_priority.restored(lines, changes)) == text


def test_two_lines_that_become_alike_come_back_each_as_it_was():
    text = "vrrp_instance a {\n    priority 150\n}\n"
    text += "vrrp_instance b {\n    priority 100\n}\nvrrp_instance c {\n}\n"
    lines, changes = lower(text)
    assert len(set(after for _number, _before, after in changes)) == 3
    assert "\n".join(keepalived_priority.restored(lines, changes)) == text
    # Also when somebody changes their order meanwhile.
    assert keepalived_priority.restored(lines[::-1], changes) == text.split("\n")[::-1]


@pytest.mark.parametrize(
    "line",
    [
        "priority $HIGH",
        "priority ${HIGH}",
        'priority "150"',
        "$LINE",
        "priority 150 # $HIGH",
        "priority 150!x",
    ],
)
def test_a_priority_that_comes_of_a_parameter_is_lowered_too(line):
    text = f"$HIGH=150\n$LINE=priority $HIGH\nvrrp_instance a {{\n\t{line}\n}}"
    lines, changes = lower(text)
    assert instances(text)[0].priority == 150 and instances("\n".join(lines))[0].priority == 1
    assert "\n".join(keepalived_priority.restored(lines, changes)) == text


def test_line_ends_stay(tmp_path):
    text = "vrrp_instance a {\r\n  priority 150\r\n}\r\n"
    source = on_disk(tmp_path, keepalived=text)
    changes = keepalived_priority.lowered(source, keepalived.read(source), "t", keepalived.read)[
        MAIN
    ]
    lines = keepalived_priority.changed(source.files[MAIN], changes)
    assert "\n".join(keepalived_priority.restored(lines, changes)) == text


comments = st.sampled_from(["", " # a comment", " ! priority 9", "  "])
indents = st.sampled_from(["", "  ", "    ", "\t"])
names = st.sampled_from(["a", "web", '"quoted"', "vrrp_1", "$NAME"])
OTHER = [
    "interface eth0",
    "virtual_router_id 51",
    "nopreempt",
    "$REST",
    "# priority 3",
    "! {",
    "",
    'authentication {\nauth_pass "{#!"\n}',
    "advert_int 1",
    "track_script\n{\nchk weight 2\n}",
    "virtual_ipaddress {\n192.0.2.1/24\n2001:db8::1\n}",
    "@me priority 8",
    "@^nobody priority 77",
    "@^nobody state MASTER",
    "state MASTER",
    "state $STATE",
    "$BODY",
    "track_file {\nload\nother weight 0\n}",
    "track_interface {\nlo weight -5 reverse\neth0\n}",
    "track_process { web weight 9 }",
    "state BACKUP }\nvrrp_instance more {",
    'notify "/bin/x priority 5"',
]
priorities = st.sampled_from(
    [
        "priority 150",
        "priority 150",
        "priority  1",
        "priority 254",
        "priority $HIGH",
        "priority ${HIGH}",
        'priority "90"',
        "priority\t7",
    ]
)


@st.composite
def configurations(draw):
    """Instances as people write them, with and without a priority (or with two), and other
    blocks between them."""
    lines = ["$NAME=by_name", "$HIGH=200", "$REST=smtp_alert", "$STATE=MASTER"]
    lines += ["$BODY= \\", "priority 90 \\", "  state MASTER \\", "nopreempt", ""]
    lines += ["global_defs {", "router_id x", "}"]
    for _number in range(draw(st.integers(1, 5))):
        brace = draw(st.sampled_from([" {", "\n{", "{", " { # open"]))
        lines += ("vrrp_instance " + draw(names) + brace).split("\n")
        for part in draw(st.lists(st.one_of(st.sampled_from(OTHER), priorities), max_size=5)):
            indent, comment = draw(indents), draw(comments)
            lines += [indent + line + comment for line in part.split("\n")]
        end = draw(st.sampled_from(["}", "}", "priority 66 }", "\t} "]))
        between = [[], [""], ["vrrp_script chk {", "weight 3", "}"], ["track_file other {", "}"]]
        lines += [end + draw(comments)] + draw(st.sampled_from(between))
    return lines


@hypothesis.settings(max_examples=rounds(400, 25), deadline=None)
@hypothesis.given(configurations())
def test_lowered_by_the_parser_and_restored_to_the_letter(lines):
    text = "\n".join(lines)
    after, changes = lower(text)
    found, statements = instances("\n".join(after)), read("\n".join(after))[1]
    assert [one.name for one in found] == [one.name for one in instances(text)]
    assert [one.priority for one in found] == [1] * len(found)
    assert {one.most for one in keepalived_priority.wills(statements).values()} == {1}
    assert not any(one.state for one in found)
    assert keepalived_priority.restored(after, changes) == lines


@hypothesis.settings(max_examples=rounds(400, 25), deadline=None)
@hypothesis.given(configurations(), st.data())
def test_what_others_change_meanwhile_stays(lines, data):
    after, changes = lower("\n".join(lines))
    ours = {line for _number, _before, line in changes}
    edited, expected = [], []
    back = {line: before for _number, before, line in changes}
    for line in after:
        new = data.draw(
            st.lists(
                st.sampled_from(
                    [
                        "# by somebody",
                        "    priority 1",
                        "    priority 1 # rebootless.ksplice t0 1",
                        "}",
                    ]
                ),
                max_size=1,
            )
        )
        edited += new
        expected += new
        if line not in ours and data.draw(st.booleans()) and data.draw(st.booleans()):
            continue
        edited.append(line)
        expected += [line] if line not in ours else [back[line]] if back[line] is not None else []
    assert keepalived_priority.restored(edited, changes) == expected


PARTS = [
    "vrrp_instance a {",
    "vrrp_instance a",
    "{",
    "}",
    "} }",
    "priority 5",
    "state MASTER",
    "$A=b",
]
PARTS += [
    "$A= \\",
    "priority 7 \\",
    "} \\",
    "$A",
    "@^x }",
    "track_script {",
    "chk weight 5",
    "include x",
]
PARTS += [
    "vrrp_sync_group g {",
    "group {",
    "a",
    "track_file {",
    "file weight x",
    "~SEQ(N, 1, 2) $A",
    "",
]


@hypothesis.settings(max_examples=rounds(400, 25), deadline=None)
@hypothesis.given(st.lists(st.sampled_from(PARTS), max_size=14))
def test_anything_is_lowered_or_refused_and_never_a_traceback(lines):
    text = "\n".join(lines)
    try:
        after, changes = lower(text)
    except (keepalived.Unreadable, common.Trouble) as refused:
        assert "\n" not in str(refused)
        return
    assert {one.priority for one in instances("\n".join(after))} <= {1}
    assert keepalived_priority.restored(after, changes) == lines or not lines


@pytest.mark.parametrize("one", EXPECTED, ids=["{file}@{id}".format(**one) for one in EXPECTED])
def test_configurations_as_people_have_them_are_lowered_and_restored(one):
    def again(source):
        return keepalived.read(source, "/" + one["file"], one["id"])

    source = keepalived.Source(os.path.abspath(FIXTURES))
    statements = again(source)
    changes = keepalived_priority.lowered(source, statements, "t", again)
    edited = keepalived_priority.Edited(
        source, lambda path, lines: keepalived_priority.changed(lines, changes.get(path, []))
    )
    found = keepalived.instances(again(edited))
    assert [each.name for each in found] == [each.name for each in keepalived.instances(statements)]
    assert {each.priority for each in found} <= {1}
    for path, lines in edited.files.items():
        assert keepalived_priority.restored(lines, changes.get(path, [])) == source.files[path]


# ---- who would take an address -----------------------------------------------------------------


def will(text, name="web"):
    return keepalived_priority.wills(read(text)[1])[name]


def web(*lines, more=""):
    return "\n".join(["vrrp_instance web {", *lines, "}", more, ""])


SCRIPT = "vrrp_script chk {\nweight %s\n}\n"


@pytest.mark.parametrize(
    "text, priority, most",
    [
        (web("priority 100"), 100, 100),
        (web(), 100, 100),
        (web("state MASTER"), 255, 255),
        (web("priority 255", "track_script {\nchk weight 9\n}"), 255, 255),
        (web("priority 90", "track_script {\nchk\n}"), 90, 90),
        (SCRIPT % "60" + web("priority 90", "track_script {\nchk\n}"), 90, 150),
        (SCRIPT % "60" + web("priority 90", "track_script {\nchk weight 0\n}"), 90, 90),
        (SCRIPT % "-60" + web("priority 90", "track_script {\nchk\n}"), 90, 90),
        (SCRIPT % "-60 reverse" + web("priority 90", "track_script {\nchk\n}"), 90, 150),
        (SCRIPT % "-60 reverse" + web("track_script {\nchk weight -5 noreverse\n}"), 100, 100),
        (web("priority 90", "track_process {\nnginx\n}"), 90, 91),
        (web("priority 90", "track_file {\nload\n}"), 90, 254),
        (web("priority 90", "track_file {\nload weight 0\n}"), 90, 90),
        (web("priority 90", "track_interface {\neth1\neth2 weight 7\neth3 weight 3\n}"), 90, 100),
        (web("priority 90", "track_script {\nchk weight x\n}"), 90, 254),
        (
            web(
                "priority 90",
                more="vrrp_sync_group both {\ngroup {\nweb\n}\ntrack_bfd {\nb weight 4\n}\n}",
            ),
            90,
            94,
        ),
    ],
)
def test_what_a_priority_is_and_may_become(text, priority, most):
    assert will(text)[2:4] == (priority, most)
    # Lowered it can be no more than 1, whatever the checks say.
    lines, changes = lower(text)
    assert will("\n".join(lines))[2:4] == (1, 1)
    assert "\n".join(keepalived_priority.restored(lines, changes)) == text


@pytest.mark.parametrize(
    "lines, nopreempt, delay",
    [
        (["nopreempt"], True, 0),
        (["state BACKUP", "nopreempt"], True, 0),
        (["state MASTER", "nopreempt", "preempt_delay 9"], False, 0),
        (["preempt_delay 9.5"], False, 9.5),
        (["nopreempt", "preempt_delay 9"], True, 0),
        (["preempt_delay x"], False, 0),
    ],
)
def test_what_lets_the_peer_keep_an_address(lines, nopreempt, delay):
    text = web(*lines)
    assert (will(text).nopreempt, will(text).delay) == (nopreempt, delay)
    text += "vrrp_instance mate {\n}\nvrrp_sync_group both {\ngroup {\nweb\nmate\n}\n}"
    assert (will(text, "mate").nopreempt, will(text, "mate").delay) == (nopreempt, delay)


def test_what_cannot_be_lowered_is_refused_with_its_line():
    text = "$END=}\n$STATE=state MASTER\nvrrp_instance web {\n$STATE\n~SEQ(N, 1, 2) priority $N\n}"
    assert instances("\n".join(lower(text)[0]))[0].priority == 1
    text = "$BODY=state MASTER \\\ninterface eth0\n\nvrrp_instance web {\n$BODY\n}"
    with pytest.raises(common.Trouble, match=f"{MAIN} line 1: .*: give each statement there"):
        lower(text)


def test_seconds_between_two_words_of_a_holder():
    assert keepalived_priority.interval(read(web("advert_int 0.2"))[1]) == 1.0
    assert keepalived_priority.interval(read(web("advert_int 3") + web("advert_int x"))[1]) == 3.0
