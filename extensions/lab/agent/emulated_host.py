# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""Make, boot and change emulated Uptrack hosts: a directory each, from a scenario.

As a program:
    emulated_host.py create ROOT SCENARIO [PROGRAM_DIR]  make a host
    emulated_host.py reboot ROOT [RELEASE]               boot it, perhaps into another kernel
    emulated_host.py check SCENARIO...                   look for mistakes in scenarios
    emulated_host.py hold-lock ROOT SECONDS              hold the agent's lock for a while
"""

import json
import os
import shutil
import stat
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from uptrack_lab import agent, scenario_check, server, texts  # noqa: E402
from uptrack_lab import config as configs  # noqa: E402
from uptrack_lab import kernel as kernels  # noqa: E402
from uptrack_lab import options as opts  # noqa: E402
from uptrack_lab import scenario as scenarios  # noqa: E402
from uptrack_lab import world as w  # noqa: E402

ScenarioError = w.ScenarioError

PACKAGE = "uptrack_lab"
PROGRAM = "uptrack_agent.py"
SBIN_COMMANDS = ("uptrack-upgrade", "uptrack-install", "uptrack-remove", "uptrack-show")
UNAME = w.LAB + "/uname"
NAMES = w.LAB + "/names"
LONGEST_SHEBANG = 120  # some kernels cut the first line off at 127

ID_PROGRAM = """\
#!/bin/sh
case "$*" in
    -u) echo %d ;;
    *) exec /usr/bin/id "$@" ;;
esac
"""

# Every probe asks for the kernel's names: those that stand in a file need no start of Python, as
# long as the scenario is the one that they were taken from.
UNAME_PROGRAM = """\
#!/bin/sh
lab="${0%usr/bin/uname}var/lib/uptrack-lab"
if [ "$*" = -srvm ] && [ -f "$lab/names" ] && ! [ "$lab/scenario.json" -nt "$lab/names" ] &&
    ! [ "$lab/scenario.json" -ot "$lab/names" ]; then
    IFS= read -r names <"$lab/names" && printf '%s\\n' "$names"
else
    exec "$lab/uname" "$@"
fi
"""

SHIPPED_CONFIG = """\
# The settings of the Ksplice Uptrack client.

[Auth]
# The key of your account.
accesskey = {key}

[Network]
# A proxy to use, like [protocol://][user:password@]host[:port].  Empty: what the environment says;
# None: none.
https_proxy =
# Look for a proxy in the desktop's settings.
gconf_proxy_lookup = no
# Certificates of your own to check the server with.
#ssl_ca_cert_file =
#ssl_ca_cert_dir =
# Another update server.
#update_repo_url =

