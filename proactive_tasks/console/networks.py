"""`overlayctl networks`: where further machines of the sites are to be started."""

from __future__ import annotations

from collections.abc import Sequence

from proactive_tasks.reports.tables import render, table
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store

COLUMNS = ("site", "provider", "region", "NETWORK_ID", "SUBNET_ID")


def networks(store: Store, overlay: str) -> list[dict[str, str]]:
    """Network and subnet of each site, in its provider's identifiers; empty where nothing was made yet.

    Raises:
        UnknownObjectError: no such overlay.
    """
    context = Context(store=store)
    overlay = context.overlay(overlay)
    rows = []
    for site in store.sites(overlay):
        found = context.network(overlay, site.name)
        rows.append(dict(zip(COLUMNS, (site.name, site.provider, site.region, *found), strict=True)))
    return rows


def networks_table(rows: Sequence[dict[str, str]]) -> str:
    """The same for a terminal."""
    return render(table("Networks", COLUMNS, [tuple(row.values()) for row in rows]))
