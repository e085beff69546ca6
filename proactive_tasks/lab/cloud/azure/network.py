"""The rules of networks: what a virtual network, route table, security group, address or interface may be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Any

from proactive_tasks.lab.cloud.azure.state import ArmError, Body, State, Thing, reference
from proactive_tasks.lab.cloud.model import BLOCKS

VNET = "Microsoft.Network/virtualNetworks"
ROUTES = "Microsoft.Network/routeTables"
GROUP = "Microsoft.Network/networkSecurityGroups"
ADDRESS = "Microsoft.Network/publicIPAddresses"
NIC = "Microsoft.Network/networkInterfaces"
MACHINE = "Microsoft.Compute/virtualMachines"

CHILDREN = {(VNET, "subnets"): "subnets", (ROUTES, "routes"): "routes", (GROUP, "securityrules"): "securityRules"}
"""The lists in which resources hold their children."""

BACKWARDS = {
    VNET: (),
    ROUTES: ("subnets",),
    GROUP: ("subnets", "networkInterfaces", "defaultSecurityRules"),
    ADDRESS: ("ipConfiguration",),
    NIC: ("virtualMachine",),
}
"""Properties that only answers have: who refers to this."""

TAGS = ("virtualnetwork", "internet", "azureloadbalancer")
PROTOCOLS = ("*", "tcp", "udp", "icmp", "esp", "ah")
PORTS = re.compile(r"\*|\d{1,5}(-\d{1,5})?")


def refuse(code: str, message: str, status: int = 400) -> ArmError:
    """A refusal with ARM's usual status for a wrong request."""
    return ArmError(status, code, message)


def prefix(text: Any, what: str) -> IPv4Network:
    """A prefix in CIDR notation."""
    try:
        return IPv4Network(str(text))
    except ValueError as error:
        raise refuse("InvalidCIDRNotation", f"The address prefix {text} of {what} is not valid: {error}.") from None


def subnets(state: State) -> Iterator[tuple[Thing, Body]]:
    """All subnets, with their virtual networks."""
    return ((vnet, subnet) for vnet in state.of(VNET) for subnet in vnet.properties.get("subnets", []))


def find_subnet(state: State, identifier: str) -> tuple[Thing, Body] | None:
    """A subnet by its id."""
    return next((pair for pair in subnets(state) if pair[1]["id"].lower() == identifier.lower()), None)


def configurations(nic: Thing) -> list[Body]:
    """The address configurations of an interface."""
    return list(nic.properties.get("ipConfigurations", []))


def interfaces_in(state: State, subnet: str) -> Iterator[tuple[Thing, Body]]:
    """Interfaces and their configurations in a subnet, by its id."""
    return (
        (nic, config)
        for nic in state.of(NIC)
        for config in configurations(nic)
        if reference(config["properties"].get("subnet")) == subnet.lower()
    )


def existing(state: State, place: Any, kind: str, by: str) -> Thing | None:
    """What a property refers to; None if it refers to nothing.

    Raises:
        ArmError: it is not there, of another type, or being changed.
    """
    identifier = reference(place)
    if not identifier:
        return None
    found = state.find(identifier)
    if found is None or found.kind != kind:
        raise refuse("InvalidResourceReference", f"Resource {identifier} referenced by resource {by} was not found.")
    if found.busy:
        raise refuse(
            "ReferencedResourceNotProvisioned",
            f"Cannot proceed with operation because resource {identifier} used by resource {by} is not in Succeeded "
            "state. Resource is in Updating state and the last operation that updated/is updating the resource is "
            "PutOperation.",
            409,
        )
    return found


def _named(children: list[Body], what: str) -> None:
    for child in children:
        if not child.get("name"):
            raise refuse("InvalidRequestFormat", f"A {what} has no name.")
    twice = [name for name, count in Counter(str(child["name"]).lower() for child in children).items() if count > 1]
    if twice:
        raise refuse("DuplicateResourceName", f"Two entries of kind {what} have the name {twice[0]}.")