[Settings]
# Bring the updates of the last run back early at boot.
install_on_reboot = yes
# Bring in all updates late at boot.
#upgrade_on_reboot = yes
# Let the unattended runs install updates, not only look for them.
autoinstall = no
"""


# ---- the program, once per fleet -----------------------------------------------------------------

_installed = {}


def install_program(program_dir, interpreter=None):
    """Put the program below program_dir, compiled, for this interpreter; returns its path.  Cheap
    when it is there.
    """
    program_dir = os.path.abspath(program_dir)
    interpreter = os.path.realpath(interpreter or sys.executable)
    program = os.path.join(program_dir, PROGRAM)
    if _installed.get(program) == interpreter and os.path.exists(program):
        return program
    import importlib.util
    import py_compile

    package = os.path.join(program_dir, PACKAGE)
    os.makedirs(package, exist_ok=True)
    for name in sorted(os.listdir(os.path.join(HERE, PACKAGE))):
        if name.endswith(".py"):
            with open(os.path.join(HERE, PACKAGE, name), encoding="utf-8") as stream:
                is_new = _put(os.path.join(package, name), stream.read(), 0o644)
            if is_new or not os.path.exists(
                importlib.util.cache_from_source(os.path.join(package, name))
            ):
                py_compile.compile(os.path.join(package, name), doraise=True)
    with open(os.path.join(HERE, PROGRAM), encoding="utf-8") as stream:
        _put(program, shebang(interpreter) + stream.read(), 0o755)
    _installed[program] = interpreter
    return program


def shebang(interpreter):
    """-S and -E: neither site packages nor the caller's environment, which also makes the start
    twice as quick.
    """
    line = f"#!{interpreter} -SE\n"
    if len(line) <= LONGEST_SHEBANG and " " not in interpreter:
        return line
    # Too long for the kernel: a few words that are a command to sh and a text to Python.
    return f"#!/bin/sh\n'''exec' \"{interpreter}\" -SE \"$0\" \"$@\"\n' '''\n"


def _put(path, text, mode):
    """Write a file if it is not already so; returns whether it had to be written."""
    try:
        with open(path, encoding="utf-8") as stream:
            if stream.read() == text and stat.S_IMODE(os.stat(path).st_mode) == mode:
                return False
    except OSError:
        pass
    w.write_atomic(path, text, mode)
    return True


# ---- a host --------------------------------------------------------------------------------------


def read_scenario(scenario):
    """A checked scenario from a mapping or from the path of a file; and as it was written."""
    if isinstance(scenario, dict):
        return scenario_check.check(scenario), scenario
    try:
        with open(scenario, "rb") as stream:
            raw = scenario_check.parse_json(stream.read().decode("utf-8"), scenario)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{scenario}: cannot be read: {error}")
    return scenario_check.check(raw, scenario), raw


def create_host(root, scenario, program_dir):
    """Make a host below `root` from a scenario (mapping or path), with the shared program in
    `program_dir`.

    Returns the scenario with its defaults.  ScenarioError says in one line what is wrong with it;
    FileExistsError that there is a host already.  A root of '/' gets the agent's own files only.
    """
    checked, raw = read_scenario(scenario)
    program = install_program(program_dir)
    world = w.World(root)
    if world.exists(w.SCENARIO):
        raise FileExistsError(f"{world.path(w.SCENARIO)}: there is already a host; remove it first")
    now = time.time()
    world.write(w.SCENARIO, json.dumps(raw, indent=1) + "\n")
    world.write(w.STATE, json.dumps({"created": now}) + "\n")
    if (
        not world.is_machine
    ):  # a machine has its kernel's files and commands already, and they are not ours
        _make_kernel(world, checked)
        _link_commands(world, checked, program)
    if has_agent(checked):
        _make_agent_files(world, checked)
    for update_id in [] if is_container(checked) else checked["installed"]:
        place = w.update_dir(update_id, checked["sysfs_layout"])
        world.write(place + "/stage", "applied\n", 0o600)
    if has_agent(checked) and checked["checked"] is not None and not is_container(checked):
        _pretend_check(world, checked, scenarios.seconds_of(checked["checked"], now), now)
    return checked


def has_agent(scenario):
    return scenario["agent"] and scenario["client"]["edition"] != "absent"


def is_container(scenario):
    return scenario["container"] or scenario["openvz"]


def _make_kernel(world, scenario):
    """What the kernel shows: /sys/module, boot_id, its names; and the kernels on the disk."""
    if not is_container(scenario):
        os.makedirs(world.path(w.SYS_MODULE), exist_ok=True)
    for name in scenario["modules"]:
        os.makedirs(world.path(w.SYS_MODULE + "/" + name), exist_ok=True)
    if scenario["openvz"]:
        os.makedirs(world.path("proc/vz"), exist_ok=True)
    kernel = scenario["kernel"]
    world.write("proc/sys/kernel/random/boot_id", agent.new_uuid() + "\n", 0o444)
    if not os.path.exists(world.path("etc/machine-id")):
        world.write("etc/machine-id", agent.new_uuid().replace("-", "") + "\n", 0o444)
    world.write("proc/sys/kernel/osrelease", kernel["release"] + "\n")
    _note_names(world, kernel)
    world.write(
        "proc/cmdline",
        "BOOT_IMAGE=/boot/vmlinuz-{} ro{}\n".format(
            kernel["release"], " nouptrack" if scenario["nouptrack"] else ""
        ),
    )
    for one in [kernel] + [other["kernel"] for other in scenario["other_kernels"]]:
        world.write("boot/vmlinuz-" + one["release"], "")


def _note_names(world, kernel):
    """Of the scenario that was just written."""
    if not world.is_machine:
        names = [kernel[key] for key in ("sysname", "release", "version", "machine")]
        world.write(NAMES, " ".join(names) + "\n")
        written = os.stat(world.path(w.SCENARIO)).st_mtime_ns
        os.utime(world.path(NAMES), ns=(written, written))


def _link_commands(world, scenario, program):
    world.write("usr/bin/uname", UNAME_PROGRAM, 0o755)
    links = [UNAME]
    if has_agent(scenario):
        links += ["usr/sbin/" + name for name in SBIN_COMMANDS] + ["usr/bin/uptrack-uname"]
        if scenario["client"]["enhanced"]:
            links.append("usr/bin/ksplice")
    for link in links:
        path = world.path(link)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(program, path)
    # Whoever asks `id -u` on the host is the scenario's user, whoever runs the lab.
    world.write("usr/bin/id", ID_PROGRAM % (0 if scenario["user"] == "root" else 1000), 0o755)


def _make_agent_files(world, scenario):
    for folder, mode in (
        ("etc/uptrack", 0o750),
        (w.CACHE, 0o750),
        (w.LIB, 0o755),
        ("var/log", 0o755),
    ):
        os.makedirs(world.path(folder), exist_ok=True)
        os.chmod(world.path(folder), mode)
    world.write(w.CONFIG, config_text(scenario), 0o640)
    if scenario["disabled"]:
        world.write(w.DISABLE, "")
    if not agent.is_offline(scenario):
        agent.write_crontab(world)


def planted_key(scenario):
    """The access key of a new host: none, one the service accepts, or 64 digits."""
    if scenario["access_key"] == "missing":
        return configs.PLACEHOLDER
    if scenario["accepted_keys"]:
        return scenario["accepted_keys"][0]
    return server.sha1("planted key") + server.sha1("and more")[:24]


def config_text(scenario):
    """uptrack.conf of a new host: the shipped one, with the scenario's settings in it."""
    given = scenario["config"]
    if isinstance(given, str):
        return given
    text = SHIPPED_CONFIG.format(key=planted_key(scenario))
    if scenario["network"] == "proxy" and not (given.get("Network") or {}).get("https_proxy"):
        given = dict(
            given,
            Network=dict(given.get("Network") or {}, https_proxy="http://proxy.example.com:3128"),
        )
    for section, settings in given.items():
        for key, value in settings.items():
            text = _with_setting(text, section, key, value)
    return text


