"""HTTP to one server: a session that is renewed once, retries of what may be repeated, errors of the package's kinds.

What reached the server may have been done there. Hence only a request that changes nothing, or that says `repeatable`,
is sent again when its answer is lost; any other only when the connection was refused before anything was sent.
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests
import urllib3
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from proactive_tasks.overlay.errors import (
    SchedulerError,
    SchedulerInputError,
    SchedulerUnreachableError,
    SchedulerVersionError,
)

CONNECT_S, READ_S = 10.0, 60.0
"""How long a connection, and then an answer, may take."""

FIRST_PATIENCE_S, PATIENCE_S = 5.0, 30.0
"""How long a server that does not answer is tried again: at first, and once it has answered (it may be restarting)."""

NO_ROUTE = re.compile(r"RESTEASY00(3210|3650)\b")
"""How the server says that it lacks a path, or the verb for one: not the 404 of an unknown job."""

JAVA_CLASS = re.compile(r"^(?:[a-z]\w*\.)+[A-Z]\w*(?:Exception|Error): ")

NO_SESSION = 401
"""Status of errors for want of a session, a refused log-in's included: the server's own is the 404 of unknown jobs."""

BEYOND_INPUT = {500, 501, 505}
BUSY = {502, 503, 504}

UNKNOWN = ("UnknownJobRestException", "UnknownTaskRestException", "SignalApiException", "SignalApiRestException")
"""Errors in what was asked that the server answers with 500."""

T = TypeVar("T")

File = tuple[str | None, bytes | str, str]


class _LostError(Exception):
    """No answer, and trying again is right."""


def segment(text: str) -> str:
    """A name as one segment of a path: blanks, `#` and `*` of task names, umlauts and slashes are encoded."""
    return quote(text, safe="")


class Rest:
    """A server's HTTP. Thread-safe but for the session's renewal, which is done once for all threads.

    Args:
        url: the server, without `/rest`.
        login: makes a session in place of the one that ended (empty at first) and answers its identifier; None where
            that is not possible.
        session: one that others made, which is used but never ended.
        borrowed: the sessions that `login` makes are others', too.
        verify: True for the authorities that are trusted anyway, a file of further ones, or False for any.
        patience_s: how long a server that does not answer is tried again.

    Raises:
        SchedulerInputError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        login: Callable[[Rest, str], str] | None = None,
        session: str = "",
        borrowed: bool = False,
        verify: bool | str = True,
        patience_s: float | None = None,
    ) -> None:
        self.url = _checked(url)
        self._login, self._session, self._verify = login, session, _authorities(verify)
        self._own, self._borrowed = False, borrowed
        self._lock = threading.RLock()
        self._patience_s, self._answered = patience_s, False
        self._http = requests.Session()
        if verify is False:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """End the session if it was opened here, without a word if that fails."""
        if self._own and self._session:
            with contextlib.suppress(requests.RequestException):  # it ends by itself, too
                self._http.put(
                    f"{self.url}/rest/scheduler/disconnect",
                    headers={"sessionid": self._session},
                    verify=self._verify,
                    timeout=(CONNECT_S, CONNECT_S),
                )
            self._session, self._own = "", False
        self._http.close()

    @property
    def session(self) -> str:
        """The session's identifier; made at the first use."""
        found = self._session or self.session_after("")
        if not found:
            raise SchedulerInputError(f"{self.url}: no session; log in with a user and a password")
        return found

    def session_after(self, ended: str) -> str:
        """Another session for one that ended; empty if none can be had."""
        with self._lock:
            if self._session == ended:  # else another thread was faster
                if self._login is None:
                    return ""
                self._session, self._own = self._login(self, ended), not self._borrowed
            return self._session

    def version(self) -> dict[str, str]:
        """The versions of `scheduler` and `rest`; needs no session."""
        path = "/rest/scheduler/version"
        return self.read(lambda found: {k: str(v) for k, v in found.items()}, "GET", path, anonymous=True)

    def read(self, convert: Callable[[Any], T], method: str, path: str, **options: Any) -> T:
        """What the answer's JSON means.

        Raises:
            SchedulerError: as `call`; or it has not the shape that `convert` reads.
        """
        found = self.json(method, path, **options)
        try:
            return convert(found)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise SchedulerError(
                f"{method} {self.url}{path}: answered in a shape that this client does not know "
                f"({type(error).__name__}: {error}); {self._version()}"
            ) from error

    def json(self, method: str, path: str, **options: Any) -> Any:
        """The answer as JSON; None for an empty one."""
        answer = self.call(method, path, **options)
        if not answer.content:
            return None
        try:
            return json.loads(answer.content)
        except ValueError:
            raise SchedulerError(
                f"{method} {self.url}{path}: answered {_kind(answer)} where JSON was expected; is the URL right?",
                answer.status_code,
            ) from None

    def text(self, method: str, path: str, **options: Any) -> str:
        """The answer as text."""
        return self.call(method, path, **options).content.decode(errors="replace")

    def call(
        self,
        method: str,
        path: str,
        *,
        anonymous: bool = False,
        repeatable: bool | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: Any = None,
        content: bytes | None = None,
        files: Sequence[tuple[str, File]] | None = None,
    ) -> requests.Response:
        """Send one request and answer what came, if it is a success.

        Args:
            method: GET, POST, PUT or DELETE.
            path: from the server's root, segments encoded.
            anonymous: without a session.
            repeatable: whether it may be sent again when its answer is lost; by itself only a GET.
            headers: further ones.
            params: the query.
            form: fields of a form.
            body: sent as JSON.
            content: sent as it is.
            files: parts of a multipart body.

        Raises:
            SchedulerInputError: refused for what was asked; or the session ended and cannot be renewed.
            SchedulerVersionError: the server has no such route.
            SchedulerUnreachableError: no answer.
            SchedulerError: any other refusal.
        """
        again = method == "GET" if repeatable is None else repeatable
        sent: dict[str, Any] = {"params": params, "data": content if form is None else form, "files": files}
        if body is not None:
            sent["json"] = body
        if anonymous:
            return self._judged(self._sent(method, path, dict(headers or {}), again, sent), method, path)
        used = self.session
        answer = self._sent(method, path, {**(headers or {}), "sessionid": used}, again, sent)
        if answer.status_code == NO_SESSION and (renewed := self.session_after(used)):
            answer = self._sent(method, path, {**(headers or {}), "sessionid": renewed}, again, sent)
        return self._judged(answer, method, path)

    def _sent(
        self, method: str, path: str, headers: dict[str, str], again: bool, sent: dict[str, Any]
    ) -> requests.Response:
        patience = self._patience_s or (PATIENCE_S if self._answered else FIRST_PATIENCE_S)
        retrying = Retrying(
            retry=retry_if_exception_type(_LostError),
            wait=wait_random_exponential(multiplier=0.2, max=3),
            stop=stop_after_delay(patience),
            reraise=True,
        )
        begun = time.monotonic()
        try:
            return retrying(self._attempt, method, path, headers, again, sent)
        except _LostError as error:
            raise SchedulerUnreachableError(
                f"{self.url} does not answer ({error}), tried for {time.monotonic() - begun:.0f} s; "
                "check the URL, and that the server runs"
            ) from error.__cause__

    def _attempt(
        self, method: str, path: str, headers: dict[str, str], again: bool, sent: dict[str, Any]
    ) -> requests.Response:
        # Identity: the server compresses what is compressed already, and says so only once.
        headers = {"Accept-Encoding": "identity", **headers}
        try:
            answer = self._http.request(
                method,
                f"{self.url}{path}",
                headers=headers,
                verify=self._verify,
                timeout=(CONNECT_S, READ_S),
                allow_redirects=False,
                **sent,
            )
        except requests.exceptions.SSLError as error:
            raise SchedulerInputError(self._distrust(error)) from error
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError) as error:
            raise SchedulerInputError(f"{method} {self.url}{path}: cannot be sent: {error}") from error
        except requests.RequestException as error:
            if again or _never_sent(error):
                raise _LostError(_reason(error)) from error
            raise SchedulerUnreachableError(
                f"{method} {self.url}{path}: its answer is lost ({_reason(error)}); it may have been carried out: "
                "look before you repeat it"
            ) from error
        self._answered = True
        if again and answer.status_code in BUSY:
            raise _LostError(f"HTTP {answer.status_code}")
        return answer

    def _distrust(self, error: Exception) -> str:
        host = urlsplit(self.url).netloc
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            return f"{self.url}: no TLS with {host} ({_reason(error)}); check the scheme and the port of the URL"
        why = re.search(r"certificate verify failed: ([^(\"']+)", str(error))
        return (
            f"{self.url}: the certificate of {host} is not trusted ({why[1].strip() if why else 'unknown authority'}); "
            "name its authority's file with --ca-file FILE"
        )

    def _judged(self, answer: requests.Response, method: str, path: str) -> requests.Response:
        status = answer.status_code
        if status < requests.codes.multiple_choices:
            return answer
        where, said, kind = f"{method} {self.url}{path}", *_said(answer)
        if status < requests.codes.bad_request:
            target = answer.headers.get("location", "")
            raise SchedulerInputError(f"{where}: redirected to {target}; give that server's URL (--url)", status)
        if status in {requests.codes.not_found, requests.codes.method_not_allowed} and NO_ROUTE.search(said):
            raise SchedulerVersionError(f"{where}: this server has no such route; {self._version()}", status)
        if status == NO_SESSION:
            raise SchedulerInputError(
                f"{where}: {said or 'no session'}; the session has ended: log in again", status, said
            )
        if status == requests.codes.not_found and "html" in _kind(answer):
            raise SchedulerInputError(f"{where}: a page and no scheduler answers there; is the URL right?", status)
        if status in BUSY:
            raise SchedulerUnreachableError(f"{where}: HTTP {status} {said}".rstrip(), status)
        if status in BEYOND_INPUT and not kind.endswith(UNKNOWN):
            raise SchedulerError(f"{where}: HTTP {status}: {said or 'no reason was told'}", status, said)
        raise SchedulerInputError(f"{where}: {said or f'HTTP {status}'}", status, said)

    def _version(self) -> str:
        """Which version lacks the route, as far as it tells."""
        try:
            found = self._attempt("GET", "/rest/scheduler/version", {}, True, {}).json()
            return f"it is version {found['scheduler']} (REST {found['rest']})"
        except (_LostError, SchedulerError, ValueError, LookupError, TypeError):
            return "its version is not known"


