"""Node sources of the embedded engine's resource manager: what they are made of, over the endpoint's own end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, String, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from proactive_tasks.store.base import Base

if TYPE_CHECKING:
    from proactive_tasks.store.database import Database


class NodeSourceRow(Base):
    """A node source."""

    __tablename__ = "endpoint_node_source"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    admin: Mapped[str] = mapped_column(String(255))
    deployed: Mapped[bool]
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)


@dataclass(frozen=True, slots=True)
class KeptSource:
    """A node source, who made it, whether it has nodes, and what it is made of."""

    name: str
    admin: str
    deployed: bool
    definition: dict[str, Any]


class NodeSources:
    """The node sources that the next start is to bring back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[KeptSource]:
        """All of them, by name."""
        with self._database.read() as session:
            rows = session.scalars(select(NodeSourceRow).order_by(NodeSourceRow.name))
            return [KeptSource(row.name, row.admin, row.deployed, row.definition) for row in rows]

    def put(self, source: KeptSource) -> None:
        """Keep one, in place of what was kept of it."""
        row = NodeSourceRow(
            name=source.name, admin=source.admin, deployed=source.deployed, definition=source.definition
        )
        with self._database.write("node sources") as session:
            session.merge(row)

    def remove(self, name: str) -> None:
        """Forget one."""
        with self._database.write("node sources") as session:
            session.execute(delete(NodeSourceRow).where(NodeSourceRow.name == name))
