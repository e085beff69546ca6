"""From what a cloud is to be to what the kernel is to have, and the commands that lie between two such states.

A domain's namespace is its implicit router. It holds no bridge: every network interface of a server has a port of its
own there and a route of 32 bits to it, so that nothing passes between two servers but through the domain's routes and
rules. The port answers for every address that the domain reaches (proxy ARP): a server may take its subnet for on-link.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from proactive_tasks.lab.cloud.filters import UPLINK, has_uplink, ruleset
from proactive_tasks.lab.cloud.model import ANYWHERE, INTERNET, Cloud, Domain, Nic, Segment
from proactive_tasks.lab.names import CloudNames, short

MAIN = "main"
INSIDE, OUTSIDE = "169.254.0.2", "169.254.0.1"
"""The two ends of an uplink: the domain's and the Internet's, the same of all, since each is a link of its own."""

ROUTER, SERVER = "router", "server"

Value = tuple[str, ...]


class Key(NamedTuple):
    """Names a thing that the kernel has.

    | kind | name | value |
    |---|---|---|
    | space | - | `ROUTER` or `SERVER` |
    | filter | - | the ruleset |
    | address | an address of the router's own | - |
    | port | the router's interface | the server's namespace, its interface, its address, table, default gateway |
    | uplink | the Internet's interface | which router makes the Internet |
    | route | table and prefix | the interface, or "" for none; the target |
    """

    kind: str
    space: str
    name: str = ""


World = Mapping[Key, Value]
Known = Mapping[Key, Value | None]
"""What there is as far as is known: None is what may be there or not, whole or in part."""


class Batch(NamedTuple):
    """Lines for one tool in one namespace; with `force`, those that fail are passed over."""

    tool: str  # ip, nft
    space: str
    lines: tuple[str, ...]
    force: bool = False


@dataclass(frozen=True)
class Plan:
    """What must be done, in this order."""

    touched: frozenset[Key]  # what is not certain while this is under way
    remade: frozenset[str]  # namespaces that go, to come back or not
    unmake: tuple[Batch, ...]
    make: tuple[tuple[str, str], ...]  # namespaces and what they are
    fill: tuple[Batch, ...]


def table(segment: str) -> str:
    """The routing table of a segment: a number that no other has."""
    return str(1000 + int(short(segment)[:7], 16))


def port(nic: str) -> str:
    """The router's interface to a network interface."""
    return f"n{short(nic)}"


def world(cloud: Cloud, names: CloudNames, internet: str) -> dict[Key, Value]:
    """What the kernel is to have.

    Args:
        cloud: what the cloud is to be.
        names: its names.
        internet: stands for the router that makes the Internet now: links to another one are none.
    """
    segments = {segment.name: segment for segment in cloud.segments}
    on = {server.name for server in cloud.servers if server.running}
    live = [nic for nic in cloud.nics if nic.server in on and nic.segment in segments]
    made: dict[Key, Value] = {Key("space", names.server(server).namespace): (SERVER,) for server in sorted(on)}
    default: dict[str, str] = {}  # server to the interface by which it goes to what it does not know
    for nic in live:
        if segments[nic.segment].router is not None:
            default.setdefault(nic.server, nic.name)
    for domain in cloud.domains:
        inside = {segment.name: segment for segment in cloud.segments if segment.domain == domain.name}
        ports = {port(nic.name): nic for nic in live if nic.segment in inside}
        made.update(_router(domain, inside.values(), ports, names, internet))
        for interface, nic in ports.items():
            segment = inside[nic.segment]
            gateway = f"{segment.router}" if default.get(nic.server) == nic.name else ""
            address, server = f"{nic.address}/{segment.network.prefixlen}", names.server(nic.server).namespace
            value = (server, nic.interface, address, table(segment.name), gateway)
            made[Key("port", names.domain(domain.name), interface)] = value
    return made


