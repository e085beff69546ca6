"""`overlayctl plan`: what is wanted against what the store knows, and what the gateways say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proactive_tasks.clouds import driver
from proactive_tasks.clouds.prices import Cost, Prices, cost
from proactive_tasks.clouds.prices import load as load_prices
from proactive_tasks.clouds.provider import Change
from proactive_tasks.console.costs import costs_json, costs_table
from proactive_tasks.console.operations import context
from proactive_tasks.overlay.errors import InputError, OverlayError
from proactive_tasks.overlay.model import Site
from proactive_tasks.overlay.plan import Action
from proactive_tasks.overlay.spec import OverlaySpec, load_spec
from proactive_tasks.reports.tables import render, table
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store
from proactive_tasks.store.dead import free_dead_jobs

KEY_TO_COME = "ssh-ed25519 (made by the deployment)"


@dataclass(frozen=True)
class Planned:
    """Changes of the model, and what each gateway lacks."""

    overlay: str
    objects: list[dict[str, str]]
    gateways: list[str]
    costs: list[Cost] = field(default_factory=list)
    prices: Prices | None = None
    calls: list[tuple[str, Change]] | None = None  # by site, where a dry run asked the providers

    @property
    def changes(self) -> int:
        """How many changes a deployment would make."""
        return sum(entry["action"] != Action.KEEP for entry in self.objects) + len(self.gateways)

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON-like values."""
        return {
            "overlay": self.overlay,
            "changes": self.changes,
            "objects": self.objects,
            "gateways": self.gateways,
            "cost": costs_json(self.costs, self.prices),
            **({} if self.calls is None else {"calls": [{"site": site, **c._asdict()} for site, c in self.calls]}),
        }

    def table(self) -> str:
        """The plan as text: what stays is counted, what changes is listed."""
        listed = [entry for entry in self.objects if entry["action"] != Action.KEEP or entry["note"]]
        rows = [
            (
                entry["action"],
                entry["kind"],
                entry["name"],
                entry["text"].partition(" (")[2].rpartition(")")[0] or entry["note"],
            )
            for entry in listed
        ]
        rows += [("change", "gateway", line, "") for line in self.gateways]
        kept = sum(entry["action"] == Action.KEEP for entry in self.objects)
        changes = "1 change" if self.changes == 1 else f"{self.changes or 'no'} changes"
        shown = render(table(f"Plan of {self.overlay}", ("action", "kind", "name", "note"), rows)) if rows else ""
        shown += costs_table(self.costs, self.prices)
        if self.calls is not None:
            rows_ = [(site, change.line, change.call) for site, change in self.calls]
            shown += render(table("Calls to providers", ("site", "what", "call"), rows_)) if rows_ else "no call\n"
        return f"{shown}{changes}, {kept} kept as they are"


def plan(
    store: Store, file: Path | None, overlay: str, *, prune: bool, live: bool = True, dry_run: bool = False
) -> Planned:
    """Compare a specification, or what was deployed last, with the store and, if `live`, with the gateways.

    Raises:
        SpecificationError: the file is not valid.
        InputError: no overlay is known, a provider has no driver, or the living overlay cannot become that.
    """
    if file:
        spec = load_spec(file)
        if overlay not in {"", spec.overlay}:
            raise InputError(f"{file}: specifies overlay {spec.overlay}, not {overlay!r}; leave --overlay out")
        for site in spec.sites:
            driver(site.provider)
        sites = store.rehearse(spec)
    else:
        spec = store.spec(context(store).overlay(overlay))
        sites = store.sites(spec.overlay)
    prices = load_prices()
    return Planned(
        spec.overlay,
        _objects(store, spec, prune=prune),
        _gateways(context(store), spec.overlay) if live else [],
        [cost(site, prices) for site in sites],
        prices,
        _calls(context(store), spec, sites) if dry_run else None,
    )


def _objects(store: Store, spec: OverlaySpec, *, prune: bool) -> list[dict[str, str]]:
    return [
        {
            "action": str(change.action),
            "kind": change.kind,
            "name": change.name,
            "text": str(change),
            "note": change.note,
        }
        for change in store.difference(spec, prune=prune).changes
    ]


def _calls(surroundings: Context, spec: OverlaySpec, sites: Sequence[Site]) -> list[tuple[str, Change]]:
    """Every call that a deployment would make to a provider, asked of all sites at once; nothing is changed.

    Raises:
        ProviderError: a provider did not let itself be asked.
    """
    from proactive_tasks.provision_gateway import wanted_of

    for provider in sorted({site.provider for site in sites}):
        surroundings.driver(provider).check()

    def ask(site: Site) -> list[tuple[str, Change]]:
        provider = surroundings.driver(site.provider)
        order = wanted_of(surroundings, spec, sites, site, KEY_TO_COME)
        return [(site.name, change) for change in provider.difference(order, provider.facts(spec.overlay, site))]

    with ThreadPoolExecutor(max_workers=min(32, len(sites)) or 1) as pool:
        return [line for found in pool.map(ask, sites) for line in found]


def _gateways(surroundings: Context, overlay: str) -> list[str]:
    """What the living gateways lack, asked of all at once; a gateway that does not answer says so in a line."""
    from proactive_tasks.configure_tunnel import configure_tunnel
    from proactive_tasks.provision_gateway import provision_gateway

    if overlay not in surroundings.store.overlays():
        return []
    ready = [site for site in surroundings.store.sites(overlay) if site.ready]
    names = [site.name for site in ready]
    if not names:
        return []
    for provider in sorted({site.provider for site in ready}):
        surroundings.driver(provider).check()
    surroundings.vault(overlay)
    free_dead_jobs(surroundings.store)

    def ask(site: str) -> list[str]:
        try:
            made = provision_gateway(surroundings, overlay=overlay, site=site, dry_run=True).difference
            return made or configure_tunnel(surroundings, overlay=overlay, site=site, dry_run=True).difference
        except OverlayError as error:
            return [f"{site}: {error}"]

    with ThreadPoolExecutor(max_workers=min(32, len(names))) as pool:
        return [line for found in pool.map(ask, names) for line in found]
