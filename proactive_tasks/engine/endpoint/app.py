"""The endpoint as an ASGI application: which part answers what."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount

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
    from . import event_routes, scheduler_routes

    rest = [*event_routes.routes(endpoint), *scheduler_routes.routes(endpoint), *_part("resource_routes", endpoint)]
    return Starlette(
        routes=[Mount("/rest", routes=rest), Mount("/catalog", routes=_part("catalog_routes", endpoint))],
        middleware=[Middleware(calls.Matrix)],
        exception_handlers={
            answers.RefusedRequestError: answers.refused,
            HTTPException: answers.unknown_route,
        },
    )


def _part(name: str, endpoint: Endpoint) -> list[BaseRoute]:
    """The routes of a part that may not be there yet."""
    if importlib.util.find_spec(f"{__package__}.{name}") is None:
        return []
    found: list[BaseRoute] = importlib.import_module(f"{__package__}.{name}").routes(endpoint)
    return found