def _router(
    domain: Domain, segments: Iterable[Segment], ports: Mapping[str, Nic], names: CloudNames, internet: str
) -> Iterator[tuple[Key, Value]]:
    space = names.domain(domain.name)
    yield Key("space", space), (ROUTER,)
    yield Key("filter", space), (ruleset(domain, ports),)
    servers = {nic.address for nic in ports.values()}
    for segment in segments:
        if segment.router is not None and segment.router not in servers:
            yield Key("address", space, f"{segment.router}"), ()
        for prefix, (device, target) in _routes(domain, segment, ports).items():
            yield Key("route", space, f"{table(segment.name)} {prefix}"), (device, target)
    for interface, nic in ports.items():
        yield Key("route", space, f"{MAIN} {nic.address}/32"), (interface, f"dev {interface}")
    if has_uplink(domain):
        outer = f"u{short(space)}"
        yield Key("uplink", space, outer), (internet,)
        yield Key("route", space, f"{MAIN} {ANYWHERE}"), (UPLINK, f"via {OUTSIDE} dev {UPLINK} onlink")
        public = [nic.public for nic in ports.values() if nic.public is not None]
        for address in filter(None, [*public, domain.masquerade]):
            yield Key("route", names.internet, f"{MAIN} {address}/32"), (outer, f"via {INSIDE} dev {outer} onlink")


def _routes(domain: Domain, segment: Segment, ports: Mapping[str, Nic]) -> dict[IPv4Network, tuple[str, str]]:
    """A segment's table: prefix to interface and target. The longest prefix decides, a route before the address space.

    Sources: https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html and
    https://learn.microsoft.com/azure/virtual-network/virtual-networks-udr-overview#how-azure-selects-a-route
    """
    at = {nic.address: interface for interface, nic in ports.items()}
    made = {ANYWHERE: ("", "unreachable"), **dict.fromkeys(domain.networks, ("", "unreachable"))}
    for address, interface in at.items():
        local = max((each.prefixlen for each in domain.networks if address in each), default=0)
        if not any(address in route.prefix and route.prefix.prefixlen >= max(local, 1) for route in segment.routes):
            made[IPv4Network(address)] = (interface, f"dev {interface}")
    for route in segment.routes:
        made[route.prefix] = _target(domain, route.via, at)
    return made


def _target(domain: Domain, via: IPv4Address | str, at: Mapping[IPv4Address, str]) -> tuple[str, str]:
    if via == INTERNET and has_uplink(domain):
        return UPLINK, f"via {OUTSIDE} dev {UPLINK} onlink"
    if isinstance(via, IPv4Address) and via in at:
        return at[via], f"via {via} dev {at[via]} onlink"
    return "", "blackhole"  # as asked for, or because what it leads to is not there


def difference(known: Known, wanted: World, internet: str) -> Plan:
    """What lies between what is known to be there and what is wanted; nothing else is touched.

    Args:
        known: what is there, or may be.
        wanted: what is to be there.
        internet: the namespace of the Internet's router, which is nobody's here.
    """
    old, new = dict(known), dict(wanted)
    touched = {key for key in {*old, *new} if old.get(key) is None or old[key] != new.get(key)}
    remade = frozenset(key.space for key in touched if key.kind == "space")
    touched |= {key for key in {*old, *new} if _rests_on(key, old.get(key), new.get(key), remade)}
    devices = set(_devices(touched, internet))
    touched |= {key for key in {*old, *new} if key.kind == "route" and (key.space, _device(new.get(key))) in devices}
    unmake = [line for line in _unmake(touched, old, new, internet) if line[1] not in remade]
    return Plan(
        touched=frozenset(touched),
        remade=remade,
        unmake=tuple(_merged(unmake, force=True)),
        make=tuple((key.space, new[key][0]) for key in sorted(touched) if key.kind == "space" and key in new),
        fill=tuple(_fill(touched, new, internet)),
    )


def _rests_on(key: Key, old: Value | None, new: Value | None, remade: frozenset[str]) -> bool:
    """Does a thing go with a namespace?"""
    far = {value[0] for value in (old, new) if value} if key.kind == "port" else set()
    return key.space in remade or bool(far & remade)


def _devices(keys: Iterable[Key], internet: str) -> Iterator[tuple[str, str]]:
    """The interfaces that go: routes by them go with them."""
    for key in keys:
        if key.kind == "port":
            yield key.space, key.name
        elif key.kind == "uplink":
            yield key.space, UPLINK
            yield internet, key.name


