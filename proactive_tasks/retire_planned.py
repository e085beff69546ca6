"""Take sites out of the routing whose last instance a PrEstoCloud reconfiguration plan takes away."""

from __future__ import annotations

import json

from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.reconfiguration import after_going, deserted, has_gone
from proactive_tasks.overlay.result import Result
from proactive_tasks.reconfigure_overlay import Phase, Request, going, read, standing
from proactive_tasks.retire_sites import retire_sites
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store.placements import PlacementBook, counts


def retire_planned(
    context: Context,
    *,
    overlay: str = "",
    plan: str = "[]",
    cloud_list: str = "[]",
    every_cloud: bool = False,
    phase: Phase = "all",
    brought: list[str] | None = None,
    dry_run: bool = False,
) -> Result:
    """Count what the plan takes away, and retire the sites of origin `plan` at whose place nothing is left.

    Args:
        context: store and vault.
        overlay: which.
        plan: as `reconfigure_overlay` has it.
        cloud_list: likewise.
        every_cloud: a cloud of CLOUD_LIST keeps its site, whether anything runs there or not.
        phase: `extend` retires nothing.
        brought: the sites that this job brought in; while one of them does not stand, nothing leaves.
        dry_run: do nothing.

    Returns:
        As replicas, the gateways that stay, if any site leaves: each is to be configured without the links that go.
    """
    if dry_run or phase == "extend":
        return Result("retire_planned")
    overlay = context.overlay(overlay)
    request = read(context, plan, cloud_list, every_cloud=every_cloud)
    if failed := _not_standing(context, overlay, request, brought or []):
        line = f"no site leaves, since {', '.join(failed)} does not stand yet; hand in the same plan again"
        return Result("retire_planned", warnings=[line])
    book, key = PlacementBook(context.store, overlay), f"{request.digest}-going"
    warnings: list[str] = []
    with context.store.write(overlay):  # another job's plan counts before or after, never in between
        after = before = book.placements()
        goes = any(move.goes for move in request.changes)
        if goes and not (book.taken_in(key) and has_gone(before, request.changes)):
            after, warnings = after_going(before, request.changes)
            book.take_in(key, after, context.actor)
        places = deserted(after).difference(request.kept)
        sites = context.store.sites(overlay)
        leaving = {site.name for site in going(sites, places)}
        leaving |= {site.name for site in sites if site.origin is Origin.PLAN and site.state is SiteState.RELEASING}
        for name in leaving:
            context.store.start_release(overlay, name, context.actor)
        book.forget(places)
    result = Result("retire_planned")
    if leaving:
        result = retire_sites(context, overlay=overlay, sites=sorted(leaving), origin=Origin.PLAN)
        result.task = "retire_planned"
    result.warnings = warnings
    result.facts |= {"overlay": overlay, "leaving": sorted(leaving), "instances": counts(book.placements())}
    result.variables = {"OVERLAY": overlay, "RELEASED": json.dumps(sorted(map(str, places)))}
    return result


def _not_standing(context: Context, overlay: str, request: Request, brought: list[str]) -> list[str]:
    """The sites that the plan needs and that carry no links: what migrates to them still runs where it was."""
    there = context.store.sites(overlay)
    needed = {site.name for move in request.changes if move.target and (site := standing(there, move.target))}
    return sorted(
        {site.name for site in there if site.name in needed.union(brought) and site.state is not SiteState.CONNECTED}
    )
