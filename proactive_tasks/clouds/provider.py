"""What every cloud driver does: facts, difference, apply, release."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple, Protocol

from proactive_tasks.overlay.model import Site

Progress = Callable[[str], None]
"""Takes one line about what is being done now."""


@dataclass(frozen=True, slots=True)
class GatewayOrder:
    """A site's network and gateway as they are wanted: what a driver needs to make them."""

    overlay: str
    site: Site
    user_data: bytes  # cloud-init; holds the seeded host key, so never logged; empty where a gateway is there already
    routes: Sequence[IPv4Network] = ()  # what the site's hosts reach by the gateway: the overlay, others' own prefixes
    controllers: Sequence[IPv4Network] = ()  # from where SSH to the gateway comes
    ssh_key: str = ""  # public line of the overlay's key
    transit: IPv4Network | None = None  # where the tunnels take their addresses


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """A gateway as the provider's API tells of it."""

    machine: str
    running: bool
    public_address: IPv4Address | None  # None: what must be made or repaired first
    user_data_digest: str = ""  # sha256 of the user-data it was made with, where the API tells


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """What is there of a site."""

    gateway: GatewayFacts | None
    found: Any = None  # the driver's own view, from which `difference` and `apply` go on; nobody else looks into it


class Change(NamedTuple):
    """One thing that `apply` does, and the API call by which it does so, without secrets."""

    line: str
    call: str = ""

    def __str__(self) -> str:
        return self.line


class NetworkFacts(NamedTuple):
    """Where a further machine of a site is to be started, in its provider's identifiers; empty while unknown.

    A provider without identifiers (a lab, an edge host's LAN) has the site's subnet in their place.
    """

    network: str
    subnet: str


class HostProbe(NamedTuple):
    """An application host, and a way to probe from it: addresses and a deadline in s to ms per address, or None.

    Where the controller has no way into the host, `probe` is None: the host is a target only.
    """

    name: str
    address: IPv4Address
    probe: Callable[[Sequence[str], float], Mapping[str, float | None]] | None


class Leftover(NamedTuple):
    """Something that a provider still holds and that this package made: by its tags, of this overlay and site."""

    provider: str
    region: str
    overlay: str
    site: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.provider} {self.region}: {self.kind} {self.name} (overlay {self.overlay}, site {self.site})"


class Journal(Protocol):
    """What is being made is written down before the call that makes it, so that no crash hides it."""

    def intend(self, kind: str, name: str) -> None:
        """A call follows that makes this."""

    def made(self, kind: str, name: str, identifier: str) -> None:
        """It is made, and this is its identifier at the provider."""

    def gone(self, kind: str, name: str) -> None:
        """It is removed, or was never made."""

    def pending(self, kind: str, name: str) -> datetime | None:
        """When it was last intended, if it was and is not known to be gone: for a while it may not be visible yet."""


@dataclass
class NoJournal:
    """A journal of one process, for trials without a store."""

    entries: dict[tuple[str, str], str] = field(default_factory=dict)

    def intend(self, kind: str, name: str) -> None:
        """A call follows that makes this."""
        self.entries[kind, name] = ""

    def made(self, kind: str, name: str, identifier: str) -> None:
        """It is made."""
        self.entries[kind, name] = identifier

    def gone(self, kind: str, name: str) -> None:
        """It is removed."""
        self.entries.pop((kind, name), None)

    def pending(self, kind: str, name: str) -> datetime | None:  # noqa: ARG002 - nothing outlives this process
        """Nothing is."""
        return None


class Provider(Protocol):
    """One kind of cloud. Every call has a deadline; every error is a `ProviderError` that names the API call."""

    name: str
    calls: int
    """How many API calls it made so far."""

    def check(self) -> None:
        """Refuse where this machine cannot drive the provider: an `InputError` that names all that is missing."""

    def facts(self, overlay: str, site: Site) -> SiteFacts:
        """What is there for this site, found by its deterministic names and tags."""

    def difference(self, order: GatewayOrder, facts: SiteFacts) -> list[Change]:
        """What `apply` would do; empty when nothing is needed. Makes no writing call."""

    def apply(self, order: GatewayOrder, facts: SiteFacts, journal: Journal, progress: Progress) -> GatewayFacts:
        """Make what lacks, repair what differs, start what is stopped; after it a second call does nothing."""

    def attach(self, order: GatewayOrder, journal: Journal, progress: Progress) -> list[str]:
        """Bring the site's application hosts to the number wanted; a line for each that was made or removed."""

    def discard(self, overlay: str, site: Site, journal: Journal) -> list[str]:
        """Remove the gateway's machine and disk only: its addresses stay the site's; a line for each thing removed."""

    def release(self, overlay: str, site: Site, journal: Journal, progress: Progress) -> list[str]:
        """Remove everything of the site, whatever state it is in; a line for each thing removed."""

    def leftovers(self, overlay: str, regions: Sequence[str]) -> list[Leftover]:
        """Everything with this overlay's tags that the provider still holds there; of all overlays if it is ""."""

    def network(self, overlay: str, site: Site, made: Mapping[tuple[str, str], str]) -> NetworkFacts:
        """The site's network by what the journal holds (kind and name to identifier); asks the provider nothing."""

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> socket.socket:
        """A TCP connection from the controller to a gateway's public address; an OSError is the caller's to retry."""

    def hosts(self, overlay: str, site: Site) -> list[HostProbe]:
        """The site's application hosts."""

    def controllers(self, overlay: str) -> Sequence[str]:
        """Prefixes from which this provider's gateways see the controller, beyond those of the specification."""
