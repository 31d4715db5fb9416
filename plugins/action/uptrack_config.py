# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_config on the controller: runs the module, brings what it needs by the package modules
of ansible.builtin, and runs it again.

A host that has everything costs one run of the module. What fails half way is taken back, so that
the host ends as it was.
"""

from __future__ import annotations

import base64
import shlex

from ansible.plugins.action import ActionBase
from ansible_collections.rebootless.ksplice.plugins.module_utils import redact
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import enroll, enrollment

MODULE = "rebootless.ksplice.uptrack_config"
APPLY, FACTS = "rebootless.ksplice.uptrack_apply", "rebootless.ksplice.uptrack_facts"
CONF, FLAG = "/etc/uptrack/uptrack.conf", "/etc/uptrack/disable"
KEPT = "/etc/uptrack/uptrack.conf.switching"
# At most: the agent, the configuration, the package with the updates.
PASSES = 4
# Seconds for a key that does not come, and for another run of the package manager to end.
TIMEOUT = 30


class Failed(Exception):
    """A step failed; the words are the module's own."""

    def __init__(self, what, result):
        super().__init__(f"{what}: {redact.mask(_words(result), [])}")
        self.result = result


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self._vars, self._undo, steps = task_vars, [], []
        # Of the configuration, diffs and changed keys of all passes together.
        changed, diffs, keys, warnings, removed = False, [], set(), [], []
        for _number in range(PASSES):
            told = self._execute_module(module_name=MODULE, task_vars=task_vars)
            if told.get("unreachable") or told.get("failed"):
                return dict(result, **self._failure(told, steps))
            needs = [self._with_passwords(need) for need in told.pop("needs", [])]
            changed = changed or told["changed"]
            diffs += told.get("diff", [])
            keys.update(told.get("changed_keys", []))
            warnings += told.get("warnings", [])
            removed += [one for one in told.get("removed", []) if one not in removed]
            if not needs:
                break
            if self._play_context.check_mode:
                steps += [_announced(need) for need in needs]
                break
            try:
                for need in needs:
                    steps += self._bring(need, told)
                if needs[-1]["what"] == "updates":
                    # Nothing comes after it, and asked for the latest one the module would name
                    # it again and again.
                    told["packages"] = sorted(set(told["packages"]) | set(needs[-1]["packages"]))
                    break
            except (Failed, enrollment.Refused) as failed:
                return dict(result, **self._failure({"failed": True, "msg": str(failed)}, steps))
        else:
            words = (
                f"After {PASSES} passes the host still lacks {_announced(needs[0])}: the "
                "packages do not bring what they should."
            )
            return dict(result, **self._failure({"failed": True, "msg": words}, steps))
        for internal in ("loaded", "previous", "removed", "diff", "warnings"):
            told.pop(internal, None)
        result.update(told, changed=changed or bool(steps), changed_keys=sorted(keys), steps=steps)
        if self._task.args.get("state") == "absent":
            result.update(removed=removed, loaded=[])
        result.update(
            {name: value for name, value in (("diff", diffs), ("warnings", warnings)) if value}
        )
        return result

    def _failure(self, told, steps):
        """The failed result, after taking back what was brought in."""
        failed = {
            name: told[name]
            for name in (
                "failed",
                "unreachable",
                "msg",
                "exception",
                "module_stdout",
                "module_stderr",
            )
            if name in told
        }
        if not self._undo:
            return dict(failed, changed=False, steps=[])
        if told.get("unreachable"):
            return dict(
                failed,
                changed=True,
                steps=steps,
                msg=f"{told.get('msg', '')} It had been done before: {'; '.join(steps)}.",
            )
        left = []
        for words, undo in reversed(self._undo):
            try:
                undo()
            except Failed as wrong:
                left.append(f"{words} ({wrong})")
        why = str(told.get("msg", "The module failed."))
        if left:
            return dict(
                failed,
                changed=True,
                steps=steps,
                msg=f"{why} What had been done before could not be undone: {'; '.join(left)}.",
            )
        return dict(
            failed,
            changed=False,
            steps=[],
            msg=f"{why} What had been done before was taken back: {'; '.join(steps)}.",
        )

    def _with_passwords(self, need):
        """A need with the addresses that the task gave: in what a module answers, those that have
        a password in them are hidden.
        """
        given = {
            "url": self._task.args.get("repository_url"),
            "key": self._task.args.get("repository_key"),
        }
        return (
            dict(need, **{name: value for name, value in given.items() if value})
            if need["what"] == "repository"
            else need
        )

    # ---- what a need takes ----

    def _bring(self, need, told):
        """Bring one need; what was done comes back as clauses."""
        return getattr(self, f"_bring_{need['what']}")(need, told)

    def _bring_repository(self, need, told):
        key = enrollment.checked_key(self._key(need), need)
        previous = told["previous"]
        # An address with a password in it is for root alone, from the first moment on.
        mode = "0600" if enrollment.has_password(need["url"]) else "0644"
        if need["kind"] == "apt":
            self._python_debian()
            self._undo.append(
                (f"the repository {enrollment.NAME}", lambda: self._repository_back(need, previous))
            )
            self._make_private(need["file"], mode)
            self._step(
                f"The repository {enrollment.NAME} could not be written",
                "ansible.builtin.deb822_repository",
                name=enrollment.NAME,
                types="deb",
                mode=mode,
                uris=need["url"],
                suites=need["suite"],
                components=need["component"],
                signed_by=key,
            )
            return [f"repository {enrollment.NAME} set up"]
        self._undo.append(
            (f"the key {need['key_file']}", lambda: self._yum_key_back(need, previous))
        )
        self._step(
            "The directory of the key could not be made",
            "ansible.builtin.file",
            path=need["key_file"].rpartition("/")[0],
            state="directory",
            mode="0755",
        )
        self._copy(need["key_file"], key)
        self._step(
            "The key of the repository could not be imported",
            "ansible.builtin.rpm_key",
            key=need["key_file"],
            fingerprint=need["fingerprint"],
        )
        self._undo.append(
            (f"the repository {enrollment.NAME}", lambda: self._repository_back(need, previous))
        )
        self._make_private(need["file"], mode)
        self._step(
            f"The repository {enrollment.NAME} could not be written",
            "ansible.builtin.yum_repository",
            name=enrollment.NAME,
            file=enrollment.NAME,
            mode=mode,
            description="Ksplice Uptrack",
            baseurl=need["url"],
            gpgcheck=True,
            gpgkey=f"file://{need['key_file']}",
            enabled=True,
        )
        return [f"repository {enrollment.NAME} set up"]

    def _make_private(self, path, mode):
        """Give a file its mode before there is a password in it; the modules that write it keep
        the mode that it has, and give a new one the usual.
        """
        if mode != "0644":
            self._step(
                f"{path} could not be written",
                "ansible.builtin.copy",
                dest=path,
                content="",
                mode=mode,
                force=False,
            )
            self._step(f"{path} could not be written", "ansible.builtin.file", path=path, mode=mode)

    def _key(self, need):
        if "-----BEGIN PGP" in need["key"]:
            return need["key"]
        got = self._call(
            "ansible.builtin.uri", url=need["key"], return_content=True, timeout=TIMEOUT
        )
        if got.get("failed"):
            raise Failed(
                "The key of the repository could not be fetched from "
                f"{redact.without_user(need['key'])}",
                got,
            )
        return got.get("content", "")

    def _bring_agent(self, need, told):
        names = ", ".join(need["packages"])
        if not need["switch_from"]:
            self._undo.append((f"the package {names}", lambda: self._agent_away(need, told)))
            self._install(need)
            return [f"package {names} installed"]
        return self._switch(need, told, names)

    def _switch(self, need, told, names):
        """Exchange the editions. Removing the old one would take its updates out of the kernel,
        so that the agent is disabled meanwhile.
        """
        was_disabled = told["disabled"]
        self._step(
            "uptrack.conf could not be kept",
            "ansible.builtin.copy",
            src=CONF,
            dest=KEPT,
            remote_src=True,
            mode="preserve",
        )
        if not was_disabled:
            self._copy(FLAG, "rebootless.ksplice exchanges the editions of the agent.\n", "0640")
        try:
            self._install(need, erase=True)
        finally:
            if not was_disabled:
                self._call("ansible.builtin.file", path=FLAG, state="absent")
            self._call(
                "ansible.builtin.copy", src=KEPT, dest=CONF, remote_src=True, mode="preserve"
            )
            self._call("ansible.builtin.file", path=KEPT, state="absent")
        done = [f"package {names} installed in place of {', '.join(need['remove'])}"]
        missing = self._missing(told["loaded"])
        if missing:
            put = self._execute_module(
                module_name=APPLY,
                module_args={"state": "present", "updates": missing},
                task_vars=self._vars,
            )
            if put.get("failed"):
                raise Failed(
                    f"The edition was exchanged, but {', '.join(missing)} has left the "
                    "kernel and could not be restored",
                    put,
                )
            done.append(f"updates restored to the kernel: {', '.join(missing)}")
        return done

    def _missing(self, loaded):
        """Those of the updates that are not in the kernel any more."""
        if not loaded:
            return []
        seen = self._execute_module(module_name=FACTS, module_args={}, task_vars=self._vars)
        if seen.get("failed"):
            raise Failed(
                "The edition was exchanged, but it could not be verified that the updates are in "
                "the kernel still",
                seen,
            )
        now = [
            update["id"]
            for update in seen["ansible_facts"]["uptrack"]["updates"]["installed"] or ()
        ]
        return [ident for ident in loaded if ident not in now]

    def _bring_updates(self, need, told):
        self._install(need, latest=need["latest"])
        if need["latest"] and not self._last.get("changed"):
            return []
        return [f"package {need['packages'][0]} installed; nothing was put into the kernel by it"]

    def _bring_remove(self, need, told):
        words = (
            f"The updates are out of the kernel, but {', '.join(need['packages'])} could "
            "not be removed"
        )
        # Without repositories: one that is long gone must not keep its packages here.
        if need["old_yum"]:
            self._yum(words, "remove", "--disablerepo=*", *need["packages"])
            return [f"packages removed: {', '.join(need['packages'])}"]
        more = {"purge": True} if need["kind"] == "apt" else {"disablerepo": "*"}
        self._step(
            words,
            self._manager(need),
            name=need["packages"],
            state="absent",
            lock_timeout=TIMEOUT,
            **more,
        )
        return [f"packages removed: {', '.join(need['packages'])}"]

    def _bring_forget(self, need, told):
        words = f"The repository {enrollment.NAME} could not be taken away"
        if need["kind"] == "yum" and need["fingerprint"]:
            self._step(
                words,
                "ansible.builtin.rpm_key",
                key=need["fingerprint"].lower()[-8:],
                state="absent",
            )
        for path in (need["file"], need["key_file"]):
            self._step(words, "ansible.builtin.file", path=path, state="absent")
        self._clean(need)
        return [f"repository {enrollment.NAME} taken away"]

    # ---- how ----

    @staticmethod
    def _manager(need):
        return "ansible.builtin.apt" if need["kind"] == "apt" else "ansible.builtin.dnf"

    def _install(self, need, erase=False, latest=False):
        words = f"{', '.join(need['packages'])} could not be installed"
        if need["old_yum"]:
            # Its install brings the latest, and swap exchanges in one transaction.
            self._yum(
                words, *(["swap", *need["remove"][:1]] if erase else ["install"]), *need["packages"]
            )
            return
        more = (
            {"update_cache": True, "update_cache_retries": 2}
            if need["kind"] == "apt"
            else {"allowerasing": erase, "update_cache": latest}
        )
        self._step(
            words,
            self._manager(need),
            name=need["packages"],
            state="latest" if latest else "present",
            lock_timeout=TIMEOUT,
            **more,
        )

    def _yum(self, words, *arguments):
        self._shell(
            words, " ".join(["yum", "-q", "-y", *(shlex.quote(word) for word in arguments)])
        )

    def _agent_away(self, need, told):
        """Without the package manager's repositories and caches, as one of them may be what
        failed.
        """
        names = " ".join(
            shlex.quote(name) for name in enrollment.PACKAGES if name not in told["packages"]
        )
        if need["kind"] == "apt":
            script = (
                f'for p in {names}; do if dpkg -s "$p" >/dev/null 2>&1; then dpkg '
                '--purge --force-depends "$p" || exit 1; fi; done'
            )
        else:
            script = (
                f'for p in {names}; do if rpm -q "$p" >/dev/null 2>&1; then rpm -e '
                '--nodeps "$p" || exit 1; fi; done'
            )
        traces = " ".join(
            pattern for pattern in enroll.TRACES if pattern not in told["previous"]["traces"]
        )
        self._shell("not removed", f"{script}; rm -rf -- {traces}")

    def _shell(self, what, script):
        self._step(what, "ansible.builtin.command", _raw_params=script, _uses_shell=True)

    def _python_debian(self):
        """deb822_repository reads and writes with that library."""
        self._step(
            "python3-debian, which ansible.builtin.deb822_repository needs, could not be installed",
            "ansible.builtin.apt",
            name="python3-debian",
            state="present",
        )

    def _repository_back(self, need, previous):
        self._file_back(need["file"], previous["repository_file"])
        self._clean(need)

    def _clean(self, need):
        """Without what the package manager keeps of a repository that is gone. The patterns are
        for the shell, what is in them is not.
        """
        patterns = " ".join(
            "*".join(shlex.quote(part) for part in pattern.split("*"))
            for pattern in enrollment.cached(need)
        )
        self._shell("What the package manager keeps could not be removed", f"rm -rf -- {patterns}")

    def _yum_key_back(self, need, previous):
        if not previous["key_imported"]:
            self._step(
                "not removed",
                "ansible.builtin.rpm_key",
                key=need["fingerprint"].replace(" ", "").lower()[-8:],
                state="absent",
            )
        self._file_back(need["key_file"], previous["key_file"])

    def _file_back(self, path, kept):
        if kept is None:
            self._step("not removed", "ansible.builtin.file", path=path, state="absent")
        else:
            self._copy(
                path,
                base64.b64decode(kept["content"]).decode("utf-8", "surrogateescape"),
                kept["mode"],
            )

    def _copy(self, path, text, mode="0644"):
        self._step(
            f"{path} could not be written",
            "ansible.builtin.copy",
            dest=path,
            content=text,
            mode=mode,
        )

    def _step(self, what, module, /, **arguments):
        self._last = self._call(module, **arguments)
        if self._last.get("failed") or self._last.get("unreachable"):
            raise Failed(what, self._last)

    def _call(self, module, /, **arguments):
        """Run a module of ansible.builtin as a task would: through its action plugin where it has
        one.
        """
        task = self._task.copy()
        task.args = arguments
        task.action = module
        # Addresses with a password in them are no matter for the host's syslog.
        task.no_log = True
        action = None
        if module in ("ansible.builtin.copy", "ansible.builtin.uri"):
            action = self._shared_loader_obj.action_loader.get(
                module,
                task=task,
                connection=self._connection,
                play_context=self._play_context,
                loader=self._loader,
                templar=self._templar,
                shared_loader_obj=self._shared_loader_obj,
            )
        if action:
            return action.run(task_vars=self._vars)
        own, self._task = self._task, task
        try:
            return self._execute_module(
                module_name=module, module_args=arguments, task_vars=self._vars
            )
        finally:
            self._task = own


def _announced(need):
    """What check mode says would be done."""
    if need["what"] == "repository":
        return f"repository {enrollment.NAME} set up"
    if need["what"] == "forget":
        return f"repository {enrollment.NAME} taken away"
    if need["what"] == "remove":
        return f"packages removed: {', '.join(need['packages'])}"
    return f"package {', '.join(need['packages'])} installed"


def _words(result):
    """One line of what a module said."""
    text = " ".join(
        str(result.get("msg") or result.get("module_stderr") or "it gave no reason").split()
    )
    more = " ".join(
        str(one)
        for one in result.get("failures") or result.get("results") or []
        if isinstance(one, str)
    )
    return f"{text} {more}".strip().rstrip(".")[:600] + "."