def _with_setting(text, section, key, value):
    """The file with one setting changed, added, or (None) taken out."""
    if isinstance(value, bool):
        value = "yes" if value else "no"
    new = [] if value is None else [(f"{key} = {value}").rstrip()]
    lines = text.split("\n")
    header = f"[{section}]"
    if header not in lines:
        return text if value is None else f"{text}\n{header}\n{new[0]}\n"
    start = lines.index(header) + 1
    end = next(
        (place for place in range(start, len(lines)) if lines[place].startswith("[")), len(lines)
    )
    for place in range(start, end):
        if (
            lines[place].lstrip("#").split("=")[0].strip().lower() == key.lower()
            and "=" in lines[place]
        ):
            return "\n".join(lines[:place] + new + lines[place + 1 :])
    while end > start and not lines[end - 1]:
        end -= 1
    return "\n".join(lines[:end] + new + lines[end:])


class _Silence(object):
    """The console of a run that nobody made."""

    def say(self, words, level=None):
        pass

    answer = event = log = say


def _pretend_check(world, scenario, when, created):
    """Leave what an upgrade run at that moment would have left: list, plans, status, results."""
    run = agent.Run(world, scenario, "uptrack-upgrade", opts.Options(), _Silence(), now=when)
    run.hostname = scenario["hostname"] or os.uname()[1]
    try:
        run.config = configs.Config(world.read(w.CONFIG))
    except (configs.ConfigError, configs.InterpolationCrash):
        run.config = configs.Config("")  # it was whole then
    run.service = server.Service(scenario, run.config, world, created, now=when)
    online = not run.offline
    if scenario["unsupported"] or (run.offline and not scenario["offline_package"]):
        run.record(13, texts.unsupported(run.kernel))
    else:
        run.records.save_list(run.service.package_list(), when)
        run.package_list = run.records.load_list()
        for update in run.service.published():
            run.records.unpack(update)
        run.effective = run.service.effective(run.applied())
        run.save_plans()
        run.record(0, "")
    if online:
        world.write(w.CACHE + "/status", "--- {}\n...\n")
        world.write(w.SERIAL, "3\n", 0o600)
        run.records.stamp_results(when)
        run.check_in()
    folder = world.path(run.records.folder)
    for name in os.listdir(folder):
        os.utime(os.path.join(folder, name), (when, when))


# ---- later in its life ---------------------------------------------------------------------------


def load_host(root):
    """The scenario a host plays now, as written."""
    world = w.World(root)
    text = world.read(w.SCENARIO)
    if text is None:
        raise ScenarioError(f"{world.path(w.SCENARIO)}: there is no host")
    return scenario_check.parse_json(text, world.path(w.SCENARIO))


