"""Which interface of a gateway looks where, from what the machine says. Standard library only; runs on the gateway."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any


def placed(
    addresses: list[dict[str, Any]],
    defaults: list[dict[str, Any]],
    address: str,
    networks: list[str],
    *,
    lan: str = "",
    router: str = "",
) -> dict[str, Any]:
    """A gateway's interfaces: `wan`, `lan`, `router` ("" where none is needed) and `bears_address`.

    Args:
        addresses: as `ip -json -4 address` tells them.
        defaults: as `ip -json -4 route show default` tells them.
        address: the gateway's site address.
        networks: the site's subnet and the prefixes that it brings.
        lan: the interface towards the site, where the specification names it.
        router: the next hop to what of the site is not on that interface, where the specification names it.

    Raises:
        ValueError: the machine has no default route, no such interface, or no way to the router.
    """
    held = {
        entry["ifname"]: [IPv4Interface(f"{each['local']}/{each['prefixlen']}") for each in entry["addr_info"]]
        for entry in addresses
        if entry["ifname"] != "lo"
    }
    default = _default(defaults, held)
    wan, site = default["dev"], IPv4Address(address)
    subnet, *brought = map(IPv4Network, networks)
    if lan and lan not in held:
        raise ValueError(f"this machine has no interface {lan} with an address; it has {', '.join(held)}")
    holder = _holder(held, lambda each: each.ip == site)
    # Where nothing is named: the interface with the site's address, the router's network, or one that the site brings.
    found = lan or holder
    found = found or (_holder(held, lambda each: IPv4Address(router) in each.network) if router else None)
    found = found or _holder(held, lambda each: any(each.ip in network for network in brought)) or wan
    if router and not any(IPv4Address(router) in each.network for each in held[found]):
        raise ValueError(f"the router {router} is not on a network of interface {found}")
    # What the site's networks hold beyond the interface's own prefix is reached by the next hop: the cloud's router.
    carried = [*([subnet] if holder else []), *brought]
    if not any(not _covers(held[found], network) for network in carried):
        router = ""
    elif found == wan:
        router = router or str(default.get("gateway", ""))
    return {"wan": wan, "lan": found, "router": router, "bears_address": holder is None}


def _default(defaults: list[dict[str, Any]], held: dict[str, list[IPv4Interface]]) -> dict[str, Any]:
    """The default route in use: the one of the least metric; of several next hops the first."""
    hops = [
        {"metric": route.get("metric", 0), **hop}
        for route in defaults
        for hop in route.get("nexthops", [route])
        if hop.get("dev") in held
    ]
    if not hops:
        raise ValueError("this machine has no default route: it has no way into the Internet")
    return min(hops, key=lambda hop: hop["metric"])


def _holder(held: dict[str, list[IPv4Interface]], wanted: Any) -> str | None:
    return next((name for name, own in held.items() if any(wanted(each) for each in own)), None)


def _covers(own: list[IPv4Interface], network: IPv4Network) -> bool:
    return any(network.subnet_of(each.network) for each in own)
