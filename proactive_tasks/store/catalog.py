"""The tables of the embedded engine's catalog: buckets, their objects, and every revision of each object."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from proactive_tasks.store.base import Base


class BucketRow(Base):
    """A bucket."""

    __tablename__ = "catalog_bucket"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    owner: Mapped[str] = mapped_column(Text)


class ObjectRow(Base):
    """An object: what all its revisions have in common."""

    __tablename__ = "catalog_object"
    __table_args__ = (UniqueConstraint("bucket", "name"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    bucket: Mapped[str] = mapped_column(ForeignKey("catalog_bucket.name"))
    name: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(255))
    extension: Mapped[str] = mapped_column(String(255))
    latest: Mapped[int] = mapped_column(BigInteger)  # the newest revision's `committed`


class RevisionRow(Base):
    """A revision. It is named by its moment, in milliseconds since the epoch."""

    __tablename__ = "catalog_revision"

    object_id: Mapped[int] = mapped_column(ForeignKey("catalog_object.id", ondelete="CASCADE"), primary_key=True)
    committed: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    message: Mapped[str] = mapped_column(String(255))
    username: Mapped[str] = mapped_column(Text)
    project: Mapped[str] = mapped_column(Text)
    tags: Mapped[str] = mapped_column(Text)
    key_values: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    variables: Mapped[dict[str, Any]] = mapped_column(JSON)
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
