"""What a host must be to become a gateway: pure rules over what it says of itself (gateway/host.py, `facts`)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from proactive_tasks.clouds.edge.ssh import Place
from proactive_tasks.clouds.provider import GatewayOrder
from proactive_tasks.overlay.model import FIRST_PORT

ROOM_MB, ROOM_TO_INSTALL_MB = 20, 300
LEAST_PYTHON = (3, 11)
LISTENING = 64
"""So many ports from the first of the tunnels' must be free of the host's own services."""

Networks = Sequence[IPv4Network]


def lacking(place: Place, found: dict[str, Any]) -> list[str]:
    """What a host must have and has not, each with the way to it."""
    lacks = [] if found["root"] else [f"user {place.user} is not root there, nor by sudo"]
    lacks += [*_system(found), *_programs(found), *_ssh(found["ssh"]), *map(_refusing, found["refusing"])]
    if found["bird"]:
        lacks.append(
            f"its own bird.service is {found['bird']}: a host that routes by BIRD itself is not made a gateway"
        )
    if found["listening"]:
        ports = ", ".join(map(str, found["listening"]))
        lacks.append(
            f"UDP port {ports} is used by a service of its own; free it, or set the option nat to only dial out"
        )
    return lacks


def _system(found: dict[str, Any]) -> list[str]:
    lacks = []
    if tuple(found["python"]) < LEAST_PYTHON:
        lacks.append(f"its python3 is {'.'.join(map(str, found['python']))}, at least 3.11 is needed")
    if not found["systemd"]:
        lacks.append("it is not run by systemd")
    if not found["tun"]:
        lacks.append("its kernel lacks /dev/net/tun (modprobe tun; in a container, pass the device in)")
    if found["nftables"]:
        lacks.append(f"its kernel's nftables do not work: {found['nftables']}")
    return lacks


def _programs(found: dict[str, Any]) -> list[str]:
    lacks = []
    if found["missing"] and not found["apt"]:
        lacks.append(f"{', '.join(found['missing'])} not installed, and there is no apt-get to do so")
    room = ROOM_TO_INSTALL_MB if found["missing"] else ROOM_MB
    if found["free_mb"] < room:
        lacks.append(f"its disk has {found['free_mb']} MB free, {room} are needed")
    return lacks


def _refusing(chain: str) -> str:
    where = chain.rpartition("(")[2].rstrip(")")
    return f"its own nftables chain {chain} drops by default and does not know the tunnels: add {_ADD[where]}"


_ADD = {
    "input": f"'iifname \"link*\" accept' and 'udp dport {FIRST_PORT}-{FIRST_PORT + LISTENING - 1} accept' there",
    "forward": "'iifname \"link*\" accept' and 'oifname \"link*\" accept' there",
    "output": "'oifname \"link*\" accept' there, and let UDP out",
}


def _ssh(told: dict[str, str]) -> list[str]:
    """What of sshd's settings keeps the overlay's key from logging in as root."""
    if not told:
        return ["'sshd -T' does not tell its settings: is it OpenSSH?"]
    lacks = []
    if told.get("permitrootlogin") not in {"yes", "without-password", "prohibit-password"}:
        lacks.append(
            f"its sshd has PermitRootLogin {told.get('permitrootlogin')}: set it to prohibit-password, at least in a "
            "'Match Address' for this controller"
        )
    if told.get("pubkeyauthentication") != "yes":
        lacks.append("its sshd has PubkeyAuthentication no: set it to yes")
    if told.get("authorizedkeysfile", "none").split()[0] == "none":
        lacks.append("its sshd reads no AuthorizedKeysFile: set it to .ssh/authorized_keys")
    if (users := told.get("allowusers", "")) and "root" not in users.split():
        lacks.append(f"its sshd's AllowUsers has {users}: add root")
    if "root" in told.get("denyusers", "").split():
        lacks.append("its sshd's DenyUsers has root: remove it")
    return lacks


def conflicts(order: GatewayOrder, place: Place, found: dict[str, Any]) -> list[str]:
    """The host's networks against the numbering plan."""
    networks = _networks(found)
    own = order.site.announced
    problems = []
    if not any(route.get("dst") == "default" for route in found["routes"]):
        problems.append("it has no default route, hence no way into the Internet")
    if place.lan and place.lan not in {name for name, _ in networks}:
        there = ", ".join(sorted({name for name, _ in networks}))
        problems.append(f"it has no interface {place.lan} with an address (option lan); it has {there}")
    problems += _unreached(place, order.site.prefixes, networks)
    foreign = [*order.routes, *([order.transit] if order.transit else [])]
    return [*problems, *_overlapping(own, foreign, networks), *_depending(own, foreign, found)]


