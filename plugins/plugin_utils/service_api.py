# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The one client of the service's web API, and of its public Inspector (reference 5.1, 5.5).

What the service answers is foreign as well: it is checked here, and whatever it is not is an error
of one sentence and of one class. User name and API key are in no error, log, cache or argument of a
program.
"""

from __future__ import annotations

import concurrent.futures
import configparser
import contextlib
import ipaddress
import json
import os
import queue
import re
import threading
import time
from urllib.parse import quote, urlsplit

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import machines, schema
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError

URL = "https://uptrack.api.ksplice.com/api/1"
INSPECTOR_URL = "https://api-ksplice.oracle.com/api/1/update-list/"
# What the vendor's own tools read (reference 5.2), on the controller.
CONFIGURATION = "/etc/uptrack-api.conf"
OPTIONS = ("url", "user", "key", "ca", "proxy")
ENVIRONMENT = {"user": "UPTRACK_API_USERNAME", "key": "UPTRACK_API_KEY"}
# Seconds to connect, without a byte of an answer, and for all of it; its bytes.
CONNECT, SILENCE, WHOLE, LONGEST = 10, 60, 300, 100_000_000
# A service that is busy is asked again, after 1, 2 and 4 seconds or when it says, if that is soon.
RETRIES, BACKOFF, BUSY, SOON = 3, 1, (429, 500, 502, 503, 504), 60
# Requests under way at the same time.
AT_ONCE = 8
STATUSES = ("uptodate", "outofdate", "unsupported")
AUTHORIZATIONS = ("allowed", "denied", "pending")


class ApiError(PlanError):
    """Why the service did not do what was asked, in a sentence; by class, what kind of trouble."""

    # Whether the service may have done it all the same.
    in_doubt = False


class Misconfigured(ApiError):
    """It was not asked: credentials, address, CA or proxy are missing or wrong."""


class Unreachable(ApiError):
    """No connection, no answer in time, or half an answer."""


class Untrusted(ApiError):
    """Its certificate is not accepted."""


class Rejected(ApiError):
    """Wrong credentials, or ones that may not do that (401, 403)."""


class NotFound(ApiError):
    """The account has no such machine (404)."""


class RateLimited(ApiError):
    """Asked too often (429)."""


class Failing(ApiError):
    """An error of the service's own (5xx)."""


class NotTheService(ApiError):
    """An answer that the service does not give: a page, a redirect, other JSON."""


# After these nothing was done. An answer that is torn, late or an error of the service's own may be
# one to what was done.
REFUSALS = (Misconfigured, Untrusted, Rejected, NotFound, RateLimited)


def word_or_unknown(words):
    """One of the words that are documented; of another one it is known that it is unknown."""

    def shape(value, where):
        found = schema.text(value, where)
        return found if found in words else "unknown"

    shape.words = words
    return shape


def uuid_like(value, where):
    """What can be in a path, a name of a host and a file's name."""
    if not re.fullmatch("[0-9A-Za-z][0-9A-Za-z-]{0,63}", schema.text(value, where)):
        raise schema.Misfit(f"{where} is not a UUID")
    return machines.uuid_of(value)


def address_or_none(value, where):
    """An address that a connection can be made to. What else is there is the machine's own word,
    and would be an option of ssh, or a command.
    """
    found = schema.optional(schema.text)(value, where)
    # The zone of an IPv6 address may be any text.
    if found is None or "%" in found:
        return None
    with contextlib.suppress(schema.Misfit):
        return schema.address(found, where)


MACHINE = schema.mapping(
    uuid=uuid_like,
    hostname=schema.text,
    ip=address_or_none,
    active=schema.truth,
    status=word_or_unknown(STATUSES),
    authorization=word_or_unknown(AUTHORIZATIONS),
    autoinstall=schema.optional(schema.truth),
    mmap_min_addr=schema.optional(schema.number(0, 1 << 64)),
    uptrack_client_version=schema.optional(schema.text),
    last_seen=schema.optional(schema.moment),
)
_UPDATE = schema.mapping(ID=schema.text, Name=schema.text)


def _step(value, where):
    """What an upgrade would do: C([verb, {ID, Name}])."""
    if not isinstance(value, list) or len(value) != 2:
        raise schema.Misfit(f"{where} is not a verb and an update")
    verb = schema.one_of("Install", "Remove")(value[0], where)
    return {"verb": verb, **_UPDATE(value[1], where)}


