"""Get nodes of a node source whose site stands, and keep them for jobs that ask for connected ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from proactive_tasks.overlay.errors import InputError, OverlayError, SchedulerError
from proactive_tasks.overlay.model import SiteState
from proactive_tasks.overlay.result import Result
from proactive_tasks.report_overlay import report_overlay
from proactive_tasks.scheduler.context import Context
from proactive_tasks.scheduler.elastic.digest import RUNNING, STARTING

if TYPE_CHECKING:
    from proactive_tasks.scheduler.client.resources import ResourceManager

T = TypeVar("T")

FULL_S = 10.0
"""A source that shows no new node for so long after it was asked for some is full."""

POLL_S = 0.5


def report_scale_out(
    context: Context,
    *,
    overlay: str = "",
    brought: list[str] | None = None,
    unreached: list[str] | None = None,
    dry_run: bool = False,
    node_source: str = "",
    nodes: int = 0,
    node_token: bool = False,
    node_deadline_s: int = 300,
) -> Result:
    """Report as `report_overlay` does; then, if asked, get nodes of a node source. One task: a stage has its price.

    Args:
        context: the store, and the scheduler that runs this task.
        overlay: whose report.
        brought: the sites that this job brings in.
        unreached: pairs of machines that did not reach each other.
        dry_run: a job that changed nothing gets no nodes.
        node_source: whose nodes; empty: none.
        nodes: how many it is to have.
        node_token: give its nodes the overlay's access token.
        node_deadline_s: how long the nodes that get it may take to come.
    """
    result = report_overlay(context, overlay=overlay, brought=brought, unreached=unreached, dry_run=dry_run)
    if dry_run or not _asked(node_source, nodes, node_token):
        return result
    got = acquire_nodes(
        context,
        overlay=overlay,
        site=(brought or [""])[0],
        node_source=node_source,
        nodes=nodes,
        node_token=node_token,
        node_deadline_s=node_deadline_s,
    )
    result.changed, result.difference = got.changed, [*result.difference, *got.difference]
    result.facts["nodes"] = got.facts
    result.warnings += got.warnings
    return result


def acquire_nodes(
    context: Context,
    *,
    overlay: str = "",
    site: str = "",
    node_source: str = "",
    nodes: int = 0,
    node_token: bool = False,
    node_deadline_s: int = 300,
) -> Result:
    """Bring the nodes of a node source to a number; with `node_token`, give each the token `overlay-<name>`.

    A node that has a token refuses every job that does not name it (generic information NODE_ACCESS_TOKEN).

    Args:
        context: the store, and the scheduler that runs this task.
        overlay: the overlay that the nodes are in.
        site: their site, which must stand; empty: whichever.
        node_source: the node source.
        nodes: how many nodes it is to have; those that are there or coming count.
        node_token: give all its nodes the token.
        node_deadline_s: how long the nodes that get the token may take to come, and to show it.

    Raises:
        InputError: the site does not stand, or there is no such node source; nothing was asked for.
        SchedulerError: nodes did not show the token in time.
    """
    result = Result("acquire_nodes", facts={"node_source": node_source, "nodes": [], "token": ""})
    if not _asked(node_source, nodes, node_token):
        return result
    overlay = context.overlay(overlay)
    if site and context.store.site(overlay, site).state is not SiteState.CONNECTED:
        raise InputError(f"site {site}: does not stand, so no node of {node_source} is asked for; repair it first")
    with context.scheduler() as scheduler:
        _acquire(scheduler.resources, node_source, nodes, node_deadline_s, result)
        if node_token:
            token = f"overlay-{overlay}"
            context.store.save_token(overlay, node_source, site)
            context.progress(60, f"node source {node_source}: giving its nodes the token {token}")
            _give(scheduler.resources, node_source, token, node_deadline_s, result)
        there = _nodes(scheduler.resources, node_source)
    result.facts["nodes"] = [{"url": each["nodeUrl"], "state": each["nodeState"]} for each in there]
    result.changed = bool(result.difference)
    return result


def take_tokens_off(context: Context, overlay: str, sites: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take the token off the nodes of leaving sites' sources, where they were given it; what was done, and warnings."""
    done: list[str] = []
    sources = [source for source, site in context.store.tokens(overlay).items() if site in sites]
    if not sources:
        return done, []
    token = f"overlay-{overlay}"
    try:
        with context.scheduler() as scheduler:
            for source in sources:
                bearing = [each for each in _nodes(scheduler.resources, source) if token in (each.get("tokens") or ())]
                for each in bearing:
                    scheduler.resources.remove_token(each["nodeUrl"], token)
                context.store.drop_token(overlay, source)
                done += [f"node source {source}: token {token} taken off {len(bearing)} nodes"] if bearing else []
    except OverlayError as error:
        return done, [f"nodes of {', '.join(sources)} may keep the token {token}: {error}"]
    return done, []


