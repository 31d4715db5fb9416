# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack.conf: edits keep what they do not name, and what comes out is read alike by both of the
agent's possible parsers.
"""

import configparser

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import redact
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import (
    conf,
    configure,
    enroll,
)
from extent import rounds

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

SHIPPED = """\
# The settings of the agent.
[Auth]
accesskey = INSERT_ACCESS_KEY

[Network]
# Input your proxy:
https_proxy =
gconf_proxy_lookup = no

[Settings]
install_on_reboot = yes
#upgrade_on_reboot = yes
autoinstall = no

[Local]
; ours
Our-Key: some value
"""


def edited(text=SHIPPED, **wishes):
    return conf.edit(text, {tuple(place.split("__")): value for place, value in wishes.items()})


def test_one_value_changes_one_line():
    new = edited(Settings__autoinstall=True)
    changed = [(a, b) for a, b in zip(SHIPPED.split("\n"), new.split("\n")) if a != b]
    assert changed == [("autoinstall = no", "autoinstall = yes")] and len(new.split("\n")) == len(
        SHIPPED.split("\n")
    )


@pytest.mark.parametrize("same", ["no", "No", "off", "0", "false"])
def test_a_value_that_means_the_same_is_left_as_it_is(same):
    text = SHIPPED.replace("autoinstall = no", "autoinstall = " + same)
    assert edited(text, Settings__autoinstall=False) == text


def test_a_new_key_goes_to_the_end_of_its_section_and_a_new_section_to_the_end():
    new = edited(Settings__no_rmmod=True, User__yum_userspace_ksplice_repo_name="ours")
    assert "autoinstall = no\nno_rmmod = yes\n\n[Local]" in new
    assert new.endswith("Our-Key: some value\n\n[User]\nyum_userspace_ksplice_repo_name = ours\n")


def test_null_removes_a_key():
    assert "https_proxy" not in edited(Network__https_proxy=None)


def test_what_stands_twice_is_brought_together_and_the_last_value_stays():
    text = (
        "[Settings]\nautoinstall = no\n"
        "[Auth]\naccesskey = a\n[Settings]\n"
        "autoinstall = yes\nno_rmmod = yes\n"
    )
    assert [problem.line for problem in conf.problems(text)] == [5, 6]
    new = conf.edit(text, {})
    assert conf.problems(new) == []
    assert conf.values(new) == {
        ("Settings", "autoinstall"): "yes",
        ("Settings", "no_rmmod"): "yes",
        ("Auth", "accesskey"): "a",
    }


@pytest.mark.parametrize(
    "line, why",
    [
        ("stray words", "neither a section, a key nor a comment"),
        ("autoinstall = maybe", "must be yes or no"),
        ("autoinstall =", "not an empty value"),
        ('suppress_ip = "yes"', "must be yes or no"),
        ("no_rmmod = yes # please", "must be yes or no"),
        ("install_on_reboot = yes", "again"),
    ],
)
def test_the_line_that_breaks_the_agent_is_named(line, why):
    text = "[Settings]\ninstall_on_reboot = yes\n" + line + "\n"
    problems = conf.problems(text)
    assert [problem.line for problem in problems] == [3] and why in problems[0].what


def test_words_before_the_first_section_are_named():
    assert conf.problems("accesskey = x\n[Auth]\n")[0] == (1, "comes before the first section")


def test_one_percent_sign_is_named():
    assert "percent" in conf.problems("[Network]\nhttps_proxy = http://u:a%40b@h\n")[0].what


def test_a_masked_file_shows_no_secret():
    key, password = "0123456789abcdef" * 4, "p@ss/w:rd"
    text = edited(
        Auth__accesskey=key, Network__https_proxy="http://user:" + password + "@proxy:3128"
    )
    text += "[Auth2]\n# accesskey = " + key + "\n"
    shown = conf.masked(text)
    assert key not in shown and password not in shown and "user" not in shown
    assert "@proxy:3128" in shown and "autoinstall = no" in shown


names = st.sampled_from(
    [(key.section, key.name) for key in conf.KEYS if key.type == "str"]
    + [("Local", "a-key"), ("X y", "k")]
)
texts = st.text(
    st.characters(
        min_codepoint=33, max_codepoint=0x2FFF, blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp")
    ),
    min_size=1,
    max_size=30,
)
comments = st.lists(
    st.sampled_from(
        [
            "# a comment",
            "; another",
            "",
            "[Local]",
            "mine = 1",
            "[Settings]",
            "autoinstall = no",
            "theirs: x y z",
        ]
    ),
    max_size=10,
)


@hypothesis.settings(max_examples=rounds(300), deadline=None)
@hypothesis.given(st.dictionaries(names, texts, max_size=4), comments)
def test_what_is_written_is_what_python_s_own_parser_reads(wishes, lines):
    wishes = {
        place: value
        for place, value in wishes.items()
        if conf.value_problem(place[0], place[1], value) is None
    }
    old = "[Local]\n" + "\n".join(lines) + "\n"
    new = conf.edit(old, wishes)
    assert conf.problems(new) == []
    parser = configparser.ConfigParser(strict=True)
    parser.read_string(new)
    for (section, name), value in wishes.items():
        assert parser.get(section, name) == value
    # Everything not named is as it was.
    loose = configparser.RawConfigParser(strict=False)
    loose.read_string(old)
    for section in loose.sections():
        for name in loose.options(section):
            if (section, name) not in wishes:
                assert parser.get(section, name, raw=True) == loose.get(section, name)
    assert [line for line in new.split("\n") if line.startswith(("#", ";"))] == [
        line for line in lines if line.startswith(("#", ";"))
    ] or sorted(line for line in new.split("\n") if line.startswith(("#", ";"))) == sorted(
        line for line in lines if line.startswith(("#", ";"))
    )
    assert conf.edit(new, wishes) == new


def test_every_key_has_an_option_and_no_two_share_one():
    options = [configure.option(key) for key in conf.KEYS]
    assert len(options) == len(set(options)) and set(options) < set(configure.arguments())


@pytest.mark.parametrize(
    "extra, why",
    [
        ({"Settings": "yes"}, "must be a mapping"),
        ({"Se]ttings": {"a": 1}}, "cannot be the name of a section"),
        ({"Settings": {"a=b": 1}}, "cannot be the name of a key"),
        ({"Settings": {"a": [1]}}, "must be a string"),
        ({"Settings": {"a": "two\nlines"}}, "must be one line"),
        ({"Settings": {"autoinstall": "maybe"}}, "has an option of its own, autoinstall"),
    ],
)
def test_bad_wishes_are_refused_before_anything_is_touched(extra, why):
    params = {option: None for option in configure.arguments()}
    params["extra"] = extra
    with pytest.raises(configure.Refused, match=why) as refused:
        configure.wishes(params)
    assert str(refused.value).endswith("Nothing was changed.")


@pytest.mark.parametrize(
    "text, line",
    [
        ("[Settings]\nautoinstall = no\n  yes\n", 2),
        ("[Settings]\nautoinstall = no\n  # a comment\n", 3),
        ("[Network]\nhttps_proxy = a\n  b%c\n", 2),
    ],
)
def test_a_value_over_several_lines_counts_as_a_whole(text, line):
    assert line in [problem.line for problem in conf.problems(text)]


@pytest.mark.parametrize(
    "line",
    [
        "# accesskey = shortsecret",
        "#https_proxy = u:shortsecret@host",
        "; key 0123456789abcdef0123456789abcdef shortsecret",
        "update_repo_url = https://u:shortsecret@host/",
        "[Auth] accesskey=shortsecret",
        "accesskey = shortsecret",
        "https_proxy = u:shortsecret@h",
    ],
)
def test_no_line_shows_a_secret(line):
    assert "shortsecret" not in conf.masked("[Network]\n" + line + "\n")


def test_a_key_with_an_option_of_its_own_may_be_removed_but_not_set_through_extra():
    params = {option: None for option in configure.arguments()}
    params["extra"] = {"Network": {"https_proxy": None}}
    assert configure.wishes(params) == {("Network", "https_proxy"): None}
    params["extra"] = {"Auth": {"accesskey": "planted"}}
    with pytest.raises(configure.Refused, match="access_key: use that") as refused:
        configure.wishes(params)
    assert "planted" not in str(refused.value)


def test_only_what_is_secret_is_cut_out_of_results():
    params = {option: None for option in enroll.arguments()}
    pem = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x@y\n"
    mirror, short = "https://mirror.example.com/", "https://u:ab@mirror/"
    params.update(
        access_key="the-key",
        https_proxy="http://u:pass@h",
        repository_url=short,
        repository_key=pem,
        update_repo_url=mirror,
        extra={"A": {"b": "yes", "accesskey": "other-key"}, "N": {"p": "x://u:word@h"}},
    )
    # What AnsibleModule has marked by then.
    values = {"the-key", "http://u:pass@h", "yes", "other-key", "x://u:word@h", short, pem, mirror}
    configure.forget_harmless(params, values)
    # Words of three letters would take apart what they stand in; the address that they stand in
    # goes as a whole.
    assert values == {
        "the-key",
        "other-key",
        "http://u:pass@h",
        "u:pass",
        "pass",
        "x://u:word@h",
        "u:word",
        "word",
        short,
        "u:ab",
    }


@pytest.mark.parametrize(
    "text, shown",
    [
        ("see https://u:p@ss@h/x?y, https://h", "see https://(hidden)@h/x?y, https://h"),
        ("http://u:a/b@h", "http://(hidden)@h"),
        ("http://u:a@h/b@c", "http://(hidden)@c"),
        ('{"a":"http://u:p@h","b":"c@d"}', '{"a":"http://(hidden)@d"}'),
        ("mail to a@b", "mail to a@b"),
        ("://@", "://(hidden)@"),
        ("the long\nsecret here", "the (hidden) here"),
        ("abc", "abc"),
        ("http://u:pa'ss@h, \"http://u:a<b@h", 'http://(hidden)@h, "http://(hidden)@h'),
    ],
)
def test_masks(text, shown):
    assert redact.mask(text, ["longsecret", "abc"]) == shown


@pytest.mark.parametrize(
    "command, words, told",
    [
        (
            "probe --user=admin -p hunter22 pw=ab",
            "admin failed\nwith hunter22, ab, about",
            "(hidden) failed with (hidden), (hidden), about",
        ),
        (
            "curl -u 'admin:hunter2' /srv/x",
            "denied for admin:hunter2 at /srv/x",
            "denied for (hidden) at /srv/x",
        ),
        ("sh -c 'x --pass=\"s3cret\" -pab3'", "no s3cret, no ab3", "no (hidden), no (hidden)"),
        ("tool -p abc", "abc is wrong, abcd is not", "(hidden) is wrong, abcd is not"),
        ("tool 'not closed hunter2", "hunter2", "(hidden)"),
        ("tool", "it failed", "it failed"),
    ],
)
def test_what_a_command_printed_has_none_of_its_arguments(command, words, told):
    assert redact.output(command, words) == told


def test_an_address_is_shown_without_its_password():
    assert (
        redact.address("https://u:p@h/x?token=SECRET") == "https://h/x?…"
        and redact.address("http://h/x") == "http://h/x"
    )


@pytest.mark.parametrize("stray", ["a stray line", "  more of it", "0123456789abcdef"])
def test_sections_that_are_brought_together_add_nothing_to_the_key(stray):
    """A stray line below the second [Auth] would go on what stands above it, if that is the key."""
    key = "0123456789abcdef" * 4
    text = f"[Auth]\naccesskey = {key}\n\n[Auth]\n{stray}\nuse_hw_uuid = no\n"
    new = conf.edit(text, {("Settings", "autoinstall"): "no"})
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(new)
    except configparser.Error:
        # The stray line is still what it was: no key.
        assert stray in new
    else:
        assert parser.get("Auth", "accesskey") == key
    assert conf.values(new)[("Auth", "accesskey")] == key