def vnet(state: State, identifier: str, old: Thing | None, body: Body) -> None:
    """A virtual network and its subnets."""
    given = body["properties"].get("addressSpace", {}).get("addressPrefixes") or []
    if not given:
        raise refuse("MissingAddressSpace", f"Virtual network {identifier} has no address space.")
    space = [prefix(text, identifier) for text in given]
    for one, other in combinations(space, 2):
        if one.overlaps(other):
            raise refuse("AddressSpacesOverlap", f"Address prefixes {one} and {other} of {identifier} overlap.")
    children = body["properties"].setdefault("subnets", [])
    _named(children, "subnet")
    was = {s["id"].lower(): s for s in old.properties.get("subnets", [])} if old else {}
    for child in children:
        child["id"] = f"{identifier}/subnets/{child['name']}"
        _subnet(state, identifier, space, child, was.pop(child["id"].lower(), None))
    for one, other in combinations(children, 2):
        if prefix(_prefix_of(one), "a subnet").overlaps(prefix(_prefix_of(other), "a subnet")):
            raise refuse("NetcfgSubnetRangesOverlap", f"Subnet '{one['name']}' overlaps with subnet '{other['name']}'.")
    for gone in was.values():
        in_use(state, gone["id"], "InUseSubnetCannotBeDeleted")


def _prefix_of(subnet: Body) -> str:
    inner = subnet.get("properties", {})
    return str(inner.get("addressPrefix") or (inner.get("addressPrefixes") or [""])[0])


def _subnet(state: State, vnet_id: str, space: list[IPv4Network], child: Body, was: Body | None) -> None:
    network = prefix(_prefix_of(child), f"subnet {child['name']}")
    if network.prefixlen > 29 or not any(network.subnet_of(whole) for whole in space):
        raise refuse("NetcfgInvalidSubnet", f"Subnet '{child['name']}' is not valid in virtual network '{vnet_id}'.")
    inner = child["properties"]
    inner["addressPrefix"], inner["provisioningState"] = str(network), "Succeeded"
    for key in ("ipConfigurations", "addressPrefixes"):
        inner.pop(key, None)
    for key, kind in (("routeTable", ROUTES), ("networkSecurityGroup", GROUP)):
        if existing(state, inner.get(key), kind, child["id"]) is None:
            inner.pop(key, None)
    if was is not None and _prefix_of(was) != str(network):
        in_use(state, child["id"], "InUsePrefixCannotBeDeleted")


def in_use(state: State, subnet: str, code: str) -> None:
    """Refuse while an interface is in the subnet."""
    for nic, config in interfaces_in(state, subnet):
        raise refuse(
            code,
            f"Subnet {subnet.rsplit('/', 1)[-1]} is in use by {nic.id}/ipConfigurations/{config['name']} and cannot be "
            "deleted. In order to delete the subnet, delete all the resources within the subnet.",
        )


def route_table(state: State, identifier: str, old: Thing | None, body: Body) -> None:  # noqa: ARG001
    """A route table and its routes."""
    children = body["properties"].setdefault("routes", [])
    _named(children, "route")
    seen: dict[str, str] = {}
    for child in children:
        child["id"] = f"{identifier}/routes/{child['name']}"
        inner = child.setdefault("properties", {})
        network = str(prefix(inner.get("addressPrefix"), f"route {child['name']}"))
        hop, address = str(inner.get("nextHopType", "")), inner.get("nextHopIpAddress")
        if hop == "VirtualAppliance":
            _address(address, f"the next hop of route {child['name']}")
        elif not hop or address:
            raise refuse("InvalidNextHop", f"Route {child['name']}: next hop {hop or 'missing'} with {address}.")
        if seen.setdefault(network, child["name"]) != child["name"]:
            raise refuse("RouteConflict", f"Routes {seen[network]} and {child['name']} have the prefix {network}.")
        inner["provisioningState"] = "Succeeded"


def _address(text: Any, what: str) -> IPv4Address:
    try:
        return IPv4Address(str(text))
    except ValueError:
        raise refuse("InvalidIPAddressFormat", f"The IP address {text} of {what} is not valid.") from None


