"""What a site's resources in Azure are to be, as ARM takes them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network

from proactive_tasks.clouds import naming
from proactive_tasks.clouds.azure.calls import Body
from proactive_tasks.clouds.azure.place import FILTER, NIC, TABLE, Place
from proactive_tasks.clouds.provider import GatewayOrder
from proactive_tasks.clouds.security import ANYWHERE, Admitted
from proactive_tasks.clouds.steps import SECRET
from proactive_tasks.overlay.numbering import subnets

SIZE = "Standard_B1s"
IMAGE = "Debian:debian-12:12-gen2:latest"
USER = "azureuser"  # Azure wants a first user who is not root; he has the overlay's key, too
LOWEST, DENY = 100, 4096  # priorities
OURS = f"{naming.MANAGED_BY}: "
"""How the descriptions of our rules begin: what begins otherwise is somebody else's and stays."""

PROTOCOLS = {"tcp": "Tcp", "udp": "Udp", "icmp": "Icmp", "esp": "Esp", "all": "*"}


def resource(place: Place, properties: Body, **more: object) -> Body:
    """What all resources of a site have in common."""
    return {"location": place.site.region, "tags": place.tags, **more, "properties": properties}


def routes(prefixes: Iterable[IPv4Network], via: str, before: str = "to-") -> dict[str, Body]:
    """Routes to the gateway, by their names."""
    return {
        f"{before}{str(prefix).replace('/', '-')}": {
            "addressPrefix": str(prefix),
            "nextHopType": "VirtualAppliance",
            "nextHopIpAddress": via,
        }
        for prefix in prefixes
    }


def rules(admitted: Iterable[Admitted], there: Mapping[str, Body]) -> dict[str, Body]:
    """A security group's rules by name. One that is there already keeps its priority, so that others may come and go.

    Below them everything is refused; out goes everything.
    """
    wanted = {_rule_name(rule): rule for rule in admitted}
    kept = {
        name: there[name]["priority"]
        for name in wanted
        if name in there and LOWEST <= int(there[name].get("priority", 0)) < DENY
    }
    taken = {rule.get("priority") for rule in there.values() if str(rule.get("direction")).lower() == "inbound"}
    free = iter(number for number in range(LOWEST, DENY) if number not in taken)
    made = {name: _rule(rule, kept.get(name) or next(free)) for name, rule in wanted.items()}
    made["deny-the-rest"] = {**_everything("the rest", "Inbound", "Deny"), "priority": DENY}
    made["allow-out"] = {**_everything("also what is forwarded", "Outbound", "Allow"), "priority": LOWEST}
    return made


def _rule_name(rule: Admitted) -> str:
    ports = f"-{'-'.join(map(str, dict.fromkeys(rule.ports)))}" if rule.ports else ""
    source = "any" if rule.source == ANYWHERE else str(rule.source).replace("/", "-")
    return f"{rule.protocol}{ports}-from-{source}"


def _rule(rule: Admitted, priority: int) -> Body:
    first, last = rule.ports or (0, 0)
    ports = "*" if rule.ports is None else str(first) if first == last else f"{first}-{last}"
    return {
        **_everything(rule.reason, "Inbound", "Allow"),
        "protocol": PROTOCOLS[rule.protocol],
        "sourceAddressPrefix": "*" if rule.source == ANYWHERE else str(rule.source),
        "destinationPortRange": ports,
        "priority": priority,
    }


def _everything(reason: str, direction: str, access: str) -> Body:
    return {
        "description": OURS + reason,
        "protocol": "*",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
        "direction": direction,
        "access": access,
    }


def children(properties: Mapping[str, Body]) -> list[Body]:
    """A list of children, as their parent holds them."""
    return [{"name": name, "properties": inner} for name, inner in properties.items()]


def network(place: Place) -> Body:
    """The virtual network with both its subnets."""
    hosts, gateway = subnets(place.site.subnet)
    parts: dict[str, Body] = {
        "applications": {
            "addressPrefix": str(hosts),
            "routeTable": {"id": place.id(TABLE, place.name("routes"))},
            "networkSecurityGroup": {"id": place.id(FILTER, place.name("hosts"))},
        },
        "gateway": {"addressPrefix": str(gateway)},
    }
    space = {"addressPrefixes": [str(place.site.subnet)]}
    return resource(place, {"addressSpace": space, "subnets": children(parts)})


def public_address(place: Place) -> Body:
    """An address in the Internet that stays the site's."""
    inner: Body = {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"}
    return resource(place, inner, sku={"name": "Standard"})


def gateway_interface(place: Place, address: str) -> Body:
    """The gateway's interface; in an adopted network Azure gives it an address."""
    inner: Body = {"privateIPAllocationMethod": "Dynamic"}
    if not place.adopted:
        inner = {"privateIPAllocationMethod": "Static", "privateIPAddress": str(place.site.gateway)}
    inner |= {"subnet": place.subnet("gateway"), "publicIPAddress": {"id": address}}
    return resource(
        place,
        {
            "enableIPForwarding": True,
            "networkSecurityGroup": {"id": place.id(FILTER, place.name("gateway"))},
            "ipConfigurations": [{"name": "gateway", "properties": inner}],
        },
    )


def host_interface(place: Place) -> Body:
    """An application host's interface; in a network of ours its subnet has the security group."""
    inner: Body = {"privateIPAllocationMethod": "Dynamic", "subnet": place.subnet("applications")}
    more: Body = {}
    if place.adopted:
        more = {"networkSecurityGroup": {"id": place.id(FILTER, place.name("hosts"))}}
    return resource(place, {**more, "ipConfigurations": [{"name": "host", "properties": inner}]})


def machine(place: Place, order: GatewayOrder, part: str, *, show: bool = False) -> Body:
    """A machine; `show` leaves out what nobody may see."""
    hosts = part != "gateway"
    name, data = place.machine(part), b"" if hosts else order.user_data
    image = place.option("host_image" if hosts else "image", IMAGE).split(":")
    profile: Body = {
        "computerName": f"{place.site.name}-{part}",
        "adminUsername": USER,
        "linuxConfiguration": {
            "disablePasswordAuthentication": True,
            "ssh": {"publicKeys": [{"path": f"/home/{USER}/.ssh/authorized_keys", "keyData": order.ssh_key}]},
        },
    }
    if data:
        profile["customData"] = SECRET if show else base64.b64encode(data).decode()
    inner: Body = {
        "hardwareProfile": {"vmSize": place.option("host_vm_size" if hosts else "vm_size", SIZE)},
        "storageProfile": {
            "imageReference": dict(zip(("publisher", "offer", "sku", "version"), image, strict=True)),
            "osDisk": {"name": name, "createOption": "FromImage", "deleteOption": "Delete"},
        },
        "osProfile": profile,
        "networkProfile": {
            "networkInterfaces": [
                {"id": place.id(NIC, place.name(part)), "properties": {"primary": True, "deleteOption": "Detach"}}
            ]
        },
    }
    if place.availability_set:
        inner["availabilitySet"] = {"id": place.availability_set}
    body = resource(place, inner, **({"zones": [place.option("zone")]} if place.option("zone") else {}))
    if data:
        body["tags"] = {**place.tags, "user-data-sha256": hashlib.sha256(data).hexdigest()}
    return body
