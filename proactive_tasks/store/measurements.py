"""Measurements of links. They are records, not changes: no event tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from sqlalchemy import func, insert, select

from proactive_tasks.overlay.model import Measurement
from proactive_tasks.store.certificates import Certificates
from proactive_tasks.store.overlays import known
from proactive_tasks.store.tables import MeasurementRow

FIELDS = tuple(field.name for field in fields(Measurement))


class Measurements(Certificates):
    """Figures of links, per direction."""

    def add_measurements(self, overlay: str, measurements: Sequence[Measurement]) -> None:
        """Record figures."""
        if not measurements:
            return
        with self.write(overlay) as session:
            known(session, overlay)
            session.execute(insert(MeasurementRow), [{"overlay": overlay, **asdict(figure)} for figure in measurements])

    def latest_measurements(self, overlay: str) -> list[Measurement]:
        """The last figure of each link, direction and metric, inside and outside the tunnel."""
        key = (MeasurementRow.link, MeasurementRow.source, MeasurementRow.metric, MeasurementRow.inside)
        last = select(func.max(MeasurementRow.id)).where(MeasurementRow.overlay == overlay).group_by(*key)
        query = select(*(getattr(MeasurementRow, name) for name in FIELDS)).where(MeasurementRow.id.in_(last))
        with self.read() as session:
            known(session, overlay)
            return [Measurement(*row) for row in session.execute(query.order_by(*key))]
