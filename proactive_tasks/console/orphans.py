"""`overlayctl orphans`: what providers hold of this package and no store knows."""

from __future__ import annotations

from collections.abc import Sequence

from proactive_tasks.clouds import DRIVERS, driver
from proactive_tasks.clouds.provider import Leftover
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.reports.tables import render, table
from proactive_tasks.store import Store

QUIET = frozenset({"edge", "lab"})
"""Asked only when they are named: an edge host without a record has no address, and a lab has commands of its own."""


def orphans(store: Store, providers: Sequence[str], regions: Sequence[str]) -> list[Leftover]:
    """Everything with this package's tags whose overlay or site the store does not have.

    Args:
        store: what is known.
        providers: which are asked; none: all that the store ever had a site of.
        regions: where to look, beside the regions where the store ever had a site.

    Raises:
        InputError: nobody says which provider to ask, or one cannot be asked from here.
        ProviderError: a provider refused.
    """
    seen = store.regions()
    asked = list(providers) or sorted(set(seen) & set(DRIVERS) - QUIET)
    if not asked:
        raise InputError("the store never had a site in a cloud; name the one to ask, e.g. --provider aws --region R")
    living = {(name, site.name) for name in store.overlays() for site in store.sites(name)}
    found: list[Leftover] = []
    for provider in asked:
        made = driver(provider)
        made.check()
        found += made.leftovers("", sorted({*regions, *seen.get(provider, [])}))
    return [each for each in found if (each.overlay, each.site) not in living]


def orphans_table(found: Sequence[Leftover]) -> str:
    """The same for a terminal."""
    if not found:
        return "no orphan"
    columns = ("provider", "region", "overlay", "site", "kind", "name")
    return render(table("Orphans", columns, found))
