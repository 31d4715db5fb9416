# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Whatever comes: never a traceback, the kernel's own word wins, and what cannot be believed is
unknown.
"""

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import redact
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply, facts, output
from extent import rounds

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

IDS = ["aaaaaaa1", "bbbbbbb2"]
settings = hypothesis.settings(
    max_examples=rounds(300), deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
noise = st.text(st.characters(blacklist_categories=("Cs",)), max_size=60)
SAID = [
    "The following steps will be taken:",
    "Install [aaaaaaa1] CVE-2026-1: Foo.",
    "Remove [bbbbbbb2] Bar [x]: y",
    "Installing [aaaaaaa1] CVE-2026-1: Foo.",
    "Removing [bbbbbbb2] Bar",
    "The following actions failed:",
    "Error processing ksplice-aaaaaaa1.tar.gz",
    "  - bash (pid 1234)",
    "  - evil_mod",
    "",
    "None",
    "Ksplice was unable to install the update because one or more programs",
    "are constantly using the kernel functions patched by this update.",
    "Effective kernel version is 5.15.0-303.167.6.el9uek",
    "Your kernel is fully up to date.",
    "Nothing to be done.",
    "Installed updates:",
    "Available updates:",
    "[aaaaaaa1] CVE-2026-1: Foo.",
    "Unknown update zzz, skipping.",
    "Aborting.",
    "Available effective kernel versions:",
    "5.15.0-303.el9uek.x86_64/#2 SMP",
    "It appears that another Uptrack process is currently running on this",
    "system.",
]
words = st.lists(st.one_of(st.sampled_from(SAID), noise), max_size=40).map("\n".join)


@settings
@hypothesis.given(words, st.integers(-20, 260))
def test_any_words_with_any_status(text, status):
    output.steps(text)
    added, taken = output.planned(text)
    assert not set(added) & set(taken)
    available, installed, effective = output.shown(text)
    assert all(one["id"] for one in (available or []) + (installed or [])) and effective != ""
    for failure in output.failures(text):
        assert failure.id and failure.reason and failure.advice
    problem = output.problem(status, text)
    assert (problem is None) == (status == 0)
    assert status == 0 or (problem.error_class and problem.what and problem.advice)
    output.effective_builds(text)


@settings
@hypothesis.given(
    words,
    st.integers(0, 30),
    st.sets(st.sampled_from(IDS + ["ccccccc3"])),
    st.sets(st.sampled_from(IDS + ["ccccccc3"])),
)
def test_what_changed_never_comes_from_words(text, status, before, after):
    """The lists of a result are the difference of the kernel's two states, whatever the agent says
    and however it ends.
    """

    def seen(idents):
        known = facts.nothing("behind", "x")
        known["updates"].update(
            installed=[output.update(ident, None) for ident in sorted(idents)],
            available=[],
            superseded=[],
        )
        known["cves"].update(fixed=[], open=[])
        return known

    result = apply.outcome(
        seen(before),
        seen(after),
        apply.Work("uptrack-upgrade", []),
        status,
        text,
        1,
        {"unsupported": "fail", "state": "latest"},
    )
    assert result["changed"] == (before != after)
    assert result["installed"] == sorted(after - before) and result["removed"] == sorted(
        before - after
    )
    assert result["failed"] == (status != 0)


@settings
@hypothesis.given(st.data())
def test_a_cut_shuffled_or_soiled_answer(good_answer, data):
    lines = good_answer.rstrip("\n").split("\n")
    kernel = [line for line in lines if line.startswith("@stage ")]
    how = data.draw(st.sampled_from(["cut", "shuffle", "drop", "soil", "twice", "swap"]))
    if how == "cut":
        lines = lines[: data.draw(st.integers(0, len(lines)))]
    elif how == "shuffle":
        lines = data.draw(st.permutations(lines))
    elif how == "drop":
        gone = data.draw(st.sets(st.integers(0, len(lines) - 1), max_size=30))
        lines = [line for number, line in enumerate(lines) if number not in gone]
    elif how == "soil":
        for _count in range(data.draw(st.integers(1, 5))):
            number = data.draw(st.integers(0, len(lines) - 1))
            at = data.draw(st.integers(0, len(lines[number])))
            lines[number] = (
                lines[number][:at] + data.draw(noise).replace("\n", " ") + lines[number][at:]
            )
    elif how == "twice":
        lines = lines + lines
    else:
        number = data.draw(st.integers(0, len(lines) - 1))
        lines[number] = lines[number].partition(" ")[0] + " " + data.draw(noise).replace("\n", " ")
    seen = facts.facts("\n".join(lines))
    assert seen["verdict"] in facts.VERDICTS and seen["reason"]
    # Two updates wait. No damage to the answer makes that `current`.
    assert seen["verdict"] != "current"
    if how in ("shuffle", "twice") and seen["updates"]["installed"] is not None:
        assert sorted(one["id"] for one in seen["updates"]["installed"]) == sorted(
            line.split()[1] for line in kernel
        )


@settings
@hypothesis.given(
    noise.map(lambda text: "@" + text)
    | noise
    | st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)
def test_any_text_at_all(text):
    for answer in (
        text,
        text + "\n@end",
        "@uid 0\n@sysmodule 1\n@command uptrack-upgrade /x\n" + text + "\n@end",
    ):
        assert facts.facts(answer)["verdict"] != "current"


def test_a_huge_answer(good_answer):
    huge = good_answer.replace(
        "@end", "@words " + "x" * 5000000 + "\n" + "@cron y\n" * 100000 + "@end"
    )
    assert facts.facts(huge)["verdict"] == "behind"


def test_what_the_files_say_of_another_state_is_not_believed(good_answer):
    """The plan says that nothing waits, but it was made for another kernel state: that is not
    `current`.
    """
    lines = [line for line in good_answer.split("\n") if not line.startswith("@upgrade_plan ")]
    time = [line for line in good_answer.split("\n") if line.startswith("@upgrade_plan Time:")]
    lines[-2:-2] = ["@upgrade_plan Plan: []"] + time + ["@upgrade_plan ..."]
    assert facts.facts("\n".join(lines))["verdict"] == "current"
    fewer = [line for line in lines if not line.startswith("@stage bbbbbbb2")]
    assert facts.facts("\n".join(fewer))["verdict"] == "unknown"
    more = ["@stage zzzzzzz9 applied"] + lines
    assert facts.facts("\n".join(more))["verdict"] == "unknown"
    ahead = [
        line if line not in time else "@upgrade_plan Time: 2099-01-01 00:00:00" for line in lines
    ]
    assert "in the future" in facts.facts("\n".join(ahead))["reason"]
    # Cut off, without its time, or with a step that cannot be read: no plan at all.
    assert (
        facts.facts("\n".join(line for line in lines if line != "@upgrade_plan ..."))["verdict"]
        == "unknown"
    )
    assert (
        facts.facts("\n".join(line for line in lines if line not in time))["verdict"] == "unknown"
    )
    for step in ("- {Command: Install}", "- {Command: install, ID: x}", "- [x]", "- x"):
        odd = [
            line
            if line != "@upgrade_plan Plan: []"
            else "@upgrade_plan Plan:\n@upgrade_plan " + step
            for line in lines
        ]
        assert facts.facts("\n".join(odd))["verdict"] == "unknown", step


def test_a_terminal_s_line_ends(good_answer):
    """Over ssh with become the probe has a terminal, which ends its lines with a carriage return
    too.
    """
    plain, terminal = facts.facts(good_answer), facts.facts(good_answer.replace("\n", "\r\n"))
    assert plain == terminal and plain["verdict"] == "behind"


@settings
@hypothesis.given(
    st.text(st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=4, max_size=40),
    noise,
    noise,
    st.integers(1, 12),
)
def test_a_secret_is_found_however_it_is_wrapped(secret, before, after, width):
    wrapped = "\n   ".join(secret[at : at + width] for at in range(0, len(secret), width))
    hypothesis.assume(secret not in before + after and secret not in "(hidden)")
    shown = redact.mask(before + wrapped + after, [secret])
    assert wrapped not in shown
