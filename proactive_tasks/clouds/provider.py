"""What every cloud driver does: facts, difference, apply, release."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple, Protocol

from proactive_tasks.overlay.model import Site

Progress = Callable[[str], None]
"""Takes one line about what is being done now."""


@dataclass(frozen=True, slots=True)
class GatewayOrder:
    """A gateway as it is wanted: what a driver needs to make one."""

    overlay: str
    site: Site
    user_data: bytes  # cloud-init; holds the seeded host key, so never logged


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """A gateway as the provider's API tells of it."""

    machine: str
    running: bool
    public_address: IPv4Address
    wan: str
    lan: str
    user_data_digest: str  # sha256 of the user-data it was made with


class HostProbe(NamedTuple):
    """An application host, and a way to probe from it: addresses and a deadline in s to ms per address, or None."""

    name: str
    address: IPv4Address
    probe: Callable[[Sequence[str], float], Mapping[str, float | None]]


class Provider(Protocol):
    """One kind of cloud. Every call has a deadline; every error is a `ProviderError` that names the API call."""

    name: str

    def check(self) -> None:
        """Refuse where this machine cannot drive the provider: an `InputError` that names all that is missing."""

    def facts(self, overlay: str, site: Site) -> GatewayFacts | None:
        """What is there for this site, found by its deterministic name; None when there is no gateway."""

    def difference(self, order: GatewayOrder, facts: GatewayFacts | None) -> list[str]:
        """What `apply` would do, a line each; empty when nothing is needed."""

    def apply(self, order: GatewayOrder, progress: Progress) -> GatewayFacts:
        """Make what lacks, start what is stopped; a second call does nothing."""

    def discard(self, overlay: str, site: Site) -> list[str]:
        """Remove the gateway's machine and disk only: its addresses stay the site's; a line for each thing removed."""

    def release(self, overlay: str, site: Site, progress: Progress) -> list[str]:
        """Remove everything of the site, whatever state it is in; a line for each thing removed."""

    def leftovers(self, overlay: str) -> list[str]:
        """Everything of this overlay that the provider still holds."""

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> socket.socket:
        """A TCP connection from the controller to a gateway's public address."""

    def hosts(self, overlay: str, site: Site) -> list[HostProbe]:
        """The site's application hosts from which the controller can probe; none where it cannot."""

    def controllers(self, overlay: str) -> Sequence[str]:
        """Prefixes from which this provider's gateways see the controller, beyond those of the specification."""