def _device(value: Value | None) -> str:
    return value[0] if value else ""


def _unmake(touched: set[Key], old: Known, new: World, internet: str) -> Iterator[tuple[str, str, str]]:
    """(tool, namespace, line) for what goes. A namespace takes with it what is in it, though not at once.

    So either end of a link is removed: the one whose namespace stays.
    """
    devices = set(_devices(touched, internet))
    for key in sorted(touched):
        was = old.get(key)
        if key.kind == "port":
            yield "ip", key.space, f"link del {key.name}"
            yield "ip", key.space, f"rule del iif {key.name}"
            if Key("space", key.space) in touched:
                yield from (("ip", value[0], f"link del {value[1]}") for value in (was, new.get(key)) if value)
        elif key.kind == "uplink":
            yield "ip", key.space, f"link del {UPLINK}"
            if Key("space", key.space) in touched:
                yield "ip", internet, f"link del {key.name}"
        elif key.kind == "address" and key not in new:
            yield "ip", key.space, f"address del {key.name}/32 dev lo"
        elif key.kind == "route" and key not in new and (key.space, _device(was)) not in devices:
            number, prefix = key.name.split()
            yield "ip", key.space, f"route del {prefix} table {number}"


def _fill(touched: Iterable[Key], new: World, internet: str) -> Iterator[Batch]:
    """Rules before what they are about: there is no moment without them."""
    keys = [key for key in sorted(touched) if key in new]
    yield from (Batch("nft", key.space, new[key]) for key in keys if key.kind == "filter")
    yield from _merged(line for key in keys for line in _near(key, new[key], internet))
    yield from _merged(line for key in keys for line in _far(key, new[key], internet))
    yield from _merged(("ip", key.space, _route(key.name, new[key][1])) for key in keys if key.kind == "route")


def _near(key: Key, value: Value, internet: str) -> Iterator[tuple[str, str, str]]:
    """What is done in the domain's router; the links to the others are made from here."""
    if key.kind == "address":
        yield "ip", key.space, f"address replace {key.name}/32 dev lo"
    elif key.kind == "port":
        yield "ip", key.space, f"link add {key.name} type veth peer name {value[1]} netns {value[0]}"
        # Else it thinks for up to 0.8 s before it answers for another address.
        yield "ip", key.space, f"ntable change name arp_cache dev {key.name} proxy_delay 0"
        yield "ip", key.space, f"link set {key.name} up"
        yield "ip", key.space, f"rule add iif {key.name} lookup {value[3]} priority 1000"
    elif key.kind == "uplink":
        yield "ip", key.space, f"link add {UPLINK} type veth peer name {key.name} netns {internet}"
        yield "ip", key.space, f"address add {INSIDE}/32 dev {UPLINK}"
        yield "ip", key.space, f"link set {UPLINK} up"


def _far(key: Key, value: Value, internet: str) -> Iterator[tuple[str, str, str]]:
    """What is done at the links' other ends; a server's is what DHCP would do."""
    if key.kind == "port":
        server, interface, address, _, gateway = value
        yield "ip", server, f"address add {address} dev {interface}"
        yield "ip", server, f"link set {interface} up"
        if gateway:
            yield "ip", server, f"route replace default via {gateway} dev {interface} onlink"
    elif key.kind == "uplink":
        yield "ip", internet, f"address add {OUTSIDE}/32 dev {key.name}"
        yield "ip", internet, f"link set {key.name} up"


def _route(name: str, target: str) -> str:
    number, prefix = name.split()
    kind, _, rest = target.partition(" ")
    words = ["route replace", prefix, target] if rest else ["route replace", kind, prefix]
    return " ".join([*words, "table", number])


def _merged(lines: Iterable[tuple[str, str, str]], *, force: bool = False) -> Iterator[Batch]:
    """A batch for each namespace."""
    batches: dict[tuple[str, str], list[str]] = {}
    for tool, space, line in lines:
        batches.setdefault((tool, space), []).append(line)
    return (Batch(tool, space, tuple(each), force) for (tool, space), each in batches.items())
