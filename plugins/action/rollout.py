# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""rollout: the controller's half of a rollout, between the tasks of the hosts. Run once; asks no
host anything.

What it knows lies in run_files: no variable holds it, so that nothing a host answers, and no play
before this one, has a say in it.
"""

from __future__ import annotations

import inspect
import os
import time
import uuid
from datetime import datetime, timezone

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.vars.hostvars import HostVarsVars
from ansible_collections.rebootless.ksplice.plugins.module_utils import rollout_task
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    faces,
    machines,
    preview,
    progress,
    query,
    reconcile,
    record,
    records,
    report,
    rollout,
    run_files,
    service_api,
    turns,
    upload,
    wording,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import run_variables
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError

# How an ansible-core has one host's variables: from 2.19 on it wants the host's name.
OF_ONE_HOST = inspect.signature(HostVarsVars.__init__).parameters
# What the first host of a play registered for all of them: hosts outside of the run that were
# asked.
OUTSIDE = "__rolling_outside"
# In between the record is written where so many times what the last writing took have gone by: that
# of a large fleet must not cost its waves more than a twentieth.
SPARE = 20
# Kinds of runs that may change what the service knows of a host.
CHANGES_MACHINES = ("enroll", "retire")


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, self.params = self.validate_argument_spec(rollout_task.ARGUMENTS)
        self.task_vars = task_vars
        self.everyone = task_vars["groups"]["all"]
        play = self._task.get_play()
        self.files = run_files.RunFiles.of_scope(self.params["scope"], play)
        if self.params["state"] == "ready":
            run_files.RunFiles("last").write("key.json", self.files.key)
        try:
            done = getattr(self, f"_{self.params['state']}")()
        except PlanError as error:
            asked = "" if self.params["state"] != "ready" else " No host was asked anything."
            raise AnsibleActionFail(f"{error}{asked}") from None
        return dict(result, changed=False, **done)

    # ---- what is known of the hosts ----

    def _settings(self):
        """The variables of ours of every host, read once: from the inventory and the command line,
        and not from facts, which a host may have answered."""
        hostvars, found = self.task_vars["hostvars"], {}
        for name in self.everyone:
            raw = hostvars.raw_get(name)
            facts = raw.get("ansible_facts") or {}
            if any(str(key).startswith(run_variables.OURS) for key in facts):
                raw = _without_facts(hostvars, name)
            # What hostvars[name] gives, which would collect them all once more.
            more = {"host": name} if "host" in OF_ONE_HOST else {}
            found[name] = HostVarsVars(raw, loader=hostvars._loader, **more)
        return found

    def _known(self, hosts=None):
        """Variables as the planner takes them: the settings, and what the hosts answered.

        :param hosts: whose answers count; those of this batch, unless given.
        """
        settings, seen = self.files.read("settings.json"), self.files.read("seen.json") or {}
        gone = [
            (one["host"], one["run"])
            for one in self.files.read("taken_over.json") or []
            if one["released"]
        ]
        outside = {}
        for one in (self.task_vars.get(OUTSIDE) or {}).get("results") or ():
            outside[one.get("item")] = one
        found, in_run = {}, set(self._in_run() if hosts is None else hosts)
        for name in self.everyone:
            found[name] = dict(settings[name])
            answer = self.files.survey(name) if name in in_run else None
            if answer is not None:
                found[name]["ksplice_survey"] = turns.cleared(seen.get(name, answer), gone)
                if "ha" in (answer.get("ansible_facts") or {}):
                    found[name]["ksplice_ha_asked"] = answer
            if name in outside:
                found[name]["ksplice_ha_asked"] = outside[name]
        return found

    def _in_run(self):
        return self.files.read("run.json")["in_run"]

    def _tell(self, lines):
        """Say lines to whoever looks on, as they are: as a result they would be JSON."""
        for line in lines:
            self._display.display(wording.printable(line))
        return lines

    def _tell_step(self, lines):
        """The same of a step of the run, unless a callback shows the run as a whole."""
        return lines if progress.by_callback else self._tell(lines)

    # ---- states ----

    def _ready(self):
        """Check all that was asked for and needs no answer of a host, before any is asked."""
        hosts, options = self.params["hosts"] or [], typed(self.params["options"])
        formats = faces.wanted(self.params["formats"])
        if self.params["url"]:
            upload.check(self.params["url"], self.params["token"], self.params["s3"])
        kind, play = self.params["kind"], self.params["scope"] == "play"
        if self.params["scope"] == "run":
            self.files.clear()
        about = record.about(kind, now(), self.params["who"], self._task.check_mode, options)
        self._check_api()
        settings = self._settings()
        sources = self.task_vars.get("ansible_inventory_sources") or []
        asked = dict(options, partial_groups=True) if play else options
        if options.get("select"):
            query.check(options["select"], "ksplice_select")
        if self.params["query"]:
            query.check(self.params["query"])
        checked = rollout.ready(settings, self.everyone, hosts, dict(about, options=asked), sources)
        if "error" in checked:
            raise AnsibleActionFail(f"{checked['error']} No host was asked anything.")
        if self.params["directory"]:
            report.make(self.params["directory"])
            about["stopped"] = report.stopped(self.params["directory"])
            places = ("directory", "template", "url", "token", "s3")
            where = {key: self.params[key] for key in places}
            self.files.write("report.json", dict(where, formats=formats))
        if self.params["dest"]:
            # It may be in the directory of the report.
            report.check_text(self.params["dest"])
        kept = {}
        for name in self.everyone:
            strict = name in hosts
            one = settings[name] if strict else rollout.Lenient(settings[name])
            kept[name] = {
                key: plain(one[key])
                for key in (*run_variables.HOST, *run_variables.RUN)
                if key not in run_variables.SECRET and one.get(key) is not None
            }
        self.files.write("settings.json", kept)
        self.files.write("survey.json", _survey_options(self.params["survey"], kept, hosts))
        self.files.forget_surveys(hosts)
        earlier = self.files.read("run.json") or {}
        if play and earlier:
            # Its batches are one run, which began with the first of them.
            about.update({key: earlier["about"][key] for key in ("id", "started")})
        batches = [*earlier.get("batches", ()), hosts]
        self.files.write("run.json", {"about": about, "in_run": hosts, "batches": batches})
        said = {key: about[key] for key in ("kind", "check")}
        # A record that is asked is no survey.
        surveyed = 0 if self.params["record"] else len(hosts)
        said.update(step="ready", run=about["id"], hosts=surveyed)
        said["question"] = bool(self.params["query"]) or kind == "preview"
        return {"run": about["id"], "progress": said}

    def _check_api(self):
        """Complain of an API that cannot be asked, where it is to be."""
        kind = self.params["kind"]
        if self._asks_api(kind):
            settings = service_api.settings(self.params["api"] or {})
            if kind in CHANGES_MACHINES:
                # What is done to the hosts is not to be left half done by a wrong key.
                service_api.Service(settings).machines()

    def _asks_api(self, kind):
        """Whether the API is asked. Emulated hosts are no machines of an account: in a rehearsal
        only one on this machine is, such as the emulated one."""
        api = self.params["api"] or {}
        if kind in ("rehearse", "rehearsal") and not service_api.is_here(api.get("url")):
            return False
        # Credentials do not mean yet that anything is to be changed.
        given = kind not in CHANGES_MACHINES and service_api.given(api)
        return self.params["ask_api"] or given

    def _service(self, document, now):
        """What the service says beside the hosts; None where nobody gave credentials.

        An API that does not answer costs nobody their record, and is no API that finds nothing.
        """
        api = self.params["api"] or {}
        if not self._asks_api(document["run"]["kind"]):
            return None
        try:
            found = service_api.Service(service_api.settings(api)).machines()
            compared = self._compared(document, found, now)
        except service_api.ApiError as error:
            return {"error": str(error)}
        except Exception as error:  # the run's record is worth more than what is wrong here
            kind = type(error).__name__
            return {"error": f"The service's machines could not be compared with ours ({kind})."}
        return dict(compared, error=None)

    def _compared(self, document, found, now):
        """Where the machines of the account and the hosts of a record disagree."""
        hostvars, settings = self.task_vars["hostvars"], self.files.read("settings.json")
        addresses, rows = {}, []
        for row in document["hosts"]:
            name = row["name"]
            known = (settings.get(name) or {}).get("ksplice_uuid")
            uuid = machines.uuid_of(row["uuid"]) or machines.uuid_of(known)
            rows.append(dict(row, uuid=uuid))
            if not uuid:
                # What has a UUID goes by no name, and variables of thousands of hosts take long.
                variables = rollout.Lenient(hostvars[name])
                addresses[name] = machines.addresses(name, variables)
        return reconcile.compare(rows, found, addresses, now, self.params["silent_days"])

    def _findings(self):
        """Where the service and the hosts disagree, as the report found it."""
        service = self.files.read("service.json")
        if service is None or service["error"]:
            raise PlanError((service or {}).get("error") or "The service was not asked.")
        found, output = service["findings"], self.params["output"]
        if output == "table":
            rows = [
                {"kind": one["kind"], "finding": f"{one['what']} {one['advice']}"} for one in found
            ]
            lines = query.text(rows, output) if rows else ["Nothing disagrees."]
        else:
            lines = query.text(found, output)
        return {"findings": found, "msg": self._answer(lines)}

    def _preview(self):
        """What Ksplice would fix in the kernels of this run's hosts: one look-up for each build."""
        known = self._known()
        surveys = {name: rollout.survey_of(known[name]) for name in self._in_run()}
        builds, unknown = preview.kernels_of(surveys)
        if not builds:
            raise PlanError("Of no host it is known which kernel it has.")
        rows = preview.rows(builds, self._inspected(builds), time.time())
        words = [
            f"Not known of {wording.count(len(hosts), 'host')} ({place.replace('_', ' ')}): "
            f"{turns.some(hosts)}."
            for place, hosts in unknown.items()
            if hosts
        ]
        output = self.params["output"]
        shown = preview.short(rows) if output in ("table", "markdown") else rows
        lines = self._answer(query.text(shown, output))
        for one in words:
            # Beside the answer, so that what reads it finds nothing else there.
            self._display.warning(wording.printable(one))
        return {"kernels": rows, "unknown": unknown, "msg": lines}

    def _inspected(self, builds):
        """What the Inspector says of each build, see preview.look_up."""
        api, path = self.params["api"] or {}, self.params["cache"]
        options = [api.get("ca") or None, api.get("proxy") or None]
        inspector = service_api.Inspector(self.params["inspector_url"], *options)
        kept, whose = report.read_cache(path), f"{inspector.url} "
        # What another Inspector said is no answer of this one.
        cached = {key[len(whose) :]: one for key, one in kept.items() if key.startswith(whose)}
        seconds = self.params["cache_seconds"]
        found = preview.look_up(builds, inspector.updates, cached, time.time(), seconds)
        said = {whose + key: one for key, one in found.items() if "lines" in one}
        report.write_cache(path, {**kept, **said})
        return found

    def _asked(self):
        """The hosts outside of the run that are to be asked for their groups, too."""
        return {"hosts": rollout.to_ask(self._known(), self.everyone, self._in_run())}

    def _left_behind(self):
        """The leases that stopped runs left, to be taken over before anything is planned."""
        about = self.files.read("run.json")["about"]
        options = about["options"]
        left = rollout.left_behind(self._known(), self.everyone, self._in_run(), options)
        for one in left:
            one.update(new_token=uuid.uuid4().hex[:16], new_run=options["run"] or about["id"])
        self.files.write("left_behind.json", left)
        return {"left": left, "hosts": [one["host"] for one in left]}

    def _taken_over(self):
        """What came of a lease that was taken over, for the record; and how its host stands now."""
        words = turns.taken_over(self.params["taken"], self.params["results"])
        told = self.files.read("taken_over.json") or []
        self.files.write("taken_over.json", [*told, dict(words, at=now())])
        seen = self.files.read("seen.json") or {}
        seen[words["host"]] = plain(self.params["results"]["seen"])
        self.files.write("seen.json", seen)
        said = {"step": "taken_over", "host": words["host"], "what": words["what"]}
        return {"msg": self._tell_step([f"{words['host']}: {words['what']}"]), "progress": said}

    def _plan(self):
        about = self.files.read("run.json")["about"]
        options = about["options"]
        known, in_run = self._known(), self._in_run()
        progress = self.files.read("progress.json", turns.begun())
        if self.params["scope"] == "run":
            surveyed = in_run
            try:
                if options.get("select"):
                    in_run = self._selected(known, in_run, options)
                planned = rollout.start(
                    known, self.everyone, in_run, dict(options, check=self._task.check_mode)
                )
            except PlanError as error:
                planned = rollout.without_plan(str(error))
            planned["unselected"] = [name for name in surveyed if name not in set(in_run)]
        else:
            proven = {
                one["build"] for one in progress["hosts"].values() if one["claimed"] and one["ok"]
            }
            options = dict(options, play=self.task_vars["ansible_play_hosts_all"])
            planned = rollout.batch(known, self.everyone, in_run, options, proven)
        parts = rollout.slices(planned, known, options) if "error" not in planned else []
        # Those of earlier batches of a play with serial keep their numbers, and their outcomes.
        first = self.files.read("first.json", 0)
        first += len(self.files.read("plan.json", {}).get("waves") or ())
        for part in parts:
            self.files.write(f"slice-{first + part['number']}.json", part)
        self.files.write("first.json", first)
        self.files.write("progress.json", turns.planned(progress, planned))
        self.files.write("plan.json", planned)
        self.files.write("options.json", dict(options, max_failures=planned["max_failures"]))
        self.files.write("wave.json", first)
        # From now on there is a record of this run, whatever ends it.
        self._write_record(page=True)
        return {
            "waves": planned["waves"],
            "error": planned.get("error"),
            "msg": self._tell_step(record.plan_lines(planned)),
            "progress": self._planned(planned, parts, known, options["wave_soak"]),
        }

    def _planned(self, planned, parts, known, wave_soak):
        """The plan, for whoever shows the run as it goes on."""
        said = {"step": "plan", "error": planned.get("error")}
        if said["error"]:
            return said
        described, pending = record.described(planned), {}
        for part, names in zip(parts, described):
            number = self.files.read("first.json") + part["number"]
            self.files.write(f"described-{number}.json", names)
            for name in part["hosts"]:
                available = rollout.survey_of(known[name])["updates"]["available"]
                pending[name] = len(available or ())
        return dict(
            said,
            # In check mode no wave begins, which would tell its hosts.
            described=described if self._task.check_mode else [],
            hash=planned["hash"],
            waves=planned["waves"],
            seconds=progress.expected(parts, pending, wave_soak),
            notes=record.notes(planned),
            left=record.in_no_wave(planned),
        )

    def _selected(self, known, in_run, options):
        """The hosts that ksplice_select finds, and the members of their groups. The others are
        outside of the run from here on.

        :raises PlanError:
        """
        ran = self.files.read("run.json")
        plan = rollout.start(known, self.everyone, in_run, options)
        state = {"outcomes": {}, "began": []}
        seen = record.record(known, self.everyone, in_run, plan, state, ran["about"])
        chosen = query.selected(seen, options["select"])
        kept = rollout.with_groups(chosen, in_run, plan)
        if not kept:
            raise PlanError("ksplice_select finds no host of this run.")
        self.files.write("run.json", dict(ran, in_run=kept))
        open_unknown = [row for row in seen["hosts"] if row["cves_open"] is None]
        outside = [row["name"] for row in open_unknown if row["name"] in set(in_run) - set(kept)]
        self._tell(
            [
                f"ksplice_select: {len(kept)} of {len(in_run)} hosts"
                + (f"; not known which CVEs are open: {', '.join(outside)}" if outside else "")
                + "."
            ]
        )
        return kept

    def _query(self):
        """What a record answers to a question, or the fleet as it was surveyed just now."""
        if self.params["record"]:
            document = report.read(self.params["record"])
        else:
            if not any(self.files.survey(name) for name in self._in_run()):
                raise PlanError("No host was surveyed, so that there is nothing to ask.")
            document = self._document(now())[0]
        question, output = self.params["query"], self.params["output"]
        answer = query.ask(document, question)
        lines = self._answer(query.text(answer, output))
        doubt = query.doubt(document, question)
        if doubt:
            # Beside the answer, so that what reads it finds nothing else there.
            self._display.warning(wording.printable(doubt))
        return {"answer": answer, "msg": lines, "doubt": doubt}

    def _answer(self, lines):
        """Write lines to where they are wanted, or say them."""
        if self.params["dest"]:
            report.write_text(self.params["dest"], "\n".join(lines) + "\n")
            return lines
        return self._tell(lines)

    def _merge(self):
        """Records that were written before, as one, in the formats that are wanted."""
        self._refuse_misspelt()
        formats = faces.wanted(self.params["formats"])
        files = report.find(self.params["records"] or [], "ksplice_records")
        directory = os.path.abspath(self.params["directory"])
        target = os.path.realpath(os.path.join(directory, "record.json"))
        if len(files) > 1 and target in map(os.path.realpath, files):
            raise PlanError(
                f"{target} would be replaced by what is made of it and others. Nothing was "
                "written: give another directory (ksplice_report_directory)."
            )
        if self.params["url"]:
            upload.check(self.params["url"], self.params["token"], self.params["s3"])
        return self._written(_merged(files, "ksplice_records"), formats)

    def _compare(self):
        """What changed from earlier records to others."""
        self._refuse_misspelt()
        if self.params["dest"]:
            report.check_text(self.params["dest"])
        before, after = (
            _merged(report.find(self.params[key] or [], option), option)
            for key, option in (
                ("compare_with", "ksplice_compare_with"),
                ("records", "ksplice_records"),
            )
        )
        changes, output = records.compare(before, after), self.params["output"]
        rows = changes if output == "json" else records.shown(changes)
        lines = query.text(rows, output, "Nothing changed.")
        if output in ("table", "markdown"):
            heading = records.heading(before, after)
            lines = [faces.words(heading) if output == "markdown" else heading, "", *lines]
        return {"answer": changes, "msg": self._answer(lines)}

    def _refuse_misspelt(self):
        """A step without hosts has no V(ready) that would complain."""
        run_variables.misspelt("localhost", self.task_vars)

    def _select(self):
        """Who of the next wave is claimed, and the claim that its tasks go by."""
        options = self.files.read("options.json")
        number = self.files.read("wave.json") + 1
        part = self.files.read(f"slice-{number}.json")
        progress = self.files.read("progress.json")
        if options["wave_soak"] and progress["ended"] and not self._task.check_mode:
            time.sleep(options["wave_soak"])
        stop_file = options["stop_file"]
        given_up = set(self.task_vars["ansible_play_hosts_all"]).difference(
            self.task_vars["ansible_play_hosts"]
        )
        at = now(fraction=True)
        chosen = turns.select(
            part,
            progress,
            at,
            given_up,
            {
                "stop_file": stop_file,
                "stop": bool(stop_file) and os.path.exists(stop_file),
                "window": options["window"],
                "promote": options["promote"],
                "max_failures": options["max_failures"],
            },
        )
        run, claims = self.files.read("run.json")["about"]["id"], {}
        for name, choice in chosen.items():
            if choice["reason"]:
                self._tell_step([f"{name}: {choice['reason']}"])
                claims[name] = {"claimed": False, "claim": "", "members": [name]}
                claims[name].update(peers=[], balancers=[])
                claims[name]["notify"] = {"before": [], "after": []}
                continue
            token = uuid.uuid4().hex[:16]
            claimed = turns.claim(part, name, choice, token, options["run"] or run, options)
            claims[name] = {
                "claimed": True,
                "claim": self.files.write(f"claim-{number}-{len(claims)}.json", claimed),
                "members": claimed["members"],
                "peers": claimed["peers"],
                "balancers": claimed["balancers"],
                "notify": turns.notify(claimed),
            }
            choice.update(token=token, claim=claims[name]["claim"])
        self.files.write(f"chosen-{number}.json", {"at": at, "hosts": chosen})
        self.files.write("wave.json", number)
        said = {"step": "select", "number": number}
        said["claimed"] = [name for name, one in claims.items() if one["claimed"]]
        said["described"] = self.files.read(f"described-{number}.json")
        said["skipped"] = {name: one["reason"] for name, one in chosen.items() if one["reason"]}
        return {"claims": claims, "progress": said}

    def _record(self):
        """What came of a wave."""
        number = self.files.read("wave.json")
        part, hostvars = self.files.read(f"slice-{number}.json"), self.task_vars["hostvars"]
        chosen, outcomes = self.files.read(f"chosen-{number}.json"), {}
        times = {
            "claimed": turns.iso(turns.when(chosen["at"]).timestamp()),
            "now": turns.iso(time.time()),
        }
        for index, (name, choice) in enumerate(chosen["hosts"].items()):
            result, released, variables = None, {}, hostvars[name]
            if "token" in choice:
                token = choice["token"]
                found = [
                    *run_files.results(variables, "turn", token),
                    *run_files.results(variables, "finish", token),
                ]
                result = found[-1] if found else None
                released = {
                    one["member"]: one for one in run_files.results(variables, "released", token)
                }
                if result and result.get("own_release"):
                    released[name] = result["own_release"]
            outcome = turns.outcome(part, name, choice, result, released, times)
            outcomes[name] = outcome
            if result and result.get("turn"):
                self._after(outcome, name, choice, result, variables, released)
        self.files.write(f"outcomes-{number}.json", outcomes)
        progress = turns.note(self.files.read("progress.json"), part, outcomes, times["now"])
        self.files.write("progress.json", progress)
        self._write_record()
        failed = {name: one["reason"] for name, one in outcomes.items() if not one["ok"]}
        good = sum(one["claimed"] and one["ok"] for one in outcomes.values())
        said = {"step": "record", "hosts": len(outcomes), "patched": good, "failed": failed}
        return {"progress": said}

    def _after(self, outcome, name, choice, result, variables, released):
        """What the tasks after the turn gave."""
        token = choice["token"]
        claimed = self.files.read(choice["claim"])
        for one in run_files.results(variables, "restored", token):
            if not one["done"]:
                words = turns.one_line(one.get("msg"), "The task returned no result.")
                outcome.update(ok=False, still_drained=True, reason_code="not_restored")
                outcome["reason"] += f" STILL OUT OF SERVICE: {words}"
        wrong = turns.address_trouble(claimed, result["turn"], released)
        if wrong and outcome["ok"]:
            outcome.update(ok=False, reason_code="address")
            outcome["reason"] += f" After it was restored: {wrong}."

    def _write_record(self, page=False):
        """Write the record of a run that has not ended, for whoever stops it, or finds it stopped.

        :param page: write the page, too, which costs a large fleet more than the record.
        """
        where, last = self.files.read("report.json"), self.files.read("written.json")
        begun, spent = time.monotonic(), time.process_time()
        if not where or last and begun - last["at"] < SPARE * last["took"]:
            return
        took = 0.0
        try:
            document = self._document(None)[0]
            if not last:
                report.clear(where["directory"], document)
            names = report.write(where["directory"], document, where["template"])
            # What other formats take is no measure for those who write the record alone.
            took = time.process_time() - spent
            if page:
                formats = where["formats"]
                names = report.write(where["directory"], document, where["template"], formats)
            if where["url"] and not self.files.read("no_upload.json"):
                failure = self._upload(where, names)
                if failure:
                    # Once more at the end: no wave waits for it.
                    self.files.write("no_upload.json", failure)
                    self._display.warning(failure)
        except AnsibleActionFail as failure:
            # The hosts come first; at the end it is an error.
            self._display.warning(str(failure))
        self.files.write("written.json", {"at": time.monotonic(), "took": took})

    @staticmethod
    def _upload(where, names):
        """Upload what was written; a sentence where that was not possible."""
        directory = os.path.abspath(where["directory"])
        return upload.put(where["url"], where["token"], directory, names, where["s3"])

    def _document(self, ended):
        """The record as it stands, and the plan."""
        ran = self.files.read("run.json") or {
            "about": record.about("patch", now(), None, self._task.check_mode, {}),
            "batches": [self.task_vars["ansible_play_hosts_all"]],
        }
        if not os.path.exists(os.path.join(self.files.folder, "settings.json")):
            self.files.write("settings.json", {name: {} for name in self.everyone})
        planned, outcomes = self.files.read("plan.json", {}), {}
        first, last = self.files.read("first.json", 0), self.files.read("wave.json", 0)
        for number in range(1, last + 1):
            outcomes.update(self.files.read(f"outcomes-{number}.json", {}))
        in_run = list(dict.fromkeys(name for batch in ran["batches"] for name in batch))
        known = self._known(in_run)
        for name, one in outcomes.items():
            if one.get("seen"):
                one["seen"] = survey = rollout.survey_of(known[name])
                one["verdict"] = survey["verdict"]
        began = (planned.get("waves") or [])[: last - first]
        given_up = set(self.task_vars["ansible_play_hosts_all"]).difference(
            self.task_vars["ansible_play_hosts"]
        )
        taken_over = self.files.read("taken_over.json") or []
        document = record.record(
            known,
            self.everyone,
            in_run,
            dict(planned, took_over=taken_over) if taken_over else planned,
            {"outcomes": outcomes, "began": began},
            dict(ran["about"], ended=ended),
            given_up,
        )
        return document, planned

    def _report(self):
        """Write the record and the page; the lines that sum it up come back."""
        at = now()
        document, planned = self._document(at)
        document["service"] = self._service(document, at)
        self.files.write("service.json", document["service"])
        formats = faces.wanted(self.params["formats"])
        if self.params["url"]:
            upload.check(self.params["url"], self.params["token"], self.params["s3"])
        done = self._written(document, formats)
        attention = {row["name"]: row["reason"] for row in document["hosts"] if row["attention"]}
        self.files.write("attention.json", attention)
        return dict(done, error=planned.get("error"))

    def _written(self, document, formats):
        """Write a record, and upload it where that is wanted; what the task gives."""
        if not self.files.read("written.json"):
            report.clear(self.params["directory"], document)
        names = report.write(self.params["directory"], document, self.params["template"], formats)
        first = faces.FORMATS[formats[0]][0] if formats else "record.json"
        page = os.path.join(os.path.abspath(self.params["directory"]), first)
        failure = self._upload(self.params, names) if self.params["url"] else None
        rows = record.notable(document)
        said = {"step": "report", "summary": record.summed_up(document), "report": page}
        said["rows"] = [
            dict(host=row["name"], **{key: row[key] for key in ("verdict", "reason", "attention")})
            for row in rows
        ]
        done = {
            "msg": self._tell_step([*record.lines(document), f"The report is {page}"]),
            "progress": said,
            "upload_error": failure,
            "summary": document["summary"],
        }
        if self.params["stats"]:
            done["ansible_stats"] = {
                "data": faces.stats(document),
                "per_host": False,
                "aggregate": True,
            }
        return done


