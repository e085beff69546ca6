"""The plan: what must change to make the world equal the specification.

A mesh of 1,000 sites has half a million links, so a plan keeps links as pairs of names and makes the change that tells
of one only when it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from proactive_tasks.overlay import topology
from proactive_tasks.overlay.model import Link, LinkState, Origin, Site, SiteState
from proactive_tasks.overlay.numbering import Allocation, Ledger
from proactive_tasks.overlay.spec import OverlaySpec, SiteSpec


class Action(StrEnum):
    """What a plan does with an object."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Change:
    """One object and what becomes of it; `before` and `after` hold what differs."""

    kind: str  # overlay, site, subnet, link
    name: str
    action: Action
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        parts = []
        for key in dict.fromkeys([*self.before, *self.after]):
            old, new = self.before.get(key), self.after.get(key)
            parts.append(f"{key} {old} -> {new}" if key in self.before and key in self.after else f"{key} {new or old}")
        text = f"{self.action} {self.kind} {self.name}"
        text += f" ({', '.join(parts)})" if parts else ""
        return f"{text}: {self.note}" if self.note else text


@dataclass(frozen=True, slots=True)
class Plan:
    """What must change, object by object: overlay, sites with their subnets, then links."""

    objects: tuple[Change, ...]
    links_created: Sequence[topology.Pair] = ()
    links_deleted: Sequence[topology.Pair] = ()
    links_changed: Sequence[Change] = ()
    links_kept: Sequence[topology.Pair] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing is to be done."""
        links = self.links_created or self.links_deleted or self.links_changed
        return not links and all(change.action is Action.KEEP for change in self.objects)

    @property
    def changes(self) -> Iterator[Change]:
        """Every object and what becomes of it."""
        yield from self.objects
        for action, pairs in (
            (Action.DELETE, self.links_deleted),
            (Action.CREATE, self.links_created),
            (Action.KEEP, self.links_kept),
        ):
            for a, b in pairs:
                yield Change("link", f"{a}--{b}", action)
        yield from self.links_changed

    @property
    def counts(self) -> dict[Action, int]:
        """How many objects each action befalls."""
        counts = dict.fromkeys(Action, 0)
        for change in self.objects:
            counts[change.action] += 1
        counts[Action.CREATE] += len(self.links_created)
        counts[Action.DELETE] += len(self.links_deleted)
        counts[Action.CHANGE] += len(self.links_changed)
        counts[Action.KEEP] += len(self.links_kept)
        return counts


def difference(
    wanted: OverlaySpec,
    sites: Sequence[Site] = (),
    links: Sequence[Link] = (),
    *,
    before: OverlaySpec | None = None,
    ledger: Ledger | None = None,
    arrivals: int | None = None,
    now: datetime | None = None,
    prune: bool = False,
) -> Plan:
    """Compare what is wanted with what is known.

    Only sites of origin `file` follow the specification; one that left it is deleted only with `prune`.

    Args:
        wanted: the specification.
        sites: the known sites, the oldest first.
        links: the known links.
        before: the specification that was carried out last.
        ledger: all allocations, those that cool down included; made from `sites` where it is not given.
        arrivals: how many sites ever came, hence the place of the next one; taken from `sites` where it is not given.
        now: the moment that cool-downs are judged by.
        prune: delete what left the specification.
    """
    now = now or datetime.fromtimestamp(0, UTC)
    ledger = ledger or Ledger(wanted.split, wanted.cooldown, _taken(sites))
    known = {site.name: site for site in sites}
    objects = [*_overlay(wanted, before)]
    for site in wanted.sites:
        _settle(ledger, site, known.get(site.name), now)
    for site in wanted.sites:
        there = known.get(site.name)
        objects += _known(there, site) if there else _new(ledger, site, now)
    names = {site.name for site in wanted.sites}
    leaving = [site for site in sites if site.name not in names]
    objects += [change for site in leaving for change in _leaving(site, prune=prune)]
    gone = {site.name for site in leaving if _goes(site, prune=prune)}
    if arrivals is None:
        arrivals = max((site.order for site in sites), default=-1) + 1
    return _with_links(wanted, [site for site in sites if site.name not in gone], arrivals, links, objects)


def _taken(sites: Sequence[Site]) -> Iterator[Allocation]:
    for site in sites:
        yield Allocation(site.name, site.subnet, site.provider, site.deployment)
        for prefix in site.prefixes:
            yield Allocation(site.name, prefix, site.provider)


def _overlay(wanted: OverlaySpec, before: OverlaySpec | None) -> Iterator[Change]:
    """The overlay itself: what of its settings differs, its sites apart."""
    new = wanted.model_dump(mode="json", exclude={"sites"})
    if before is None:
        yield Change("overlay", wanted.overlay, Action.CREATE, {}, {"topology": wanted.topology, "vpn": wanted.vpn})
        return
    old = before.model_dump(mode="json", exclude={"sites"})
    keys = [key for key in new if new[key] != old[key]]
    action = Action.CHANGE if keys else Action.KEEP
    yield Change("overlay", wanted.overlay, action, {key: old[key] for key in keys}, {key: new[key] for key in keys})


def _settle(ledger: Ledger, site: SiteSpec, there: Site | None, now: datetime) -> None:
    """The prefixes that a site brings, before any subnet is given."""
    had = there.prefixes if there else ()
    for prefix in set(had) - set(site.prefixes):
        ledger.disown(site.name, prefix)
    for prefix in site.prefixes:
        if prefix not in had:
            ledger.adopt(site.name, site.provider, prefix, now)


def _new(ledger: Ledger, site: SiteSpec, now: datetime) -> list[Change]:
    subnet = ledger.allocate(site.name, site.provider, now).prefix
    about = {"provider": site.provider, "region": site.region}
    return [
        Change("site", site.name, Action.CREATE, {}, {key: value for key, value in about.items() if value}),
        Change("subnet", site.name, Action.CREATE, {}, {"prefix": str(subnet)}),
    ]


def _known(there: Site, site: SiteSpec) -> list[Change]:
    """A known site: what of it differs, and whether its deployment was completed."""
    old = {
        "hosts": there.hosts,
        "options": dict(there.options),
        "prefixes": [str(prefix) for prefix in there.prefixes],
        "origin": str(there.origin),
        "state": str(there.state),
    }
    new = {
        "hosts": site.hosts,
        "options": dict(site.options),
        "prefixes": [str(prefix) for prefix in site.prefixes],
        "origin": str(Origin.FILE),
        "state": str(SiteState.CONNECTED),
    }
    keys = [key for key in new if new[key] != old[key]]
    action = Action.CHANGE if keys else Action.KEEP
    return [
        Change("site", site.name, action, {key: old[key] for key in keys}, {key: new[key] for key in keys}),
        Change("subnet", site.name, Action.KEEP, {}, {"prefix": str(there.subnet)}),
    ]


def _goes(site: Site, *, prune: bool) -> bool:
    return prune and site.origin is Origin.FILE


def _leaving(site: Site, *, prune: bool) -> list[Change]:
    """A known site that the specification does not name."""
    if _goes(site, prune=prune):
        return [
            Change("site", site.name, Action.DELETE, {"provider": site.provider}),
            Change("subnet", site.name, Action.DELETE, {"prefix": str(site.subnet)}),
        ]
    note = f"of origin {site.origin}, not the file's to remove"
    if site.origin is Origin.FILE:
        note = "left the specification; --prune removes it"
    if site.state is SiteState.RELEASING:
        note = "its release was begun; release it again to complete that"
    return [Change("site", site.name, Action.KEEP, note=note)]


def _with_links(
    wanted: OverlaySpec, staying: Sequence[Site], arrivals: int, links: Sequence[Link], objects: list[Change]
) -> Plan:
    """The links that the topology wants of all sites that stay or come, against those that are there."""
    pairs = {(link.a, link.b): link for link in links}
    by_name = {site.name: site for site in wanted.sites}
    nodes = [
        topology.Node(site.name, site.order, by_name[site.name].parent if site.name in by_name else site.parent)
        for site in staying
        if site.state is not SiteState.RELEASING or site.name in by_name
    ]
    present = {node.name for node in nodes}
    coming = [site for site in wanted.sites if site.name not in present]
    nodes += [topology.Node(site.name, order, site.parent) for order, site in enumerate(coming, arrivals)]
    if wanted.topology == "on-demand":
        goal = sorted(pair for pair in pairs if present.issuperset(pair))
    else:
        goal = topology.links(wanted.topology, nodes, wanted.hub)
    created, changed, kept = [], [], []
    for pair in goal:  # one pass in order: sets of half a million pairs would cost seconds
        link = pairs.pop(pair, None)
        if link is None:
            created.append(pair)
        elif (change := _link(link, wanted.vpn)) is not None:
            changed.append(change)
        else:
            kept.append(pair)
    return Plan(tuple(objects), created, sorted(pairs), changed, kept)


def _link(link: Link, backend: str) -> Change | None:
    """A link that is there and does not carry what it should."""
    old, new = {}, {}
    if link.backend != backend:
        old["backend"], new["backend"] = link.backend, backend
    if link.state is not LinkState.CONNECTED:
        old["state"], new["state"] = str(link.state), str(LinkState.CONNECTED)
    return Change("link", link.name, Action.CHANGE, old, new) if new else None
