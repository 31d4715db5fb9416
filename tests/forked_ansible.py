# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Ansible's commands, each in a fork of a process that has imported Ansible already.

A process of its own with its own environment, folder and exit status, which does what the command
of that name does. What it is spared are the imports, most of what a short playbook costs. The
process to fork from (this file as a program) is started once for each environment. The long play
starts the real commands.
"""

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import extent  # noqa: E402

COMMANDS = {"ansible": "adhoc", "ansible-inventory": "inventory", "ansible-playbook": "playbook"}
# What differs from command to command and is looked at when it is needed, not at an import.
LATE = ("ANSIBLE_TEST_EVENTS", "PWD", "PYTEST_CURRENT_TEST")

# Those of ansible-core that playbooks here use.
PLUGINS = {
    "action": "command debug fail normal set_fact",
    "become": "sudo",
    "cache": "memory",
    "callback": "default",
    "connection": "local ssh",
    "filter": "core mathstuff urls urlsplit",
    "inventory": "advanced_host_list auto host_list ini script toml yaml",
    "lookup": "env inventory_hostnames vars",
    "shell": "sh",
    "strategy": "linear",
    "test": "core files mathstuff uri",
    "vars": "host_group_vars",
}

_servers = {}
_starting = threading.Lock()
# CPU seconds of the commands, which are no children of this process.
spent = [0.0]


def run(argv, cwd, env, timeout=600):
    """As subprocess.run, with nothing on standard input and one text of both outputs."""
    with tempfile.TemporaryFile("w+", errors="replace", newline="") as output:
        command = start(argv, cwd, env, output)
        try:
            status = command.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(command.pid, signal.SIGKILL)
            raise
        output.seek(0)
        return subprocess.CompletedProcess(argv, status, output.read())


def start(argv, cwd, env, output):
    """The command at work, in a session of its own; what it says goes to a file."""
    if extent.ALL:
        return subprocess.Popen(
            argv,
            cwd=str(cwd),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    program = COMMANDS[argv[0]]
    fixed = {name: value for name, value in env.items() if name not in LATE}
    key = (program, tuple(sorted(fixed.items())))
    with _starting:
        if key not in _servers:
            _servers[key] = _Server(program, fixed)
    return Command(_servers[key].path, argv, str(cwd), env, output)


class Command:
    """As far as the tests need it, what subprocess.Popen is."""

    def __init__(self, server, argv, cwd, env, output):
        self.args, self.status = argv, None
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(server)
        wish = json.dumps({"argv": argv, "cwd": cwd, "env": env}).encode()
        socket.send_fds(self.connection, [b"%016d" % len(wish)], [output.fileno()])
        self.connection.sendall(wish)
        self.answers = self.connection.makefile()
        self.pid = int(self.answers.readline())

    def wait(self, timeout=None):
        if self.status is None:
            if not select.select([self.connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            answer = json.loads(self.answers.readline())
            self.connection.close()
            self.status = answer["status"]
            spent[0] += answer["cpu"]
        return self.status

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.status


class _Server:
    def __init__(self, program, env):
        self.folder = tempfile.TemporaryDirectory(prefix="fa")
        self.path = os.path.join(self.folder.name, "s")
        interpreter = os.path.join(os.path.dirname(_which("ansible-playbook", env)), "python")
        # It ends with its standard input.
        self.process = subprocess.Popen(
            [interpreter, os.path.abspath(__file__), program, self.path],
            env=env,
            # Where there is no ansible.cfg.
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline() == b"ready\n"
        atexit.register(self.end)

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


def _which(name, env):
    return next(
        path
        for path in (os.path.join(folder, name) for folder in env["PATH"].split(":"))
        if os.access(path, os.X_OK)
    )


# ---- the process to fork from --------------------------------------------------------------------


def serve(path):
    """In every child that is to be a command: what it was asked for."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    at_work = set()
    while 0 not in select.select([0, listener], [], [])[0]:
        connection, _address = listener.accept()
        # Whom nobody waits for is counted by nobody.
        at_work = {pid for pid in at_work if os.waitpid(pid, os.WNOHANG)[0] == 0}
        waiting = os.fork()
        at_work.add(waiting)
        if waiting == 0:
            listener.close()
            head, (output,), _flags, _where = socket.recv_fds(connection, 16, 1)
            wish = json.loads(connection.makefile("rb").read(int(head)))
            pid = os.fork()
            if pid == 0:
                os.setsid()
                connection.sendall(b"%d\n" % os.getpid())
                connection.close()
                return wish, output
            _pid, status, usage = os.wait4(pid, 0)
            answer = {"status": os.waitstatus_to_exitcode(status)}
            answer["cpu"] = usage.ru_utime + usage.ru_stime
            connection.sendall(json.dumps(answer).encode() + b"\n")
            os._exit(0)
        connection.close()
    for pid in at_work:
        os.waitpid(pid, 0)
    os._exit(0)


def be_the_command(wish, output):
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, output, output)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(output)
    os.chdir(wish["cwd"])
    os.environ.clear()
    os.environ.update(wish["env"])
    sys.argv = wish["argv"]
    # A temporary folder of its own; that of the import is for the process to fork from.
    from ansible import constants
    from ansible.utils.path import cleanup_tmp_file

    atexit.unregister(cleanup_tmp_file)
    constants.DEFAULT_LOCAL_TMP = tempfile.mkdtemp(
        prefix=f"ansible-local-{os.getpid()}", dir=os.path.dirname(constants.DEFAULT_LOCAL_TMP)
    )
    atexit.register(cleanup_tmp_file, constants.DEFAULT_LOCAL_TMP, warn=True)


def read_routing_once():
    """Of ansible.builtin: a tenth of what a short playbook costs, and always the same."""
    import functools
    import importlib.resources

    from ansible.utils.collection_loader import _collection_finder as finder

    # Its own words: it may be replaced by one that caches.
    finder._meta_yml_to_dict = functools.cache(finder._meta_yml_to_dict)
    routing = importlib.resources.files("ansible") / "config" / "ansible_builtin_runtime.yml"
    finder._meta_yml_to_dict(routing.read_bytes(), ("ansible.builtin", "runtime.yml"))


def main(program, path):
    import importlib

    sys.argv = ["ansible"]
    # The folder of this file is none of the command's.
    sys.path[:] = [one for one in sys.path if one != os.path.dirname(os.path.abspath(__file__))]
    command = importlib.import_module(f"ansible.cli.{program}")
    for kind, names in PLUGINS.items():
        for name in names.split():
            importlib.import_module(f"ansible.plugins.{kind}.{name}")
    read_routing_once()
    # What was made so far is shared with the forks as long as none of them looks through it.
    gc.collect()
    gc.freeze()
    be_the_command(*serve(path))
    sys.exit(command.main())


if __name__ == "__main__":
    main(*sys.argv[1:])
