"""What was made at providers, or was about to be: written before each call that makes something."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from proactive_tasks.store.base import now
from proactive_tasks.store.events import happened
from proactive_tasks.store.overlays import known
from proactive_tasks.store.records import Resource
from proactive_tasks.store.sites import Sites
from proactive_tasks.store.tables import ResourceRow


class Resources(Sites):
    """Resources of sites at their providers."""

    def resources(self, overlay: str, site: str | None = None) -> list[Resource]:
        """All, or those of one site, in the order in which they were intended."""
        query = select(ResourceRow).where(ResourceRow.overlay == overlay)
        if site is not None:
            query = query.where(ResourceRow.site == site)
        with self.read() as session:
            rows = session.scalars(query.order_by(ResourceRow.intended_at, ResourceRow.kind, ResourceRow.name))
            return [Resource(row.site, row.kind, row.name, row.identifier, row.intended_at) for row in rows]

    def journal(self, overlay: str, site: str, actor: str) -> SiteJournal:
        """The journal of a site, as drivers keep it."""
        return SiteJournal(self, overlay, site, actor)


@dataclass(frozen=True)
class SiteJournal:
    """See `clouds.provider.Journal`."""

    store: Resources
    overlay: str
    site: str
    actor: str

    def intend(self, kind: str, name: str) -> None:
        """A call follows that makes this."""
        with self.store.write(self.overlay) as session:
            known(session, self.overlay)
            row = session.get(ResourceRow, (self.overlay, self.site, kind, name))
            if row is None:
                key = {"overlay": self.overlay, "site": self.site, "kind": kind, "name": name}
                session.add(ResourceRow(**key, identifier="", intended_at=now()))
            else:
                row.identifier, row.intended_at = "", now()

    def made(self, kind: str, name: str, identifier: str) -> None:
        """It is made, and this is its identifier at the provider."""
        with self.store.write(self.overlay) as session:
            row = session.get(ResourceRow, (self.overlay, self.site, kind, name))
            if row is None or row.identifier == identifier:
                return
            row.identifier = identifier
            after = {"kind": kind, "identifier": identifier, "site": self.site}
            happened(session, self.actor, self.overlay, "resource", name, "create", None, after)

    def gone(self, kind: str, name: str) -> None:
        """It is removed, or was never made."""
        with self.store.write(self.overlay) as session:
            row = session.get(ResourceRow, (self.overlay, self.site, kind, name))
            if row is not None:
                session.delete(row)
                before = {"kind": kind, "identifier": row.identifier, "site": self.site}
                happened(session, self.actor, self.overlay, "resource", name, "delete", before)

    def pending(self, kind: str, name: str) -> datetime | None:
        """When it was last intended, if it was and is not known to be gone."""
        with self.store.read() as session:
            row = session.get(ResourceRow, (self.overlay, self.site, kind, name))
            return row.intended_at if row is not None else None
