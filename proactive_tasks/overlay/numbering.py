"""The numbering plan: which subnet is whose.

An address reads `network.A.B.C`: A tells the provider, B the deployment within it, C the machine. The widths are the
specification's. A released subnet rests for a cool-down before somebody else gets it, so that stale routes die first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from itertools import chain

from proactive_tasks.overlay.errors import NumberingError

FIRST_ASN = 4_200_000_000
"""First AS number for private use of four bytes (RFC 6996)."""

PROVIDERS: Mapping[str, int] = {
    "aws": 1,
    "azure": 2,
    "openstack": 3,
    "cloudstack": 4,
    "vcloud": 5,
    "edge": 6,
    "lab": 250,
}
"""The A byte of each provider, unless the specification gives another."""

RESERVED_FIRST: Mapping[str, int] = {"aws": 4, "azure": 4, "openstack": 3}
"""How many addresses from the subnet's own upwards a provider keeps for itself (network address included).

AWS and Azure take the first four and the last; Neutron its router and DHCP ports. Elsewhere only the network address.
"""


@dataclass(frozen=True, slots=True)
class Split:
    """How the overlay network is divided among providers, deployments and hosts."""

    network: IPv4Network
    provider_bits: int
    deployment_bits: int
    host_bits: int
    providers: Mapping[str, int]

    @property
    def deployments(self) -> int:
        """How many deployments one provider can have."""
        return 1 << self.deployment_bits

    def index(self, provider: str, deployment: int) -> int:
        """The position of a site's subnet in the overlay network."""
        return self.providers[provider] << self.deployment_bits | deployment

    def subnet(self, provider: str, deployment: int) -> IPv4Network:
        """A site's subnet."""
        first = int(self.network.network_address) + (self.index(provider, deployment) << self.host_bits)
        return IPv4Network((first, 32 - self.host_bits))


@dataclass(frozen=True, slots=True)
class Allocation:
    """A prefix that is somebody's. `deployment` is None for a prefix that the site brought itself."""

    site: str
    prefix: IPv4Network
    provider: str
    deployment: int | None = None
    released_at: datetime | None = None


def gateway(subnet: IPv4Network) -> IPv4Address:
    """The gateway's address: the last usable one."""
    return subnet.broadcast_address - 1


def standby(subnet: IPv4Network) -> IPv4Address:
    """The standby gateway's address: the one before the gateway's."""
    return subnet.broadcast_address - 2


def _start(allocation: Allocation) -> int:
    return int(allocation.prefix.network_address)


ROUTED = frozenset({"aws", "azure"})
"""Providers whose routes hold for a whole subnet, the gateway's own packets included: it needs a subnet of its own."""

SMALLEST_ROUTED = 27
"""The longest prefix that can be split so: the smallest subnet that both offer is a /28."""


def subnets(subnet: IPv4Network) -> tuple[IPv4Network, IPv4Network]:
    """How a site's subnet is split where the provider routes whole subnets: application hosts', gateways'.

    The hosts have the lower half. The gateway and its standby have the last /28, so that the gateway keeps the site's
    last usable address and the route to it is not its own.
    """
    applications = next(subnet.subnets(prefixlen_diff=1))
    return applications, IPv4Network((int(subnet.broadcast_address) - 15, 28))


def assignable(provider: str, subnet: IPv4Network) -> range:
    """The addresses, as integers, that may be given to application hosts of a site, lowest first."""
    first = int(subnet.network_address) + RESERVED_FIRST.get(provider, 1)
    if provider in ROUTED and subnet.prefixlen <= SMALLEST_ROUTED:
        return range(first, int(subnets(subnet)[0].broadcast_address))
    return range(first, int(standby(subnet)))


