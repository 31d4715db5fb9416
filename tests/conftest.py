# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""For all tests: how much of them is played, and the name of the one at work."""

import faulthandler
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import extent  # noqa: E402
import forked_ansible  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "thorough: played once more for certainty's sake, by `make test-all` only"
    )
    config.addinivalue_line(
        "markers",
        "every_core: played with every release of ansible-core, as "
        "it depends on how a playbook is played",
    )
    if not extent.ALL:
        _search_briefly()
    # Where the runner finds the stack of a test that hangs, and its name (see
    # tests/tools/supervise.py).
    if os.environ.get("KSPLICE_TEST_STACK"):
        config.stack = open(os.environ["KSPLICE_TEST_STACK"], "w")
        faulthandler.register(signal.SIGUSR1, file=config.stack, all_threads=True)


def _search_briefly():
    """A quarter of the examples that hypothesis tries where a test does not say how many."""
    try:
        import hypothesis
    except ImportError:
        return
    hypothesis.settings.register_profile("short", max_examples=25)
    hypothesis.settings.load_profile("short")


def pytest_collection_modifyitems(config, items):
    if extent.ALL:
        return
    left = [item for item in items if item.get_closest_marker("thorough")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


at_work = []
costs = []


def spent():
    return sum(os.times()[:4]) + sum(forked_ansible.spent)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    at_work[:] = [item]
    if os.environ.get("KSPLICE_TEST_NAME"):
        with open(os.environ["KSPLICE_TEST_NAME"], "w") as file:
            file.write(item.nodeid)
    before = spent()
    yield
    costs.append((spent() - before, item.nodeid))


def pytest_terminal_summary(terminalreporter):
    """What costs most: CPU seconds of the test and of what it waited for, which on a busy machine
    say more than durations.
    """
    terminalreporter.section("dearest tests")
    for cost, nodeid in sorted(costs, reverse=True)[
        : int(os.environ.get("KSPLICE_TEST_COSTS") or 5)
    ]:
        terminalreporter.write_line(f"{cost:7.1f} s CPU  {nodeid}")


def pytest_unconfigure(config):
    """Of a test that was cut off pytest does not show what it had printed."""
    for item in at_work:
        if getattr(config, "interrupted", False):
            print(f"\nLast output of {item.nodeid}:")
            print(*[text for _when, _stream, text in item._report_sections], sep="\n")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    session.config.interrupted = exitstatus == 2
