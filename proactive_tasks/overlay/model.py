"""The objects of an overlay, as every part of the package sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any

INTERFACE_PREFIX = "link"
"""What the interfaces of all tunnels begin with, and no other interface; no word of BIRD's language with a number."""

FIRST_PORT = 1195
"""First port of the tunnels' range; a listener's links take the ports from here up."""

PORTS = (FIRST_PORT - 1, FIRST_PORT + 7999)
"""UDP ports that a cloud's security group admits to a gateway: the access server's, and 8,000 links."""


SHARED = frozenset({"edge"})
"""Providers whose gateways are hosts that were there before, and go on with what else they do."""


class Origin(StrEnum):
    """Who asked for a site."""

    FILE = "file"
    ELASTIC = "elastic"
    PLAN = "plan"


class SiteState(StrEnum):
    """How far a site has come."""

    ALLOCATED = "allocated"  # has its subnet
    PROVISIONED = "provisioned"  # its gateway answers, its key is made and its request recorded
    CONNECTED = "connected"  # its gateway carries its links
    ERROR = "error"
    RELEASING = "releasing"


class LinkState(StrEnum):
    """What a link was last seen to be."""

    PLANNED = "planned"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Site:
    """One deployment network and its gateway.

    `index` is the position of `subnet` in the overlay network, hence unique; `asn` is 4200000000 + index (RFC 6996).
    """

    name: str
    provider: str
    region: str
    origin: Origin
    deployment: int
    index: int
    subnet: IPv4Network
    asn: int
    prefixes: tuple[IPv4Network, ...] = ()
    hosts: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    state: SiteState = SiteState.ALLOCATED
    error: str = ""
    machine: str = ""  # the provider's identifier of the gateway
    public_address: IPv4Address | None = None
    wan: str = ""  # interface towards the Internet
    lan: str = ""  # interface towards the site; the same one where the provider gives a gateway only one
    lan_router: IPv4Address | None = None  # next hop to what of the site lies beyond that interface
    bears_address: bool = False  # no network of the site holds the gateway's site address: the gateway bears it itself
    host_key: str = ""  # OpenSSH public key line, without comment
    host_key_seeded: bool = True  # still the key that user-data brought
    request: str = ""  # the gateway's certificate request, PEM
    trusts: int = 0  # number of the newest authority that its gateway has
    order: int = 0  # place in the sequence of arrivals
    parent: str | None = None  # in a tree, where the specification names one

    @property
    def gateway(self) -> IPv4Address:
        """The gateway's site address: the last usable one."""
        return self.subnet.broadcast_address - 1

    @property
    def ready(self) -> bool:
        """Whether its gateway can be configured: it has sent its request, and the site is not leaving."""
        return bool(self.request) and self.state is not SiteState.RELEASING

    @property
    def shared(self) -> bool:
        """Whether its gateway is a host with other work, of which the overlay polices and changes only its own."""
        return self.provider in SHARED

    @property
    def ssh_port(self) -> int:
        """Where SSH answers at its public address."""
        return int(self.options.get("port", 22)) if self.shared else 22

    @property
    def announced(self) -> tuple[IPv4Network, ...]:
        """The prefixes that this site, and no other, announces."""
        return (self.subnet, *self.prefixes)


@dataclass(frozen=True, slots=True)
class Link:
    """A pair of gateways that the topology connects, and its tunnel. `a` < `b` by name."""

    a: str
    b: str
    backend: str
    index: int  # its /31 in the transit network; names its interface at both ends
    listener: str
    port: int  # UDP port at the listener
    state: LinkState = LinkState.PLANNED
    since: datetime | None = None
    error: str = ""
    listening: bool = False  # the listener's end is configured and waits for the dialer

    @property
    def name(self) -> str:
        """The link's name in messages, reports and the command line."""
        return f"{self.a}--{self.b}"

    @property
    def interface(self) -> str:
        """The tunnel's interface at both gateways."""
        return f"{INTERFACE_PREFIX}{self.index}"

    @property
    def dialer(self) -> str:
        """The site whose gateway opens the tunnel."""
        return self.b if self.listener == self.a else self.a

    def peer(self, site: str) -> str:
        """The site at the other end."""
        return self.b if site == self.a else self.a

    def transit(self, site: str, transit_network: IPv4Network) -> IPv4Address:
        """The transit address of one end: the lower of the /31 is `a`'s (RFC 3021)."""
        return transit_network.network_address + 2 * self.index + (0 if site == self.a else 1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A leaf certificate of a site's gateway."""

    serial: int
    site: str
    pem: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure of one direction of a link. `unit` is ms, ratio, bytes or bit/s."""

    link: str
    source: str
    metric: str  # rtt, loss, path_mtu, ...
    inside: bool  # inside the tunnel, or outside it
    value: float
    unit: str
    method: str
    at: datetime
    job: str = ""
