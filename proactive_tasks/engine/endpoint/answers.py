"""Answers in the server's shapes: its errors as JSON, and what stops a request before it is looked at."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proactive_tasks.overlay.errors import OverlayError

NOT_CONNECTED = "You are not connected to the server, you should log on first"
COMMON = "org.ow2.proactive.scheduler.common.exception."
REST = "org.ow2.proactive_grid_cloud_portal.scheduler.exception."


class RefusedRequestError(Exception):
    """A request that is answered with an error of the server's shape.

    `kind` is the Java class that the server names; empty, as the catalog does, leaves that field out.
    """

    def __init__(self, status: int, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind


def not_connected() -> RefusedRequestError:
    """No session, or one that has ended."""
    return RefusedRequestError(401, NOT_CONNECTED, f"{REST}NotConnectedRestException")


def refused(_request: Request, error: Exception) -> Response:
    """The answer to a refused request."""
    assert isinstance(error, RefusedRequestError)  # noqa: S101 - Starlette's signature is wider than its calls
    body: dict[str, Any] = {"httpErrorCode": error.status, "errorMessage": error.message}
    if error.kind:
        body |= {"stackTrace": f"{error.kind}: {error.message}", "exceptionClass": error.kind, "exception": None}
    return JSONResponse(body, error.status)


def broken(request: Request, error: Exception) -> Response:
    """The answer when something is wrong here; what it is stands in the endpoint's own log."""
    message = " ".join(str(error).split()) if isinstance(error, OverlayError) else "Internal Server Error"
    return refused(request, RefusedRequestError(500, message, f"{REST}SchedulerRestException"))


def unknown_route(request: Request, error: Exception) -> Response:
    """A route that is not served, as the server's framework says it: no user's mistake looks like this."""
    if isinstance(error, HTTPException) and error.status_code not in (404, 405):
        return refused(request, RefusedRequestError(error.status_code, str(error.detail)))
    url = str(request.url).partition("?")[0]
    message = f"RESTEASY003210: Could not find resource for full path: {url}"
    return refused(request, RefusedRequestError(404, message, "javax.ws.rs.NotFoundException"))
