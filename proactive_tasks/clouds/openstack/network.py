"""A site's networks, security groups, ports and floating IP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from openstack.network.v2.floating_ip import FloatingIP
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.router import Router
from openstack.network.v2.security_group import SecurityGroup
from openstack.network.v2.subnet import Subnet

from proactive_tasks.clouds.openstack.facts import address_of, named
from proactive_tasks.clouds.openstack.making import MANAGED, NEW, Making
from proactive_tasks.clouds.provider import GatewayOrder
from proactive_tasks.clouds.security import ANYWHERE, Admitted, gateway_rules, host_rules
from proactive_tasks.clouds.steps import shown
from proactive_tasks.overlay.errors import InputError, ProviderError

AUXILIARY = "192.168.254.0/24"

NO_ROUTES = [{"opt_name": name, "opt_value": "", "ip_version": 4} for name in ("router", "classless-static-route")]
"""DHCP options of the gateway's inner port. Neutron takes just these two with an empty value: do not tell it."""

PAIR = [{"ip_address": str(ANYWHERE)}]

PORT_FIELDS = {
    "security_group_ids": "security groups",
    "allowed_address_pairs": f"address pair {ANYWHERE}",
    "extra_dhcp_opts": "DHCP options",
    "fixed_ips": "address",
}

Key = tuple[str, str, tuple[int, int] | None]