def security_group(state: State, identifier: str, old: Thing | None, body: Body) -> None:  # noqa: ARG001
    """A security group and its rules."""
    children = body["properties"].setdefault("securityRules", [])
    _named(children, "security rule")
    seen: dict[tuple[str, int], str] = {}
    for child in children:
        child["id"] = f"{identifier}/securityRules/{child['name']}"
        inner = child.setdefault("properties", {})
        _rule(child["name"], inner)
        key = (inner["direction"].lower(), inner["priority"])
        if key in seen:
            raise refuse(
                "SecurityRuleConflict",
                f"Security rule {child['name']} conflicts with rule {seen[key]}. Rules cannot have the same Priority "
                f"and Direction.",
            )
        seen[key] = child["name"]
        inner["provisioningState"] = "Succeeded"


def _rule(name: str, rule: Body) -> None:
    for key in ("protocol", "access", "direction", "priority"):
        if key not in rule:
            raise refuse("SecurityRuleParameterMissing", f"Security rule {name} has no {key}.")
    if not 100 <= rule["priority"] <= 4096:
        raise refuse("SecurityRuleInvalidPriority", f"Security rule {name} has priority {rule['priority']}.")
    protocol = rule["protocol"].lower()
    if protocol not in PROTOCOLS:
        raise refuse("SecurityRuleInvalidProtocol", f"Security rule {name} has protocol {rule['protocol']}.")
    for side in ("source", "destination"):
        ports = _all(rule, f"{side}PortRange")
        addresses = _all(rule, f"{side}AddressPrefix", "es")
        if not ports or not addresses:
            raise refuse("SecurityRuleParameterMissing", f"Security rule {name} has no {side} ports or addresses.")
        for port in ports:
            _rule_port(name, protocol, port)
        for address in addresses:
            _rule_address(name, address)


def _rule_port(name: str, protocol: str, port: str) -> None:
    if not PORTS.fullmatch(port) or any(int(p) > 65_535 for p in port.split("-") if p != "*"):
        raise refuse("SecurityRuleInvalidPortRange", f"Security rule {name} has invalid port range {port}.")
    if port != "*" and protocol in {"icmp", "esp", "ah"}:
        raise refuse("SecurityRuleInvalidPortRange", f"Security rule {name}: {protocol} has no ports: {port}.")


def _rule_address(name: str, address: str) -> None:
    if address == "*" or address.lower() in TAGS:
        return
    try:
        IPv4Network(address)
    except ValueError:
        raise refuse(
            "SecurityRuleInvalidAddressPrefix",
            f"Security rule {name} has invalid Address prefix. Value provided: {address}",
        ) from None


def _all(rule: Body, one: str, plural: str = "s") -> list[str]:
    """A property that can be given as one value or as a list."""
    return [*([str(rule[one])] if rule.get(one) else []), *map(str, rule.get(one + plural) or [])]


def rule_values(rule: Body) -> dict[str, list[str]]:
    """Ports and addresses of a rule's two sides."""
    return {
        "sources": _all(rule, "sourceAddressPrefix", "es"),
        "destinations": _all(rule, "destinationAddressPrefix", "es"),
        "ports": _all(rule, "destinationPortRange"),
    }


def public_address(state: State, identifier: str, old: Thing | None, body: Body) -> None:
    """A public address: Standard and static, from the block of the emulated Internet."""
    inner = body["properties"]
    sku = str(body.get("sku", {}).get("name", "Basic"))
    if sku != "Standard":  # Basic ones can no longer be made since 2025
        raise refuse("BasicSkuPublicIPNotSupported", f"Public IP address {identifier} has sku {sku}; use Standard.")
    if str(inner.get("publicIPAllocationMethod", "Dynamic")) != "Static":
        raise refuse(
            "StandardSkuPublicIPAddressesMustBeStatic",
            f"Standard sku public IP address {identifier} must have AllocationMethod set to Static.",
        )
    taken = {str(t.properties.get("ipAddress")) for t in state.of(ADDRESS)}
    if old is None and len(taken) >= state.limits.addresses:
        raise refuse(
            "PublicIPCountLimitReached",
            f"Cannot create more than {state.limits.addresses} public IP addresses for this subscription in this "
            "region.",
        )
    if old is not None:
        inner["ipAddress"] = old.properties["ipAddress"]
    else:
        inner["ipAddress"] = next(str(a) for a in BLOCKS["azure"].hosts() if str(a) not in taken)


