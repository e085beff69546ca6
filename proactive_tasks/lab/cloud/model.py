"""What an emulated cloud has been told, in words that all providers share: what its network and its servers are to be.

An emulator compiles its API's state into this; the fabric makes namespaces, routes and filters of it. Both are pure in
between, so that a rule of the cloud can be tested without a network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

ANYWHERE = IPv4Network("0.0.0.0/0")
NOWHERE = "nowhere"
INTERNET = "internet"

BLOCKS = {
    "aws": IPv4Network("192.0.2.0/24"),
    "azure": IPv4Network("198.51.100.0/24"),
    "openstack": IPv4Network("203.0.113.0/24"),
}
"""Where the emulated clouds take public addresses from: the blocks for documentation (RFC 5737)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a security group or list."""

    accept: bool
    remote: IPv4Network = ANYWHERE  # the other end
    protocol: int | None = None  # IP protocol number (1, 6, 17, 50, ...); None: any
    ports: tuple[int, int] | None = None  # destination ports, from and to; for 6 and 17


ALL = (Rule(accept=True),)


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface of a server. Its rules are stateful: what answers an accepted packet is accepted.

    `inbound` and `outbound` hold lists; a packet must be accepted by each; in a list the first rule that fits decides,
    and none that fits is a refusal.
    """

    name: str  # unique in the cloud
    segment: str
    address: IPv4Address
    server: str = ""  # "" while attached to none
    interface: str = "eth0"  # its name inside the server
    inbound: tuple[tuple[Rule, ...], ...] = (ALL,)
    outbound: tuple[tuple[Rule, ...], ...] = (ALL,)
    sends: tuple[IPv4Network, ...] = ()  # sources that it may use beside its own address
    receives: tuple[IPv4Network, ...] = ()  # destinations that are handed to it beside its own address
    public: IPv4Address | None = None  # 1:1 NAT between it and the address, at the domain's edge


@dataclass(frozen=True, slots=True)
class Route:
    """A route of a segment. `via`: an address within the domain, `INTERNET`, or `NOWHERE` (a black hole)."""

    prefix: IPv4Network
    via: IPv4Address | str


@dataclass(frozen=True, slots=True)
class Segment:
    """A subnet, and the routes that hold for what its servers send. What lies in the domain is reached without one."""

    name: str
    domain: str
    network: IPv4Network
    router: IPv4Address | None  # the servers' default gateway, as DHCP tells them; None: they get no default route
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Domain:
    """What shares one address space and routing: a VPC, a VNet, a Neutron network with its router."""

    name: str
    networks: tuple[IPv4Network, ...]  # the address space: what is not taken in it is unreachable
    internet: bool = False  # an Internet gateway is attached
    masquerade: IPv4Address | None = None  # whoever has no public address of his own goes out by this one


@dataclass(frozen=True, slots=True)
class Server:
    """A server. Without user-data it is a bare network namespace: it answers, and there is nothing to run on it."""

    name: str  # the API's identifier
    label: str  # the name that its maker gave
    running: bool = True
    user_data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Cloud:
    """The whole of one emulated cloud."""

    domains: tuple[Domain, ...] = ()
    segments: tuple[Segment, ...] = ()
    nics: tuple[Nic, ...] = ()
    servers: tuple[Server, ...] = ()