class SiteNetwork(Making):
    """What stands before there is a server."""

    def _networks(self) -> tuple[Subnet, Subnet]:
        """The two subnets: auxiliary and inner, routed and with all routes but those by the gateway's port."""
        names, site, prefix = self.names, self.site, auxiliary_prefix(self.order)
        networks = self._bulk(
            "network", Network, self.found.networks, lambda: self.api.network.networks(project_id=self.api.project),
            {
                names.auxiliary: {"description": f"{MANAGED}between gateway and router"},
                **({} if self.found.adopted else {names.network: {"description": f"{MANAGED}site {site.name}"}}),
            },
        )  # fmt: skip
        wanted: dict[str, dict[str, Any]] = {
            names.auxiliary: {
                "network_id": networks[names.auxiliary].id, "ip_version": 4, "cidr": str(prefix),
                "gateway_ip": str(prefix[1]),
            }
        }  # fmt: skip
        if not self.found.adopted:
            wanted[names.network] = {
                "network_id": networks[names.network].id, "ip_version": 4, "cidr": str(site.subnet),
                "gateway_ip": str(site.gateway),
                # The last two are the gateway's and its standby's.
                "allocation_pools": [{"start": str(site.subnet[1]), "end": str(site.gateway - 2)}],
                "host_routes": host_routes(self.order, str(site.gateway)),
            }  # fmt: skip
        made = self._bulk(
            "subnet", Subnet, self.found.subnets, lambda: self.api.network.subnets(project_id=self.api.project), wanted,
            shows=("cidr",),
        )  # fmt: skip
        self._router(made[names.auxiliary])
        return made[names.auxiliary], self.found.adopted[1] if self.found.adopted else made[names.network]

    def _router(self, auxiliary: Subnet) -> None:
        name, outside, network = self.names.router, self.found.outside, self.api.network
        if outside is None:
            raise ProviderError(f"router {name}: no external network was looked for; run this again")
        gateway = {"network_id": outside.id}
        router = self.found.routers.get(name)
        if router is None:
            call = shown("CreateRouter", name=name, external_gateway_info=outside.name)
            router = self.steps.take(
                f"router {name}: make, to {outside.name}",
                call,
                lambda: self.api.call(
                    call, lambda: network.create_router(name=name, description=MANAGED, external_gateway_info=gateway)
                ),
                instead=Router.new(id=NEW, name=name),
                makes=("router", name),
                find=self._finder(name, lambda: network.routers(project_id=self.api.project)),
            )
        elif (router.external_gateway_info or {}).get("network_id") != outside.id:
            self._change(
                router, "router", f"gateway to {outside.name}", network.update_router, external_gateway_info=gateway
            )
        self.held.append(router)
        if not any(
            port.device_id == router.id and any(ip["subnet_id"] == auxiliary.id for ip in port.fixed_ips or ())
            for port in self.found.ports
        ):
            call = shown("AddRouterInterface", router=name, subnet=auxiliary.name)

            def there() -> bool | None:
                ports = self.api.list("ListPorts()", lambda: network.ports(device_id=router.id))
                return any(ip["subnet_id"] == auxiliary.id for port in ports for ip in port.fixed_ips or ()) or None

            self.steps.take(
                f"router {name}: interface in {auxiliary.name}",
                call,
                lambda: bool(self.api.call(call, lambda: network.add_interface_to_router(router, auxiliary.id))),
                instead=True,
                find=there,
            )

    def _host_routes(self, inner: Subnet, lan: Port) -> None:
        """What DHCP tells the site's hosts: the way to the overlay. Routes of others in an adopted subnet stay."""
        hop = address_of(lan) or (NEW if self.found.adopted else str(self.site.gateway))
        wanted = host_routes(self.order, hop)
        others = [route for route in inner.host_routes or () if route["nexthop"] != hop]
        have = [route for route in inner.host_routes or () if route["nexthop"] == hop]
        changes: dict[str, Any] = {}
        if {r["destination"] for r in have} != {r["destination"] for r in wanted}:
            changes["host_routes"] = [*others, *wanted]
        if not self.found.adopted and inner.id != NEW and inner.gateway_ip != hop:
            changes["gateway_ip"] = hop
        if changes:
            what = " and ".join(
                {"host_routes": "routes by the gateway", "gateway_ip": "default route"}[key] for key in changes
            )
            self._change(inner, "subnet", what, self.api.network.update_subnet, **changes)

    def _groups(self) -> tuple[SecurityGroup, SecurityGroup]:
        names, network = self.names, self.api.network

        def look() -> Iterable[SecurityGroup]:
            found: Iterable[SecurityGroup] = network.security_groups(project_id=self.api.project)
            return found

        groups = self._bulk(
            "security group", SecurityGroup, self.found.groups, look,
            {names.gateway: {"description": f"{MANAGED}gateway"}, names.hosts: {"description": f"{MANAGED}hosts"}},
        )  # fmt: skip
        wanted = {
            names.gateway: gateway_rules(self.site, self.order.controllers),
            names.hosts: host_rules(self.order.routes),
        }
        for name, rules in wanted.items():
            self._rules(groups[name], rules, look)
        for name, rules in wanted.items():
            for stale in stale_rules(groups[name], rules):
                call = shown("DeleteSecurityGroupRule", group=name, id=stale["id"])
                self.steps.take(
                    f"security group {name}: remove rule '{stale['description'].removeprefix(MANAGED)}' from "
                    f"{stale['remote_ip_prefix']}",
                    call,
                    lambda call=call, stale=stale: self._gone(call, network.delete_security_group_rule, stale["id"]),  # type: ignore[misc]
                    instead=None,
                )
        return groups[names.gateway], groups[names.hosts]

    def _rules(
        self, group: SecurityGroup, wanted: Sequence[Admitted], look: Callable[[], Iterable[SecurityGroup]]
    ) -> None:
        """Add what a group lacks: one call, as Neutron takes the rules of one group only."""
        lacking = lacking_rules(group, wanted)
        if not lacking:
            return
        line = ", ".join(map(rule_line, lacking))
        call = f"CreateSecurityGroupRules({group.name}: {line})"
        tried: list[bool] = []

        def make() -> bool:
            now = named(self.api.list("ListSecurityGroups()", look), self.names)[group.name] if tried else group
            tried.append(True)
            bodies = [rule_body(group, rule) for rule in lacking_rules(now, wanted)]
            if bodies:
                self.api.call(call, lambda: list(self.api.network.create_security_group_rules(bodies)))
            return True

        self.steps.take(f"security group {group.name}: add {line}", call, make, instead=True)

    def _gateway_ports(self, auxiliary: Subnet, inner: Subnet, group: SecurityGroup) -> tuple[Port, Port]:
        names, found = self.names, self.found
        fixed = (
            {"subnet_id": inner.id} if found.adopted else {"subnet_id": inner.id, "ip_address": str(self.site.gateway)}
        )
        common = {"security_group_ids": [group.id], "description": f"{MANAGED}gateway"}
        wanted: dict[str, dict[str, Any]] = {
            names.wan: {"network_id": auxiliary.network_id, "fixed_ips": [{"subnet_id": auxiliary.id}], **common},
            names.lan: {
                "network_id": inner.network_id, "fixed_ips": [fixed], "allowed_address_pairs": PAIR,
                "extra_dhcp_opts": NO_ROUTES, **common,
            },
        }  # fmt: skip
        ports = self._bulk(
            "port", Port, {port.name: port for port in reversed(found.ports)}, self._list_ports, wanted,
            unless={names.lan: without_security},
        )  # fmt: skip
        wan, lan = ports[names.wan], ports[names.lan]
        for port, changes in ((wan, self._port_drift(wan, group)), (lan, self._inner_drift(lan, group, fixed))):
            if changes and port.id != NEW:
                what = ", ".join(PORT_FIELDS[key] for key in changes)
                self._change(port, "port", what, self.api.network.update_port, **changes)
        return wan, lan

    def _list_ports(self) -> Iterable[Port]:
        found: Iterable[Port] = self.api.network.ports(project_id=self.api.project)
        return found

    def _port_drift(self, port: Port, group: SecurityGroup) -> dict[str, Any]:
        if port.id == NEW or not port.is_port_security_enabled or group.id in (port.security_group_ids or ()):
            return {}
        return {"security_group_ids": [*(port.security_group_ids or ()), group.id]}

    def _inner_drift(self, port: Port, group: SecurityGroup, fixed: Mapping[str, str]) -> dict[str, Any]:
        changes = self._port_drift(port, group)
        pairs = {pair["ip_address"] for pair in port.allowed_address_pairs or ()}
        if port.is_port_security_enabled and str(ANYWHERE) not in pairs:
            changes["allowed_address_pairs"] = [*(port.allowed_address_pairs or ()), *PAIR]
        told = {(option["opt_name"], option["opt_value"]) for option in port.extra_dhcp_opts or ()}
        if not told >= {(option["opt_name"], "") for option in NO_ROUTES}:
            changes["extra_dhcp_opts"] = NO_ROUTES
        if "ip_address" in fixed and address_of(port) != fixed["ip_address"]:
            changes["fixed_ips"] = [fixed]
        return changes

    def _address(self, wan: Port) -> FloatingIP:
        name, network, outside = self.names.gateway, self.api.network, self.found.outside
        address = self.found.addresses.get(name)
        if outside is None:
            raise ProviderError(f"floating IP {name}: no external network was looked for; run this again")
        if address is None:
            call = shown("CreateFloatingIp", description=name, floating_network=outside.name, port=wan.name)

            def look() -> FloatingIP | None:
                ips = self.api.list("ListFloatingIps()", lambda: network.ips(project_id=self.api.project))
                return next((ip for ip in ips if ip.description == name), None)

            address = self.steps.take(
                f"floating IP {name}: make, to port {wan.name}",
                call,
                lambda: self.api.call(
                    call,
                    lambda: network.create_ip(floating_network_id=outside.id, port_id=wan.id, description=name),
                ),
                instead=FloatingIP.new(id=NEW, description=name, port_id=wan.id),
                makes=("floating IP", name),
                find=look,
            )
        elif address.port_id != wan.id:
            self._change(address, "floating IP", f"to port {wan.name}", network.update_ip, port_id=wan.id)
        self.held.append(address)
        return address


