# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The emulated agent in a fork of the tests' own process.

A real process with its own standard streams, locks and exit status, without the start of an
interpreter, which is most of what a run of the emulated agent costs. What a test is about the start
itself, or kills, it runs by the host's real links.
"""

import importlib
import io
import os
import sys
import traceback

AGENT = os.path.abspath(
    os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "..", "..", "extensions", "lab", "agent"
    )
)
if AGENT not in sys.path:
    sys.path.insert(0, AGENT)

from uptrack_lab import cli  # noqa: E402

for name in ("agent", "enhanced", "uname"):
    # Before a fork, once for all of them.
    importlib.import_module("uptrack_lab." + name)


def run(root, argv, answer=b"", env=None):
    """(exit status, standard output, standard error), the last two as bytes; a negative status is a
    signal, as subprocess has it.

    :param root: the emulated host.
    :param argv: the command by its full path, and its arguments.
    :param answer: what stands on its standard input.
    :param env: its environment; the tests' own when not given.
    """
    streams = [os.pipe() for _number in range(3)]
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_the_agent(root, argv, env, streams)
    for (reading, writing), ours in zip(streams, (1, 0, 0)):
        os.close(writing if ours == 0 else reading)
    with os.fdopen(streams[0][1], "wb") as to_agent:
        try:
            to_agent.write(answer)
        except BrokenPipeError:
            pass
    out, err = _read_both(streams[1][0], streams[2][0])
    _pid, status = os.waitpid(pid, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), out, err


def _be_the_agent(root, argv, env, streams):
    status = 70
    try:
        for number, (reading, writing) in enumerate(streams):
            os.dup2(reading if number == 0 else writing, number)
        for pipe in streams:
            for descriptor in pipe:
                if descriptor > 2:
                    os.close(descriptor)
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        os.environ["UPTRACK_LAB_ROOT"] = root
        sys.argv = list(argv)
        sys.stdin = io.TextIOWrapper(os.fdopen(0, "rb", closefd=False), encoding="utf-8")
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(
            os.fdopen(2, "wb", closefd=False), encoding="utf-8", line_buffering=True
        )
        try:
            status = cli.main(list(argv)) or 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _read_both(*descriptors):
    import select

    parts = {descriptor: [] for descriptor in descriptors}
    waiting = set(descriptors)
    while waiting:
        for descriptor in select.select(list(waiting), [], [])[0]:
            part = os.read(descriptor, 65536)
            if part:
                parts[descriptor].append(part)
            else:
                waiting.discard(descriptor)
                os.close(descriptor)
    return [b"".join(parts[descriptor]) for descriptor in descriptors]