def interface(state: State, identifier: str, old: Thing | None, body: Body) -> None:
    """A network interface and its addresses."""
    inner = body["properties"]
    configs = inner.get("ipConfigurations") or []
    if not configs:
        raise refuse("MissingIpConfigurations", f"Network interface {identifier} has no IP configurations.")
    _named(configs, "IP configuration")
    if existing(state, inner.get("networkSecurityGroup"), GROUP, identifier) is None:
        inner.pop("networkSecurityGroup", None)
    before = {c["name"]: c for c in configurations(old)} if old else {}
    for config in configs:
        config["id"] = f"{identifier}/ipConfigurations/{config['name']}"
        settings = config.setdefault("properties", {})
        _place(state, identifier, settings, before.get(config["name"]))
        _publish(state, identifier, settings)


def _place(state: State, identifier: str, settings: Body, before: Body | None) -> None:
    """Give a configuration its private address."""
    subnet_id = reference(settings.get("subnet"))
    pair = find_subnet(state, subnet_id)
    if pair is None:
        raise refuse(
            "InvalidResourceReference", f"Resource {subnet_id} referenced by resource {identifier} was not found."
        )
    existing(state, {"id": pair[0].id}, VNET, identifier)
    settings["subnet"] = {"id": pair[1]["id"]}
    network = IPv4Network(_prefix_of(pair[1]))
    taken = {
        IPv4Address(config["properties"]["privateIPAddress"]): nic
        for nic, config in interfaces_in(state, subnet_id)
        if nic.id.lower() != identifier.lower()
    }
    reserved = {network.broadcast_address, *(network.network_address + n for n in range(4))}
    method = str(settings.setdefault("privateIPAllocationMethod", "Dynamic"))
    if method == "Static":
        address = _address(settings.get("privateIPAddress"), f"network interface {identifier}")
        if address not in network:
            raise refuse(
                "PrivateIPAddressNotInSubnet",
                f"Private static IP address {address} does not belong to the range of subnet prefix {network}.",
            )
        if address in reserved:
            raise refuse(
                "PrivateIPAddressInReservedRange",
                f"Private static IP address {address} falls within reserved IP range of subnet prefix {network}.",
            )
        if address in taken:
            raise refuse(
                "PrivateIPAddressInUse",
                f"IP configuration {identifier} is using the private IP address {address} which is already allocated "
                f"to resource {taken[address].id}.",
            )
    else:
        kept = before["properties"] if before else {}
        if reference(kept.get("subnet")) == subnet_id:
            address = IPv4Address(kept["privateIPAddress"])
        else:
            free = next((a for a in network.hosts() if a not in taken and a not in reserved), None)
            if free is None:
                raise refuse("SubnetIsFull", f"Subnet {subnet_id} with address prefix {network} is full.")
            address = free
    settings["privateIPAddress"] = str(address)


def _publish(state: State, identifier: str, settings: Body) -> None:
    wanted = existing(state, settings.get("publicIPAddress"), ADDRESS, identifier)
    if wanted is None:
        settings.pop("publicIPAddress", None)
        return
    for nic, config in holders(state, wanted):
        if nic.id.lower() != identifier.lower():
            raise refuse(
                "PublicIPAddressInUse",
                f"Resource {identifier} is referencing public IP address {wanted.id} that is already allocated to "
                f"resource {config['id']}.",
            )
    settings["publicIPAddress"] = {"id": wanted.id}


def holders(state: State, address: Thing) -> Iterator[tuple[Thing, Body]]:
    """Who has a public address."""
    return (
        (nic, config)
        for nic in state.of(NIC)
        for config in configurations(nic)
        if reference(config["properties"].get("publicIPAddress")) == address.id.lower()
    )


def machine_of(state: State, nic: Thing) -> Thing | None:
    """The machine that an interface is attached to."""
    return next(
        (
            vm
            for vm in state.of(MACHINE)
            for entry in vm.properties.get("networkProfile", {}).get("networkInterfaces", [])
            if reference(entry) == nic.id.lower()
        ),
        None,
    )


