# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The reader of the agent's YAML against PyYAML, which the controller has and managed hosts have not."""

import pytest
from extent import rounds

from ansible_collections.rebootless.ksplice.plugins.module_utils import state_yaml

yaml = pytest.importorskip("yaml")
hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

scalars = st.one_of(
    st.sampled_from(["CVE-2026-1: foo's \"bar\".", "in [x] {y}, z", "x # y", "- dash", "a: b", "#2 SMP Thu May 9 15:59:05 PDT 2024", "yes",
                     "12", "null", "~", "", "trailing \\", "  lead", "%x", "@y", "? q", "!t", "&a", "|", "1:2", "it's", "'q'", "tab\tb",
                     "Known exploit detection for CVE-2017-7308, and words that go on and on until the writer wraps them over lines"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2fff, blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=120))
keys = st.sampled_from(["ID", "Name", "Result Code", "Plan", "Time", "Upgrade plan format version", "SHA-1"])
documents = st.dictionaries(keys, st.recursive(scalars, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)), max_leaves=12), min_size=1, max_size=4)


@hypothesis.settings(max_examples=rounds(500), deadline=None)
@hypothesis.given(documents, st.booleans())
def test_reads_what_pyyaml_writes(document, unicode):
    text = yaml.safe_dump(document, default_flow_style=None, explicit_start=True, explicit_end=True, allow_unicode=unicode)
    assert state_yaml.load(text) == document


@hypothesis.settings(max_examples=rounds(500), deadline=None)
@hypothesis.given(st.one_of(st.text(max_size=300), st.text("{}[]:,-'\"\\ \nab#", max_size=200)))
def test_anything_else_is_read_or_refused_and_never_a_traceback(text):
    try:
        state_yaml.load(text)
    except state_yaml.NotStateYaml as refused:
        assert "\n" not in str(refused)


def test_deep_nesting_is_refused():
    with pytest.raises(state_yaml.NotStateYaml):
        state_yaml.load("[" * 5000 + "]" * 5000)
    with pytest.raises(state_yaml.NotStateYaml):
        state_yaml.load("- " * 5000 + "a")