def _checked(url: str) -> str:
    found = url.strip().rstrip("/").removesuffix("/rest")
    try:
        parts = urlsplit(found)
        parts.port  # noqa: B018 - raises what is wrong with it
    except ValueError as error:
        raise SchedulerInputError(f"URL {url!r}: {error}; write it like https://scheduler.example.org:8443") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise SchedulerInputError(f"URL {url!r}: is none; write it like https://scheduler.example.org:8443")
    if parts.username or parts.password:
        raise SchedulerInputError("URL: holds a user or a password; name them apart (--user, PROACTIVE_PASSWORD)")
    return found


def _authorities(verify: bool | str) -> bool | str:
    if isinstance(verify, str) and not Path(verify).is_file():
        raise SchedulerInputError(f"CA file {verify}: is not there; name a file of PEM certificates")
    if isinstance(verify, str):
        try:
            ssl.create_default_context(cafile=verify)
        except (ssl.SSLError, OSError) as error:
            what = f"holds no PEM certificates ({_reason(error)}); name a file that does"
            raise SchedulerInputError(f"CA file {verify}: {what}") from None
    return verify


def _said(answer: requests.Response) -> tuple[str, str]:
    """What an error says and of which Java class it is, without the class in front of the message."""
    try:
        found = answer.json()
        said, kind = str(found["errorMessage"] or ""), str(found.get("exceptionClass") or "")
    except (ValueError, LookupError, TypeError, AttributeError):
        said, kind = ("" if "html" in _kind(answer) else answer.text[:300]), ""
    while JAVA_CLASS.match(said):
        said = JAVA_CLASS.sub("", said)
    return " ".join(said.split()), kind


def _kind(answer: requests.Response) -> str:
    return answer.headers.get("content-type", "").partition(";")[0] or "nothing"


def _never_sent(error: requests.RequestException) -> bool:
    """Whether the connection failed before anything was sent."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), urllib3.exceptions.NewConnectionError)


def _reason(error: BaseException) -> str:
    """The last cause in a word or two, without the objects that wrap it."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
