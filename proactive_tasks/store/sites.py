"""Sites: who has which subnet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from proactive_tasks.overlay import consistency
from proactive_tasks.overlay.errors import InputError, UnknownObjectError
from proactive_tasks.overlay.model import Origin, Site, SiteState
from proactive_tasks.overlay.numbering import FIRST_ASN, Allocation, Ledger
from proactive_tasks.overlay.plan import Plan, difference
from proactive_tasks.overlay.spec import OverlaySpec, SiteSpec
from proactive_tasks.store.base import now
from proactive_tasks.store.events import change, happened
from proactive_tasks.store.links import Links, links_of
from proactive_tasks.store.overlays import known, latest_version, wanted
from proactive_tasks.store.tables import AllocationRow, EventRow, OverlayRow, ResourceRow, SiteRow

FIELDS = tuple(field.name for field in fields(Site))
SETTLED = frozenset({"name", "provider", "region", "deployment", "index", "subnet", "asn", "prefixes", "order"})
"""What a site keeps from its allocation to its release."""


class Sites(Links):
    """Sites of an overlay, in the order of their arrival."""

    def sites(self, overlay: str) -> list[Site]:
        """All sites, the oldest first.

        Raises:
            UnknownObjectError: no such overlay.
        """
        with self.read() as session:
            known(session, overlay)
            return [_site(row) for row in rows_of(session, overlay)]

    def site(self, overlay: str, name: str) -> Site:
        """One site.

        Raises:
            UnknownObjectError: no such overlay or site.
        """
        with self.read() as session:
            return _site(_row(session, overlay, name))

    def bring_in(self, overlay: str, site_specs: Sequence[SiteSpec], origin: Origin, actor: str) -> list[Site]:
        """Give each new site its numbers and bring the known ones up to date, all of them or none.

        A site that was being released is wanted again; one that a trigger brought belongs to the file as soon as the
        file names it.

        Returns:
            The sites of `site_specs`, in that order.

        Raises:
            NumberingError: no room left, or prefixes overlap.
            InputError: a known site would change its provider or region.
        """
        if len({site.name for site in site_specs}) < len(site_specs):
            raise InputError(f"overlay {overlay}: a site is named twice; rename one")
        with self.write(overlay) as session:
            spec, overlay_row = wanted(session, overlay), known(session, overlay)
            book = _Book(session, spec)
            there = {row.name: row for row in rows_of(session, overlay)}
            for site in site_specs:
                book.settle_prefixes(site, there.get(site.name))
            brought = [
                _updated(session, actor, there[site.name], site, origin)
                if site.name in there
                else _added(session, actor, overlay_row, book, site, origin)
                for site in site_specs
            ]
            book.save()
            session.flush()
            return [_site(row) for row in brought]

    def update_site(self, overlay: str, name: str, actor: str, **values: Any) -> bool:
        """Set fields of a site; whether any of them differed.

        A site that is on its way out stays so, however a task begun before ends: only `bring_in` calls it back.
        """
        _refuse_settled("site", name, values, FIELDS, SETTLED)
        with self.write(overlay) as session:
            row = _row(session, overlay, name)
            if row.state is SiteState.RELEASING:
                values.pop("state", None)
            before, after = change(row, values)
            if after:
                happened(session, actor, overlay, "site", name, "change", before, after)
            return bool(after)

    def start_release(self, overlay: str, site: str, actor: str) -> bool:
        """Mark a site as leaving: from now on no link is planned to it."""
        return self.update_site(overlay, site, actor, state=SiteState.RELEASING)

    def drop_site(self, overlay: str, site: str, actor: str) -> None:
        """Forget a site and its links; its subnet cools down."""
        with self.write(overlay) as session:
            row, spec = _row(session, overlay, site), wanted(session, overlay)
            book = _Book(session, spec)
            book.ledger.release(site, now())
            book.save()
            for link in links_of(session, overlay, site):
                session.delete(link)
                happened(session, actor, overlay, "link", f"{link.a}--{link.b}", "delete")
            session.execute(delete(ResourceRow).where(ResourceRow.overlay == overlay, ResourceRow.site == site))
            session.delete(row)
            happened(session, actor, overlay, "site", site, "delete", {"subnet": row.subnet, "provider": row.provider})

    def allocations(self, overlay: str) -> list[Allocation]:
        """Every prefix that is taken or cools down, in order of address."""
        with self.read() as session:
            return sorted(_allocations(session, overlay), key=lambda a: a.prefix)

    def regions(self, overlay: str = "") -> dict[str, list[str]]:
        """By provider, the regions where the overlay, or any, ever had a site: where something may be left."""
        query = select(EventRow.after).where(EventRow.kind == "site", EventRow.action == "create")
        if overlay:
            query = query.where(EventRow.overlay == overlay)
        found: dict[str, set[str]] = {}
        with self.read() as session:
            for after in session.scalars(query):
                found.setdefault(after["provider"], set()).add(after.get("region", ""))
        return {provider: sorted(regions) for provider, regions in found.items()}

    def difference(self, spec: OverlaySpec, *, prune: bool = False) -> Plan:
        """What must change to make the world equal `spec`."""
        with self.read() as session:
            there = [_site(row) for row in rows_of(session, spec.overlay)]
            links = self.links_in(session, spec.overlay)
            row = session.get(OverlayRow, spec.overlay)
            arrivals = row.arrivals if row else 0
            last = latest_version(session, spec.overlay)
            before = None if last is None else OverlaySpec.model_validate(last.document)
            ledger = Ledger(spec.split, spec.cooldown, _allocations(session, spec.overlay))
        return difference(spec, there, links, before=before, ledger=ledger, arrivals=arrivals, now=now(), prune=prune)


class _Book:
    """The ledger of an overlay within a transaction, and its rows."""

    def __init__(self, session: Session, spec: OverlaySpec) -> None:
        self.session, self.spec, self.at = session, spec, now()
        self.ledger = Ledger(spec.split, spec.cooldown, _allocations(session, spec.overlay))
        self.saved = set(self.ledger)

    def settle_prefixes(self, site: SiteSpec, row: SiteRow | None) -> None:
        """Adopt the prefixes that a site brings, forget those that it no longer names."""
        had = row.prefixes if row else ()
        for prefix in set(had) - set(site.prefixes):
            self.ledger.disown(site.name, prefix)
        for prefix in site.prefixes:
            if prefix not in had:
                consistency.brought(self.spec, site.name, prefix)
                self.ledger.adopt(site.name, site.provider, prefix, self.at)

    def save(self) -> None:
        """Write what became different."""
        current = set(self.ledger)
        for gone in self.saved - current:
            self.session.execute(
                delete(AllocationRow).where(
                    AllocationRow.overlay == self.spec.overlay, AllocationRow.prefix == gone.prefix
                )
            )
        for new in current - self.saved:
            values = {field.name: getattr(new, field.name) for field in fields(Allocation)}
            self.session.add(AllocationRow(overlay=self.spec.overlay, **values))


def rows_of(session: Session, overlay: str) -> list[SiteRow]:
    """The rows of an overlay's sites, the oldest first."""
    return list(session.scalars(select(SiteRow).where(SiteRow.overlay == overlay).order_by(SiteRow.order)))


