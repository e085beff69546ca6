"""What Neutron and Nova hold, compiled to the words that all emulated clouds share."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Any

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

PROTOCOLS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "ospf": 89, "sctp": 132}
"""Neutron's names of IP protocols; it takes numbers, too."""

WITH_PORTS = frozenset({6, 17})
FIRST_INTERFACE = 3
"""A server's interfaces are ens3, ens4, ...: by the slots that QEMU gives them."""

Object = Mapping[str, Any]


def compiled(network: Mapping[str, Sequence[Object]], servers: Sequence[Object]) -> Cloud:
    """The cloud that Neutron and Nova were told of.

    Args:
        network: Neutron's lists by their names in its API: networks, subnets, ports, security_groups, routers,
            floatingips; each object as the API shows it to an admin.
        servers: Nova's servers, each as its API shows it to an admin, with `ports`, its ports' ids in their order.
    """
    return _Compiler({**dict.fromkeys(_LISTS, ()), **network}, servers).cloud()


_LISTS = ("networks", "subnets", "ports", "security_groups", "routers", "floatingips")


@dataclass
class _Compiler:
    told: Mapping[str, Sequence[Object]]
    servers: Sequence[Object]

    def cloud(self) -> Cloud:
        outside = {network["id"] for network in self.told["networks"] if network.get("router:external")}
        subnets = [s for s in self.told["subnets"] if s["ip_version"] == 4 and s["network_id"] not in outside]
        return Cloud(
            domains=tuple(self._domains(subnets)),
            segments=tuple(self._segment(subnet) for subnet in subnets),
            nics=tuple(self._nics({subnet["id"] for subnet in subnets})),
            servers=tuple(_server(server) for server in self.servers),
        )

    # --- networks

    @cached_property
    def _router_ports(self) -> dict[str, list[Object]]:
        """Interfaces of living routers by router."""
        up = {router["id"] for router in self.told["routers"] if router.get("admin_state_up", True)}
        found: dict[str, list[Object]] = {router: [] for router in up}
        for port in self.told["ports"]:
            if port["device_owner"].startswith("network:router_interface") and port["device_id"] in up:
                found[port["device_id"]].append(port)
        return found

    @cached_property
    def _domain_of(self) -> dict[str, str]:
        """Network -> the least of all networks that routers join with it."""
        of = {network["id"]: network["id"] for network in self.told["networks"]}
        for ports in self._router_ports.values():
            joined = {of[port["network_id"]] for port in ports}
            for network, domain in of.items():
                if domain in joined:
                    of[network] = min(joined)
        return of

    def _domains(self, subnets: Iterable[Object]) -> Iterable[Domain]:
        networks: dict[str, list[IPv4Network]] = {}
        for subnet in subnets:
            networks.setdefault(self._domain_of[subnet["network_id"]], []).append(IPv4Network(subnet["cidr"]))
        gateways: dict[str, list[Object]] = {}
        for router in self.told["routers"]:
            if router.get("external_gateway_info"):
                for port in self._router_ports.get(router["id"], [])[:1]:
                    gateways.setdefault(self._domain_of[port["network_id"]], []).append(router["external_gateway_info"])
        for name, prefixes in networks.items():
            hidden = [
                IPv4Address(address["ip_address"])
                for gateway in gateways.get(name, [])
                if gateway.get("enable_snat", True)
                for address in gateway["external_fixed_ips"]
                if "." in address["ip_address"]
            ]
            yield Domain(name, tuple(prefixes), internet=name in gateways, masquerade=next(iter(hidden), None))

    def _segment(self, subnet: Object) -> Segment:
        router = IPv4Address(subnet["gateway_ip"]) if subnet["gateway_ip"] else None
        routes = {
            IPv4Network(route["destination"]): Route(IPv4Network(route["destination"]), IPv4Address(route["nexthop"]))
            for route in subnet["host_routes"]
        }
        if router:
            for route in self._beyond(subnet, router):
                routes.setdefault(route.prefix, route)
        return Segment(
            name=subnet["id"],
            domain=self._domain_of[subnet["network_id"]],
            network=IPv4Network(subnet["cidr"]),
            router=router,
            routes=tuple(routes.values()),
        )

    def _beyond(self, subnet: Object, router: IPv4Address) -> Iterable[Route]:
        """Where what is sent to the subnet's default gateway goes."""
        holder = next((port for port in self.told["ports"] if _address(port, subnet["id"]) == router), None)
        routers = {one["id"]: one for one in self.told["routers"] if one["id"] in self._router_ports}
        if holder is None:
            yield Route(ANYWHERE, NOWHERE)
        elif holder["device_owner"].startswith("network:router_interface"):
            of = routers.get(holder["device_id"], {})
            for route in of.get("routes", ()):
                yield Route(IPv4Network(route["destination"]), IPv4Address(route["nexthop"]))
            yield Route(ANYWHERE, INTERNET if of.get("external_gateway_info") else NOWHERE)
        else:
            yield Route(ANYWHERE, router)

    # --- interfaces

    def _nics(self, subnets: set[str]) -> Iterable[Nic]:
        public = {address["port_id"]: address for address in self.told["floatingips"] if address["port_id"]}
        ports = {port["id"]: port for port in self.told["ports"]}
        for server in self.servers:
            for place, name in enumerate(server["ports"], FIRST_INTERFACE):
                port = ports.get(name, {"fixed_ips": ()})
                fixed = next((ip for ip in port["fixed_ips"] if ip["subnet_id"] in subnets), None)
                if fixed is None:  # deleted under the server, or without IPv4
                    continue
                mapped = public.get(name, {})
                yield Nic(
                    name=name,
                    segment=fixed["subnet_id"],
                    address=IPv4Address(fixed["ip_address"]),
                    server=server["id"],
                    interface=f"ens{place}",
                    inbound=(self._rules(port, "ingress"),),
                    outbound=(self._rules(port, "egress"),),
                    sends=tuple(_pairs(port)),
                    receives=(ANYWHERE,),  # a switch delivers by the hardware address
                    public=IPv4Address(mapped["floating_ip_address"]) if mapped else None,
                )

    @cached_property
    def _groups(self) -> dict[str, Object]:
        return {group["id"]: group for group in self.told["security_groups"]}

    @cached_property
    def _members(self) -> dict[str, list[IPv4Network]]:
        """Group -> the addresses of its members."""
        found: dict[str, list[IPv4Network]] = {}
        for port in self.told["ports"]:
            for group in port.get("security_groups", ()):
                own = [ip["ip_address"] for ip in port["fixed_ips"] if "." in ip["ip_address"]]
                found.setdefault(group, []).extend([*map(IPv4Network, own), *_pairs(port)])
        return found

    def _rules(self, port: Object, direction: str) -> tuple[Rule, ...]:
        """What one of the port's groups admits; without port security everything."""
        if not port.get("admin_state_up", True):
            return ()
        if not port.get("port_security_enabled", True):
            return ALL
        found = [
            rule
            for group in port["security_groups"]
            for told in self._groups.get(group, {}).get("security_group_rules", ())
            if told["direction"] == direction and told["ethertype"] == "IPv4"
            for rule in self._rule(told)
        ]
        return tuple(dict.fromkeys(found))

    def _rule(self, told: Object) -> Iterable[Rule]:
        if told.get("remote_address_group_id"):
            return  # not emulated: nothing is admitted by it
        protocol = _protocol(told["protocol"])
        ports = None
        if protocol in WITH_PORTS and told["port_range_min"] is not None:
            ports = (int(told["port_range_min"]), int(told["port_range_max"]))
        remotes = [IPv4Network(told["remote_ip_prefix"] or "0.0.0.0/0")]
        if told.get("remote_group_id"):
            remotes = self._members.get(told["remote_group_id"], [])
        for remote in remotes:
            yield Rule(accept=True, remote=remote, protocol=protocol, ports=ports)


def _address(port: Object, subnet: str) -> IPv4Address | None:
    return next((IPv4Address(ip["ip_address"]) for ip in port["fixed_ips"] if ip["subnet_id"] == subnet), None)


def _pairs(port: Object) -> Iterable[IPv4Network]:
    """The sources that a port may use beside its own."""
    if not port.get("port_security_enabled", True):
        return [ANYWHERE]
    pairs = (pair["ip_address"] for pair in port.get("allowed_address_pairs", ()))
    return [IPv4Network(pair, strict=False) for pair in pairs if ":" not in pair]


def _protocol(told: str | int | None) -> int | None:
    if told in {None, "any", "0", 0}:
        return None
    return PROTOCOLS[str(told)] if str(told) in PROTOCOLS else int(str(told))


def _server(told: Object) -> Server:
    return Server(
        name=told["id"],
        label=told["name"],
        running=told["status"] == "ACTIVE",
        user_data=base64.b64decode(told["OS-EXT-SRV-ATTR:user_data"] or ""),
    )