def _merged(files, option):
    return records.merge([report.read(path, option) for path in files])


def _survey_options(options, settings, hosts):
    """What the survey asks: of all hosts, and of those that have settings of their own."""
    validated = ArgumentSpecValidator(facts.ARGUMENTS).validate(options)
    if validated.error_messages:
        raise PlanError("; ".join(validated.error_messages))
    options, own = validated.validated_parameters, {}
    if options["groups"]:
        for name in hosts:
            discover = settings[name].get("ksplice_ha_discover", True)
            one = {"groups": boolean(discover, strict=False)}
            one["ha_command"] = settings[name].get("ksplice_ha_command") or None
            if one != {"groups": True, "ha_command": None}:
                own[name] = one
    return {"options": options, "hosts": own}


# What older releases of ansible-core hand over as text, once a template has made it.
KINDS = {
    "pause": float,
    **dict.fromkeys(
        (
            "lock_timeout",
            "timeout",
            "retries",
            "retry_delay",
            "lease_seconds",
            "lease_wait",
            "drain_timeout",
            "soak",
            "wave_soak",
            "verdict_timeout",
        ),
        int,
    ),
    **dict.fromkeys(("promote", "partial_groups"), boolean),
}


def typed(options):
    """The options of role rolling, each of its kind.

    :raises PlanError: in one sentence.
    """
    found = {}
    for name, value in options.items():
        try:
            found[name] = KINDS[name](value) if name in KINDS else value
        except (TypeError, ValueError):
            raise PlanError(f"{name} is {value!r}: give a number, or true or false.") from None
    return found