DESCRIPTION = schema.mapping(
    effective_kernel=schema.optional(schema.text),
    original_kernel=schema.optional(schema.text),
    group=schema.optional(schema.text),
    installed_updates=schema.listed(_UPDATE),
    steps=schema.listed(_step),
)


def names(prefix):
    """What options are called where they were given, for errors; by option."""
    return {name: prefix + name for name in OPTIONS}


VARIABLES = names("ksplice_api_")


def is_here(url):
    """Whether an address is on this machine, as that of the emulated service is."""
    try:
        host = urlsplit(url or "").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def given(options, environ=None):
    """Whether somebody gave credentials, as options or in the environment. The vendor's own file,
    which may be there for other tools, does not count.
    """
    environ = os.environ if environ is None else environ
    return all(options.get(name) or environ.get(ENVIRONMENT[name]) for name in ENVIRONMENT)


def settings(options, environ=None, configuration=CONFIGURATION, called=VARIABLES):
    """What the client needs, from options, the environment and the vendor's own file, in this
    order: C(url), C(user), C(key), C(ca), C(proxy).

    :param options: C(url), C(user), C(key), C(ca), C(proxy), each of which may be missing.
    :param called: see names; unless given, they are variables of the playbooks.
    :raises Misconfigured:
    """
    environ = os.environ if environ is None else environ
    found = {key: value for key, value in options.items() if value not in (None, "")}
    for name, variable in ENVIRONMENT.items():
        if environ.get(variable):
            found.setdefault(name, environ[variable])
    if not ("user" in found and "key" in found):
        _from_file(found, configuration)
    if not ("user" in found and "key" in found):
        raise Misconfigured(
            f"There are no credentials for the service's API: set {called['user']} and "
            f"{called['key']} (or UPTRACK_API_USERNAME and UPTRACK_API_KEY), from a vault for "
            "example. The API key is in the settings of the account, and is not the access key."
        )
    for name in ("user", "key"):
        if not re.fullmatch("[\x21-\x7e]+", str(found[name])):
            raise Misconfigured(
                f"{called[name]} has blanks, line ends or letters with accents in it."
            )
    found.setdefault("url", URL)
    return common(found, called)


def common(found, called):
    """Address, CA and proxy, checked.

    :param called: see names.
    :raises Misconfigured:
    """
    try:
        parts = urlsplit(found["url"])
        good = parts.scheme == "https" and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or parts.query or parts.fragment:
        raise Misconfigured(
            f"{called['url']} is no address of an API: give one with https://, without user, ? "
            "and #. The account's settings show it."
        )
    if found.get("ca") and not os.path.isfile(found["ca"]):
        raise Misconfigured(f"{called['ca']}: {found['ca']} is no file.")
    url = found["url"].rstrip("/")
    return {"ca": None, "proxy": None, **found, "url": url, "called": called}


