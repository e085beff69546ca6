"""What runs where, as far as reconfiguration plans have told."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import delete, select

from proactive_tasks.overlay.reconfiguration import Instance, Place, Placements
from proactive_tasks.store.events import happened
from proactive_tasks.store.overlays import known
from proactive_tasks.store.store import Store
from proactive_tasks.store.tables import EventRow, PlacementRow

KIND = "plan"
"""The kind of the events that tell which plans were taken in."""


class PlacementBook:
    """The instances of an overlay's applications, by place and fragment."""

    def __init__(self, store: Store, overlay: str) -> None:
        self.store, self.overlay = store, overlay

    def placements(self) -> dict[Instance, int]:
        """How many of each run; at 0, those that ran where a site is still there."""
        query = select(PlacementRow).where(PlacementRow.overlay == self.overlay)
        with self.store.read() as session:
            return {_instance(row): row.count for row in session.scalars(query)}

    def taken_in(self, plan: str) -> bool:
        """Whether a plan, or a half of it, was counted before."""
        query = select(EventRow.id).where(
            EventRow.overlay == self.overlay, EventRow.kind == KIND, EventRow.name == plan
        )
        with self.store.read() as session:
            return session.scalars(query.limit(1)).first() is not None

    def take_in(self, plan: str, after: Placements, actor: str) -> None:
        """Record what runs after a plan; an event tells what became different."""
        with self.store.write(self.overlay) as session:
            known(session, self.overlay)
            query = select(PlacementRow).where(PlacementRow.overlay == self.overlay)
            rows = {_instance(row): row for row in session.scalars(query)}
            before, new = {}, {}
            for instance, count in after.items():
                row = rows.get(instance)
                if row is None:
                    place, fragment, number = instance
                    session.add(
                        PlacementRow(
                            overlay=self.overlay,
                            provider=place.provider,
                            region=place.region,
                            fragment=fragment,
                            instance=number,
                            count=count,
                        )
                    )
                elif row.count == count:
                    continue
                else:
                    before[_words(instance)] = row.count
                    row.count = count
                new[_words(instance)] = count
            happened(session, actor, self.overlay, KIND, plan, "change", before, new)

    def forget(self, places: Collection[Place]) -> None:
        """Forget what ran at places whose sites leave."""
        with self.store.write(self.overlay) as session:
            for place in places:
                session.execute(
                    delete(PlacementRow).where(
                        PlacementRow.overlay == self.overlay,
                        PlacementRow.provider == place.provider,
                        PlacementRow.region == place.region,
                        PlacementRow.count == 0,
                    )
                )


def _instance(row: PlacementRow) -> Instance:
    return Instance(Place(row.provider, row.region), row.fragment, row.instance)


def _words(instance: Instance) -> str:
    return " ".join(filter(None, (str(instance.place), instance.fragment, instance.id)))


def counts(placements: Placements) -> Mapping[str, int]:
    """How many instances run at each place, for people."""
    found: dict[str, int] = {}
    for instance, count in sorted(placements.items()):
        found[str(instance.place)] = found.get(str(instance.place), 0) + count
    return found
