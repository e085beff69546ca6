"""The routes of the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from proactive_tasks.engine.endpoint import credential_routes, data_routes, session_routes
from proactive_tasks.engine.endpoint.jobs import logs as log_routes
from proactive_tasks.engine.endpoint.jobs import results as result_routes
from proactive_tasks.engine.endpoint.jobs import routes as job_routes
from proactive_tasks.engine.endpoint.jobs import submission

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """All of them; the more special path comes first."""
    return [
        route
        for part in (session_routes, submission, result_routes, log_routes, credential_routes, data_routes, job_routes)
        for route in part.routes(endpoint)
    ]