def without_security(body: Mapping[str, Any]) -> dict[str, Any]:
    """A port whose addresses nobody checks: where a cloud refuses the pair of all addresses."""
    kept = {key: value for key, value in body.items() if key not in {"allowed_address_pairs", "security_group_ids"}}
    return {**kept, "is_port_security_enabled": False, "security_group_ids": []}


def auxiliary_prefix(order: GatewayOrder) -> IPv4Network:
    """The prefix between gateway and router: nothing that the gateway routes may lie in it."""
    text = order.site.options.get("auxiliary_network", AUXILIARY)
    try:
        prefix = IPv4Network(text)
    except ValueError:
        raise InputError(
            f"site {order.site.name}: auxiliary_network {text} is not an IPv4 prefix; write one like {AUXILIARY}"
        ) from None
    if prefix.prefixlen > 29:
        raise InputError(f"site {order.site.name}: auxiliary_network {prefix} is too small; take a /29 or larger")
    for other in (*order.routes, *order.site.announced):
        if prefix.overlaps(other):
            raise InputError(
                f"site {order.site.name}: auxiliary_network {prefix} overlaps {other}, which the overlay routes; "
                "set the site's option auxiliary_network to a free private prefix"
            )
    return prefix


def host_routes(order: GatewayOrder, hop: str) -> list[dict[str, str]]:
    """The routes that DHCP tells the site's hosts, the default one apart."""
    return [{"destination": str(prefix), "nexthop": hop} for prefix in order.routes]


