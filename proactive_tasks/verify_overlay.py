"""Let every machine reach every other through the tunnels."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Literal

from proactive_tasks.gateway.access import ANSWER_S, open_session
from proactive_tasks.gateway.session import GatewaySession
from proactive_tasks.overlay.errors import GatewayError, OverlayError
from proactive_tasks.overlay.model import Link, LinkState, Site, SiteState
from proactive_tasks.overlay.result import Result
from proactive_tasks.probes.between import Machine, Prober, Unanswered, unanswered
from proactive_tasks.scheduler.context import Context

DEADLINE_S = 20.0
"""How long tunnels and routes may take to come up."""

SHORT_S = 5.0
"""How long a gateway may take to answer that did not let itself be configured a moment ago."""

POLL_S = 0.1

THE_CONTROLLER = "the controller"

CONFIGURED = {SiteState.CONNECTED, SiteState.ERROR}


def verify_overlay(
    context: Context, *, overlay: str = "", measure: Literal["new", "all"] = "new", dry_run: bool = False
) -> Result:
    """Probe all pairs of machines, and record what state each link is in.

    Args:
        context: store, vault and drivers.
        overlay: which.
        measure: which links are to be measured next: those without figures since they came up, or all.
        dry_run: do nothing.

    Returns:
        Under `facts`, how many pairs there are and how many reach each other; as replicas, the links to measure.
    """
    if dry_run:
        return Result("verify_overlay")
    overlay = context.overlay(overlay)
    # A site that is merely provisioned is on its way by another job, or its configuration failed: the report tells.
    known = [site for site in context.store.sites(overlay) if site.ready and site.state in CONFIGURED]
    with ExitStack() as stack:
        sessions, failed = _sessions(context, overlay, known, stack)
        machines = list(_machines(context, overlay, known, sessions))
        context.progress(20, f"probing from {len(machines)} machines")
        missing = [*failed, *unanswered(machines, DEADLINE_S)]
        down = _down(context, overlay, sessions)
    # A site that began to leave meanwhile is not missed.
    staying = {site.name for site in context.store.sites(overlay) if site.ready}
    known = [site for site in known if site.name in staying]
    machines = [machine for machine in machines if _site(machine.name) in staying]
    failed = [pair for pair in failed if _site(pair.target) in staying]
    missing = [pair for pair in missing if {_site(pair.source), _site(pair.target)} <= {*staying, THE_CONTROLLER}]
    seen = {_site(machine.name) for machine in machines}
    _record(context, overlay, [site.name for site in known], seen, missing, down)
    count, sources = len(machines) + len(failed), sum(machine.probe is not None for machine in machines)
    lines = [str(pair) for pair in missing]
    result = Result("verify_overlay", warnings=lines)
    pairs = (sources + len(failed)) * (count - 1)
    lost = len(lines) + sum(count - 2 + sources for _ in failed)  # of a silent gateway one pair has a line
    result.facts = {"overlay": overlay, "machines": count, "pairs": pairs, "pairs_ok": max(0, pairs - lost)}
    result.variables = {"OVERLAY": overlay, "UNREACHED": json.dumps(lines)}
    result.replicas = [{"overlay": overlay, "link": link.name} for link in _to_measure(context, overlay, measure)]
    context.progress(100, f"{result.facts['pairs_ok']} of {pairs} pairs reach each other")
    return result


def _to_measure(context: Context, overlay: str, measure: Literal["new", "all"]) -> list[Link]:
    connected = [link for link in context.store.links(overlay) if link.state is LinkState.CONNECTED]
    if measure == "all":
        return connected
    measured = {figure.link: figure.at for figure in context.store.latest_measurements(overlay)}
    return [
        link
        for link in connected
        if link.name not in measured or (link.since is not None and measured[link.name] < link.since)
    ]


def _sessions(
    context: Context, overlay: str, sites: Sequence[Site], stack: ExitStack
) -> tuple[dict[str, GatewaySession], list[Unanswered]]:
    """Sessions with the gateways that answer, and those that do not."""

    def session(site: Site) -> GatewaySession | OverlayError:
        try:
            deadline_s = SHORT_S if site.state is SiteState.ERROR else ANSWER_S
            return open_session(context.store, overlay, site, context.driver(site.provider), context.vault, deadline_s)
        except OverlayError as error:
            return error

    if not sites:
        return {}, []
    for provider in {site.provider for site in sites}:
        context.driver(provider)
    context.vault(overlay)  # derived once, before the threads want it
    with ThreadPoolExecutor(max_workers=len(sites)) as pool:
        answers = dict(zip((site.name for site in sites), pool.map(session, sites), strict=True))
    sessions = {name: stack.enter_context(each) for name, each in answers.items() if isinstance(each, GatewaySession)}
    silent = {name: error for name, error in answers.items() if name not in sessions}
    return sessions, [Unanswered(THE_CONTROLLER, f"{name}/gateway", str(error)) for name, error in silent.items()]


def _machines(
    context: Context, overlay: str, sites: Sequence[Site], sessions: Mapping[str, GatewaySession]
) -> Iterator[Machine]:
    """Every gateway that answers, every host."""
    for site in sites:
        if site.name in sessions:
            yield Machine(f"{site.name}/gateway", site.gateway, _from_gateway(sessions[site.name], site))
        yield from (Machine(*host) for host in context.driver(site.provider).hosts(overlay, site))


def _site(machine: str) -> str:
    return machine.partition("/")[0]


def _from_gateway(session: GatewaySession, site: Site) -> Prober:
    return lambda targets, deadline_s: session.reach(targets, source=str(site.gateway), deadline_s=deadline_s)


def _down(context: Context, overlay: str, sessions: Mapping[str, GatewaySession]) -> dict[str, str]:
    """The links that a gateway says do not stand: an answer may have come by a detour. By name, with the gateway's."""

    def down(site: str) -> list[str]:
        links = [link for link in context.store.links(overlay, site) if link.peer(site) in sessions]
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                standing = sessions[site].established()
            except GatewayError:  # it went off since it was probed
                return [link.name for link in links]
            lost = [link.name for link in links if link.interface not in standing]
            if not lost or time.monotonic() > deadline:
                return lost
            time.sleep(POLL_S)

    if not sessions:
        return {}
    with ThreadPoolExecutor(max_workers=len(sessions)) as pool:
        return {name: site for site, lost in zip(sessions, pool.map(down, sessions), strict=True) for name in lost}


def _record(
    context: Context,
    overlay: str,
    known: Collection[str],
    seen: Collection[str],
    missing: Sequence[Unanswered],
    down: Mapping[str, str],
) -> None:
    """The state of each link between known sites, by what was seen of both, and by what their gateways say."""
    now = datetime.now(UTC)
    for link in context.store.links(overlay):
        ends = {link.a, link.b}
        if not ends.issubset(known):
            continue
        between = [str(pair) for pair in missing if {_site(pair.source), _site(pair.target)} == ends]
        between += [f"no machine of {site} answers" for site in sorted(ends.difference(seen))]
        if link.name in down:
            between.append(f"gateway {down[link.name]} says that its tunnel does not stand")
        error = between[0] if between else ""
        state = LinkState.ERROR if error else LinkState.CONNECTED
        if (link.state, link.error) != (state, error):
            since = now if link.state is not state else link.since
            context.store.update_link(overlay, link.a, link.b, context.actor, state=state, error=error, since=since)