def change_scenario(root, **changes):
    """Change top-level keys of a host's scenario; None takes one out.  Checked before it is
    written.
    """
    raw = load_host(root)
    for key, value in changes.items():
        if value is None:
            raw.pop(key, None)
        else:
            raw[key] = value
    world = w.World(root)
    checked = scenario_check.check(raw, world.path(w.SCENARIO))
    world.write(w.SCENARIO, json.dumps(raw, indent=1) + "\n")
    _note_names(world, checked["kernel"])
    return checked


def reboot_host(root, kernel=None, run_agent=True):
    """Boot the host, into the same kernel or another: a mapping like the scenario's, or the release
    of one of its `other_kernels`.  A kernel that is not among these is one the service does not
    know yet.

    Returns [(exit status, output)] of the agent's early and late stage; empty where there is no
    agent, or where it is not started (`run_agent`).
    """
    raw = load_host(root)
    world = w.World(root)
    if world.is_machine:
        raise ValueError("a machine boots by itself: give the directory of an emulated host")
    if kernel is not None:
        raw = with_kernel(raw, kernel)
    scenario = scenario_check.check(raw, world.path(w.SCENARIO))
    if kernel is not None:
        world.write(w.SCENARIO, json.dumps(raw, indent=1) + "\n")
    kernels.clear(world)
    shutil.rmtree(world.path("run/ksplice"), ignore_errors=True)
    world.remove("proc/sys/kernel/random/boot_id")
    world.remove("proc/sys/kernel/known_exploit_detection")
    world.remove("proc/sys/kernel/known_exploit_detection_tripwires")
    _make_kernel(world, scenario)
    if not run_agent or not has_agent(scenario):
        return []
    return [_run_agent(world, "--init"), _run_agent(world, "--late-init")]


def with_kernel(raw, kernel):
    """The scenario with another kernel running; the one that ran becomes one of the others."""
    release = kernel if isinstance(kernel, str) else kernel["release"]
    if release == raw["kernel"]["release"]:
        return raw
    others = list(raw.get("other_kernels", []))
    known = [other for other in others if other["kernel"]["release"] == release]
    if not known and isinstance(kernel, str):
        raise ScenarioError(f"other_kernels: there is no kernel '{release}'")
    chosen = known[0] if known else {"kernel": kernel, "unsupported": True}
    others = [other for other in others if other is not chosen]
    old = {
        "kernel": raw["kernel"],
        "updates": raw.get("updates", []),
        "unsupported": raw.get("unsupported", False),
    }
    result = dict(
        raw,
        kernel=chosen["kernel"],
        updates=chosen.get("updates", []),
        unsupported=chosen.get("unsupported", False),
        other_kernels=others + [old],
        installed=[],
    )
    here = {update["id"] for update in result["updates"]}
    result["failures"] = [one for one in raw.get("failures", []) if one["id"] in here]
    return result


def _run_agent(world, stage):
    import subprocess

    environment = dict(os.environ, **{w.ROOT_VARIABLE: world.root or "/"})
    done = subprocess.run(
        [world.path("usr/sbin/uptrack-upgrade"), stage],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


def hold_lock(root, seconds):
    """Let a process of its own hold the agent's lock; returns once it does."""
    w.hold_lock_in_background(w.World(root).path(w.LOCK), seconds)


def applied(root):
    """IDs the host's kernel holds."""
    return w.applied_updates(w.World(root))


def effective_value(root):
    """Release of the effective kernel as the agent has it on file; None if that is not known."""
    from uptrack_lab import effective

    scenario = scenario_check.check(load_host(root))
    kernel = effective.read(w.World(root), scenario["kernel"])
    return kernel["release"] if kernel else None


# ---- by hand -------------------------------------------------------------------------------------


def main(arguments):
    try:
        if len(arguments) in (3, 4) and arguments[0] == "create":
            root = os.path.abspath(arguments[1])
            program_dir = arguments[3] if len(arguments) == 4 else root + ".program"
            create_host(root, arguments[2], program_dir)
            print(f"{w.ROOT_VARIABLE}={root} {root}/usr/sbin/uptrack-upgrade -n")
            return 0
        if len(arguments) in (2, 3) and arguments[0] == "reboot":
            results = reboot_host(arguments[1], *arguments[2:])
            for status, output in results:
                sys.stdout.write(output)
            return max([status for status, dummy in results] or [0])
        if len(arguments) >= 2 and arguments[0] == "check":
            for path in arguments[1:]:
                read_scenario(path)
            return 0
        if len(arguments) == 3 and arguments[0] == "hold-lock":
            hold_lock(arguments[1], float(arguments[2]))
            return 0
    except (ScenarioError, FileExistsError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
