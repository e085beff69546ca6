"""Azure, emulated: our ARM emulator as a WSGI application."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from proactive_tasks.lab.cloud.azure.compiled import compiled
from proactive_tasks.lab.cloud.azure.service import Call, Reply, Service, operation_place
from proactive_tasks.lab.cloud.azure.state import SUBSCRIPTION, ArmError, Limits, State
from proactive_tasks.lab.cloud.emulator import Carry
from proactive_tasks.lab.cloud.model import Cloud

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def make_app(carry: Carry, limits: Limits | None = None) -> WSGIApplication:
    """The API, whose every change is handed to `carry`."""
    return Arm(carry, limits)


def environment(url: str) -> dict[str, str]:
    """The variables by which the driver finds an emulator at this URL, which it reaches without credentials."""
    return {"OVERLAY_AZURE_ENDPOINT": url, "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}


class Arm:
    """The application. Threads may call it."""

    def __init__(self, carry: Carry, limits: Limits | None = None) -> None:
        self.state = State(limits or Limits())
        self._service = Service(self.state)
        self._carry = carry
        self._carried = Cloud()
        self._lock = threading.Lock()
        self._carrying = threading.Lock()  # polls are answered while a machine boots

    @property
    def limits(self) -> Limits:
        """What a test can set."""
        return self.state.limits

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        with self._lock:
            self.state.advance()
            try:
                reply = self._service.answer(_call(environ))
            except ArmError as refused:
                body = {"error": {"code": refused.code, "message": refused.message}}
                reply = Reply(refused.status, body)
        self._carry_on()
        return _send(environ, start, reply)

    def cloud(self) -> Cloud:
        """What has been carried last."""
        return self._carried

    def _carry_on(self) -> None:
        """Make it so, before the answer tells that it is."""
        with self._carrying:
            with self._lock:
                wanted = compiled(self.state)
            if wanted != self._carried:
                self._carry(wanted)
                self._carried = wanted


def _call(environ: WSGIEnvironment) -> Call:
    """The request, if it is one that ARM takes.

    Raises:
        ArmError: no token, no version, another subscription, or no JSON.
    """
    headers = {key[5:].replace("_", "-"): str(value) for key, value in environ.items() if key.startswith("HTTP_")}
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    parts = [unquote(part) for part in environ.get("PATH_INFO", "").strip("/").split("/")]
    if not headers.get("AUTHORIZATION", "").startswith("Bearer "):
        raise ArmError(401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
    if "api-version" not in query:
        raise ArmError(
            400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required."
        )
    if parts[0].lower() != "subscriptions" or len(parts) < 3:
        raise ArmError(404, "InvalidResourceType", f"{environ.get('PATH_INFO')} is not known here.")
    if parts[1].lower() != SUBSCRIPTION:
        raise ArmError(404, "SubscriptionNotFound", f"The subscription '{parts[1]}' could not be found.")
    content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    try:
        body: Any = json.loads(content) if content else None
    except ValueError:
        raise ArmError(400, "InvalidRequestContent", "The request content was invalid JSON.") from None
    return Call(environ["REQUEST_METHOD"], parts[2:], query, headers, body)


def _send(environ: WSGIEnvironment, start: StartResponse, reply: Reply) -> Iterable[bytes]:
    content = b"" if reply.body is None else json.dumps(reply.body).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(content)),
        "x-ms-request-id": str(uuid.uuid4()),
        **reply.headers,
    }
    if reply.operation:
        base = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '')}"
        headers["Retry-After"] = "0"
        headers["Location"] = f"{base}{operation_place('operationResults')}/{reply.operation}?api-version=2024-01-01"
        if "/resourcegroups/" not in environ.get("PATH_INFO", "").lower() or "/providers/" in environ["PATH_INFO"]:
            place = f"{base}{operation_place('operations')}/{reply.operation}?api-version=2024-01-01"
            headers["Azure-AsyncOperation"] = place
    start(f"{reply.status} {_REASONS.get(reply.status, 'Refused')}", list(headers.items()))
    return [content]


_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content"}
