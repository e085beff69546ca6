"""Third-party credentials, in the form of release 13.0.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute

from proactive_tasks.engine.endpoint.answers import RefusedRequestError
from proactive_tasks.engine.endpoint.calls import Call, route

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint

KEY_LENGTH = 255


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes of credentials."""
    return [
        route(endpoint, "GET", "/scheduler/credentials/", keys),
        route(endpoint, "GET", "/scheduler/credentials", keys),
        route(endpoint, "POST", "/scheduler/credentials/{key}", put),
        route(endpoint, "DELETE", "/scheduler/credentials/{key}", remove),
    ]


def keys(call: Call) -> Any:
    """The names of the user's credentials."""
    return call.endpoint.scheduling.credentials.keys(call.user)


def put(call: Call) -> None:
    """Set one."""
    key, form = call.path["key"], call.form()
    if "value" not in form or len(key) > KEY_LENGTH:
        raise RefusedRequestError(400, f"credential {key[:40]}: the form has no field `value`, or the key is too long",
                                  "java.lang.IllegalArgumentException")  # fmt: skip
    call.endpoint.scheduling.credentials.put(call.user, key, form["value"])


def remove(call: Call) -> None:
    """Take one away."""
    call.endpoint.scheduling.credentials.remove(call.user, call.path["key"])
