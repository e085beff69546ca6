"""The endpoint as an ASGI application: which part answers what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount

from proactive_tasks.overlay.errors import OverlayError

from . import answers, calls
from .sessions import Sessions

if TYPE_CHECKING:
    from proactive_tasks.engine.nodes import Nodes
    from proactive_tasks.store import Store

    from .events import Events
    from .scheduling import Scheduling
    from .submission import CatalogReader


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
    from . import catalog_routes, event_routes, resource_routes, scheduler_routes

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
