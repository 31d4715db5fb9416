# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The state files of one kernel: the package list, the plans, `status` and `results` (reference,
section 2.4).
"""

import os

from . import server, yaml_files
from . import world as w

PLANS = ("Upgrade", "Init", "Remove")
CORE_VERSION = "1\n"  # an update's file core_version, as it is


class NoList(Exception):
    """There is no package list, or it cannot be read."""


class BadSignature(Exception):
    """The package list is not what was signed."""


class Records(object):
    def __init__(self, world, kernel):
        self.world = world
        self.kernel = kernel
        self.folder = w.per_kernel_dir(kernel)

    def path(self, name):
        return f"{self.folder}/{name}"

    # ---- package list ----

    def save_list(self, content, now):
        text = yaml_files.dump(content)
        self.world.write(self.path("packages.yml"), text)
        self.world.write(self.path("packages.yml.sig"), server.sha1(text) + "\n")
        os.utime(self.world.path(self.path("packages.yml")), (now, now))
        self.world.remove(self.path("packages.yml.expired"))

    def load_list(self):
        text = self.world.read(self.path("packages.yml"))
        signature = self.world.read(self.path("packages.yml.sig"))
        if text is None:
            raise NoList()
        if signature is None or signature.strip() != server.sha1(text):
            raise BadSignature()
        try:
            content = yaml_files.load(text)
            for update in content["Updates"]:
                update["ID"], update["Name"]
        except (yaml_files.Unreadable, KeyError, TypeError):
            raise NoList()
        return content

    def list_changed(self):
        """When the list here was fetched; 0 if there is none."""
        try:
            return os.stat(self.world.path(self.path("packages.yml"))).st_mtime
        except OSError:
            return 0

    # ---- unpacked updates ----

    def update_dir(self, update_id):
        return self.path(f"updates/ksplice-{update_id}")

    def unpacked(self):
        return set(self.world.listdir(self.path("updates")))

    def unpack(self, update):
        """As a download leaves it: built beside its place, then moved there whole."""
        place = self.update_dir(update["id"])
        unfinished = place + ".incomplete"
        os.makedirs(self.world.path(unfinished + "/modules"), exist_ok=True)
        self.world.write(unfinished + "/core_version", CORE_VERSION)
        if update["details"] is not None:
            self.world.write(unfinished + "/details", update["details"].rstrip("\n") + "\n")
        os.rename(self.world.path(unfinished), self.world.path(place))

    def details(self, update_id):
        for name in ("details", "patch"):
            text = self.world.read(f"{self.update_dir(update_id)}/{name}")
            if text is not None:
                return text
        return None

    # ---- plans ----

    def save_plan(self, name, items, now):
        self.world.write(
            self.path(name.lower() + "_plan"),
            yaml_files.dump(
                {name + " plan format version": "2", "Time": moment(now), "Plan": items}
            ),
        )

    def load_plan(self, name):
        """The items of a plan; None if there is none or it cannot be read."""
        text = self.world.read(self.path(name.lower() + "_plan"))
        if text is None:
            return None
        try:
            items = yaml_files.load(text)["Plan"]
            return [
                dict(item, ID=item["ID"], Name=item["Name"], Command=item["Command"])
                for item in items
            ]
        except (yaml_files.Unreadable, KeyError, TypeError):
            return None

    # ---- what the last run was ----

    def save_status(self, run, installed, now):
        """`run`: what `status` and `results` of one run have in common.  Everybody may read both,
        although the access key is in them: that is how the real one leaves them.
        """
        self.world.write(
            self.path("status"),
            yaml_files.dump(
                dict(
                    run,
                    **{
                        "Status format version": "2",
                        "Time": moment(now),
                        "Updates": {
                            "Installed": [
                                {"ID": update_id, "Name": name} for update_id, name in installed
                            ]
                        },
                        "New client": False,
                    },
                )
            ),
        )

    def save_results(self, run, more, result, now):
        """`more`: the debug logs of a run that did not end well."""
        self.world.write(
            self.path("results"),
            yaml_files.dump(
                dict(
                    run,
                    **dict(
                        more,
                        **{
                            "Results format version": "2",
                            "Time": moment(now),
                            "Result": result,
                        },
                    ),
                )
            ),
        )

    def stamp_results(self, now):
        self.world.write(self.path("results.server-stamp"), w.utc(now) + "\n", 0o600)

    def identity(self):
        kernel = self.kernel
        return {
            "Sysname": kernel["sysname"],
            "Architecture": kernel["machine"],
            "UserArchitecture": kernel["machine"],
            "Release": kernel["release"],
            "Version": kernel["version"],
        }


def moment(seconds):
    """As Python writes a time: whole seconds have no fraction."""
    return yaml_files.Timestamp(w.utc(seconds).replace(".000000", ""))


def action(item, problem=None):
    """One line of a result: a step that worked, or with `problem` one that did not."""
    result = {
        "Command": item["Command"],
        "ID": item["ID"],
        "Name": item["Name"],
        "Message": "",
        "Abort": None,
        "Core Version": CORE_VERSION,
        "Stack Check": None,
        "Nonmatching Modules": None,
        "UsedBy Modules": [],
        "Locked Modules": [],
    }
    if problem:
        abort, modules = problem["abort"], problem["modules"]
        result["Abort"] = problem["says"] or abort
        result["Message"] = "Error: {}\n".format(result["Abort"])
        if problem["processes"]:
            result["Stack Check"] = [[name, str(pid)] for name, pid in problem["processes"]]
        if abort in ("no_match", "failed_to_find"):
            result["Nonmatching Modules"] = modules
        elif abort == "module_busy":
            result["UsedBy Modules"] = modules
        elif abort == "cold_update_loaded":
            result["Locked Modules"] = modules
    return result