class Ledger:
    """All prefixes of one overlay that are taken or cooling down. No two of them ever overlap."""

    def __init__(self, split: Split, cooldown: timedelta, allocations: Iterable[Allocation] = ()) -> None:
        self.split = split
        self.cooldown = cooldown
        self._replace(allocations)

    def __iter__(self) -> Iterator[Allocation]:
        return iter(self._taken)

    def overlapping(self, prefix: IPv4Network, now: datetime, site: str = "") -> Allocation | None:
        """The first allocation that shares an address with `prefix` and that `site` may not have yet."""
        return next((a for a in self._taken[self._window(prefix)] if not self._reusable(a, now, site)), None)

    def allocate(self, site: str, provider: str, now: datetime) -> Allocation:
        """A subnet for a new site: its own of old if that still rests, else the provider's lowest free one.

        Raises:
            NumberingError: the provider has no free deployment left.
        """
        of_provider = [a for a in self._taken if a.provider == provider and a.deployment is not None]
        own = [a.deployment for a in of_provider if a.site == site and a.released_at is not None]
        living = {a.deployment for a in of_provider if a.released_at is None}
        for deployment in chain(own, range(self.split.deployments)):
            if deployment is None or deployment in living or deployment >= self.split.deployments:
                continue
            prefix = self.split.subnet(provider, deployment)
            if self.overlapping(prefix, now, site) is None:
                return self._take(Allocation(site, prefix, provider, deployment))
        raise NumberingError(self._exhausted(site, provider, now))

    def adopt(self, site: str, provider: str, prefix: IPv4Network, now: datetime) -> Allocation:
        """Record a prefix that a site brings.

        Raises:
            NumberingError: it overlaps another allocation, even in part.
        """
        other = self.overlapping(prefix, now, site)
        if other is not None:
            resting = " (released, cooling down)" if other.released_at else ""
            raise NumberingError(
                f"site {site}: prefix {prefix} overlaps {other.prefix} of site {other.site}{resting}; "
                "give one of them another prefix"
            )
        return self._take(Allocation(site, prefix, provider))

    def release(self, site: str, now: datetime) -> None:
        """Let a site's subnet rest; what it brought itself goes with it."""
        self._replace(
            replace(a, released_at=now) if a.site == site and a.released_at is None else a
            for a in self._taken
            if a.site != site or a.deployment is not None
        )

    def disown(self, site: str, prefix: IPv4Network) -> None:
        """Forget a prefix that a site brought and no longer names."""
        self._replace(a for a in self._taken if (a.site, a.prefix, a.deployment) != (site, prefix, None))

    def _window(self, prefix: IPv4Network) -> slice:
        """Where the allocations stand that share an address with `prefix`: together, since no two overlap."""
        first = bisect_right(self._starts, int(prefix.network_address))
        last = bisect_right(self._starts, int(prefix.broadcast_address))
        if first and self._taken[first - 1].prefix.broadcast_address >= prefix.network_address:
            first -= 1
        return slice(first, last)

    def _reusable(self, allocation: Allocation, now: datetime, site: str) -> bool:
        if allocation.released_at is None:
            return False
        return allocation.site == site or now - allocation.released_at >= self.cooldown

    def _take(self, allocation: Allocation) -> Allocation:
        window = self._window(allocation.prefix)
        self._taken[window] = [allocation]
        self._starts[window] = [int(allocation.prefix.network_address)]
        return allocation

    def _replace(self, allocations: Iterable[Allocation]) -> None:
        self._taken = sorted(allocations, key=_start)
        self._starts = [_start(a) for a in self._taken]

    def _exhausted(self, site: str, provider: str, now: datetime) -> str:
        resting = [
            a.released_at + self.cooldown
            for a in self._taken
            if a.provider == provider and a.released_at and now - a.released_at < self.cooldown
        ]
        soonest = f", or wait until {min(resting):%H:%M:%S} UTC for the first one to cool down" if resting else ""
        return (
            f"site {site}: provider {provider} has no free deployment left ({self.split.deployments} of "
            f"{self.split.network} at {self.split.deployment_bits} bits); raise deployment_bits, lower host_bits or "
            f"provider_bits{soonest}"
        )
