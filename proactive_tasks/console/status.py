"""`overlayctl status`: what the gateways say of their links, with the figures measured last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from proactive_tasks.configure_tunnel import view as view_of
from proactive_tasks.console.operations import context
from proactive_tasks.gateway.access import open_session
from proactive_tasks.gateway.config import render as render_gateway
from proactive_tasks.gateway.session import Route, TunnelStatus
from proactive_tasks.overlay.errors import OverlayError
from proactive_tasks.overlay.model import Link, LinkState, Site, SiteState
from proactive_tasks.reports.overview import Overview, overview
from proactive_tasks.reports.tables import render, sites_table, table
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store

ANSWER_S = 5.0


@dataclass(frozen=True)
class Status:
    """An overlay as its gateways tell."""

    view: Overview
    links: list[dict[str, Any]]
    silent: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Sites and links as JSON-like values; times in ms, loss as a ratio, path MTU in bytes."""
        return {**self.view.as_json(), "links": self.links, "silent": self.silent}

    def table(self) -> str:
        """Two tables, and a line for each gateway that did not answer."""
        columns = ("link", "state", "since", "via", "RTT, ms", "loss, %", "path MTU", "certificate days", "error")
        rows = [
            (
                link["name"],
                link["state"],
                link["since"] or "-",
                link["via"],
                _number(link["rtt_ms"], ".2f"),
                _number(link["loss"] and link["loss"] * 100, ".1f"),
                _number(link["path_mtu"], ".0f"),
                link["certificate_days"],
                link["error"],
            )
            for link in self.links
        ]
        text = render(sites_table(self.view), table("Links", columns, rows))
        return text + "".join(f"{site}: no answer ({why})\n" for site, why in self.silent.items())


def status(store: Store, overlay: str) -> Status:
    """Ask every gateway at once.

    Raises:
        InputError: no such overlay.
    """
    surroundings = context(store)
    name = surroundings.overlay(overlay)
    view = overview(store, name)
    ready = [site for site in view.sites if site.ready]
    told: dict[str, Told] = {}
    silent: dict[str, str] = {}
    if ready:
        for provider in sorted({site.provider for site in ready}):
            surroundings.driver(provider).check()
        surroundings.vault(name)
        with ThreadPoolExecutor(max_workers=min(32, len(ready))) as pool:
            answers = pool.map(lambda site: _ask(surroundings, name, site), ready)
            for site, answer in zip(ready, answers, strict=True):
                if isinstance(answer, OverlayError):
                    silent[site.name] = str(answer)
                else:
                    told[site.name] = answer
    seen = [
        replace(site, state=SiteState.ERROR, error=f"no answer ({silent[site.name]})") if site.name in silent else site
        for site in view.sites
    ]
    links = [_link(view, link, told, silent) for link in view.links]
    return Status(replace(view, sites=seen), links, silent)


@dataclass(frozen=True)
class Told:
    """What one gateway says: its ends of the links, by interface, and its routes, by prefix."""

    tunnels: dict[str, TunnelStatus]
    routes: dict[str, Route]


def _ask(surroundings: Context, overlay: str, site: Site) -> Told | OverlayError:
    try:
        config = render_gateway(view_of(surroundings, overlay, site.name))
        driver = surroundings.driver(site.provider)
        with open_session(surroundings.store, overlay, site, driver, surroundings.vault, ANSWER_S) as session:
            return Told(session.tunnels(config), session.routes())
    except OverlayError as error:
        return error


def _link(view: Overview, link: Link, told: dict[str, Told], silent: dict[str, str]) -> dict[str, Any]:
    ends = [told[name].tunnels.get(link.interface) for name in (link.a, link.b) if name in told]
    up = len(ends) == 2 and all(end and end.connected for end in ends)
    mute = [name for name in (link.a, link.b) if name in silent]
    error = f"no answer from {', '.join(mute)}" if mute else "" if up else link.error
    there = [d for d in view.directions if {d.source, d.target} == {link.a, link.b}]
    days = [left for name in (link.a, link.b) if (left := view.days_left(name)) is not None]
    return {
        "name": link.name,
        "backend": link.backend,
        "listener": link.listener,
        "state": str(LinkState.ERROR if error else LinkState.CONNECTED if up else LinkState.CONNECTING),
        "since": next((end.since for end in ends if end and end.connected), None),
        "via": _via(view, link, told),
        "rtt_ms": max((d.rtt for d in there if d.rtt is not None), default=None),
        "loss": max((d.loss for d in there if d.loss is not None), default=None),
        "path_mtu": min((d.path_mtu for d in there if d.path_mtu is not None), default=None),
        "certificate_days": min(days, default=None),
        "error": error,
    }


def _via(view: Overview, link: Link, told: dict[str, Told]) -> str:
    """How the traffic between the two sites goes now: direct, by a third site, or not at all."""
    sites = {site.name: site for site in view.sites}
    names = {site.asn: site.name for site in view.sites}
    for here, there in ((link.a, link.b), (link.b, link.a)):
        if here not in told:
            continue
        route = told[here].routes.get(str(sites[there].subnet))
        if route is None:
            return "-"
        if route.path[:1] != [sites[there].asn]:
            return names.get(route.path[0], "?") if route.path else "?"
    return "direct" if told else "-"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
