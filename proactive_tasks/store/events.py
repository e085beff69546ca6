"""Events: a row for every change, written in the change's own transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from proactive_tasks.store.base import now
from proactive_tasks.store.database import Database
from proactive_tasks.store.records import Event
from proactive_tasks.store.tables import EventRow


class Events(Database):
    """What was changed, by whom, when."""

    def events(self, overlay: str | None = None, *, limit: int = 100) -> list[Event]:
        """The latest events, the oldest of them first."""
        query = select(EventRow).order_by(EventRow.id.desc()).limit(limit)
        if overlay is not None:
            query = query.where(EventRow.overlay == overlay)
        with self.read() as session:
            rows = list(session.scalars(query))
        return [
            Event(row.id, row.at, row.actor, row.overlay, row.kind, row.name, row.action, row.before, row.after)
            for row in reversed(rows)
        ]


def plain(value: Any) -> Any:
    """A value as JSON can hold it. Bytes, which are sealed secrets here, are not shown."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"<{len(value)} bytes, sealed>"
    if isinstance(value, IPv4Address | IPv4Network | StrEnum):
        return str(value)
    return value


def happened(
    session: Session,
    actor: str,
    overlay: str,
    kind: str,
    name: str,
    action: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Record a change."""
    session.add(
        EventRow(
            at=now(),
            actor=actor,
            overlay=overlay,
            kind=kind,
            name=name,
            action=action,
            before=plain(before or {}),
            after=plain(after or {}),
        )
    )


def change(row: object, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Set what differs; the fields that did, before and after."""
    differing = [key for key, value in values.items() if getattr(row, key) != value]
    before = {key: getattr(row, key) for key in differing}
    for key in differing:
        setattr(row, key, values[key])
    return before, {key: values[key] for key in differing}
