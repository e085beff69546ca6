"""The endpoint as an ASGI application: which part answers what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount

from . import answers
from .sessions import Sessions

if TYPE_CHECKING:
    from proactive_tasks.store.database import Database

    from .resources import Resources
    from .scheduling import Scheduling


@dataclass(slots=True)
class Endpoint:
    """What the routes share."""

    store: Database
    sessions: Sessions
    scheduling: Scheduling  # the jobs
    resources: Resources  # the nodes


def application(endpoint: Endpoint) -> Starlette:
    """The routes of scheduler and resource manager below /rest, the catalog's below /catalog."""
    from . import catalog_routes, resource_routes, scheduler_routes

    rest: list[BaseRoute] = [*scheduler_routes.routes(endpoint), *resource_routes.routes(endpoint)]
    return Starlette(
        routes=[Mount("/rest", routes=rest), Mount("/catalog", routes=catalog_routes.routes(endpoint))],
        exception_handlers={
            answers.RefusedRequestError: answers.refused,
            HTTPException: answers.unknown_route,
        },
    )