def now(fraction=False):
    """The time in UTC, ISO 8601."""
    shape = "%Y-%m-%dT%H:%M:%S.%fZ" if fraction else "%Y-%m-%dT%H:%M:%SZ"
    return datetime.now(timezone.utc).strftime(shape)


def plain(value):
    """A value of Ansible's as JSON has it."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return value
    return str(value)


class _NoFacts(dict):
    """A fact cache in which no host has any: as older and newer releases of ansible-core ask it."""

    def get(self, key, *default):
        if default:
            return default[0]
        raise KeyError(key)


def _without_facts(hostvars, name):
    """A host's variables without its facts, where these have some of our names."""
    try:
        whole = hostvars._variable_manager
        # Not by copy(), for which a manager leaves half of itself behind.
        manager = object.__new__(type(whole))
        manager.__dict__.update(whole.__dict__, _fact_cache=_NoFacts())
        host = hostvars._inventory.get_host(name)
        return manager.get_vars(host=host, include_hostvars=False)
    except (AttributeError, TypeError):
        raise PlanError(
            f"Host {name} has facts with names of ours (such as from a fact cache), and this "
            "ansible-core does not tell what the inventory says in their place: clear its facts "
            "(ansible.builtin.meta: clear_facts, --flush-cache)."
        ) from None
