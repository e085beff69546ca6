"""The endpoint as an ASGI application: which part answers what."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount

from proactive_tasks.engine.endpoint import answers, calls, scheduler_routes
from proactive_tasks.engine.endpoint.catalog import routes as catalog_routes
from proactive_tasks.engine.endpoint.jobs import event_routes
from proactive_tasks.engine.endpoint.resources import routes as resource_routes
from proactive_tasks.engine.endpoint.shared import Endpoint
from proactive_tasks.overlay.errors import OverlayError


def application(endpoint: Endpoint) -> Starlette:
    """The routes of scheduler and resource manager below /rest, the catalog's below /catalog."""
    parts = (event_routes, scheduler_routes, resource_routes)
    rest = [route for part in parts for route in part.routes(endpoint)]
    return Starlette(
        routes=[Mount("/rest", routes=rest), Mount("/catalog", routes=catalog_routes.routes(endpoint))],
        middleware=[Middleware(calls.Matrix)],
        exception_handlers={
            answers.RefusedRequestError: answers.refused,
            HTTPException: answers.unknown_route,
            OverlayError: answers.broken,
            Exception: answers.broken,
        },
    )
