# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The agent's pure parts: plans, and YAML as PyYAML writes it."""

import pytest
import yaml
from agent_host import KERNEL
from extent import rounds
from hypothesis import given, settings
from hypothesis import strategies as st
from uptrack_lab import kernel as kernels
from uptrack_lab import plan, server, world, yaml_files

# ---- plans ---------------------------------------------------------------------------------------


@st.composite
def catalogues(draw):
    """Updates that may require any other earlier one, and supersede any earlier one."""
    updates = []
    for place in range(draw(st.integers(0, 9))):
        earlier = [update["id"] for update in updates]
        pick = (
            st.lists(st.sampled_from(earlier), max_size=2, unique=True) if earlier else st.just([])
        )
        updates.append(
            {
                "id": f"u{place}",
                "requires": draw(pick),
                "supersedes": draw(pick),
                "effective": None,
            }
        )
    return draw(st.permutations(updates))


@st.composite
def situations(draw):
    updates = draw(catalogues())
    ids = [update["id"] for update in updates]
    some = st.sets(st.sampled_from(ids)) if ids else st.just(set())
    return updates, plan.with_requirements(updates, draw(some)), draw(some)


def follow(updates, installed, steps):
    """Do the steps one by one as a kernel would, and complain about what it could not do."""
    requires = {update["id"]: set(update["requires"]) for update in updates}
    now = set(installed)
    for verb, one in steps:
        if verb == plan.REMOVE:
            assert one in now
            assert not [other for other in now if one in requires[other]], "something needs it"
            now.remove(one)
        else:
            assert one not in now
            assert requires[one] <= now or any(
                set(update["supersedes"]) & (requires[one] - now) for update in updates
            )
            now.add(one)
    return now


@given(situations())
def test_removal_takes_out_what_needs_it_and_no_more(situation):
    updates, installed, unwanted = situation
    left = follow(updates, installed, plan.to_remove(updates, installed, unwanted))
    assert not left & unwanted
    for one in installed - left - unwanted:  # each of these stood on something that went
        assert [
            update
            for update in updates
            if update["id"] == one and set(update["requires"]) & (installed - left)
        ]


@given(situations())
def test_an_upgrade_ends_where_there_is_nothing_more_to_do(situation):
    updates, installed, dummy = situation
    everything = [update["id"] for update in updates]
    steps = plan.to_install(updates, installed, everything)
    left = follow(updates, installed, steps)
    assert plan.to_install(updates, left, everything) == []
    assert plan.after(installed, steps) == left


@given(situations())
def test_an_install_brings_what_was_asked_for(situation):
    updates, installed, wanted = situation
    left = follow(updates, installed, plan.to_install(updates, installed, wanted))
    replaced = {one for update in updates for one in update["supersedes"]}
    assert wanted - replaced <= left


@given(situations())
def test_the_stack_has_requirements_below(situation):
    updates = situation[0]
    order = plan.stack_order(updates)
    assert sorted(order) == sorted(update["id"] for update in updates)
    for update in updates:
        assert all(order.index(needed) < order.index(update["id"]) for needed in update["requires"])


def test_effective_kernel_strips_only_the_architecture():
    booted = dict(KERNEL, machine="x86_64", sysname="Linux", package_version=None)
    assert plan.effective_kernel(booted, [], ())["package_version"] == "5.15.0-302.167.6.1.el9uek"
    other = dict(booted, release="6.8.0-31-generic")
    assert plan.effective_kernel(other, [], ())["package_version"] == "6.8.0-31-generic"


@pytest.mark.parametrize(
    "abort,processes,took,move",
    [
        ("code_busy", [["bash", 1]], 0.1, "again"),
        ("code_busy", [["bash", 1]], 5.1, "give up"),
        ("code_busy", [["krfcommd", 1]], 9, "rmmod rfcomm"),
        ("no_match", [], 0, "rmmod"),
        ("failed_to_find", [], 0, "rmmod"),
        ("out_of_memory", [], 0, "give up"),
    ],
)
def test_next_move(abort, processes, took, move):
    problem = {"abort": abort, "processes": processes, "removable": ["m"]}
    assert kernels.next_move(problem, False, 2, False, False, took) == move
    assert kernels.next_move(problem, True, 0, True, True, took) == "give up"


def test_versions_sort_as_numbers():
    assert server.version_key("1.2.80") > server.version_key("1.2.9")
    assert server.version_key("1.10") > server.version_key("1.2.80")