def _asked(node_source: str, nodes: int, node_token: bool) -> bool:
    return bool(node_source) and (nodes > 0 or node_token)


def _acquire(manager: ResourceManager, source: str, number: int, deadline_s: int, result: Result) -> None:
    known = [str(each.get("sourceName")) for each in manager.monitoring_full().get("nodeSource", ())]
    if source not in known:
        raise InputError(f"node source {source!r}: not there; the scheduler has: {', '.join(sorted(known)) or 'none'}")
    before = len(_nodes(manager, source, RUNNING | STARTING))
    lacking = number - before
    if lacking <= 0:
        return
    manager.acquire(source, lacking, deadline_s)
    came = _until(lambda: max(0, len(_nodes(manager, source, RUNNING | STARTING)) - before) or None, FULL_S) or 0
    if came:
        result.difference.append(f"node source {source}: asked for {lacking} nodes, {came} are coming")
    if came < lacking:
        result.warnings.append(
            f"node source {source}: has {before + came} of {number} nodes, and gave {came} of the {lacking} that were "
            "asked for; a full source gives none: raise its infrastructure's maximum"
        )


def _give(manager: ResourceManager, source: str, token: str, deadline_s: int, result: Result) -> None:
    """Give the token to the nodes that are there, as soon as those that are coming are there, too."""

    def settled() -> list[Any] | None:
        return None if _nodes(manager, source, STARTING) else _nodes(manager, source, RUNNING)

    there = _until(settled, deadline_s)
    if there is None:
        result.warnings.append(
            f"node source {source}: some nodes are still starting; run this again to give them {token}"
        )
        there = _nodes(manager, source, RUNNING)
    if not there:
        result.warnings.append(f"node source {source}: has no node to give the token {token} to")
    lacking = [each["nodeUrl"] for each in there if token not in (each.get("tokens") or ())]
    for url in lacking:
        manager.add_token(url, token)

    def without() -> list[str]:
        bearing = {each["nodeUrl"] for each in _nodes(manager, source) if token in (each.get("tokens") or ())}
        there = {each["nodeUrl"] for each in _nodes(manager, source)}
        return [url for url in lacking if url in there and url not in bearing]

    if _until(lambda: not without() or None, deadline_s) is None:
        raise SchedulerError(
            f"node source {source}: {', '.join(without())} do not show the token {token} after {deadline_s} s; "
            "run this again"
        )
    result.facts["token"] = token
    result.difference += [f"node {url}: given the token {token}" for url in lacking]


def _nodes(manager: ResourceManager, source: str, states: frozenset[str] = RUNNING) -> list[dict[str, Any]]:
    """The nodes of a source in one of these states."""
    events = manager.monitoring_full().get("nodesEvents", ())
    return [
        each
        for each in events
        if each.get("nodeSource") == source
        and each.get("nodeState") in states
        and each.get("eventType") != "NODE_REMOVED"
    ]


def _until(look: Callable[[], T | None], seconds: float) -> T | None:
    """What there is within a deadline."""
    end = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < end:
        time.sleep(POLL_S)
    return found
