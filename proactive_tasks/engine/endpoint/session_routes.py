"""Who is there: version, login, session, logout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from proactive_tasks.engine.endpoint.answers import RefusedRequestError, not_connected
from proactive_tasks.engine.endpoint.calls import Call, Fields, route

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint

VERSION = "13.0.3"
"""The release of the server whose answers these are."""

LOGIN = "javax.security.auth.login.LoginException"


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes of sessions."""
    return [
        route(endpoint, "GET", "/scheduler/version", version, login=False),
        route(endpoint, "POST", "/scheduler/login", log_in, login=False),
        route(endpoint, "POST", "/common/login", log_in, login=False),
        route(endpoint, "PUT", "/scheduler/session", renew, login=False),
        route(endpoint, "GET", "/scheduler/isconnected", lambda _call: JSONResponse(True)),
        route(endpoint, "GET", "/common/connected", connected, login=False),
        route(endpoint, "GET", "/scheduler/logins/sessionid/{session}", user_of, login=False),
        route(endpoint, "GET", "/scheduler/logins/sessionid/{session}/userdata", user_data, login=False),
        route(endpoint, "PUT", "/scheduler/disconnect", log_out),
        route(endpoint, "PUT", "/common/logout", log_out, login=False),
        route(endpoint, "GET", "/scheduler/status", lambda _call: JSONResponse("STARTED")),
        route(endpoint, "GET", "/scheduler/url", lambda call: _text(call.endpoint.url)),
        route(endpoint, "GET", "/scheduler/users", users),
        route(endpoint, "GET", "/scheduler/userswithjobs", users),
        route(endpoint, "GET", "/scheduler/properties", lambda _call: {}),
    ]


def _text(text: str) -> Response:
    return Response(text, media_type="text/plain")


def version(_call: Call) -> Response:
    """The release that is spoken here; the server gives it no type."""
    text = f'{{ "scheduler" : "{VERSION}", "rest" : "{VERSION}"}}'
    return Response(text, media_type="application/octet-stream")


def log_in(call: Call) -> Response:
    """A new session."""
    return _text(_checked(call, call.form()))


def renew(call: Call) -> Response:
    """The session that is there still, or a new one of the user who gives a password."""
    form = call.form()
    session = call.endpoint.sessions.find(call.request.headers.get("sessionid", ""))
    if session is not None and session.user == form.get("username", session.user):
        return _text(session.identifier)
    return _text(_checked(call, form))


def _checked(call: Call, form: Fields) -> str:
    if form.get("credential"):
        raise RefusedRequestError(
            404, "the embedded engine's endpoint takes a user and a password, no credential file", LOGIN
        )
    user, password = form.get("username", ""), form.get("password", "")
    if not user or not password:
        raise RefusedRequestError(404, "Empty login/password", LOGIN)
    session = call.endpoint.sessions.log_in(user, password)
    if session is None:
        raise RefusedRequestError(404, "Authentication failed", LOGIN)
    return session.identifier


def connected(call: Call) -> Response:
    """Whether the session is there."""
    return JSONResponse(call.endpoint.sessions.find(call.request.headers.get("sessionid", "")) is not None)


def _named(call: Call) -> str:
    session = call.endpoint.sessions.find(call.path["session"])
    if session is None:
        raise not_connected()
    return session.user


def user_of(call: Call) -> Response:
    """Whose session it is."""
    return _text(_named(call))


def user_data(call: Call) -> Any:
    """Whose session it is, as a client of Java asks."""
    return {"userName": _named(call), "groups": ["user"], "tenant": None, "domain": None, "adminRoles": []}


def users(call: Call) -> Any:
    """Who is known."""
    return [
        {"hostName": "localhost", "username": call.user, "tenant": None, "connectionTime": -1, "lastSubmitTime": -1,
         "submitNumber": 0}
    ]  # fmt: skip


def log_out(call: Call) -> None:
    """End the session."""
    call.endpoint.sessions.close(call.request.headers.get("sessionid", ""))
