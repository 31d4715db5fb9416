# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The reader of the agent's YAML against PyYAML, which the controller has and managed hosts have
not.
"""

import base64
import glob
import json
import os

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import state_yaml
from extent import rounds

yaml = pytest.importorskip("yaml")
hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

RECORDINGS = sorted(
    glob.glob(
        os.path.join(
            os.path.dirname(os.path.abspath(__file__)),
            "..",
            "..",
            "..",
            "fixtures",
            "recordings",
            "*.json",
        )
    )
)


def oracle(text):
    """What PyYAML makes of the text, every scalar as text, save null."""

    def plain(node):
        if isinstance(node, yaml.ScalarNode):
            if node.tag == "tag:yaml.org,2002:binary":
                return base64.b64decode(node.value.encode("ascii")).decode("utf-8", "replace")
            return None if node.tag == "tag:yaml.org,2002:null" else node.value
        if isinstance(node, yaml.SequenceNode):
            return [plain(inner) for inner in node.value]
        return {plain(key): plain(value) for key, value in node.value}

    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return None if node is None else plain(node)


def same(text):
    assert state_yaml.load(text) == (oracle(text), []), text


def texts_of_recordings():
    for path in RECORDINGS:
        with open(path, encoding="utf-8") as file:
            recording = json.load(file)
        for name, text in recording["files_afterwards"].items():
            if text is not None:
                yield recording["name"], name, text


def test_every_file_of_the_recordings():
    texts = list(texts_of_recordings())
    assert len(texts) > 60
    for _recording, _name, text in texts:
        same(text)


ODD = [
    'CVE-2026-1: foo\'s "bar".',
    "in [x] {y}, z",
    "x # y",
    "- dash",
    "a: b",
    "#2 SMP Thu May 9 15:59:05 PDT 2024",
    "yes",
    "no",
    "1e5",
    "0x123456",
    "12",
    "null",
    "~",
    "",
    "trailing \\",
    "  lead",
    "tail  ",
    "%x",
    "@y",
    "? q",
    "!t",
    "&a",
    "|",
    "1:2",
    "it's",
    "'q'",
    "tab\tb",
    "a\n",
    "\na",
    "a\n\nb",
    " a\nb",
    "a\n b\n\n",
    "\n\n",
    "a\n\n\n",
    "\ufeffx",
    "\x07",
    "\u2028",
    "a\u2028b",
    "\x85",
    "caf\u00e9",
    "\U0001f427",
    "---",
    "...",
    "--- a",
    "a\n---\nb",
    "=",
    "<<",
    (
        "words - and - more - words - that - go - on - until - the - writer - wraps - them - "
        "over - several - lines - of - text"
    ),
    "a" * 200,
    "x " * 100,
    (
        "Known exploit detection for CVE-2017-7308, and words that go on and on until the writer "
        "wraps them over lines"
    ),
    "2024-01-01",
    "1_000",
    "True",
]
scalars = st.one_of(
    st.sampled_from(ODD),
    st.none(),
    st.booleans(),
    st.integers(),
    st.binary(max_size=120),
    st.text("ab :,-#'\"\\\n\t[]{}|>!&*%@`?~", max_size=40),
    st.text(
        st.characters(min_codepoint=0, max_codepoint=0x2FFFF, blacklist_categories=("Cs",)),
        max_size=120,
    ),
)
keys = st.one_of(
    st.sampled_from(
        ["ID", "Name", "Result Code", "Plan", "Time", "Upgrade plan format version", "SHA-1"] + ODD
    ),
    st.text(
        st.characters(min_codepoint=32, max_codepoint=0x2FFF, blacklist_categories=("Cs",)),
        max_size=140,
    ),
)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.lists(inner, min_size=1, max_size=2).map(lambda one: one + one),
    ),
    max_leaves=16,
)
settings = hypothesis.settings(
    max_examples=rounds(300), deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)


@settings
@hypothesis.given(
    documents,
    st.sampled_from([None, True, False]),
    st.sampled_from([20, 80, 10000]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, (1, 1)]),
    st.sampled_from([None, "'", '"', "|", ">"]),
    st.sampled_from([2, 4, 7]),
    st.booleans(),
)
def test_reads_what_pyyaml_writes(
    document, flow, width, unicode, explicit, version, style, indent, safe
):
    text = (yaml.safe_dump if safe else yaml.dump)(
        document,
        default_flow_style=flow,
        width=width,
        allow_unicode=unicode,
        explicit_start=explicit,
        explicit_end=explicit,
        version=version,
        default_style=style,
        indent=indent,
    )
    try:
        expected = oracle(text)
    except yaml.YAMLError:
        return  # what PyYAML writes and cannot read itself is nobody's document
    value, unread = state_yaml.load(text)
    if any(sign in text for sign in "\x85\u2028\u2029"):
        # Line breaks that only YAML 1.1 knows: what is not read as PyYAML reads it is told.
        assert value == expected or unread, text
    else:
        assert (value, unread) == (expected, []), text


@pytest.mark.parametrize(
    "text",
    [
        (
            "a: !!str null\nb: !!null ''\n"
            "c: !!int '4096'\nd: !!timestamp '2026-11-26 22:33:16.198677'\n"
        ),
        "a: !!python/unicode 'x'\nb: !!python/str \"y\"\n",
        "a: !!python/tuple\n- 1\n- [2, 3]\nb: !!python/tuple [c, d]\n",
        "? a\n: b\n? x\n",
        "? c\n: - d\n  - e\n",
        "- - a\n  - b\n-\n  - c\n- - - d\n",
        "a: &x {b: c}\nd: *x\ne: [*x, *x]\n",
        "- &x\n  a: b\n- *x\n",
        (
            "a: |\n  x\n\n   y\n\nb: >-\n  x\n  y\n\n  z\n   w\n  v\n"
            "c: |+\n  x\n\n\nd: |2-\n   x\n  y\n"
        ),
        "a: >2\n   x\n  y\n",
        "# c\na: b # c\n# d\nc:   # e\n  # f\n  d: e\n\n",
        "a: 'x\n\n\n  y'\nb: \"x\n\n  y\\\n  \\ z\"\n",
        "a: x\n  y\n\n  z # c\n",
        "a:\n  b:\n   - c\n   -\n  d:\n",
        "{a: b, 'c': {d: [e, f]}, g, h: }\n",
        "[a: b, c: [d], ? e : f, ]\n",
        "--- {a: b}\n...\n",
        "--- |\n  a\n",
        "--- 'a\n\n  b'\n",
        "--- >-\n  a\n  b\n...\n# c\n",
        "%YAML 1.1\n%TAG ! tag:x,2000:\n---\na: b\n...\n",
        "\ufeffa: b\n",
        "a: b\r\nc: 'd\r\n  e'\r\n",
        "a: http://x:1/y#z\n",
        "a: -1\nb: :x\nc: ?x\n",
        "'a': b\n\"c\": d\n",
        "",
        "---\n...\n",
        "null: a\n~: b\n",
        "a: ''\nb: \"\"\nc: ''''\nd: '\n\n  '\n",
        "!!str a: b\n&x c: d\n",
        "a: !<tag:yaml.org,2002:str> null\n",
        "a: ! null\n",
        "a: ~\nb: Null\nc: NULL\nd: 'null'\n",
        "a: [b,\n  c]\nd: {e: f,\n  g: h}\n",
        "a: [\n  b,\n  # c\n  d\n  ]\n",
        "a: {b: 'c\n    d', e: f g\n    h}\n",
        "- a: b\n  c: d\n- e\n",
    ],
)
def test_what_else_may_stand_in_a_file(text):
    same(text)


@settings
@hypothesis.given(
    st.one_of(st.text(max_size=300), st.text("{}[]:,-'\"\\ \nab#|>!&*?%\t", max_size=200))
)
def test_anything_else_is_read_or_refused_and_never_a_traceback(text):
    _value, unread = state_yaml.load(text)
    assert all(
        "\n" not in one.what
        and 1 <= one.line <= text.count("\n") + text.count("\r") + text.count("\x85") + 1
        for one in unread
    )


@settings
@hypothesis.given(st.sampled_from(list(texts_of_recordings())), st.data())
def test_one_broken_key_leaves_the_others(chosen, data):
    """A value of a top-level key is replaced by something unreadable: the others read as before."""
    text = chosen[2]
    expected = oracle(text)
    key = data.draw(st.sampled_from([name for name in expected if f"\n{name}:" in text]))
    broken = data.draw(
        st.sampled_from(
            [
                '"open',
                "'open",
                "[open",
                "{a: [b",
                "a: b: c",
                "*none",
                "!!binary \u00e9",
                '"\\q"',
                "|x",
                "@x",
                "{a b: }: c",
                "x\n y: z",
            ]
        )
    )
    start = text.index(f"\n{key}:") + 1
    end = start
    while True:
        end = text.index("\n", end) + 1
        if not (text[end : end + 1] in " \n-" and text[end : end + 3] != "---"):
            break
    value, unread = state_yaml.load(text[:start] + f"{key}: {broken}\n" + text[end:])
    assert {name: value[name] for name in value if name != key} == {
        name: expected[name] for name in expected if name != key
    }
    assert [one.path for one in unread] == [key] and unread[0].line >= text.count(
        "\n", 0, start
    ) + 1


def test_what_cannot_be_read_is_reported_with_its_line():
    text = "Plan:\n- {ID: a}\n- {ID: \"b}\n- ID: c\n  Name: 'open\n  Time: 1\nTime: 2\n"
    value, unread = state_yaml.load(text)
    assert value == {"Plan": [{"ID": "a"}, None, {"ID": "c", "Time": "1"}], "Time": "2"}
    assert [(one.path, one.line) for one in unread] == [("Plan[1]", 3), ("Plan[2].Name", 5)]


def test_an_open_quote_ends_with_its_own_lines():
    """Else the next quote in the file would close it, and all between were lost."""
    value, unread = state_yaml.load("a: 'open\nb: 'c'\nd: \"open\n  more\ne: \"f\"\n")
    assert value == {"b": "c", "e": "f"} and [one.path for one in unread] == ["a", "d"]
    value, unread = state_yaml.load("a: 'open\nb: '\nd: e\n")
    assert value == {"d": "e"} and [one.path for one in unread] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "a: b\n...\nc: d\n...\n",
        "---\na: b\n---\nc: d\n",
        "a: b\n---\nc: d\n",
        "a: b\n...\n---\na: b\n...\n",
    ],
)
def test_two_documents_are_none(text):
    value, unread = state_yaml.load(text)
    assert value is None and len(unread) == 1 and unread[0].path == ""


def test_what_is_too_deep_or_too_much_is_refused():
    for text in (
        "[" * 5000 + "]" * 5000,
        "- " * 5000 + "a",
        "{a: " * 5000,
        "\n".join(" " * depth + "a:" for depth in range(500)),
        "a: b\n" * 30000,
        "- [[" + "]," * 30000,
        "x" * 2000001,
    ):
        assert state_yaml.load(text)[1], text[:20]


def test_a_file_cut_anywhere_never_loses_what_is_above():
    text = next(
        text
        for recording, name, text in texts_of_recordings()
        if (recording, name) == ("partial_busy", "results")
    )
    for end in range(0, len(text), 7):
        value, _unread = state_yaml.load(text[:end])
        if "\nKernel:" in text[:end]:
            assert value["ClientEffectiveKernel"] == "5.15.0-305.176.4.el9uek"