def test_utc():
    assert world.utc(1795316405.123456) == "2026-11-22 03:00:05.123456"
    assert world.utc(0.0) == "1970-01-01 00:00:00.000000"


# ---- YAML ----------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(alphabet="ab z'\":#,[]{}-?!019.\u00e9\n%&*|>@`~=<x_+eTZ", max_size=60),
    st.lists(st.text(alphabet="abc:,'-.", min_size=1, max_size=12), min_size=5, max_size=40).map(
        " ".join
    ),
    st.lists(
        st.text(alphabet='abc  \n"\\\t\xe9\u2028\U0001f427', max_size=12), min_size=5, max_size=40
    ).map(" ".join),
    st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=20),
    st.sampled_from(
        [
            "12345678",
            "1e5",
            "2026-01-01",
            "yes",
            "No",
            "0x12",
            "1:30",
            "1_0",
            ".5",
            "08",
            "0o7",
            "1.5.2",
            "-",
            "=",
            "<<",
            "null",
            "~",
            "2026-11-22 03:10:05.12",
            "5.15.0-302.el9uek.x86_64",
            "#2 SMP",
        ]
    ),
)
SCALARS = st.one_of(TEXTS, st.booleans(), st.integers(0, 999), st.none())
KEYS = st.sampled_from(["Alpha", "Beta gamma", "C", "Nonmatching Modules", "SHA-1"])
LEAVES = st.one_of(st.dictionaries(KEYS, SCALARS, max_size=5), st.lists(SCALARS, max_size=12))
MIDDLE = st.dictionaries(KEYS, st.one_of(SCALARS, LEAVES), max_size=5)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.one_of(
        SCALARS,
        LEAVES,
        MIDDLE,
        st.lists(st.one_of(MIDDLE, LEAVES), max_size=6),
        st.dictionaries(KEYS, MIDDLE, max_size=3),
    ),
    min_size=1,
    max_size=5,
)


@given(DOCUMENTS)
@settings(max_examples=rounds(400), deadline=None)
def test_yaml_is_read_back_by_others_and_by_us(data):
    text = yaml_files.dump(data)
    assert yaml.safe_load(text) == data
    assert yaml_files.load(text) == data


def as_the_client_writes(data):
    """PyYAML's quick writer, with the settings that lay a file out as the recordings of the real
    client have it.
    """
    return yaml.dump(
        data,
        Dumper=yaml.CSafeDumper,
        default_flow_style=None,
        version=(1, 1),
        explicit_start=True,
        explicit_end=True,
    )


@given(DOCUMENTS)
@settings(max_examples=rounds(600), deadline=None)
def test_yaml_is_laid_out_as_pyyaml_does(data):
    assert yaml_files.dump(data) == as_the_client_writes(data)


@pytest.mark.parametrize(
    "text", ["x" * 90 + "\t  ", "x" * 90 + "\t ", "   " * 30 + "\t", "\t" + "a  " * 60]
)
def test_blanks_at_the_edge_of_a_quoted_text(text):
    for data in (
        {"A": text},
        {"A": [text, text]},
        {"A": {"B": [text]}, "C": [{"A": text}, {"D": [1]}]},
    ):
        assert yaml_files.dump(data) == as_the_client_writes(data)


@given(
    st.integers(1, 300).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    st.lists(MIDDLE, max_size=2),
)
@settings(deadline=None)
def test_bytes_are_laid_out_as_pyyaml_does(content, others):
    data = {"UptrackLog": content, "Others": others}
    text = yaml_files.dump(data)
    assert text == as_the_client_writes(data)
    assert yaml.safe_load(text) == data


@given(st.text(max_size=200))
def test_rubbish_is_unreadable_and_nothing_else(text):
    for attempt in (text, f"---\n{text}\n...\n"):
        try:
            yaml_files.load(attempt)
        except yaml_files.Unreadable:
            pass


@pytest.mark.parametrize(
    "text",
    [
        "",
        "--- {A: 1}",
        "---\nA:\n...\n",
        "---\nA: [b\n...\n",
        "---\nA: {b c}\n...\n",
        "---\nA: 'b\n...\n",
        "---\nA: [b] c\n...\n",
        "---\n- a\nB: c\n...\n",
    ],
)
def test_unreadable(text):
    with pytest.raises(yaml_files.Unreadable):
        yaml_files.load(text)
