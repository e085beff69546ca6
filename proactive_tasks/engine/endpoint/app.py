"""The endpoint as an ASGI application: which part answers what."""

from __future__ import annotations

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

    rest: list[BaseRoute] = [*event_routes.routes(endpoint), *scheduler_routes.routes(endpoint)]
    mounts: list[BaseRoute] = [Mount("/rest", routes=rest)]
    try:
        from . import resource_routes

        rest += resource_routes.routes(endpoint)
    except ImportError:
        pass
    try:
        from . import catalog_routes

        mounts.append(Mount("/catalog", routes=catalog_routes.routes(endpoint)))
    except ImportError:
        pass
    mounts[0] = Mount("/rest", routes=rest)
    return Starlette(
        routes=mounts,
        middleware=[Middleware(calls.Matrix)],
        exception_handlers={
            answers.RefusedRequestError: answers.refused,
            HTTPException: answers.unknown_route,
        },
    )
