"""The persistent state of overlays: allocations, sites, links, certificates, measurements, events, leases, jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proactive_tasks.store.records import Authority, Event, Lease
    from proactive_tasks.store.store import Store

__all__ = ["Authority", "Event", "Lease", "Store"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: a plain job needs the database, not the overlay's model."""
    if name == "Store":
        from proactive_tasks.store.store import Store

        return Store
    if name in __all__:
        from proactive_tasks.store import records

        return getattr(records, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
