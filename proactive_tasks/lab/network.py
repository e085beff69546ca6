"""An Internet between sites: a router namespace, a leg to each site, a LAN behind each.

    hosts -- switch -- (lan) gateway (wan) [-- NAT] [-- relay] -- router -- controller

A leg's rate is shaped at the router, both ways (a token bucket on the interface and on an `ifb` behind it); loss,
outages, cuts and the ban of UDP are rules of the router; only delay needs a relay, since it alone needs a program.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from proactive_tasks.lab import namespaces, relay
from proactive_tasks.lab.names import LabNames, SiteNames
from proactive_tasks.lab.offload import set_offload
from proactive_tasks.overlay.errors import InputError

OUTSIDE = IPv4Network("198.18.0.0/16")
INSIDE = IPv4Network("198.19.0.0/16")
"""The two halves of the block for benchmarks (RFC 2544): public addresses, and those behind a NAT."""

CONTROLLER = IPv4Address("198.18.255.2")
LEGS = 16_318
"""Legs have numbers from 1 up; the /30 after the last is the controller's."""

BURST = "15k"  # a larger one lets a probe's train through faster than the rate, one of a packet delivers too little
FORWARDING = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",  # two public addresses behind one leg reach each other by the router
    "ipv4/conf/default/send_redirects": "0",
}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a leg is like; delay, jitter, rate and loss hold for each direction."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    rate_mbit: float = 0.0  # 0: as fast as it goes
    loss: float = 0.0  # share of packets
    nat: bool = False
    udp_blocked: bool = False
    down: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Conditions:
        """The conditions that a site's options ask for.

        Raises:
            InputError: an option that a lab does not know, or one out of range.
        """
        unknown = sorted(set(options) - set(cls.__slots__))
        if unknown:
            raise InputError(f"lab option {unknown[0]!r}: unknown; use one of {', '.join(cls.__slots__)}")
        return replace(cls(), **options).checked()

    def checked(self) -> Conditions:
        """The same, if every value is in its range."""
        ranges = {"delay_ms": 10_000, "jitter_ms": 10_000, "rate_mbit": 100_000, "loss": 1}
        for name, most in ranges.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= most:
                raise InputError(f"lab option {name}: {value!r} is not between 0 and {most}; correct it")
        if 0 < self.rate_mbit < 0.1:
            raise InputError(f"lab option rate_mbit: {self.rate_mbit!r} is less than 0.1; raise it, or 0 for no limit")
        if self.jitter_ms > self.delay_ms:
            raise InputError(
                f"lab option jitter_ms: {self.jitter_ms!r} is more than the delay of {self.delay_ms!r} ms; "
                "lower it, or raise the delay"
            )
        return self

    @property
    def shape(self) -> tuple[float, float, bool]:
        """What decides which namespaces the leg passes, and how its relay is started."""
        return self.delay_ms, self.jitter_ms, self.nat

    def __str__(self) -> str:
        words = [f"{name.removesuffix('_ms')} {value:g} ms" for name, value in
                 (("delay_ms", self.delay_ms), ("jitter_ms", self.jitter_ms)) if value]  # fmt: skip
        words += [f"{self.rate_mbit:g} Mbit/s"] if self.rate_mbit else []
        words += [f"loss {self.loss:.2%}"] if self.loss else []
        words += [
            word for word, holds in (("NAT", self.nat), ("no UDP", self.udp_blocked), ("down", self.down)) if holds
        ]
        return ", ".join(words) or "-"


@dataclass(frozen=True, slots=True)
class Leg:
    """A site's way into the Internet."""

    site: str
    number: int
    conditions: Conditions = Conditions()

    @property
    def interface(self) -> str:
        """The router's interface of this leg, once it is complete."""
        return f"l{self.number}"

    @property
    def loose(self) -> str:
        """The same while it is taken apart or put together."""
        return f"x{self.number}"

    @property
    def upload(self) -> str:
        """The router's `ifb`, through which a limited upload passes."""
        return f"i{self.number}"

    @property
    def router(self) -> IPv4Address:
        """The router's address on this leg."""
        return OUTSIDE.network_address + 4 * self.number + 1

    @property
    def public(self) -> IPv4Address:
        """The address by which the site is reached: its gateway's, or its NAT's."""
        return self.router + 1

    @property
    def inside(self) -> IPv4Address:
        """The NAT's address towards the gateway."""
        return INSIDE.network_address + 4 * self.number + 1

    @property
    def wan(self) -> tuple[IPv4Address, IPv4Address]:
        """The gateway's own WAN address and its next hop."""
        return (self.inside + 1, self.inside) if self.conditions.nat else (self.public, self.router)

    def mac(self, place: int) -> str:
        """A fixed hardware address, so that no neighbour table goes stale when the leg changes."""
        return f"02:4c:{self.number >> 8:02x}:{self.number & 255:02x}:00:{place:02x}"

    def record(self) -> dict[str, Any]:
        """As it stands in the lab's state."""
        return {"number": self.number, **asdict(self.conditions)}

    @classmethod
    def recorded(cls, site: str, record: Mapping[str, Any]) -> Leg:
        """A leg out of the lab's state."""
        conditions = {name: record[name] for name in Conditions.__slots__ if name in record}
        return cls(site, record["number"], Conditions(**conditions))


