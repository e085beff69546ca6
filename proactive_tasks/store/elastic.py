"""What a watcher of node sources remembers, so that the next one neither misses nor repeats anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, select

from proactive_tasks.store.events import happened
from proactive_tasks.store.measurements import Measurements
from proactive_tasks.store.overlays import known
from proactive_tasks.store.tables import ElasticFeedRow, ElasticSiteRow, TokenRow

FIELDS = tuple(column.key for column in ElasticSiteRow.__table__.columns if column.key != "overlay")


@dataclass(frozen=True, slots=True)
class FeedPlace:
    """How far a watcher has come in a server's feed, and nodes by which that server is known again."""

    server: str
    counter: int
    landmarks: Mapping[str, tuple[int, int]] = field(default_factory=dict)


class Elastic(Measurements):
    """A watcher's memory. Only what was asked for is a change, and writes an event."""

    def feed_place(self, overlay: str) -> FeedPlace | None:
        """How far the last watcher has come; None before the first."""
        with self.read() as session:
            row = session.get(ElasticFeedRow, overlay)
            if row is None:
                return None
            return FeedPlace(row.server, row.counter, {url: (a, b) for url, (a, b) in row.landmarks.items()})

    def save_feed_place(self, overlay: str, place: FeedPlace) -> None:
        """Remember it."""
        landmarks = {url: list(mark) for url, mark in place.landmarks.items()}
        with self.write(overlay) as session:
            known(session, overlay)
            row = {"overlay": overlay, "server": place.server, "counter": place.counter, "landmarks": landmarks}
            session.merge(ElasticFeedRow(**row))

    def elastic_sites(self, overlay: str) -> dict[str, dict[str, Any]]:
        """What is remembered of each site, by its name."""
        with self.read() as session:
            rows = session.scalars(select(ElasticSiteRow).where(ElasticSiteRow.overlay == overlay))
            return {row.site: {name: getattr(row, name) for name in FIELDS} for row in rows}

    def save_elastic_sites(self, overlay: str, changed: Mapping[str, Mapping[str, Any] | None], actor: str) -> None:
        """Remember it of some sites; None forgets one. A request that is new writes an event."""
        with self.write(overlay) as session:
            known(session, overlay)
            for site, values in changed.items():
                row = session.get(ElasticSiteRow, (overlay, site))
                if values is None:
                    if row is not None:
                        session.delete(row)
                    continue
                if values["request"] and values["request"] != (row.request if row is not None else ""):
                    after = {"source": values["source"], "request": values["request"]}
                    happened(session, actor, overlay, "elastic", site, str(values["action"]), None, after)
                session.merge(ElasticSiteRow(overlay=overlay, **values))

    def confirm_elastic_sites(self, overlay: str, actor: str) -> list[str]:
        """Confirm that the sites which wait for that may go; which they are."""
        with self.write(overlay) as session:
            waiting = select(ElasticSiteRow).where(ElasticSiteRow.overlay == overlay, ElasticSiteRow.held)
            rows = list(session.scalars(waiting.order_by(ElasticSiteRow.site)))
            for row in rows:
                row.confirmed, row.held = True, False
                happened(session, actor, overlay, "elastic", row.site, "confirm")
            return [row.site for row in rows]

    def tokens(self, overlay: str) -> dict[str, str]:
        """The node sources whose nodes were given the overlay's token, and the site of each."""
        with self.read() as session:
            rows = session.scalars(select(TokenRow).where(TokenRow.overlay == overlay))
            return {row.source: row.site for row in rows}

    def save_token(self, overlay: str, source: str, site: str) -> None:
        """The nodes of a source are about to be given the token: written before, so that no crash hides it."""
        with self.write(overlay) as session:
            known(session, overlay)
            session.merge(TokenRow(overlay=overlay, source=source, site=site))

    def drop_token(self, overlay: str, source: str) -> None:
        """The nodes of a source have it no more."""
        with self.write(overlay) as session:
            session.execute(delete(TokenRow).where(TokenRow.overlay == overlay, TokenRow.source == source))
