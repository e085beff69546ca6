"""Links: which gateways are connected, over which transit addresses and port."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import count
from typing import Any

from sqlalchemy import delete, insert, or_, select
from sqlalchemy.orm import Session

from proactive_tasks.overlay import topology
from proactive_tasks.overlay.errors import InputError, NumberingError
from proactive_tasks.overlay.model import FIRST_PORT, Link, SiteState
from proactive_tasks.overlay.spec import OverlaySpec
from proactive_tasks.store.events import change, happened
from proactive_tasks.store.overlays import Overlays, known, wanted
from proactive_tasks.store.tables import LinkRow, SiteRow

FIELDS = tuple(field.name for field in fields(Link))
SETTLED = frozenset({"a", "b", "index"})
READY = (SiteState.PROVISIONED, SiteState.CONNECTED)
LAST_PORT = 65_535


class Links(Overlays):
    """Links of an overlay."""

    def links(self, overlay: str, site: str | None = None) -> list[Link]:
        """All links, or those of one site, by name.

        Raises:
            UnknownObjectError: no such overlay.
        """
        with self.read() as session:
            known(session, overlay)
            return self.links_in(session, overlay, site)

    @staticmethod
    def links_in(session: Session, overlay: str, site: str | None = None) -> list[Link]:
        """The same, within a transaction."""
        query = select(*(getattr(LinkRow, name) for name in FIELDS)).where(LinkRow.overlay == overlay)
        if site is not None:
            query = query.where(or_(LinkRow.a == site, LinkRow.b == site))
        return [Link(*row) for row in session.execute(query.order_by(LinkRow.a, LinkRow.b))]

    def plan_links(self, overlay: str, actor: str) -> list[Link]:
        """Make the links that the topology wants among the sites that are ready, and remove those of sites that left.

        A link that is there keeps its transit addresses, listener and port.

        Returns:
            All links.

        Raises:
            NumberingError: the transit network or a listener's ports are used up.
        """
        with self.write(overlay) as session:
            spec = wanted(session, overlay)
            query = select(SiteRow).where(SiteRow.overlay == overlay, SiteRow.state != SiteState.RELEASING)
            sites = {row.name: row for row in session.scalars(query.order_by(SiteRow.order))}
            there = {(link.a, link.b): link for link in self.links_in(session, overlay)}
            pairs = _wanted_pairs(spec, sites, there)
            gone = [link for pair, link in there.items() if pair not in pairs]
            for link in gone:
                session.execute(
                    delete(LinkRow).where(LinkRow.overlay == overlay, LinkRow.a == link.a, LinkRow.b == link.b)
                )
                happened(session, actor, overlay, "link", link.name, "delete")
            kept = [link for pair, link in there.items() if pair in pairs]
            ready = {name for name, row in sites.items() if _ready(row)}
            missing = sorted(pair for pair in pairs if pair not in there and ready.issuperset(pair))
            made = list(_numbered(missing, kept, sites, spec))
            if made:
                _insert(session, overlay, actor, made)
            return sorted([*kept, *made], key=lambda link: (link.a, link.b))

    def update_link(self, overlay: str, a: str, b: str, actor: str, **values: Any) -> bool:
        """Set fields of a link; whether any of them differed.

        A link that is gone has none: other jobs drop links of sites that leave, whoever works on them meanwhile.
        """
        a, b = topology.pair(a, b)
        wrong = [key for key in values if key not in FIELDS or key in SETTLED]
        if wrong:
            raise InputError(f"link {a}--{b}: {', '.join(wrong)} cannot be set; it stays as long as the link does")
        with self.write(overlay) as session:
            known(session, overlay)
            row = session.get(LinkRow, (overlay, a, b))
            if row is None:
                return False
            before, after = change(row, values)
            if after:
                happened(session, actor, overlay, "link", f"{a}--{b}", "change", before, after)
            return bool(after)


def links_of(session: Session, overlay: str, site: str) -> list[LinkRow]:
    """The rows of a site's links."""
    query = select(LinkRow).where(LinkRow.overlay == overlay, or_(LinkRow.a == site, LinkRow.b == site))
    return list(session.scalars(query.order_by(LinkRow.a, LinkRow.b)))


def _wanted_pairs(spec: OverlaySpec, sites: dict[str, SiteRow], there: Iterable[topology.Pair]) -> set[topology.Pair]:
    """What the topology wants of all sites; on demand, what is there stays while both its sites do."""
    if spec.topology == "on-demand":
        return {(a, b) for a, b in there if a in sites and b in sites}
    hub = spec.hub if spec.hub in sites else None
    nodes = [topology.Node(row.name, row.order, row.parent) for row in sites.values()]
    return set(topology.links(spec.topology, nodes, hub))


def _ready(row: SiteRow) -> bool:
    return row.state in READY or (row.state is SiteState.ERROR and bool(row.request))


def _numbered(
    missing: Iterable[topology.Pair], kept: Iterable[Link], sites: dict[str, SiteRow], spec: OverlaySpec
) -> Iterator[Link]:
    """The missing links, with the lowest transit indices and ports that are free."""
    kept = list(kept)
    indices = _free({link.index for link in kept}, 0)
    room = spec.transit_network.num_addresses // 2
    used: defaultdict[str, set[int]] = defaultdict(set)
    for link in kept:
        used[link.listener].add(link.port)
    ports: dict[str, Iterator[int]] = {}
    for a, b in missing:
        index = next(indices)
        if index >= room:
            raise NumberingError(f"link {a}--{b}: transit network {spec.transit_network} is used up; take a larger one")
        listener = _listener(sites[a], sites[b])
        port = next(ports.setdefault(listener, _free(used[listener], FIRST_PORT)))
        if port > LAST_PORT:
            raise NumberingError(f"link {a}--{b}: site {listener} has no free port left; use another topology")
        yield Link(a, b, spec.vpn, index, listener, port)


def _free(used: set[int], first: int) -> Iterator[int]:
    return (number for number in count(first) if number not in used)


def _listener(one: SiteRow, other: SiteRow) -> str:
    """The older site listens, unless only it is behind NAT."""
    older, newer = (one, other) if one.order < other.order else (other, one)
    return newer.name if older.options.get("nat") and not newer.options.get("nat") else older.name


def _insert(session: Session, overlay: str, actor: str, links: list[Link]) -> None:
    """In bulk: a mesh of 1,000 sites has half a million."""
    session.execute(
        insert(LinkRow),
        [{"overlay": overlay, **{name: getattr(link, name) for name in FIELDS}} for link in links],
    )
    for link in links:
        after = {"index": link.index, "listener": link.listener, "port": link.port, "backend": link.backend}
        happened(session, actor, overlay, "link", link.name, "create", None, after)