def _from_file(found, path):
    """Credentials of C(uptrack-api.conf), where it is there."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        return
    except (OSError, UnicodeError, configparser.Error):
        # The text of an error would have the line that is wrong.
        raise Misconfigured(f"{path} cannot be read as the configuration of the API.") from None
    for name, key in (("user", "username"), ("key", "api_key"), ("proxy", "https_proxy")):
        value = parser.get("uptrack", key, fallback="").strip()
        if value:
            found.setdefault(name, value)


class _Client:
    """HTTPS with retries, limits and without secrets in its errors."""

    def __init__(self, of, headers=None):
        try:
            import requests
            from requests.adapters import HTTPAdapter
        except ImportError:
            raise Misconfigured(
                "requests is not installed on the controller: install it for the Python of "
                "Ansible (pip install requests)."
            ) from None
        self._requests, self._of = requests, of
        self._host = urlsplit(of["url"]).hostname
        self._session = requests.Session()
        self._session.mount("https://", HTTPAdapter(max_retries=_retry()))
        self._session.headers.update(headers or {})
        # ~/.netrc has no say.
        self._session.auth = lambda request: request
        if of["proxy"]:
            self._session.proxies["https"] = of["proxy"]

    def request(self, method, url, **more):
        """The status, the headers and the body of an answer, with all that it takes in WHOLE; and
        whether an attempt before that one may have been done.

        :raises ApiError:
        """
        done = queue.SimpleQueue()

        def ask():
            try:
                done.put((self._request(method, url, **more), None))
            except Exception as error:  # for whoever waits
                done.put((None, error))

        # Nothing that reads can be told to be back in time: who sends a byte in a while holds it.
        threading.Thread(target=ask, daemon=True).start()
        try:
            answer, error = done.get(timeout=WHOLE)
        except queue.Empty:
            raise self._endless() from None
        if error:
            raise error
        return answer

    def _endless(self):
        return Unreachable(f"{self._host} has not ended its answer in {WHOLE} s.")

    def _request(self, method, url, **more):
        errors = self._requests.exceptions
        # By each request, as the environment's would win over the session's.
        proxies = {"https": self._of["proxy"]} if self._of["proxy"] else None
        try:
            with self._session.request(
                method,
                url,
                timeout=(CONNECT, SILENCE),
                allow_redirects=False,
                stream=True,
                verify=self._of["ca"] or True,
                proxies=proxies,
                **more,
            ) as answer:
                tried = getattr(answer.raw.retries, "history", ())
                again = any(one.status != 429 for one in tried)
                return answer.status_code, answer.headers, self._body(answer), again
        except errors.SSLError:
            raise Untrusted(
                f"The certificate of {self._host} is not accepted. If a proxy or a mirror answers "
                f"in its place, give the CA of that ({self._of['called']['ca']})."
            ) from None
        except errors.ProxyError:
            raise Unreachable(
                f"The proxy on the way to {self._host} does not let us through."
            ) from None
        except errors.Timeout:
            raise Unreachable(f"{self._host} gave no answer in time.") from None
        except (errors.RequestException, OSError) as error:
            # Its text may have the proxy's password in it.
            if _was_refused(error):
                raise Unreachable(
                    f"{self._host} cannot be reached: nobody listens there, or its name or the way "
                    f"to it is not known. Check {self._of['called']['url']}."
                ) from None
            kind = type(error).__name__
            raise Unreachable(f"{self._host} gave no whole answer ({kind}).") from None

    def _body(self, answer):
        end, parts, length = time.monotonic() + WHOLE, [], 0
        for part in answer.iter_content(65536):
            parts.append(part)
            length += len(part)
            if length > LONGEST:
                raise NotTheService(f"{self._host} answers with more than {LONGEST} bytes.")
            if time.monotonic() > end:
                # Nobody waits for it any more.
                raise self._endless()
        return b"".join(parts)

    def complain(self, status, headers, what):
        """Complain of an answer that is not a success.

        :param what: what was asked for, in a clause.
        """
        where = f"{self._host} was asked {what}"
        if status in (401, 403):
            raise Rejected(
                f"{where} and does not accept the API's user and key, or they may not do that "
                f"(HTTP {status}). A new key makes the former one invalid."
            )
        if status == 404:
            raise NotFound(f"{where} and does not know that (HTTP 404).")
        if status == 429:
            after = headers.get("Retry-After", "")
            when = f" Try again in {after} s." if after.isdigit() else ""
            raise RateLimited(f"{where} too often (HTTP 429).{when}")
        if status >= 500:
            raise Failing(f"{where} and has an error of its own (HTTP {status}). Try again later.")
        raise NotTheService(
            f"{where} and answered with HTTP {status}, which the service does not do: check "
            f"{self._of['called']['url']}."
        )


def _was_refused(error):
    """Whether there was no connection at all."""
    from urllib3.exceptions import NewConnectionError

    return any(isinstance(getattr(one, "reason", None), NewConnectionError) for one in error.args)


def _retry():
    from urllib3.exceptions import MaxRetryError, ReadTimeoutError, SSLError
    from urllib3.util import Retry

    class Patient(Retry):
        """Retries that do not wait for as long as a server likes, nor for what stays as it is."""

        def increment(self, method=None, url=None, response=None, error=None, *args, **more):
            if isinstance(error, (ReadTimeoutError, SSLError)):
                raise error
            after = self.get_retry_after(response) if response is not None else None
            if after and after > SOON:
                # The answer itself says why.
                raise MaxRetryError(args[0] if args else None, url)
            return super().increment(method, url, response, error, *args, **more)

    return Patient(
        total=RETRIES,
        backoff_factor=BACKOFF,
        status_forcelist=BUSY,
        # What is posted sets a state, and twice is as once.
        allowed_methods=("GET", "POST"),
        raise_on_status=False,
    )


class Service:
    """The web API of an account.

    :param settings: see settings.
    """

    def __init__(self, settings):
        self._url, self._called = settings["url"], settings["called"]
        headers = {"X-Uptrack-User": settings["user"], "X-Uptrack-Key": settings["key"]}
        headers.update({"Accept": "application/json", "Content-Type": "application/json"})
        self._client = _Client(settings, headers)

    def machines(self):
        """All machines of the account, see MACHINE; hidden ones the service leaves out."""
        try:
            found = self._get("machines", "for the machines of the account")
        except NotFound:
            # Each account has that list.
            raise self._misfit("it has no list of machines (HTTP 404)") from None
        try:
            return schema.listed(MACHINE, 1_000_000)(found, "machines")
        except schema.Misfit as misfit:
            raise self._misfit(misfit) from None

    def describe(self, uuid):
        """One machine, see MACHINE and DESCRIPTION.

        :raises NotFound:
        """
        found = self._get(f"machine/{quote(uuid, safe='')}/describe", f"about {uuid}")
        try:
            return {**MACHINE(found, "the machine"), **DESCRIPTION(found, "the machine")}
        except schema.Misfit as misfit:
            raise self._misfit(misfit) from None

    def describe_all(self, uuids):
        """As describe, of many machines; of one that is gone meanwhile nothing."""

        def one(uuid):
            with contextlib.suppress(NotFound):
                return self.describe(uuid)

        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as workers:
            return [found for found in workers.map(one, uuids) if found]

    def authorize(self, uuid, allowed):
        """Allow a machine to use the service, or deny it."""
        self._post(uuid, "authorize", {"authorized": bool(allowed)}, "to authorize")

    def group(self, uuid, name):
        """Move a machine to a group, which is made if it is new; an empty name: to none."""
        self._post(uuid, "group", {"group_name": name}, "for the group of")

    def _get(self, path, what):
        status, headers, body, _again = self._client.request("GET", f"{self._url}/{path}")
        if status != 200:
            self._client.complain(status, headers, what)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise self._misfit("the answer is not JSON") from None

    def _post(self, uuid, call, body, what):
        path = f"{self._url}/machine/{quote(uuid, safe='')}/{call}"
        again = False
        try:
            data = json.dumps(body)
            status, headers, _body, again = self._client.request("POST", path, data=data)
            # What it answers is not documented (reference 5.1).
            if not 200 <= status < 300:
                self._client.complain(status, headers, f"{what} {uuid}")
        except ApiError as error:
            error.in_doubt = again or not isinstance(error, REFUSALS)
            raise

    def _misfit(self, why):
        return NotTheService(
            f"{urlsplit(self._url).hostname} does not answer as the service does: {why}. Check "
            f"{self._called['url']}."
        )


class Inspector:
    """The public list of updates of a kernel, for which nobody needs an account."""

    def __init__(self, url=None, ca=None, proxy=None):
        called = dict(VARIABLES, url="ksplice_inspector_url")
        found = common({"url": url or INSPECTOR_URL, "ca": ca, "proxy": proxy}, called)
        # Its address, by which its answers are kept.
        self.url = found["url"] + "/"
        self._client = _Client(found, {"Accept": "text/text", "Content-Type": "text/plain"})

    def updates(self, kernel):
        """The lines of the list that the service has for a kernel, empty ones left out.

        :param kernel: C(sysname), C(machine), C(release), C(version), as C(uname) prints them.
        :raises NotFound: where it knows no such kernel.
        """
        asked = [kernel[key] for key in ("sysname", "machine", "release", "version")]
        body = "".join(f"{line}\n" for line in asked).encode()
        status, headers, said, _again = self._client.request("POST", self.url, data=body)
        if status != 200:
            self._client.complain(status, headers, f"about the kernel {kernel['release']}")
        text = said.decode("utf-8", "replace")
        if _is_document(text):
            raise NotTheService(
                f"{urlsplit(self.url).hostname} answers with a page in place of a list. Check "
                "the address (ksplice_inspector_url)."
            )
        return [line.strip() for line in text.splitlines() if line.strip()]


def _is_document(text):
    """Whether a text is a page, JSON or no text at all, and not lines about updates."""
    begin = text[:2000].lstrip("\ufeff \t\r\n").lower()
    if (
        "\0" in text
        or begin.startswith(("<", "{"))
        or re.search("<(!doctype|html|head|body)", begin)
    ):
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