def rule_key(rule: Admitted) -> Key:
    """What makes two rules the same."""
    return rule.protocol, str(rule.source), rule.ports


def _told_key(rule: Mapping[str, Any]) -> Key:
    ports = (rule["port_range_min"], rule["port_range_max"]) if rule["port_range_min"] is not None else None
    protocol = {None: "all", "50": "esp"}.get(rule["protocol"], rule["protocol"])
    return protocol, rule["remote_ip_prefix"] or str(ANYWHERE), ports


def _ingress(group: SecurityGroup) -> list[Mapping[str, Any]]:
    return [
        rule
        for rule in group.security_group_rules or ()
        if rule["direction"] == "ingress" and rule["ethertype"] == "IPv4" and not rule.get("remote_group_id")
    ]


def lacking_rules(group: SecurityGroup, wanted: Sequence[Admitted]) -> list[Admitted]:
    """The wanted rules that are not there."""
    have = {_told_key(rule) for rule in _ingress(group)}
    return [rule for key, rule in {rule_key(rule): rule for rule in wanted}.items() if key not in have]


def stale_rules(group: SecurityGroup, wanted: Sequence[Admitted]) -> list[Mapping[str, Any]]:
    """Rules that we once made and nobody wants any more, e.g. of a controller that is none now."""
    keys = {rule_key(rule) for rule in wanted}
    return [
        rule
        for rule in _ingress(group)
        if (rule["description"] or "").startswith(MANAGED) and _told_key(rule) not in keys
    ]


def rule_body(group: SecurityGroup, rule: Admitted) -> dict[str, Any]:
    """A rule as Neutron takes it."""
    body: dict[str, Any] = {
        "security_group_id": group.id,
        "direction": "ingress",
        "ether_type": "IPv4",
        "remote_ip_prefix": str(rule.source),
        "description": f"{MANAGED}{rule.reason}",
    }
    if rule.protocol != "all":
        body["protocol"] = rule.protocol
    if rule.ports:
        body["port_range_min"], body["port_range_max"] = rule.ports
    return body


def rule_line(rule: Admitted) -> str:
    """A rule as people read it."""
    ports = f" {rule.ports[0]}-{rule.ports[1]}" if rule.ports else ""
    return f"{rule.protocol}{ports} from {rule.source}"
