"""The tables of the model. Columns of sites, links and the like bear the names of the model's fields."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from proactive_tasks.overlay.model import LinkState, Origin, SiteState
from proactive_tasks.store.base import Base, Moment, Name

if TYPE_CHECKING:
    from sqlalchemy import Dialect


class Network(TypeDecorator[IPv4Network]):
    """An IPv4 prefix as text."""

    impl = String(18)
    cache_ok = True

    def process_bind_param(self, value: IPv4Network | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Text for the database."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> IPv4Network | None:  # noqa: ARG002
        """The prefix again."""
        return None if value is None else IPv4Network(value)


class Networks(TypeDecorator[tuple[IPv4Network, ...]]):
    """IPv4 prefixes as a JSON list."""

    impl = JSON
    cache_ok = True

    def process_bind_param(
        self,
        value: tuple[IPv4Network, ...] | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> list[str] | None:
        """A list of texts for the database."""
        return None if value is None else [str(prefix) for prefix in value]

    def process_result_value(
        self,
        value: list[str] | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> tuple[IPv4Network, ...] | None:
        """The prefixes again."""
        return None if value is None else tuple(IPv4Network(prefix) for prefix in value)


class Address(TypeDecorator[IPv4Address]):
    """An IPv4 address as text."""

    impl = String(15)
    cache_ok = True

    def process_bind_param(self, value: IPv4Address | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Text for the database."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> IPv4Address | None:  # noqa: ARG002
        """The address again."""
        return None if value is None else IPv4Address(value)


class Word(TypeDecorator[StrEnum]):
    """A word of the model's vocabulary as text, without a constraint that each new word would have to migrate."""

    impl = String(16)
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Text for the database; an unknown word is refused."""
        return None if value is None else self.words(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:  # noqa: ARG002
        """The word again."""
        return None if value is None else self.words(value)


class OverlayRow(Base):
    """An overlay that is there."""

    __tablename__ = "overlays"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    arrivals: Mapped[int] = mapped_column(Integer)  # how many sites ever came: the next one's place
    salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    check: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed by the vault: tells a wrong passphrase


class SpecificationRow(Base):
    """One version of what is wanted."""

    __tablename__ = "specifications"

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str] = mapped_column(String(255))
    document: Mapped[dict[str, Any]] = mapped_column(JSON)


class AllocationRow(Base):
    """A prefix that is taken or cools down. It outlives its site, and its overlay."""

    __tablename__ = "allocations"

    overlay: Mapped[str] = mapped_column(Name, primary_key=True)
    prefix: Mapped[IPv4Network] = mapped_column(Network, primary_key=True)
    site: Mapped[str] = mapped_column(Name)
    provider: Mapped[str] = mapped_column(String(16))
    deployment: Mapped[int | None] = mapped_column(Integer)
    released_at: Mapped[datetime | None] = mapped_column(Moment)


class SiteRow(Base):
    """A site."""

    __tablename__ = "sites"
    __table_args__ = (UniqueConstraint("overlay", "index"), UniqueConstraint("overlay", "order", name="uq_sites_order"))

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"), primary_key=True)
    name: Mapped[str] = mapped_column(Name, primary_key=True)
    order: Mapped[int] = mapped_column(Integer)
    parent: Mapped[str | None] = mapped_column(Name)
    provider: Mapped[str] = mapped_column(String(16))
    region: Mapped[str] = mapped_column(String(63))
    origin: Mapped[Origin] = mapped_column(Word(Origin))
    deployment: Mapped[int] = mapped_column(Integer)
    index: Mapped[int] = mapped_column(Integer)
    subnet: Mapped[IPv4Network] = mapped_column(Network)
    asn: Mapped[int] = mapped_column(BigInteger)
    prefixes: Mapped[tuple[IPv4Network, ...]] = mapped_column(Networks)
    hosts: Mapped[int] = mapped_column(Integer)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[SiteState] = mapped_column(Word(SiteState), default=SiteState.ALLOCATED)
    error: Mapped[str] = mapped_column(Text, default="")
    machine: Mapped[str] = mapped_column(String(255), default="")
    public_address: Mapped[IPv4Address | None] = mapped_column(Address)
    wan: Mapped[str] = mapped_column(String(64), default="")
    lan: Mapped[str] = mapped_column(String(64), default="")
    lan_router: Mapped[IPv4Address | None] = mapped_column(Address)
    bears_address: Mapped[bool] = mapped_column(Boolean, default=False)
    host_key: Mapped[str] = mapped_column(Text, default="")
    host_key_seeded: Mapped[bool] = mapped_column(Boolean, default=True)
    request: Mapped[str] = mapped_column(Text, default="")
    trusts: Mapped[int] = mapped_column(Integer, default=0)


class ResourceRow(Base):
    """Something that is made at a provider: written down before the call that makes it, kept until it is removed."""

    __tablename__ = "resources"

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"), primary_key=True)
    site: Mapped[str] = mapped_column(Name, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    identifier: Mapped[str] = mapped_column(Text, default="")  # the provider's; empty while nobody knows it
    intended_at: Mapped[datetime] = mapped_column(Moment)


class PlacementRow(Base):
    """Instances of an application's fragment at a place, as reconfiguration plans tell."""

    __tablename__ = "placements"

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name", ondelete="CASCADE"), primary_key=True)
    provider: Mapped[str] = mapped_column(String(16), primary_key=True)
    region: Mapped[str] = mapped_column(String(63), primary_key=True)
    fragment: Mapped[str] = mapped_column(String(255), primary_key=True)
    instance: Mapped[str] = mapped_column(String(255), primary_key=True)
    count: Mapped[int] = mapped_column(Integer)