def build_internet(names: LabNames) -> None:
    """Make the router and the controller's leg anew."""
    namespaces.delete(names.internet, names.controller)
    namespaces.create(names.internet, names.controller)
    namespaces.sysctl(names.internet, FORWARDING)
    namespaces.ip(
        names.internet,
        [
            f"link add controller type veth peer name wan netns {names.controller}",
            f"address add {CONTROLLER - 1}/30 dev controller",
            "link set controller up",
        ],
    )
    commands = [f"address add {CONTROLLER}/30 dev wan", "link set wan up", f"route add default via {CONTROLLER - 1}"]
    namespaces.ip(names.controller, commands)


def set_rules(names: LabNames, legs: Iterable[Leg], cuts: Iterable[tuple[str, str]]) -> None:
    """Load the router's rules: outages, cuts, bans, losses."""
    namespaces.nft(names.internet, rules({leg.site: leg for leg in legs}, cuts))


def rules(legs: Mapping[str, Leg], cuts: Iterable[tuple[str, str]]) -> str:
    """The router's ruleset."""
    lines = []
    for leg in legs.values():
        conditions = leg.conditions
        for direction in (f'iifname "{leg.interface}"', f'oifname "{leg.interface}"'):
            lines += [f"{direction} drop"] if conditions.down else []
            lines += [f"{direction} meta l4proto udp drop"] if conditions.udp_blocked else []
            share = round(conditions.loss * 1_000_000)
            lines += [f"{direction} numgen random mod 1000000 < {share} drop"] if share else []
    for a, b in cuts:
        if a in legs and b in legs:
            one, other = legs[a].interface, legs[b].interface
            lines += [f'iifname "{one}" oifname "{other}" drop', f'iifname "{other}" oifname "{one}" drop']
    body = "".join(f"    {line}\n" for line in lines)
    return (
        "table ip lab\ndelete table ip lab\n"
        f"table ip lab {{\n  chain forward {{\n    type filter hook forward priority 0;\n{body}  }}\n}}"
    )


def shape(names: LabNames, leg: Leg) -> None:
    """Limit the leg's rate both ways, or lift the limit."""
    down, up, rate = leg.interface, leg.upload, leg.conditions.rate_mbit
    namespaces.tc(names.internet, [f"qdisc del dev {down} root", f"qdisc del dev {down} ingress"], force=True)
    namespaces.ip(names.internet, [f"link del {up}"], force=True)
    if not rate:
        return
    bucket = f"root tbf rate {round(rate * 1000)}kbit burst {BURST} latency 50ms"
    namespaces.ip(names.internet, [f"link add {up} type ifb", f"link set {up} up"])
    namespaces.tc(
        names.internet,
        [
            f"qdisc add dev {down} {bucket}",
            f"qdisc add dev {up} {bucket}",
            f"qdisc add dev {down} ingress",
            f"filter add dev {down} parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev {up}",
        ],
    )


def build_gateway(names: SiteNames, lab: LabNames, leg: Leg, address: str) -> None:
    """Make the gateway's namespace anew, with nothing of its last life in it, on its LAN and on its leg."""
    dismantle(names, lab, leg)
    namespaces.delete(names.gateway)
    namespaces.create(names.gateway)
    join_lan(names, address)
    _attach(names, lab, leg)
    _assemble(names, lab, leg)


def join_lan(names: SiteNames, address: str) -> None:
    """Give the gateway its interface to the site's switch anew."""
    namespaces.ip(names.lan, ["link del gateway"], force=True)
    namespaces.ip(names.gateway, ["link del lan"], force=True)
    namespaces.ip(
        names.lan,
        [f"link add gateway type veth peer name lan netns {names.gateway}", "link set gateway master switch up"],
    )
    namespaces.ip(names.gateway, [f"address add {address} dev lan", "link set lan up"])


def rewire(names: SiteNames, lab: LabNames, leg: Leg) -> None:
    """Give a leg another shape while the gateway's machine runs on."""
    place = next(
        (place for place in ((names.nat, "site"), (names.relay, "site")) if namespaces.exists(place[0])),
        (lab.internet, leg.interface),
    )
    relay.stop(names)
    if place[0] != lab.internet:
        move = f"link set {place[1]} netns {lab.internet} name {leg.loose}"
        namespaces.ip(lab.internet, [f"link del {leg.interface}"], force=True)
        namespaces.ip(place[0], [move], force=True)
    elif not _has(lab.internet, leg.loose):
        commands = [f"link set {place[1]} down", f"link set {place[1]} name {leg.loose}"]
        namespaces.tc(lab.internet, [f"qdisc del dev {place[1]} {which}" for which in ("root", "ingress")], force=True)
        namespaces.ip(lab.internet, [f"address flush dev {place[1]}", *commands], force=True)
    namespaces.delete(names.nat, names.relay)
    if not _has(lab.internet, leg.loose) or not _has(names.gateway, "wan"):  # what a crash in here leaves
        dismantle(names, lab, leg)
        namespaces.ip(names.gateway, ["link del wan"], force=True)
        _attach(names, lab, leg)
    _assemble(names, lab, leg)


