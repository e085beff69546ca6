"""The WebSocket on which clients hear of jobs and tasks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from proactive_tasks.engine.endpoint.answers import RefusedRequestError
from proactive_tasks.engine.endpoint.jobs.events import Listener

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint

WAITING = 10_000
"""More events than this do not wait for a client that does not take them: it is disconnected."""

POLICY_VIOLATION, TRY_LATER, UNREADABLE = 1008, 1013, 1007


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The route of events."""

    async def events(socket: WebSocket) -> None:
        await _serve(endpoint, socket)

    return [WebSocketRoute("/scheduler/events", events)]


async def _serve(endpoint: Endpoint, socket: WebSocket) -> None:
    try:
        session = endpoint.sessions.of(socket)
    except RefusedRequestError:
        await socket.close(POLICY_VIOLATION)
        return
    await socket.accept()
    mailbox = _Mailbox(socket)
    remove: Callable[[], None] = lambda: None  # noqa: E731
    sender = asyncio.create_task(mailbox.send())
    try:
        while True:
            kinds = _kinds(await socket.receive_text())
            if kinds is None:
                await socket.close(UNREADABLE)
                return
            endpoint.sessions.find(session.identifier)  # it is in use
            remove()
            remove = endpoint.events.add(Listener(session.user, kinds, mailbox.tell))
    except WebSocketDisconnect:
        return
    finally:
        remove()
        sender.cancel()


class _Mailbox:
    """Events on their way to a client."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._queue = asyncio.Queue[dict[str, Any]](WAITING)
        self._full = False

    def tell(self, event: dict[str, Any]) -> None:
        """Take an event, in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: so is the endpoint
            self._loop.call_soon_threadsafe(self._put, event)

    def _put(self, event: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._full = True

    async def send(self) -> None:
        """Pass events on until the client is gone, or does not take them."""
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it has gone
            while not self._full:
                await self._socket.send_text(json.dumps(await self._queue.get()))
            await self._socket.close(TRY_LATER)


def _kinds(text: str) -> frozenset[str] | None:
    """The kinds of events that a subscription names, none for all; None for what is no subscription."""
    try:
        wanted = json.loads(text).get("events") or []
        return frozenset(str(kind) for kind in wanted)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
