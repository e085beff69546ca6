"""`overlayctl plan`: what is wanted against what the store knows, and what the gateways say of themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proactive_tasks.clouds import driver
from proactive_tasks.console.operations import context, free_dead_jobs
from proactive_tasks.overlay.errors import InputError, OverlayError
from proactive_tasks.overlay.plan import Action
from proactive_tasks.overlay.spec import OverlaySpec, load_spec
from proactive_tasks.reports.tables import render, table
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store


@dataclass(frozen=True)
class Planned:
    """Changes of the model, and what each gateway lacks."""

    overlay: str
    objects: list[dict[str, str]]
    gateways: list[str]

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
        return f"{shown}{changes}, {kept} kept as they are"


def plan(store: Store, file: Path | None, overlay: str, *, prune: bool, live: bool = True) -> Planned:
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
        store.check(spec)
    else:
        spec = store.spec(context(store).overlay(overlay))
    return Planned(
        spec.overlay, _objects(store, spec, prune=prune), _gateways(context(store), spec.overlay) if live else []
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
