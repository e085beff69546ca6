"""What the store tells of itself, beside the overlay's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """A change: who made it, when, of what, and what it was before and after."""

    id: int
    at: datetime
    actor: str
    overlay: str
    kind: str  # overlay, site, link, certificate, authority, secret, resource, plan
    name: str
    action: str  # create, change, delete
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of an overlay. `sealed_key` is opened by the overlay's vault only."""

    certificate: str  # PEM
    sealed_key: bytes
    number: int = 1
    crl: str = ""  # PEM
    crl_number: int = 0
    crl_next_update: datetime | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """Something at a provider. `identifier` is empty while nobody knows whether it was made."""

    site: str
    kind: str
    name: str
    identifier: str
    intended_at: datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """A lock that is held. `fence` grows with each holder: a writer with a lower one is late."""

    name: str
    owner: str
    fence: int
