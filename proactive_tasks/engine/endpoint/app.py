"""The endpoint as an ASGI application: which part answers what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount

from proactive_tasks.engine.endpoint import answers, calls
from proactive_tasks.engine.endpoint.sessions import Sessions
from proactive_tasks.overlay.errors import OverlayError

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.jobs.events import Events
    from proactive_tasks.engine.endpoint.jobs.scheduling import Scheduling
    from proactive_tasks.engine.endpoint.jobs.submission import CatalogReader
    from proactive_tasks.engine.nodes import Nodes
    from proactive_tasks.store import Store


@dataclass(slots=True)
class Endpoint:
    """What the routes share."""

    store: Store
    sessions: Sessions
    scheduling: Scheduling  # the jobs
    events: Events
    resources: Nodes  # the nodes; a Resources where there is a resource manager
    catalog: CatalogReader
    url: str = ""  # where it is reached, without a path


def application(endpoint: Endpoint) -> Starlette:
    """The routes of scheduler and resource manager below /rest, the catalog's below /catalog."""
    from proactive_tasks.engine.endpoint import scheduler_routes
    from proactive_tasks.engine.endpoint.catalog import routes as catalog_routes
    from proactive_tasks.engine.endpoint.jobs import event_routes
    from proactive_tasks.engine.endpoint.resources import routes as resource_routes

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