def dismantle(names: SiteNames, lab: LabNames, leg: Leg) -> None:
    """Remove a leg from the router on."""
    relay.stop(names)
    if namespaces.exists(lab.internet):
        ends = (leg.interface, leg.loose, leg.upload)
        namespaces.ip(lab.internet, [f"link del {name}" for name in ends], force=True)
    namespaces.delete(names.nat, names.relay)


def _attach(names: SiteNames, lab: LabNames, leg: Leg) -> None:
    peer = f"peer name wan address {leg.mac(2)} netns {names.gateway}"
    namespaces.ip(lab.internet, [f"link add {leg.loose} type veth {peer}"])


def _assemble(names: SiteNames, lab: LabNames, leg: Leg) -> None:
    """Put a leg together, from the loose end that lies in the router's namespace."""
    delayed = bool(leg.conditions.delay_ms)
    if leg.conditions.nat:
        _insert_nat(names, lab, leg)
    if delayed:
        _insert_relay(names, lab, leg)
    address, via = leg.wan
    namespaces.ip(
        lab.internet,
        [
            f"link set {leg.loose} down",
            f"link set {leg.loose} name {leg.interface} address {leg.mac(1)}",
            f"address add {leg.router}/30 dev {leg.interface}",
            f"link set {leg.interface} up",
        ],
    )
    namespaces.ip(
        names.gateway,
        [
            "address flush dev wan",
            f"address add {address}/30 dev wan",
            "link set wan up",
            f"route replace default via {via}",
        ],
    )
    # A relay passes frames on as they are: what the sender left to hardware would stay undone.
    set_offload(names.gateway, "wan", on=not (delayed and not leg.conditions.nat))
    set_offload(lab.internet, leg.interface, on=not delayed)
    if delayed:
        relay.start(names, leg.conditions.delay_ms, leg.conditions.jitter_ms)
    shape(lab, leg)


def _insert_nat(names: SiteNames, lab: LabNames, leg: Leg) -> None:
    namespaces.create(names.nat)
    namespaces.sysctl(names.nat, FORWARDING)
    namespaces.ip(
        lab.internet,
        [
            f"link set {leg.loose} down",
            f"link set {leg.loose} netns {names.nat} name site",
            f"link add {leg.loose} type veth peer name wan address {leg.mac(2)} netns {names.nat}",
        ],
    )
    namespaces.ip(
        names.nat,
        [
            f"link set site address {leg.mac(3)}",
            f"address add {leg.inside}/30 dev site",
            f"address add {leg.public}/30 dev wan",
            "link set site up",
            "link set wan up",
            f"route add default via {leg.router}",
        ],
    )
    if leg.conditions.delay_ms:
        set_offload(names.nat, "wan", on=False)
    namespaces.nft(names.nat, nat_rules(leg))


def nat_rules(leg: Leg) -> str:
    """A NAT as in front of an office: what goes out comes back; from outside only SSH is let in, for the controller."""
    return f"""table ip lab {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    iifname "wan" tcp dport 22 dnat to {leg.inside + 1}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname "site" accept
    ct state established,related accept
    ct status dnat accept
  }}
}}"""


def _insert_relay(names: SiteNames, lab: LabNames, leg: Leg) -> None:
    namespaces.create(names.relay)
    namespaces.ip(
        lab.internet,
        [
            f"link set {leg.loose} down",
            f"link set {leg.loose} netns {names.relay} name site",
            f"link add {leg.loose} type veth peer name net netns {names.relay}",
        ],
    )
    namespaces.ip(names.relay, ["link set site up", "link set net up"])


def build_lan(names: SiteNames) -> None:
    """Make the site's switch anew."""
    namespaces.delete(names.lan)
    namespaces.create(names.lan)
    namespaces.ip(names.lan, ["link add switch type bridge mcast_snooping 0", "link set switch up"])


def build_host(names: SiteNames, number: int, address: str, gateway: IPv4Address) -> None:
    """Make an application host anew: a namespace on the site's switch."""
    host = names.host(number)
    namespaces.delete(host)
    namespaces.ip(names.lan, [f"link del h{number}"], force=True)
    namespaces.create(host)
    namespaces.ip(
        names.lan,
        [f"link add h{number} type veth peer name eth0 netns {host}", f"link set h{number} master switch up"],
    )
    commands = [f"address add {address} dev eth0", "link set eth0 up", f"route add default via {gateway}"]
    namespaces.ip(host, commands)


def _has(namespace: str, interface: str) -> bool:
    def look() -> bool:
        return any(name == interface for _, name in socket.if_nameindex())

    return namespaces.exists(namespace) and namespaces.in_namespace(namespace, look)