def associated(state: State, thing: Thing) -> list[str]:
    """The subnets and interfaces that a route table or security group is associated with, by their ids."""
    key = "routeTable" if thing.kind == ROUTES else "networkSecurityGroup"
    by = [s["id"] for _, s in subnets(state) if reference(s["properties"].get(key)) == thing.id.lower()]
    return by + [nic.id for nic in state.of(NIC) if reference(nic.properties.get(key)) == thing.id.lower()]


def deletable(state: State, thing: Thing) -> None:
    """Refuse to delete what something else uses."""
    name = thing.name
    if thing.kind == VNET:
        for subnet in thing.properties.get("subnets", []):
            in_use(state, subnet["id"], "InUseSubnetCannotBeDeleted")
    elif thing.kind in {ROUTES, GROUP}:
        users = associated(state, thing)
        code = {ROUTES: "InUseRouteTableCannotBeDeleted", GROUP: "InUseNetworkSecurityGroupCannotBeDeleted"}[thing.kind]
        if users:
            raise refuse(code, f"{thing.kind} {name} cannot be deleted because it is in use by: {users[0]}.")
    elif thing.kind == ADDRESS:
        for _, config in holders(state, thing):
            raise refuse(
                "PublicIPAddressCannotBeDeleted",
                f"Public IP address {thing.id} can not be deleted since it is still allocated to resource "
                f"{config['id']}.",
            )
    elif thing.kind == NIC and (machine := machine_of(state, thing)):
        raise refuse(
            "NicInUse", f"Network Interface {thing.id} is used by existing resource {machine.id}. It cannot be deleted."
        )


def decorate(state: State, thing: Thing, body: Body) -> None:
    """Put into an answer who refers to this."""
    inner = body["properties"]
    if thing.kind == VNET:
        for subnet in inner.get("subnets", []):
            used = [{"id": config["id"]} for _, config in interfaces_in(state, subnet["id"])]
            if used:
                subnet["properties"]["ipConfigurations"] = used
    elif thing.kind in {ROUTES, GROUP}:
        users = associated(state, thing)
        inner["subnets"] = [{"id": user} for user in users if "/subnets/" in user]
        if thing.kind == GROUP:
            inner["networkInterfaces"] = [{"id": user} for user in users if "/subnets/" not in user]
            inner["defaultSecurityRules"] = [
                {"name": name, "id": f"{thing.id}/defaultSecurityRules/{name}", "properties": dict(rule)}
                for name, rule in DEFAULT_RULES.items()
            ]
    elif thing.kind == ADDRESS:
        for _, config in holders(state, thing):
            inner["ipConfiguration"] = {"id": config["id"]}
    elif thing.kind == NIC and (machine := machine_of(state, thing)):
        inner["virtualMachine"] = {"id": machine.id}


def _default(priority: int, direction: str, access: str, source: str, destination: str) -> Body:
    return {
        "protocol": "*",
        "sourcePortRange": "*",
        "destinationPortRange": "*",
        "sourceAddressPrefix": source,
        "destinationAddressPrefix": destination,
        "access": access,
        "priority": priority,
        "direction": direction,
    }


DEFAULT_RULES = {
    "AllowVnetInBound": _default(65_000, "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    "AllowAzureLoadBalancerInBound": _default(65_001, "Inbound", "Allow", "AzureLoadBalancer", "*"),
    "DenyAllInBound": _default(65_500, "Inbound", "Deny", "*", "*"),
    "AllowVnetOutBound": _default(65_000, "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    "AllowInternetOutBound": _default(65_001, "Outbound", "Allow", "*", "Internet"),
    "DenyAllOutBound": _default(65_500, "Outbound", "Deny", "*", "*"),
}
"""What stands below the rules of every security group (Microsoft, "Network security groups")."""

PREPARE: Mapping[str, Callable[[State, str, Thing | None, Body], None]] = {
    VNET: vnet,
    ROUTES: route_table,
    GROUP: security_group,
    ADDRESS: public_address,
    NIC: interface,
}
"""Check a body, and put into it what the server decides."""
