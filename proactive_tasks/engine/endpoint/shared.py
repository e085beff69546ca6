"""What the routes of the endpoint share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.jobs.events import Events
    from proactive_tasks.engine.endpoint.jobs.scheduling import Scheduling
    from proactive_tasks.engine.endpoint.sessions import Sessions
    from proactive_tasks.engine.nodes import Nodes
    from proactive_tasks.store import Store


class CatalogReader(Protocol):
    """Where workflows that are submitted by link come from."""

    def raw(self, bucket: str, name: str, revision: str | None) -> bytes:
        """The content of an object; raises RefusedRequestError or LookupError if there is none."""

    def object_fault(self, model: str, value: str) -> str | None:
        """Why a value does not fit a model PA:CATALOG_OBJECT; None if it does."""


@dataclass(slots=True)
class Endpoint:
    """The parts of one endpoint."""

    store: Store
    sessions: Sessions
    scheduling: Scheduling  # the jobs
    events: Events
    resources: Nodes  # the nodes; a Resources where there is a resource manager
    catalog: CatalogReader
    url: str = ""  # where it is reached, without a path