class LinkRow(Base):
    """A link."""

    __tablename__ = "links"
    __table_args__ = (
        UniqueConstraint("overlay", "index"),
        UniqueConstraint("overlay", "listener", "port", name="uq_links_listener_port"),
        Index("ix_links_b", "overlay", "b"),
    )

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"), primary_key=True)
    a: Mapped[str] = mapped_column(Name, primary_key=True)
    b: Mapped[str] = mapped_column(Name, primary_key=True)
    backend: Mapped[str] = mapped_column(String(16))
    index: Mapped[int] = mapped_column(Integer)
    listener: Mapped[str] = mapped_column(Name)
    port: Mapped[int] = mapped_column(Integer)
    state: Mapped[LinkState] = mapped_column(Word(LinkState), default=LinkState.PLANNED)
    since: Mapped[datetime | None] = mapped_column(Moment)
    error: Mapped[str] = mapped_column(Text, default="")
    listening: Mapped[bool] = mapped_column(Boolean, default=False)


class CertificateRow(Base):
    """A leaf certificate. `number` is the serial as decimal text: it has up to 160 bits."""

    __tablename__ = "certificates"

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"), primary_key=True)
    number: Mapped[str] = mapped_column(String(50), primary_key=True)
    site: Mapped[str] = mapped_column(Name)
    pem: Mapped[str] = mapped_column(Text)
    not_before: Mapped[datetime] = mapped_column(Moment)
    not_after: Mapped[datetime] = mapped_column(Moment)
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)


class AuthorityRow(Base):
    """A certificate authority of an overlay; while one gives way to the next, there are two."""

    __tablename__ = "authorities"

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    certificate: Mapped[str] = mapped_column(Text)
    sealed_key: Mapped[bytes] = mapped_column(LargeBinary)
    crl: Mapped[str] = mapped_column(Text)
    crl_number: Mapped[int] = mapped_column(Integer)
    crl_next_update: Mapped[datetime | None] = mapped_column(Moment)


class SecretRow(Base):
    """Something sealed by the overlay's vault."""

    __tablename__ = "secrets"

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class MeasurementRow(Base):
    """One figure of one direction of a link."""

    __tablename__ = "measurements"
    __table_args__ = (Index("ix_measurements_latest", "overlay", "link", "source", "metric", "inside", "id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"))
    link: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(Name)
    metric: Mapped[str] = mapped_column(String(32))
    inside: Mapped[bool] = mapped_column(Boolean)
    value: Mapped[float] = mapped_column(Float(53))
    unit: Mapped[str] = mapped_column(String(16))
    method: Mapped[str] = mapped_column(String(255))
    at: Mapped[datetime] = mapped_column(Moment)
    job: Mapped[str] = mapped_column(String(64))


class EventRow(Base):
    """A change that was made. Events outlive their overlay."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_overlay", "overlay", "id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str] = mapped_column(String(255))
    overlay: Mapped[str] = mapped_column(Name)
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(16))
    before: Mapped[dict[str, Any]] = mapped_column(JSON)
    after: Mapped[dict[str, Any]] = mapped_column(JSON)


class LeaseRow(Base):
    """A lock. The row stays when the lock is free, so that the fence only ever grows."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(255))
    fence: Mapped[int] = mapped_column(Integer)
    expires_at: Mapped[float] = mapped_column(Float(53))  # seconds since the epoch, by the database's clock


class ElasticFeedRow(Base):
    """How far a watcher has come in a server's feed."""

    __tablename__ = "elastic_feeds"

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"), primary_key=True)
    server: Mapped[str] = mapped_column(String(255))
    counter: Mapped[int] = mapped_column(BigInteger)
    landmarks: Mapped[dict[str, list[int]]] = mapped_column(JSON)


class ElasticSiteRow(Base):
    """What a watcher remembers of a site. Columns bear the names of the fields of `scheduler.elastic.Memory`."""

    __tablename__ = "elastic_sites"

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"), primary_key=True)
    site: Mapped[str] = mapped_column(Name, primary_key=True)
    source: Mapped[str] = mapped_column(Text, default="")
    shown: Mapped[bool] = mapped_column(Boolean, default=False)
    absent_since: Mapped[datetime | None] = mapped_column(Moment)
    held: Mapped[bool] = mapped_column(Boolean, default=False)
    confirmed: Mapped[bool] = mapped_column(Boolean, default=False)
    action: Mapped[str | None] = mapped_column(String(16))
    request: Mapped[str] = mapped_column(String(64), default="")
    job: Mapped[int | None] = mapped_column(BigInteger)
    asked_at: Mapped[datetime | None] = mapped_column(Moment)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    error: Mapped[str] = mapped_column(Text, default="")
    stood: Mapped[bool] = mapped_column(Boolean, default=False)


class TokenRow(Base):
    """A node source whose nodes were given the overlay's access token, and the site that stands behind it."""

    __tablename__ = "elastic_tokens"

    overlay: Mapped[str] = mapped_column(ForeignKey("overlays.name"), primary_key=True)
    source: Mapped[str] = mapped_column(String(255), primary_key=True)
    site: Mapped[str] = mapped_column(Name)
