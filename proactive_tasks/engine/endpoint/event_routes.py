"""The WebSocket on which clients hear of jobs and tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

if TYPE_CHECKING:
    from .app import Endpoint


def routes(endpoint: Endpoint) -> list[BaseRoute]:  # noqa: ARG001
    """The route of events."""
    return []
