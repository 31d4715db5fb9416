# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The service's side: what it offers and answers, as the scenario says.  Nothing here touches a
network.
"""

import os
import re
import time

from . import plan, texts
from . import scenario as scenarios

_URL = re.compile(r"https?://[^/\s:]+(:\d+)?(/\S*)?$")

NETWORK_DETAIL = {
    "dns": "Could not resolve host: %s",
    "connect": "couldn't connect to host %s",
    "timeout": "connect() to %s timed out",
}


NOT_ACTIVATED = {"code": 19, "message": "This machine has not been activated."}


class Refused(Exception):
    """An answer that ends the run: exit status and words."""

    def __init__(self, code, words):
        Exception.__init__(self, code, words)
        self.code, self.words = code, words


class Service(object):
    def __init__(self, scenario, config, world, created, now=None):
        self.scenario = scenario
        self.config = config
        self.world = world
        self.created = created
        self.now = time.time() if now is None else now

    # ---- the way there ----

    def contact(self):
        """One request: the time it takes, and what can go wrong on the wire."""
        time.sleep(self.scenario["seconds_per_contact"])
        if not _URL.match(self.config.url):
            raise Refused(10, texts.malformed_url(self.config.url))
        network = self.scenario["network"]
        proxy = self.config.proxy(os.environ)
        if network == "proxy" and proxy:
            raise Refused(10, texts.proxy(proxy))
        if network in NETWORK_DETAIL:
            host = self.config.url.split("/")[2]
            raise Refused(10, texts.network(NETWORK_DETAIL[network] % host))
        if network == "tls" or self._ca_file_useless():
            raise Refused(10, texts.tls())
        if network == "other":
            raise Refused(
                10, texts.other_curl("transfer closed with outstanding read data remaining")
            )

    def _ca_file_useless(self):
        # An empty value is an empty path, not "use the default".
        path = self.config.ssl_ca_cert_file
        return path is not None and (not path or not self.world.exists(path))

    # ---- the answers ----

    def status(self, check_in):
        """The first request of a run; returns the answer as the client keeps it.

        :param check_in: called where the service takes the request; returns the machine's
            authorization.
        """
        self.contact()
        scenario = self.scenario
        accepted = scenario["accepted_keys"]
        if scenario["access_key"] == "bad" or (
            accepted is not None and self.config.accesskey not in accepted
        ):
            raise Refused(14, texts.bad_key())
        if scenario["network"] == "server_error":
            raise Refused(18, texts.transient())
        if scenario["network"] == "http_error":
            raise Refused(18, texts.status_http(302))
        answer = {}
        for key, word in (("Message", "message"), ("Warning", "warning"), ("Backoff", "backoff")):
            if scenario[word] is not None:
                answer[key] = scenario[word]
        for key, word in (
            ("RegenerateCron", "regenerate_cron"),
            ("RegenerateUUID", "regenerate_uuid"),
        ):
            if scenario[word]:
                answer[key] = True
        error = scenario["error"]
        if check_in() != "allowed" or scenario["access_key"] == "not_activated":
            error = NOT_ACTIVATED
        if error:
            answer["Error"] = {"Code": error["code"], "Message": error["message"]}
        return answer

    def ask_for_list(self):
        """The package list's request, before its content."""
        self.contact()
        if self.scenario["unsupported"]:
            raise Refused(13, texts.unsupported(self.scenario["kernel"]))
        if self.scenario["network"] == "list_error":
            raise Refused(10, texts.list_http(500))

    @property
    def expired(self):
        return self.scenario["access_key"] == "expired"

    def published(self):
        """The updates that are out by now, in catalogue order."""
        return [
            update
            for update in self.scenario["updates"]
            if update["published"] is None
            or scenarios.seconds_of(update["published"], self.created) <= self.now
        ]

    def last_modified(self, scenario_changed):
        """When the list last changed: the newest publication, or the scenario
        being written anew.
        """
        moments = [
            scenarios.seconds_of(update["published"], self.created)
            for update in self.scenario["updates"]
            if update["published"] is not None
        ]
        return max([scenario_changed] + [moment for moment in moments if moment <= self.now])

    def package_list(self):
        """The content of packages.yml."""
        scenario, kernel = self.scenario, self.scenario["kernel"]
        client = scenario["client"]
        result = {
            "Protocol version": "2",
            "Client": {
                "Version to Parse": client["required_to_parse"] or "1.0.0",
                "Version to Install": client["required_to_install"] or "1.0.0",
                "Ksplice Tools API version": client["required_tools_api"] or client["tools_api"],
            },
            "Kernel": {
                "Release": kernel["release"],
                "Version": kernel["version"],
                "Architecture": kernel["machine"],
            },
            "Updates": [
                {
                    "ID": update["id"],
                    "Filename": "ksplice-{}.tar.gz".format(update["id"]),
                    "Name": update["name"],
                    "SHA-1": sha1(update["id"] + update["name"]),
                    "Targets": update["modules"] or ["vmlinux"],
                }
                for update in self.published()
            ],
        }
        if scenario["alert"]:
            result["Alert"] = scenario["alert"]
        if scenario["desupported"]:
            result["Desupported"] = scenario["desupported"]
        return result

    # ---- the account ----

    def check_in(self, client, installed, now):
        """Let the account that the scenario names know of this machine; returns its authorization.

        :param client: the client's identity, as it is sent.
        :param installed: IDs in the kernel.
        :param now: seconds since 1970.
        """
        from . import account

        directory = self.scenario["service"]
        try:
            return account.check_in(directory, self._machine(client, installed, now))
        except account.Missing:
            raise Refused(10, texts.network(NETWORK_DETAIL["connect"] % directory))

    def _machine(self, client, installed, now):
        """This machine in the words of the web API (reference 5.1)."""
        scenario, effective = self.scenario, self.effective(installed)
        names = {update["id"]: update["name"] for update in scenario["updates"]}

        def named(update_id):
            return {"ID": update_id, "Name": names.get(update_id, "")}

        steps = [] if scenario["unsupported"] else self.upgrade_steps(installed)
        booted = plan.effective_kernel(scenario["kernel"], [], ())
        return {
            "uuid": client["UUID"],
            "hostname": client["FullHostname"] or client["Hostname"],
            "ip": None if self.config.suppress_ip else client.get("LocalIP"),
            "uptrack_client_version": client["UptrackVersion"],
            "autoinstall": self.config.autoinstall,
            "mmap_min_addr": int(client["MmapMinAddr"]),
            "last_seen": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            "unsupported": scenario["unsupported"],
            "original_kernel": booted["package_version"],
            "effective_kernel": effective and effective["package_version"],
            "installed_updates": [
                named(one)
                for one in list(names) + sorted(set(installed) - set(names))
                if one in installed
            ],
            "steps": [[verb, named(update_id)] for verb, update_id in steps],
        }

    # ---- plans ----

    def offered(self):
        """What an upgrade brings in: published, and not known exploit detection on a host that does
        not want it.
        """
        return [
            update
            for update in self.published()
            if not update["detection"] or self.config.known_exploit_detection
        ]

    def ask_for_plan(self):
        self.contact()
        if self.scenario["network"] == "plan_error":
            raise Refused(10, texts.plan_failed())
        if self.scenario["network"] == "plan_server_error":
            raise Refused(18, texts.transient())
        if self.scenario["network"] == "plan_refused":
            raise Refused(18, texts.plan_refused(self.scenario["refusal"]))

    def upgrade_steps(self, installed, up_to=None):
        """`up_to`: an effective kernel to stop at."""
        offered = self.offered()
        if up_to is not None:
            within = plan.up_to(offered, up_to)
            offered = [] if within is None else within
        return plan.to_install(self.published(), installed, [update["id"] for update in offered])

    def install_steps(self, installed, ids):
        return plan.to_install(self.published(), installed, ids)

    def remove_steps(self, installed, ids):
        return plan.to_remove(self.published(), installed, ids)

    def effective(self, installed):
        """The effective kernel with these updates; None if the service cannot say."""
        known = {update["id"] for update in self.scenario["updates"]}
        if self.scenario["effective_line_unknown"] or not known.issuperset(installed):
            return None
        return plan.effective_kernel(self.scenario["kernel"], self.scenario["updates"], installed)

    def with_effective(self, installed, steps):
        """The items of a plan as they are sent and kept: each with the
        effective kernel behind it.
        """
        names = {update["id"]: update["name"] for update in self.scenario["updates"]}
        now, items = set(installed), []
        for verb, update_id in steps:
            now = plan.after(now, [(verb, update_id)])
            item = {"Command": verb, "ID": update_id, "Name": names[update_id]}
            kernel = self.effective(now)
            if kernel:
                item["EffectiveKernel"] = [slashed(kernel), kernel["package_version"]]
            items.append(item)
        return items

    def plans(self, installed, up_to=None):
        """The three plans that are kept: to upgrade from here, to bring this back after a boot, to
        take it out.
        """
        published = self.published()
        everything_out = plan.to_remove(published, installed, installed)
        everything_in = [(plan.INSTALL, update_id) for dummy, update_id in reversed(everything_out)]
        return {
            "Upgrade": self.with_effective(installed, self.upgrade_steps(installed, up_to)),
            "Init": self.with_effective((), everything_in),
            "Remove": self.with_effective(installed, everything_out),
        }


def slashed(kernel):
    """`sysname/arch/release/version`."""
    return "{}/{}/{}/{}".format(
        kernel["sysname"], kernel["machine"], kernel["release"], kernel["version"]
    )


def quoted(text):
    """As a part of a URL, slashes left alone.  (urllib would take as long to
    load as all of ours.)
    """
    return "".join(
        sign
        if sign.isalnum() and sign < "\x7f" or sign in "/_.-"
        else "".join(f"%{byte:02X}" for byte in sign.encode("utf-8"))
        for sign in text
    )


def sha1(text):
    try:
        from _sha1 import sha1 as digest  # a third of the start-up time of hashlib
    except ImportError:
        from hashlib import sha1 as digest
    return digest(text.encode("utf-8", "surrogateescape")).hexdigest()


def version_key(version):
    """`1.2.80` sorts above `1.2.9`."""
    return [int(part) if part.isdigit() else 0 for part in version.split(".")]
