"""Which interface of a gateway looks where, from what the machine says. Standard library only; runs on the gateway."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any


def placed(
    addresses: list[dict[str, Any]], defaults: list[dict[str, Any]], address: str, networks: list[str]
) -> dict[str, Any]:
    """A gateway's interfaces: `wan`, `lan`, `router` ("" where none is needed) and `bears_address`.

    Args:
        addresses: as `ip -json -4 address` tells them.
        defaults: as `ip -json -4 route show default` tells them.
        address: the gateway's site address.
        networks: the site's subnet and the prefixes that it brings.

    Raises:
        ValueError: the machine has no default route.
    """
    held = {
        entry["ifname"]: [IPv4Interface(f"{each['local']}/{each['prefixlen']}") for each in entry["addr_info"]]
        for entry in addresses
        if entry["ifname"] != "lo"
    }
    usable = [route for route in defaults if route.get("dev") in held]
    if not usable:
        raise ValueError("this machine has no default route: it has no way into the Internet")
    default = min(usable, key=lambda route: route.get("metric", 0))
    wan, site = default["dev"], IPv4Address(address)
    subnet, *brought = map(IPv4Network, networks)
    lan = _holder(held, lambda each: each.ip == site)
    bears_address = lan is None
    lan = lan or _holder(held, lambda each: any(each.ip in network for network in brought)) or wan
    # What the site's networks hold beyond the interface's own prefix is reached by the next hop: the cloud's router.
    carried = brought if bears_address else [subnet, *brought]
    beyond = any(not _covers(held[lan], network) for network in carried)
    router = str(default.get("gateway", "")) if beyond and lan == wan else ""
    return {"wan": wan, "lan": lan, "router": router, "bears_address": bears_address}


def _holder(held: dict[str, list[IPv4Interface]], wanted: Any) -> str | None:
    return next((name for name, own in held.items() if any(wanted(each) for each in own)), None)


def _covers(own: list[IPv4Interface], network: IPv4Network) -> bool:
    return any(network.subnet_of(each.network) for each in own)
