"""The routes of the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from . import credential_routes, data_routes, job_routes, log_routes, result_routes, session_routes, submission

if TYPE_CHECKING:
    from .app import Endpoint


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """All of them; the more special path comes first."""
    return [
        route
        for part in (session_routes, submission, result_routes, log_routes, credential_routes, data_routes, job_routes)
        for route in part.routes(endpoint)
    ]