def _allocations(session: Session, overlay: str) -> list[Allocation]:
    query = select(AllocationRow).where(AllocationRow.overlay == overlay)
    return [
        Allocation(row.site, row.prefix, row.provider, row.deployment, row.released_at)
        for row in session.scalars(query)
    ]


def _site(row: SiteRow) -> Site:
    return Site(**{name: getattr(row, name) for name in FIELDS})


def _row(session: Session, overlay: str, name: str) -> SiteRow:
    known(session, overlay)
    row = session.get(SiteRow, (overlay, name))
    if row is None:
        query = select(SiteRow.name).where(SiteRow.overlay == overlay).order_by(SiteRow.order).limit(10)
        there = ", ".join(session.scalars(query)) or "none"
        raise UnknownObjectError(f"site {name!a}: not in overlay {overlay}, whose sites are: {there}")
    return row


def _added(session: Session, actor: str, overlay: OverlayRow, book: _Book, site: SiteSpec, origin: Origin) -> SiteRow:
    consistency.provider_number(book.spec, site.provider)
    allocation = book.ledger.allocate(site.name, site.provider, book.at)
    consistency.hosts_fit(site, allocation.prefix)
    deployment = allocation.deployment or 0
    index = book.spec.split.index(site.provider, deployment)
    row = SiteRow(
        overlay=overlay.name,
        name=site.name,
        order=overlay.arrivals,
        parent=site.parent,
        provider=site.provider,
        region=site.region,
        origin=origin,
        deployment=deployment,
        index=index,
        subnet=allocation.prefix,
        asn=FIRST_ASN + index,
        prefixes=site.prefixes,
        hosts=site.hosts,
        options=dict(site.options),
        state=SiteState.ALLOCATED,
        error="",
        machine="",
        public_address=None,
        wan="",
        lan="",
        lan_router=None,
        bears_address=False,
        host_key="",
        host_key_seeded=True,
        request="",
        trusts=0,
    )
    overlay.arrivals += 1
    session.add(row)
    after = {"provider": site.provider, "region": site.region, "subnet": row.subnet, "asn": row.asn, "origin": origin}
    happened(session, actor, overlay.name, "site", site.name, "create", None, after)
    return row


def _updated(session: Session, actor: str, row: SiteRow, site: SiteSpec, origin: Origin) -> SiteRow:
    if (row.provider, row.region) != (site.provider, site.region):
        raise InputError(
            f"site {site.name}: is at {' '.join(filter(None, (row.provider, row.region)))}, "
            f"not {' '.join(filter(None, (site.provider, site.region)))}; "
            "release it first, or give the new site another name"
        )
    if origin is not Origin.FILE and row.origin is Origin.FILE:
        raise InputError(f"site {site.name}: is the specification's; change it there, or take another name")
    values = {
        "hosts": site.hosts,
        "options": dict(site.options),
        "prefixes": site.prefixes,
        "parent": site.parent,
        "origin": Origin.FILE if origin is Origin.FILE else row.origin,
        "state": SiteState.ALLOCATED if row.state is SiteState.RELEASING else row.state,
    }
    before, after = change(row, values)
    if after:
        happened(session, actor, row.overlay, "site", site.name, "change", before, after)
    return row


def _refuse_settled(kind: str, name: str, values: Any, fields_: Sequence[str], settled: frozenset[str]) -> None:
    wrong = [key for key in values if key not in fields_ or key in settled]
    if wrong:
        raise InputError(f"{kind} {name}: {', '.join(wrong)} cannot be set; it stays as long as the {kind} does")
