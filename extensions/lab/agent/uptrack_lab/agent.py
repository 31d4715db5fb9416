# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""uptrack-upgrade, -install, -remove and -show: the order of checks and what comes of them.

The numbers in comments are the steps of reference, section 10; the order is the point of this file.
"""

import os
import signal
import sys
import time

from . import config as configs
from . import console as consoles
from . import effective as effectives
from . import kernel as kernels
from . import options as opts
from . import plan, server, texts, yaml_files
from . import records as recs
from . import scenario as scenarios
from . import world as w
from .console import DEBUG, ERROR, INFO, WARNING

UNKNOWN = object()  # effective kernel: this run has not learned anything about it
SIGNATURE = b"\x89\x013\x04\x00\x01\n"  # as a signature begins, which is not UTF-8
TOOL_STAT = [33261, 2171323, 175, 1, 0, 0, 178448, 1795730882, 1670630544, 1795730883]  # a kmod's


class Stop(Exception):
    """The run ends here, with this status and these words (None: already said)."""

    def __init__(self, code, words=None, level=ERROR):
        Exception.__init__(self, code, words)
        self.code, self.words, self.level = code, words, level


def main(command, arguments):
    """`command` is the full name, like uptrack-upgrade.  Returns the exit status."""
    world = w.World()
    try:
        scenario = scenarios.load(world.path(w.SCENARIO))
        offline = is_offline(scenario)
        if offline:
            scenario = with_offline_package(world, scenario)
    except w.ScenarioError as error:
        consoles.complain(str(error))
        return 78
    try:
        options = opts.parse(arguments, offline)
    except opts.UsageError as error:
        consoles.complain(f"Usage: {command} [options]\n\n{command}: error: {error}")
        return 2
    if options.help:
        consoles.put(opts.help_text(command, offline) + "\n")
        return 0
    return run(world, scenario, command, options, [command] + list(arguments))


def run(world, scenario, command, options, shown):
    """Step 1, the log, and around all others the two lines that say when they began and ended."""
    try:
        if scenario["user"] != "root":
            raise PermissionError(13, "the scenario plays a user who is not root")
        console = consoles.Console(world, consoles.level_of(options))
    except OSError:
        consoles.complain(texts.NO_LOGGER)
        if os.geteuid() != 0 or scenario["user"] != "root":
            consoles.complain(texts.NOT_ROOT)
        return 1
    console.event(f"run started: {as_json(shown)}")
    status = 255
    try:
        status = Run(world, scenario, command, options, console, arguments=shown[1:]).go()
    finally:
        console.event(f"run ended: status {status}")
    return status


def is_offline(scenario):
    return scenario["client"]["edition"] == "offline"


def offline_package_path(release):
    """Where an offline updates package puts its catalogue: {"date": "20261112",
    "updates": [...]}.
    """
    return f"{w.LAB}/updates-{release}.json"


def with_offline_package(world, scenario):
    """The installed updates package, if there is one, is the whole catalogue of an offline host."""
    path = offline_package_path(scenario["kernel"]["release"])
    text = world.read(path)
    if text is None:
        return scenario
    shown = world.path(path)
    from . import scenario_check

    data = scenario_check.parse_json(text, shown)
    updates = scenario_check.check_updates(
        data.get("updates") if isinstance(data, dict) else None, shown
    )
    return dict(scenario, updates=updates, offline_package=True)


class Run(object):
    def __init__(self, world, scenario, command, options, console, now=None, arguments=()):
        self.world = world
        self.scenario = scenario
        self.command = command
        self.mode = command[len("uptrack-") :]
        self.options = options
        self.console = console
        self.now = now
        self.arguments = arguments
        self.state = scenarios.State(world.path(w.STATE))
        self.kernel = scenario["kernel"]
        self.records = recs.Records(world, self.kernel)
        self.offline = is_offline(scenario)
        self.effective = UNKNOWN
        self.effective_before = None
        self.package_list = None
        self.uuid_of_run = new_uuid()
        self.history = []  # (moment, level, words) of all that was said: the debug log in `results`
        self.contacted = False  # the service answered
        self.can_plan = False  # should this run fail, the service says anew what waits
        self.uninstalled = False
        self.new_kernel = False
        self.succeeded, self.failed = [], []
        self.failures_met = set()

    def time(self):
        return time.time() if self.now is None else self.now

    def say(self, words, level=INFO):
        self.history.append((self.time(), consoles.NAMES[level], words))
        self.console.say(words, level)

    def note(self, words):
        """What is only said to the log, and to those who want to know all."""
        self.say(words, DEBUG)

    # ---- the way in: steps 2 to 6 ----------------------------------------------------------------

    def go(self):
        try:
            self.read_config()  # 2
            if self.options.version:  # 3
                self.console.answer(self.scenario["client"]["version"])
                return 0
            self.refuse_bad_mix()  # 4
            if self.options.check_init:
                return 0 if self.boot_applies() else 1
            if self.config.cron_output and not self.options.cron:
                self.say(texts.CRON_OUTPUT, WARNING)
            if self.options.cron and self.backs_off():  # 5
                return 0
            self.play_fault()
            lock = self.take_lock()  # 6
        except Stop as stop:
            return self.stopped(stop)
        except (configs.InterpolationCrash, OSError) as error:
            return self.crashed(error, starting=True)
        except KeyboardInterrupt:
            self.say("Interrupted!", ERROR)
            return 1
        try:
            return self.go_locked()
        finally:
            os.close(lock)

    def go_locked(self):
        flow = self.show if self.mode == "show" else self.boot if self.options.init else self.change
        words = ""
        self.effective_before = effectives.read(self.world, self.kernel)
        self.note("D-Bus not present, will not notify uptrack-manager.")
        self.note("")
        self.note(
            "Client invoked as: /usr/sbin/{} {}".format(self.command, " ".join(self.arguments))
        )
        try:
            try:
                code = flow()
            except server.Refused as refused:
                raise Stop(refused.code, refused.words)
        except Stop as stop:
            code = self.stopped(stop)
            words = stop.words or ""
        except KeyboardInterrupt:
            words = "Interrupted!"
            code = 1
            self.can_plan = False
            self.say(words, ERROR)
        except Exception as error:  # whatever it is: that is what the real one does, too
            self.record(11, traceback_of(error))
            return self.crashed(error)
        self.record(code, words)
        return code

    def stopped(self, stop):
        if stop.words:
            self.say(stop.words, stop.level)
        return stop.code

    def crashed(self, error, starting=False):
        self.console.log("ERROR", traceback_of(error).rstrip())
        self.say(texts.crash(starting), consoles.CRITICAL)
        return 255

    def read_config(self):
        try:
            self.config = configs.Config(self.world.read(w.CONFIG))
        except configs.ConfigError as error:
            raise Stop(1, texts.config_error(error))
        path = self.config.hostname_override_file
        if path:
            try:
                self.hostname = (self.world.read(path) or "").strip()
            except OSError:
                self.hostname = ""
            if not self.hostname:
                raise Stop(1, texts.config_error(f"Unable to read a host name from {path}."))
        else:
            self.hostname = self.scenario["hostname"] or os.uname()[1]

    def refuse_bad_mix(self):
        complaint = bad_mix(self.mode, self.options)
        if complaint:
            raise Stop(1, complaint)
        self.options.all = self.options.all or self.options.uninstall

    def boot_applies(self):
        return self.config.install_on_reboot and not self.world.exists(w.DISABLE)

    def backs_off(self):
        """Unattended runs happen only every n-th time if the service asked for that, and at a
        random moment.
        """
        backoff = number_in(self.world.read(w.CACHE + "/backoff"))
        if backoff > 1:
            counter = (number_in(self.world.read(w.CACHE + "/backoff-counter")) + 1) % backoff
            self.world.write(w.CACHE + "/backoff-counter", f"{counter}\n")
            if counter:
                self.console.log("INFO", f"backing off: {counter} of {backoff}")
                return True
        if self.scenario["cron_sleep"]:
            import random

            time.sleep(random.uniform(0, self.scenario["cron_sleep"]))
        return False

    def play_fault(self):
        """Let the scenario's passing faults change what this run meets, and another run hold the
        lock.
        """
        changing = self.mode in w.CHANGING_COMMANDS
        fault = {}
        if changing and self.scenario["faults"]:
            fault = self.state.change(
                lambda data: scenarios.next_fault(self.scenario, data, self.mode)
            )
            if fault:
                self.scenario = dict(self.scenario, **fault)
        held = fault.get("lock_held")
        if held is None and self.scenario["lock_held"]:
            first = self.state.change(
                lambda data: not data.get("lock_held") and data.update(lock_held=True) is None
            )
            held = self.scenario["lock_held"] if first else 0
        if held:
            w.hold_lock_in_background(self.world.path(w.LOCK), held)
        self.service = server.Service(
            self.scenario,
            self.config,
            self.world,
            self.state.created(self.world.path(w.SCENARIO)),
            self.now,
        )

    def take_lock(self):
        try:
            lock = w.take_lock(self.world.path(w.LOCK), self.scenario["lock_wait"])
        except w.LockHeld:
            raise Stop(1, texts.lock_held())
        self.console.event("lock taken")
        return lock

    # ---- upgrade, install, remove: steps 7 to 16 -------------------------------------------------

    def change(self):
        options = self.options
        asks_service = not (self.offline or options.no_network or options.uninstall)
        if asks_service and not self.config.has_key:  # 7
            raise Stop(20, texts.no_key())
        if asks_service:  # 8
            self.ask_status()
        self.require_sysfs()  # 9
        expired = self.get_list(asks_service)  # 10
        self.say_alert()
        if expired:
            self.say(self.scenario["expired_message"], WARNING)
        if options.list_effective:
            return self.list_effective()
        if asks_service or self.offline:
            self.can_plan = not expired
            self.download()  # 11
        if self.world.exists(w.DISABLE):  # 12
            raise Stop(1, texts.DISABLED)
        by_saved_plan = (
            self.mode == "remove"
            and options.all
            and (options.no_network or options.uninstall or expired)
        )
        if expired and not by_saved_plan:  # 13
            refused = (
                "Removing individual updates" if self.mode == "remove" else "Installing updates"
            )
            raise Stop(17, f"{refused} is disabled.")
        if self.scenario["crash"]:
            raise RuntimeError("the scenario says crash")
        if by_saved_plan:
            return self.remove_by_saved_plan(expired)
        if self.mode == "upgrade" or (self.mode == "install" and options.all):
            return self.upgrade(asks_service)
        return self.change_some(asks_service)

    def ask_status(self):
        self.count_contact()
        self.note(f"Verifying your access key is valid by requesting: {self.service_url()}/status")
        try:
            answer = self.service.status(self.check_in)
        except server.Refused as refused:
            self.note_refusal(refused)
            raise
        self.contacted = True
        try:
            self.world.write(w.CACHE + "/status", yaml_files.dump(answer))
        except OSError:
            self.say(texts.NOT_WRITTEN, WARNING)
        if answer.get("RegenerateUUID") and not self.config.use_hw_uuid:
            self.world.write(w.UUID, new_uuid() + "\n", 0o600)
        if answer.get("RegenerateCron"):
            write_crontab(self.world)
        if "Backoff" in answer:
            self.world.write(w.CACHE + "/backoff", f"{answer['Backoff']}\n")
            self.world.write(w.CACHE + "/backoff-counter", "0\n")
        if "Error" in answer:
            raise Stop(answer["Error"]["Code"], answer["Error"]["Message"])
        if answer.get("Message"):
            self.say(answer["Message"])
        if answer.get("Warning"):
            self.say(answer["Warning"], ERROR)  # not even -q hides it

    def check_in(self):
        """Leave at a shared service what it knows of a machine; returns the authorization."""
        if self.scenario["service"] is None:
            return "allowed"
        return self.service.check_in(self.identity(), self.applied(), self.time())

    def note_refusal(self, refused):
        if refused.code == 14:
            self.note(f"Your access key ({self.config.accesskey}) is invalid.")
        else:
            self.note("Unexpected error retrieving status file")
        self.note("The server said:")
        self.note("{}\n")

    def say_alert(self):
        if self.package_list.get("Alert"):
            self.say(self.package_list["Alert"], WARNING)

    def service_url(self):
        parts = self.config.url, server.quoted(self.config.accesskey or ""), self.uuid()
        return "{}/{}/+uuid/{}".format(*parts)

    def count_contact(self):
        """Each request has a number.  In place: a rename on each of them would be the slowest part
        of a run.
        """
        path = self.world.path(w.SERIAL)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            number = number_in(os.read(handle, 32).decode("ascii", "replace"))
            os.pwrite(handle, b"%d\n" % (number + 1), 0)
        finally:
            os.close(handle)

    def uuid(self):
        text = self.world.read(w.UUID)
        if not text:
            text = new_uuid() + "\n"
            self.world.write(w.UUID, text, 0o600)
        return text.strip()

    def require_sysfs(self):
        if not self.world.isdir(w.SYS_MODULE):
            raise Stop(21, texts.openvz() if self.world.exists("proc/vz") else texts.no_sysfs())

    def get_list(self, asks_service):
        """Have the package list here and checked; returns whether the subscription has expired."""
        expired = False
        try:
            if self.offline:
                self.list_from_package()
            elif asks_service:
                expired = self.list_from_service()
            try:
                self.package_list = self.records.load_list()
            except recs.NoList:
                if not expired:
                    raise Stop(10, texts.NO_LIST)
                self.package_list = {"Updates": []}
            except recs.BadSignature:
                raise Stop(1, texts.bad_signature())
        except OSError as error:
            raise Stop(10, texts.list_not_saved(error.strerror))
        self.refuse_too_old()
        return expired

    def list_from_package(self):
        if not self.scenario["offline_package"]:
            raise Stop(13, texts.unsupported(self.kernel))
        self.records.save_list(self.service.package_list(), self.time())

    def list_from_service(self):
        """Fetch the list unless the one here is good and new enough."""
        self.note(
            "Getting package list and signature from "
            f"{self.service_url()}/{server.quoted(server.slashed(self.kernel))}"
        )
        self.service.ask_for_list()
        if self.scenario["bad_signature"]:
            raise Stop(1, texts.bad_signature())
        if self.service.expired:
            self.world.write(
                self.records.path("packages.yml.expired"), self.scenario["expired_message"] + "\n"
            )
            self.note(
                "The server returned error code 420:\nMessage: {}\n".format(
                    self.scenario["expired_message"]
                )
            )
            # Its signature is logged as it comes, so this log is no text any more.
            self.note(
                "The server returned error code 420:\n"
                + SIGNATURE.decode("utf-8", "surrogateescape")
            )
            return True
        changed = self.service.last_modified(os.stat(self.world.path(w.SCENARIO)).st_mtime)
        if self.records.list_changed() > changed:
            try:
                self.records.load_list()
                return False
            except (recs.NoList, recs.BadSignature):
                pass  # spoiled here: get it anew
        self.records.save_list(self.service.package_list(), self.time())
        return False

    def refuse_too_old(self):
        needs, client = self.package_list.get("Client", {}), self.scenario["client"]
        for have, key, code in (
            (client["version"], "Version to Parse", 16),
            (client["version"], "Version to Install", 15),
            (client["tools_api"], "Ksplice Tools API version", 1),
        ):
            need = str(needs.get(key) or "0")
            if server.version_key(have) < server.version_key(need):
                raise Stop(code, texts.too_old(have, need))

    def download(self):
        """Every update of the list is fetched and unpacked, whatever is wanted of it."""
        self.note("Downloading packages.")
        here = self.records.unpacked()
        updates = {update["id"]: update for update in self.scenario["updates"]}
        for entry in self.package_list["Updates"]:
            update = updates.get(entry["ID"])
            if update is None:
                continue
            if "ksplice-" + update["id"] in here:
                self.note(f"Already have {shown(entry)}, skipping")
                continue
            self.note(f"Downloading {shown(entry)}")
            if update["download"] == "error":
                raise Stop(1, "Unexpected error downloading update {}.".format(update["id"]))
            if update["download"] == "missing":
                raise Stop(1, f"Couldn't download update '{shown(entry)}'.")
            self.records.unpack(update)

    # ---- the three kinds of change ----

    def upgrade(self, asks_service):
        up_to = self.wanted_effective()
        self.ask_plan(asks_service)
        applied = self.applied()
        items = self.service.with_effective(applied, self.service.upgrade_steps(applied, up_to))
        self.effective = self.service.effective(applied)
        answer = self.answer()
        if answer == "no":
            self.say_effective()
            self.say_plan(items)
            self.save_plans()
            return 0
        self.say_plan(items)
        if items:
            self.confirm(answer)
            self.work(items)
        self.save_plans()
        if not self.service.upgrade_steps(self.applied()):
            self.say(texts.UP_TO_DATE)
        self.say_effective()
        return 0

    def wanted_effective(self):
        """The effective kernel an offline host must not go beyond; None for as far as there is."""
        if not self.offline:
            return None
        wanted = self.options.effective or self.config.effective_version or None
        if wanted is not None and wanted not in self.effective_values():
            raise Stop(
                1,
                f"There is no effective kernel version '{wanted}'.\n"
                "'uptrack-upgrade --list-effective' shows those there are.",
            )
        return wanted

    def effective_values(self):
        values = []
        for update in self.service.offered():
            if update["effective"] and plan.effective_value(update["effective"]) not in values:
                values.append(plan.effective_value(update["effective"]))
        return values

    def list_effective(self):
        header = "Available effective kernel versions:"
        values = self.effective_values() or ["None"]
        blank = self.scenario["list_effective_blank_line"]
        lines = {"after": [header, ""], "before": ["", header], "absent": [header]}[blank] + values
        self.console.answer("\n".join(lines))
        return 0

    def change_some(self, asks_service):
        """Install or remove by ID; removing all of them with the service's help
        is the same thing.
        """
        applied = self.applied()
        removing = self.mode == "remove"
        ids = self.known_applied() if self.options.all else self.without_pointless(applied)
        self.ask_plan(asks_service)
        steps = (
            self.service.remove_steps(applied, ids)
            if removing
            else self.service.install_steps(applied, ids)
        )
        items = self.service.with_effective(applied, steps)
        self.effective = self.service.effective(applied)
        self.say_plan(items)
        if items:
            self.confirm(self.answer())
            self.work(items)
        self.save_plans()
        return 0

    def without_pointless(self, applied):
        """Warn about IDs there is nothing to do for, and leave them out."""
        known = {entry["ID"] for entry in self.package_list["Updates"]}
        ids = []
        for update_id in self.options.ids:
            if update_id not in known:
                self.say(f"Unknown update {update_id}, skipping.", WARNING)
            elif self.mode == "install" and update_id in applied:
                self.say(f"Update {update_id} is already installed, skipping.", WARNING)
            elif self.mode == "remove" and update_id not in applied:
                self.say(f"Update {update_id} is not installed, skipping.", WARNING)
            elif update_id not in ids:
                ids.append(update_id)
        return ids

    def remove_by_saved_plan(self, expired):
        """Everything out without the service.  Works, and still ends with 10 (reference, section
        1.6).
        """
        applied = self.applied()
        items = self.records.load_plan("Remove")
        if items is None:
            if applied:
                raise Stop(1, "Unable to read the saved remove plan.")
            items = []
        items = [item for item in items if item["ID"] in applied]
        self.can_plan = False
        self.say_plan(items)
        if items:
            answer = "yes" if self.options.uninstall else self.answer()
            if not self.agreed(answer):
                self.say(texts.ABORTING)
                return 0
            self.work(items)
        self.uninstalled = self.options.uninstall
        self.write_status()
        for name in recs.PLANS:
            self.records.save_plan(name, [], self.time())
        self.succeeded = []  # what came out is not in the results of such a run
        raise Stop(
            10, texts.new_updates(certain=not expired and self.package_list["Updates"]), INFO
        )

    # ---- plan, question, work ----

    def applied(self):
        return w.applied_updates(self.world)

    def known_applied(self):
        """(In catalogue order) what the kernel holds and the list knows."""
        applied = set(self.applied())
        return [entry["ID"] for entry in self.package_list["Updates"] if entry["ID"] in applied]

    def ask_plan(self, asks_service):
        if asks_service:
            self.count_contact()
            self.note(f"Constructing plans by requesting: {self.service_url()}/actions")
            self.service.ask_for_plan()  # 14

    def say_plan(self, items):
        if not items:
            self.say(texts.NOTHING)
            return
        for words in [texts.STEPS] + [
            "{} {}".format(item["Command"], shown(item)) for item in items
        ]:
            self.say(words)

    def answer(self):
        """'yes', 'no' or 'ask'."""
        if self.options.cron:
            return "yes" if self.config.autoinstall else "no"
        if self.options.late_init:
            return "yes" if self.config.upgrade_on_reboot else "no"
        return "no" if self.options.shutdown else self.options.answer

    def confirm(self, answer):
        if not self.agreed(answer):
            raise Stop(12, texts.ABORTING, INFO)  # 15

    def agreed(self, answer):
        if answer != "ask":
            return answer == "yes"
        self.say("")
        consoles.put(texts.PROMPT)
        try:
            line = sys.stdin.readline()
        except (KeyboardInterrupt, ValueError, OSError, AttributeError):
            line = ""  # nothing to read one from
        if not line:
            consoles.put("\n")
        return line.strip()[:1] in ("y", "Y")

    def work(self, items):  # 16
        seconds = {update["id"]: update["seconds"] for update in self.scenario["updates"]}
        for number, item in enumerate(items):
            if number == self.scenario["dies_after"]:
                self.say_step(item)
                os.kill(os.getpid(), signal.SIGKILL)
            if seconds.get(item["ID"]) is None:
                takes = self.scenario["seconds_per_update"]
            else:
                takes = seconds[item["ID"]]
            self.one_step(item, takes)
            if self.options.wait:
                time.sleep(self.options.wait)
        if self.scenario["dies_after"] == len(items):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.scenario["depmod_fails"]:
            self.world.write(w.CACHE + "/depmod-needed", "")
            raise Stop(1, texts.DEPMOD)
        self.world.remove(w.CACHE + "/depmod-needed")

    def say_step(self, item):
        self.say(
            "{} {}".format(
                "Installing" if item["Command"] == plan.INSTALL else "Removing", shown(item)
            )
        )

    def one_step(self, item, takes):
        verb, event = (
            ("install", "apply") if item["Command"] == plan.INSTALL else ("remove", "undo")
        )
        self.say_step(item)
        self.console.event("{} begin: {}".format(event, item["ID"]))
        problem = kernels.settle(
            self.world,
            self.scenario["sysfs_layout"],
            item["ID"],
            verb,
            self.failure_of(item["ID"], verb),
            takes,
            self.config.no_rmmod,
            self.scenario["retry_wait"],
            lambda words: self.console.log("INFO", words),
        )
        self.console.event(
            "{} end: {} {}".format(event, item["ID"], problem["abort"] if problem else "ok")
        )
        if problem:
            self.failed.append(recs.action(item, problem))
            self.say("Error processing ksplice-{}.tar.gz".format(item["ID"]), WARNING)
            self.say("")
            self.say(
                "The following actions failed:\n{} {}".format(item["Command"], shown(item)), ERROR
            )
            self.say("\n" + texts.failure(problem, verb), ERROR)
            self.note("Message:\n" + self.failed[-1]["Message"])
            self.say("", ERROR)
            raise Stop(1)
        self.succeeded.append(recs.action(item))
        self.effective = effectives.from_slashed(item.get("EffectiveKernel"))

    def failure_of(self, update_id, verb):
        if not any(
            one["id"] == update_id and one["verb"] == verb for one in self.scenario["failures"]
        ):
            return None
        return self.state.change(
            lambda data: scenarios.next_failure(
                self.scenario, data, update_id, verb, self.failures_met
            )
        )

    def say_effective(self):
        if self.effective:
            self.say("Effective kernel version is {}".format(self.effective["package_version"]))

    # ---- boot ----

    def boot(self):
        """--init: before there is a network, bring back what ran on this kernel before."""
        if "nouptrack" in (self.world.read("proc/cmdline") or "").split():
            self.world.write(w.DISABLE, "")
        if self.world.exists(w.DISABLE):
            raise Stop(1, texts.DISABLED)
        self.require_sysfs()
        if not self.config.install_on_reboot:
            return 0
        if self.applied():
            raise Stop(1, texts.INIT_BY_HAND)
        try:
            self.package_list = self.records.load_list()
        except recs.BadSignature:
            raise Stop(1, texts.bad_signature())
        except recs.NoList:
            self.package_list = None
        items = self.records.load_plan("Init")
        if items is None or self.package_list is None:
            self.new_kernel = True
            self.say(texts.NEW_KERNEL, WARNING)
            return 0
        for item in items:
            if not self.world.isdir(self.records.update_dir(item["ID"])):
                raise Stop(1, f"Couldn't download update '{shown(item)}'.")
        if items:
            self.say_plan(items)
            self.work(items)
        else:
            self.say(texts.NOTHING)
        return 0

    # ---- show ----

    def show(self):
        options = self.options
        if not options.no_network and not self.offline and not self.config.has_key:
            raise Stop(20, texts.no_key())
        try:
            self.package_list = self.records.load_list()
        except recs.NoList:
            if options.count and options.no_network:
                self.console.answer("0")
                return 0
            raise Stop(1, texts.NO_LIST)
        except recs.BadSignature:
            raise Stop(1, texts.bad_signature())
        if options.count:
            self.console.answer(f"{len(self.known_applied())}")
            return 0
        self.say_alert()
        self.require_sysfs()
        if options.ids:
            for update_id in options.ids:
                self.show_one(update_id)
            return 0
        blocks = []
        if options.available or options.all:
            items = self.records.load_plan("Upgrade")
            if items is None:
                raise Stop(1, texts.NO_PLAN)
            blocks.append(
                block(
                    "Available updates:",
                    [item for item in items if item["Command"] == plan.INSTALL],
                )
            )
        if not options.available:
            applied = set(self.applied())
            blocks.append(
                block(
                    "Installed updates:",
                    [entry for entry in self.package_list["Updates"] if entry["ID"] in applied],
                )
            )
        if self.effective_before:
            blocks.append(
                "\nEffective kernel version is {}".format(self.effective_before["package_version"])
            )
        self.say("\n".join(blocks))
        return 0

    def show_one(self, update_id):
        if update_id not in [entry["ID"] for entry in self.package_list["Updates"]]:
            self.say(f"Don't know about update {update_id}; skipping.")
            return
        details = self.records.details(update_id)
        if details is None:
            self.say(f"Unable to retrieve detailed description of update {update_id}.")
            return
        self.say(
            "Update {} is {}installed on your system.  Detailed description:\n\n{}\n".format(
                update_id, "" if update_id in self.applied() else "NOT ", details.rstrip("\n")
            )
        )

    # ---- what is kept ----------------------------------------------------------------------------

    def save_plans(self):
        now = self.time()
        try:
            for name, items in self.service.plans(self.applied()).items():
                self.records.save_plan(name, items, now)
        except OSError:
            self.say(texts.NOT_WRITTEN, WARNING)

    def record(self, code, words):
        """What is left of a run, whatever came of it; a show leaves `status` alone.

        A run that failed with updates at hand (1) asks anew what waits now, and writes that down
        last of all.
        """
        if self.mode == "show":
            self.write_status()
            return
        asks_anew = code == 1 and self.can_plan and self.ask_anew()
        if code == 12:
            self.note("User did not confirm actions. Not writing new plans.")
        elif code not in (0, 11) and not asks_anew:
            self.note("Failed, but running without network. Not writing new plans.")
        self.write_status()
        self.write_results(code, words)
        if asks_anew:
            self.save_plans()

    def ask_anew(self):
        self.note("Determining new upgrade/init-time/remove plans.")
        try:
            self.ask_plan(not self.offline)
        except server.Refused:
            return False
        self.effective = self.service.effective(self.applied())
        return True

    def write_status(self):
        """`status`, and `effective_kernel` for those who may not read that."""
        self.note("Writing status to file.")
        now = self.time()
        try:
            applied = self.applied()
            names = {
                entry["ID"]: entry["Name"]
                for entry in (self.package_list or {"Updates": []})["Updates"]
            }
            installed = [
                (update_id, names[update_id]) for update_id in names if update_id in applied
            ]
            effective = self.known_effective()
            if effective:
                # Without a list nothing is known to be installed: the file then fits no patched
                # kernel any more.
                effectives.write(
                    self.world, self.kernel, effective, applied if self.package_list else []
                )
            elif self.effective is None:
                effectives.write(self.world, self.kernel, None, [])
            self.records.save_status(self.common(), installed, now)
            self.show_detection(applied)
        except OSError:
            self.say(texts.NOT_WRITTEN, WARNING)

    def known_effective(self):
        """What this run learned about the effective kernel; else what was known when it began."""
        return self.effective_before if self.effective is UNKNOWN else self.effective

    def write_results(self, code, words):
        now = self.time()
        more = {}
        if code and self.config.debug_to_server:
            more["UptrackLog"] = self.debug_log()
            if self.failed:
                more["Debug"] = ""
        try:
            self.records.save_results(self.common(), more, self.result(code, words), now)
        except OSError:
            self.say(texts.NOT_WRITTEN, WARNING)
        if self.contacted:
            self.send_results(now)

    def debug_log(self):
        """All that was said, as text; as bytes where something of it is not text."""
        log = "".join(
            f"{w.utc(moment)[:-3].replace('.', ',')} {level:<8} {words}\n"
            for moment, level, words in self.history
        ).encode("utf-8", "surrogateescape")
        try:
            return log.decode("utf-8")
        except UnicodeDecodeError:
            return log

    def send_results(self, now):
        self.count_contact()
        try:
            self.service.contact()
            if self.scenario["network"] == "result_error":
                raise server.Refused(10, "")
            self.check_in()
            self.records.stamp_results(now)
        except (server.Refused, OSError):
            self.say(texts.NOT_SENT, WARNING)

    def result(self, code, words):
        result = {
            "Succeeded": self.succeeded,
            "Failed": self.failed,
            "Code": code,
            "Message": words,
        }
        for key in ("Alert", "Desupported"):
            if (self.package_list or {}).get(key):
                result[key] = self.package_list[key]
        if self.new_kernel:
            result["New Kernel"] = True
        if self.uninstalled:
            result["Uninstalled"] = True
        return result

    def common(self):
        """What `status` and `results` both have."""
        effective = self.known_effective()
        return {
            "Client": self.identity(),
            "Kernel": self.records.identity(),
            "RunUUID": self.uuid_of_run,
            "ClientEffectiveKernel": effective["package_version"] if effective else None,
        }

    def identity(self):
        options = self.options
        client = {
            "CPUInfo": [1, 2],
            "Config": {
                "Autoinstall": self.config.autoinstall,
                "Cron": options.cron,
                "Init": "early" if options.init else "late" if options.late_init else False,
            },
            "FullHostname": self.hostname if "." in self.hostname else "",
            "Hostname": self.hostname,
            "Key": self.config.accesskey or "",
            "MmapMinAddr": "4096",
            "RebootsSaved": 0,
            "Tools": {
                tool: {"Link": "/bin/kmod", "Stat": TOOL_STAT} for tool in ("Depmod", "Modprobe")
            },
            "UUID": self.uuid(),
            "Uptime": f"{time.monotonic():.2f}",
            "UptrackVersion": self.scenario["client"]["version"],
            "VMInfo": {
                "dmidecode_error": "[Errno 2] No such file or directory",
                "num_containers": 0,
            },
        }
        if self.scenario["network"] == "dns":
            client["LocalIP_error"] = (
                "[Errno -3] Temporary failure in name resolution (host = {}, uri = {})".format(
                    self.config.url.split("/")[2], self.config.url
                )
            )
        else:
            client["LocalIP"] = "127.0.0.1"
        return client

    def show_detection(self, applied):
        """Known exploit detection is on while it is wanted and its update is in the kernel."""
        watching = [update["id"] for update in self.scenario["updates"] if update["detection"]]
        if watching:
            is_on = self.config.known_exploit_detection and any(one in applied for one in watching)
            self.world.write("proc/sys/kernel/known_exploit_detection", "1\n" if is_on else "0\n")
            tripwires = "proc/sys/kernel/known_exploit_detection_tripwires"
            if is_on and not self.world.exists(tripwires):
                self.world.write(tripwires, "")


# ---- small decisions -----------------------------------------------------------------------------


def bad_mix(mode, options):
    """What is wrong with these options together, or None."""
    if options.uninstall and mode != "remove":
        return "--uninstall can only be used with uptrack-remove."
    if options.available and mode != "show":
        return "--available can only be used with uptrack-show."
    if options.available and options.count:
        return "--available and --count cannot be used together."
    if (options.all or options.uninstall) and options.ids:
        return "--all and update IDs cannot be used together."
    if (
        options.no_network
        and mode != "show"
        and not (mode == "remove" and (options.all or options.uninstall))
    ):
        return "--no-network cannot be used here: this needs the Ksplice Uptrack server."
    return None


def shown(item):
    return "[{}] {}".format(item["ID"], item["Name"])


def block(header, items):
    return "\n".join([header] + ([shown(item) for item in items] or ["None"]))


def as_json(words):
    """A list of texts as JSON, without loading all of json for it."""
    from _json import encode_basestring_ascii

    return "[{}]".format(", ".join(encode_basestring_ascii(word) for word in words))


def traceback_of(error):
    import traceback

    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def number_in(text):
    return int(text) if text and text.strip().isdigit() else 0


def new_uuid():
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    digits = "".join(f"{byte:02x}" for byte in raw)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def write_crontab(world):
    """Twice an hour, at minutes of the host's own."""
    minute = ord(os.urandom(1)) % 30
    world.write(
        w.CRON,
        (
            "# Runs the Ksplice Uptrack client.\n"
            f"{minute},{minute + 30} * * * * root [ -x /usr/sbin/uptrack-upgrade ] && "
            "/usr/sbin/uptrack-upgrade --cron\n"
        ),
    )
