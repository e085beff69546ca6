"""How a request becomes a call: session, limits, body; and the routes that are made of calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from proactive_tasks.engine.endpoint import multipart
from proactive_tasks.engine.endpoint.answers import RefusedRequestError

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.sessions import Session
    from proactive_tasks.engine.endpoint.shared import Endpoint

SMALL = 1_000_000
WORKFLOW = 10_000_000
FILE = 100_000_000
"""The most bytes of a form, of a workflow with its variables, and of a file."""

Fields = ImmutableMultiDict[str, str]
"""Names and values, of which one name may have several."""


@dataclass(slots=True)
class Call:
    """One request, with everything that its answer depends on."""

    endpoint: Endpoint
    request: Request
    session: Session
    body: bytes = field(default=b"", repr=False)

    @property
    def user(self) -> str:
        """Who asks."""
        return self.session.user

    @property
    def path(self) -> dict[str, Any]:
        """The parameters of the path."""
        return self.request.path_params

    @property
    def query(self) -> Fields:
        """The parameters of the query."""
        return self.request.query_params

    @property
    def matrix(self) -> dict[str, str]:
        """The parameters that stand in the path: `;NAME=VALUE`."""
        return dict(self.request.scope.get("matrix", ()))

    @property
    def content_type(self) -> str:
        """The body's media type."""
        return self.request.headers.get("content-type", "")

    def form(self) -> Fields:
        """The fields of a form, whichever way it was sent."""
        if self.content_type.lower().startswith("multipart/"):
            return Fields([(part.name, part.text) for part in self.parts()])
        return Fields(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def asked(self) -> Fields:
        """The fields of a form and, above them, those of the query: where a server takes them from either."""
        return Fields([*self.form().multi_items(), *self.query.multi_items()])

    def parts(self) -> list[multipart.Part]:
        """The parts of the body."""
        return multipart.parse(self.content_type, self.body)

    def json(self) -> Any:
        """The body as JSON; None for an empty one.

        Raises:
            RefusedRequestError: it is none.
        """
        try:
            return json.loads(self.body) if self.body.strip() else None
        except (ValueError, RecursionError) as error:
            raise RefusedRequestError(400, f"the body is not JSON: {error}", "java.io.IOException") from error


Handler = Callable[[Call], Any]


def route(
    endpoint: Endpoint, method: str, path: str, handler: Handler, *, limit: int = SMALL, login: bool = True
) -> Route:
    """A route whose handler runs in a thread and answers a response, JSON values, or nothing.

    Args:
        endpoint: what the handler may use.
        method: the HTTP method.
        path: below /rest or /catalog, in Starlette's form.
        handler: takes the call.
        limit: the most bytes of a body.
        login: whether a session is required.
    """

    async def answer(request: Request) -> Response:
        session = endpoint.sessions.of(request) if login else endpoint.sessions.nobody
        body = await _body(request, limit)
        result = await run_in_threadpool(handler, Call(endpoint, request, session, body))
        if isinstance(result, Response):
            return result
        return Response(status_code=204) if result is None else JSONResponse(result)

    return Route(path, answer, methods=[method])


async def _body(request: Request, limit: int) -> bytes:
    """The body, if it is not larger than allowed."""
    too_large = RefusedRequestError(
        413, f"the body is larger than {limit // 1_000_000} MB", "javax.ws.rs.ClientErrorException"
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise too_large
        pieces.append(piece)
    return b"".join(pieces)


class Matrix:
    """Takes parameters such as `;N=7` out of the path of a request and keeps them beside it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        raw: bytes = scope.get("raw_path") or b""
        if scope["type"] == "http" and b";" in raw and raw.startswith(b"/rest/"):
            segments = [segment.partition(";") for segment in raw.decode("latin-1").split("/")]
            found = [word.partition("=") for _, _, words in segments for word in words.split(";") if word]
            scope = {
                **scope,
                "path": "/".join(unquote(name) for name, _, _ in segments),
                "matrix": [(unquote(name), unquote(value)) for name, _, value in found],
            }
        await self._app(scope, receive, send)