def _overlapping(own: Networks, foreign: Networks, networks: Sequence[tuple[str, IPv4Network]]) -> list[str]:
    return [
        f"its network {network} on {name} overlaps {other} of the overlay: give the overlay another network, or name "
        "this one among the site's prefixes if it is the site's"
        for name, network in networks
        if not any(network.subnet_of(prefix) for prefix in own)
        for other in foreign
        if network.overlaps(other)
    ]


def _depending(own: Networks, foreign: Networks, found: dict[str, Any]) -> list[str]:
    """What the host reaches by other ways now, and would no longer."""
    problems = []
    ways = [(route, f"its own route to {route}") for route in _routes(found)]
    spoken = "a resolver of its, or the far end of a TCP connection"
    ways += [(IPv4Network(address), f"it talks to {address} now ({spoken}), which") for address in found["talks_to"]]
    for network, what in ways:
        inside = [other for other in foreign if network.subnet_of(other)]
        if inside and not any(network.subnet_of(prefix) for prefix in own):
            problems.append(
                f"{what} lies in {inside[0]} of the overlay: give the overlay another network, or remove it"
            )
    return problems


def _unreached(place: Place, prefixes: Sequence[IPv4Network], networks: Sequence[tuple[str, IPv4Network]]) -> list[str]:
    """Prefixes of the site that the host has no way to."""
    problems = []
    known = ", ".join(f"{network} on {name}" for name, network in networks)
    used: dict[str, IPv4Network] = {}
    for prefix in prefixes:
        at = [name for name, network in networks if prefix.subnet_of(network) and place.lan in ("", name)]
        if at:
            used.setdefault(at[0], prefix)
        elif place.router is None:
            problems.append(f"prefix {prefix} is on none of its interfaces ({known}): name its next hop as lan_router")
    if place.router is not None:
        at = [name for name, network in networks if place.router in network and place.lan in ("", name)]
        if not at:
            problems.append(f"lan_router {place.router} is on none of its networks ({known})")
        else:
            used.setdefault(at[0], prefixes[0] if prefixes else IPv4Network(f"{place.router}/32"))
    if len(used) > 1:
        there = ", ".join(f"{prefix} on {name}" for name, prefix in used.items())
        problems.append(
            f"its site's prefixes are on several interfaces ({there}): make a site of each, or use lan_router"
        )
    return problems


def shadowed(order: GatewayOrder, found: dict[str, Any]) -> list[str]:
    """The host's own routes of which the overlay's will take a part, a line each."""
    return [
        f"of its route to {route} the overlay takes {other}"
        for route in _routes(found)
        for other in order.routes
        if other != route and other.subnet_of(route)
    ]


def _networks(found: dict[str, Any]) -> list[tuple[str, IPv4Network]]:
    """The host's own networks, by interface; loopback, single addresses and the overlay's tunnels left out."""
    return [
        (entry["ifname"], IPv4Interface(f"{each['local']}/{each['prefixlen']}").network)
        for entry in found["addresses"]
        if entry["ifname"] != "lo" and not entry["ifname"].startswith("link")
        for each in entry.get("addr_info", [])
        if each["prefixlen"] < 32
    ]


def _routes(found: dict[str, Any]) -> list[IPv4Network]:
    """The host's own routes by a next hop; neither the default one nor the overlay's."""
    return [
        IPv4Network(route["dst"])
        for route in found["routes"]
        if route.get("dst") != "default" and route.get("protocol") not in {"kernel", "bird"} and _is_hop(route)
    ]


def _is_hop(route: dict[str, Any]) -> bool:
    return bool(route.get("gateway") or route.get("nexthops")) and not str(route.get("dev", "")).startswith("link")
