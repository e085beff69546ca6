"""What the API was told, in the words of `lab.cloud.model`: a pure function of the state.

Limits of the translation: an outbound rule is judged by its destination, whatever the source; of an inbound rule's
destination only whether the interface's own address is in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from proactive_tasks.lab.cloud.azure.network import (
    DEFAULT_RULES,
    GROUP,
    MACHINE,
    NIC,
    ROUTES,
    VNET,
    configurations,
    find_subnet,
    machine_of,
    rule_values,
    subnets,
)
from proactive_tasks.lab.cloud.azure.state import Body, State, Thing, reference
from proactive_tasks.lab.cloud.model import (
    ALL,
    ANYWHERE,
    INTERNET,
    NOWHERE,
    Cloud,
    Domain,
    Nic,
    Route,
    Rule,
    Segment,
    Server,
)

NUMBERS = {"*": None, "tcp": 6, "udp": 17, "icmp": 1, "esp": 50, "ah": 51}
BALANCER = IPv4Network("168.63.129.16/32")
UNROUTED = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
"""Where Azure's own routes lead to nowhere (Microsoft, "Virtual network traffic routing"): a user's default route does
not change that, only a route for them does."""


def compiled(state: State) -> Cloud:
    """The networks and machines as they are to be."""
    return Cloud(
        domains=tuple(Domain(_name(vnet), tuple(_space(vnet)), internet=True) for vnet in state.of(VNET)),
        segments=tuple(_segment(state, vnet, subnet) for vnet, subnet in subnets(state)),
        nics=tuple(_nic(state, nic) for nic in state.of(NIC)),
        servers=tuple(
            Server(vm.properties["vmId"], vm.name, vm.power == "running", vm.secret) for vm in state.of(MACHINE)
        ),
    )


def _name(thing: Thing) -> str:
    return f"{thing.group}.{thing.name}".lower()


def _segment_name(vnet: Thing, subnet: Body) -> str:
    return f"{_name(vnet)}.{subnet['name']}".lower()


def _space(vnet: Thing) -> list[IPv4Network]:
    return [IPv4Network(text) for text in vnet.properties["addressSpace"]["addressPrefixes"]]


def _user_routes(state: State, subnet: Body) -> list[Body]:
    table = state.find(reference(subnet["properties"].get("routeTable")))
    return [route["properties"] for route in table.properties["routes"]] if table and table.kind == ROUTES else []


def _segment(state: State, vnet: Thing, subnet: Body) -> Segment:
    network = IPv4Network(subnet["properties"]["addressPrefix"])
    routes: dict[IPv4Network, Route] = {ANYWHERE: Route(ANYWHERE, INTERNET)}
    own = _space(vnet)
    for unrouted in UNROUTED:
        if not any(space.overlaps(unrouted) and space.prefixlen <= unrouted.prefixlen for space in own):
            routes[unrouted] = Route(unrouted, NOWHERE)
    for route in _user_routes(state, subnet):
        prefix, hop = IPv4Network(route["addressPrefix"]), route["nextHopType"].lower()
        if hop == "virtualappliance":
            routes[prefix] = Route(prefix, IPv4Address(route["nextHopIpAddress"]))
        elif hop == "internet":
            routes[prefix] = Route(prefix, INTERNET)
        elif hop == "vnetlocal":
            routes.pop(prefix, None)
        else:  # None, or a VPN gateway that is not there
            routes[prefix] = Route(prefix, NOWHERE)
    ordered = tuple(sorted(routes.values(), key=lambda route: route.prefix))
    return Segment(_segment_name(vnet, subnet), _name(vnet), network, network.network_address + 1, ordered)


def _nic(state: State, nic: Thing) -> Nic:
    config = configurations(nic)[0]["properties"]
    pair = find_subnet(state, reference(config["subnet"]))
    if pair is None:
        raise LookupError(f"{nic.id} is in no subnet")  # cannot be: a subnet in use is not deleted
    vnet, subnet = pair
    address = IPv4Address(config["privateIPAddress"])
    groups = [
        group
        for place in (subnet["properties"], nic.properties)
        if (group := state.find(reference(place.get("networkSecurityGroup")))) and group.kind == GROUP
    ]
    local = virtual_network(_space(vnet), _user_routes(state, subnet))
    inbound = tuple(rules(group, "Inbound", address, local) for group in groups)
    outbound = tuple(rules(group, "Outbound", address, local) for group in groups)
    forwards = (ANYWHERE,) if nic.properties.get("enableIPForwarding") else ()
    vm = machine_of(state, nic)
    public = state.find(reference(config.get("publicIPAddress")))
    # A Standard public address is closed to the Internet until a security group opens it.
    ungrouped = tuple(Rule(accept=True, remote=network) for network in local) if public else ALL
    return Nic(
        _name(nic),
        _segment_name(vnet, subnet),
        address,
        server=vm.properties["vmId"] if vm else "",
        inbound=inbound or (ungrouped,),
        outbound=outbound or (ALL,),
        sends=forwards,
        receives=forwards,
        public=IPv4Address(public.properties["ipAddress"]) if public else None,
    )


def virtual_network(space: Iterable[IPv4Network], user_routes: Iterable[Body]) -> list[IPv4Network]:
    """What the tag VirtualNetwork means: the address space, and what user routes send to an appliance."""
    routed = [IPv4Network(r["addressPrefix"]) for r in user_routes if r["nextHopType"].lower() == "virtualappliance"]
    return list(collapse_addresses([*space, *routed]))


def rules(group: Thing, direction: str, address: IPv4Address, local: list[IPv4Network]) -> tuple[Rule, ...]:
    """A security group's rules of a direction, and Azure's below them, in the order in which they decide.

    What stands below a rule for everything is left out: it decides nothing.
    """
    given = [rule["properties"] for rule in group.properties.get("securityRules", [])]
    every = [rule for rule in (*given, *DEFAULT_RULES.values()) if rule["direction"].lower() == direction.lower()]
    found: list[Rule] = []
    for rule in sorted(every, key=lambda rule: rule["priority"]):
        for made in _compiled(rule, direction == "Inbound", address, local):
            found.append(made)
            if made in {Rule(accept=True), Rule(accept=False)}:
                return tuple(found)
    return tuple(found)


def _compiled(rule: Body, inbound: bool, address: IPv4Address, local: list[IPv4Network]) -> list[Rule]:
    values = rule_values(rule)
    remote, own = ("sources", "destinations") if inbound else ("destinations", "sources")
    if inbound and not any(address in network for network in _networks(values[own], local)):
        return []
    protocol = NUMBERS[rule["protocol"].lower()]
    protocols = [6, 17] if protocol is None and "*" not in values["ports"] else [protocol]
    return [
        Rule(rule["access"].lower() == "allow", network, number, ports)
        for network in _networks(values[remote], local)
        for number in protocols
        for ports in map(_ports, values["ports"])
    ]


def _ports(text: str) -> tuple[int, int] | None:
    if text == "*":
        return None
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _networks(words: Iterable[str], local: list[IPv4Network]) -> list[IPv4Network]:
    found: list[IPv4Network] = []
    for word in words:
        if word == "*":
            found.append(ANYWHERE)
        elif word.lower() == "virtualnetwork":
            found += local
        elif word.lower() == "azureloadbalancer":
            found.append(BALANCER)
        elif word.lower() == "internet":
            found += _beyond(local)
        else:
            found.append(IPv4Network(word))
    return found


def _beyond(local: Iterable[IPv4Network]) -> list[IPv4Network]:
    """Everything but these."""
    rest = [ANYWHERE]
    for network in local:
        kept: list[IPv4Network] = []
        for piece in rest:
            if network.subnet_of(piece):
                kept += piece.address_exclude(network)
            elif not piece.subnet_of(network):
                kept.append(piece)
        rest = kept
    return sorted(rest)
