"""What Neutron and Nova hold, compiled to what the fabric makes of it: by tables, without a control plane."""

from __future__ import annotations

import base64
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from proactive_tasks.lab.cloud.model import ALL, ANYWHERE, INTERNET, NOWHERE, Route, Rule, Server
from proactive_tasks.lab.cloud.openstack.state import compiled

OWN = IPv4Network("10.3.0.0/24")


def network(identifier: str, *, external: bool = False) -> dict[str, Any]:
    return {"id": identifier, "name": identifier, "router:external": external}


def subnet(of: str, cidr: str, gateway: str | None, *routes: tuple[str, str]) -> dict[str, Any]:
    return {
        "id": f"s-{of}",
        "network_id": of,
        "ip_version": 4,
        "cidr": cidr,
        "gateway_ip": gateway,
        "host_routes": [{"destination": prefix, "nexthop": hop} for prefix, hop in routes],
    }


def port(identifier: str, of: str, address: str, owner: str = "compute:nova", **more: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "network_id": of,
        "device_owner": owner,
        "device_id": "vm",
        "admin_state_up": True,
        "port_security_enabled": True,
        "fixed_ips": [{"subnet_id": f"s-{of}", "ip_address": address}],
        "allowed_address_pairs": [],
        "security_groups": ["g"],
        **more,
    }


def rule(direction: str = "ingress", **more: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("protocol", "remote_ip_prefix", "remote_group_id", "port_range_min", "port_range_max"))
    return {"direction": direction, "ethertype": "IPv4", **nothing, **more}


def server(*ports: str, status: str = "ACTIVE", user_data: bytes = b"") -> dict[str, Any]:
    return {
        "id": "vm",
        "name": "gateway",
        "status": status,
        "OS-EXT-SRV-ATTR:user_data": base64.b64encode(user_data).decode() if user_data else None,
        "ports": list(ports),
    }


def router(*, outside: bool = True, snat: bool = True, up: bool = True, routes: tuple[Any, ...] = ()) -> dict[str, Any]:
    gateway = {
        "network_id": "public",
        "enable_snat": snat,
        "external_fixed_ips": [{"subnet_id": "s-public", "ip_address": "203.0.113.9"}],
    }
    return {
        "id": "r",
        "admin_state_up": up,
        "external_gateway_info": gateway if outside else None,
        "routes": [{"destination": prefix, "nexthop": hop} for prefix, hop in routes],
    }


def interface(of: str, address: str) -> dict[str, Any]:
    return port(f"r-{of}", of, address, "network:router_interface", device_id="r", security_groups=[])


def one(**more: Any) -> Any:
    """A server on one network, and what is varied."""
    told: dict[str, Any] = {
        "networks": [network("public", external=True), network("a")],
        "subnets": [subnet("public", "203.0.113.0/24", "203.0.113.1"), subnet("a", str(OWN), "10.3.0.1")],
        "ports": [port("p", "a", "10.3.0.7")],
        "security_groups": [{"id": "g", "security_group_rules": [rule("egress")]}],
        "routers": [],
        "floatingips": [],
    }
    return compiled({**told, **more}, [server("p")])


def test_nothing_told_is_an_empty_cloud() -> None:
    cloud = compiled({}, [])
    assert (cloud.domains, cloud.segments, cloud.nics, cloud.servers) == ((), (), (), ())


@pytest.mark.parametrize(
    ("routers", "internet", "masquerade", "default"),
    [
        ([], False, None, NOWHERE),
        ([router()], True, IPv4Address("203.0.113.9"), INTERNET),
        ([router(snat=False)], True, None, INTERNET),
        ([router(outside=False)], False, None, NOWHERE),
        ([router(up=False)], False, None, NOWHERE),
    ],
    ids=["no router", "gateway", "without SNAT", "no gateway", "switched off"],
)
def test_the_way_out_is_a_router_with_a_gateway(
    routers: list[Any], internet: bool, masquerade: IPv4Address | None, default: str
) -> None:
    cloud = one(routers=routers, ports=[port("p", "a", "10.3.0.7"), interface("a", "10.3.0.1")])
    (domain,) = cloud.domains
    assert (domain.networks, domain.internet, domain.masquerade) == ((OWN,), internet, masquerade)
    assert cloud.segments[0].routes == (Route(ANYWHERE, default),)


def test_a_router_joins_networks_to_one_domain() -> None:
    networks = [network(name) for name in "abc"]
    subnets = [subnet(name, f"10.3.{n}.0/24", f"10.3.{n}.1") for n, name in enumerate("abc")]
    joined = [interface("b", "10.3.1.1"), interface("c", "10.3.2.1")]
    cloud = one(networks=networks, subnets=subnets, ports=joined, routers=[router()])
    assert {segment.network: segment.domain for segment in cloud.segments} == {
        IPv4Network("10.3.0.0/24"): "a",
        IPv4Network("10.3.1.0/24"): "b",
        IPv4Network("10.3.2.0/24"): "b",
    }
    assert [(domain.name, domain.internet) for domain in cloud.domains] == [("a", False), ("b", True)]


def test_the_gateway_of_a_subnet_can_be_a_server_and_host_routes_hold_beside_it() -> None:
    routed = subnet("a", str(OWN), "10.3.0.254", ("10.0.0.0/8", "10.3.0.254"))
    cloud = one(subnets=[routed], ports=[port("p", "a", "10.3.0.254")])
    (segment,) = cloud.segments
    via = IPv4Address("10.3.0.254")
    assert segment.router == via
    assert set(segment.routes) == {Route(IPv4Network("10.0.0.0/8"), via), Route(ANYWHERE, via)}


def test_a_subnet_without_gateway_has_no_default_route() -> None:
    (segment,) = one(subnets=[subnet("a", str(OWN), None)]).segments
    assert (segment.router, segment.routes) == (None, ())


def test_extra_routes_of_a_router_hold_for_who_uses_it() -> None:
    extra = router(routes=(("10.9.0.0/16", "10.3.0.9"),))
    cloud = one(routers=[extra], ports=[interface("a", "10.3.0.1")])
    assert Route(IPv4Network("10.9.0.0/16"), IPv4Address("10.3.0.9")) in cloud.segments[0].routes


SINGLE = IPv4Network("192.0.2.7/32")
RULES = {
    "everything": ([rule()], (Rule(accept=True),)),
    "nothing": ([], ()),
    "a port": (
        [rule(protocol="tcp", port_range_min=22, port_range_max=22, remote_ip_prefix="192.0.2.7/32")],
        (Rule(accept=True, remote=SINGLE, protocol=6, ports=(22, 22)),),
    ),
    "all ports": ([rule(protocol="udp")], (Rule(accept=True, protocol=17),)),
    "ESP by name": ([rule(protocol="esp")], (Rule(accept=True, protocol=50),)),
    "ESP by number": ([rule(protocol="50")], (Rule(accept=True, protocol=50),)),
    "type of ICMP": ([rule(protocol="icmp", port_range_min=8, port_range_max=0)], (Rule(accept=True, protocol=1),)),
    "the other direction": ([rule("egress")], ()),
    "IPv6": ([{**rule(), "ethertype": "IPv6"}], ()),
    "members of a group": (
        [rule(remote_group_id="g")],
        (Rule(accept=True, remote=IPv4Network("10.3.0.7/32")), Rule(accept=True, remote=IPv4Network("10.3.0.8/32"))),
    ),
    "an empty group": ([rule(remote_group_id="x")], ()),
    "an address group": ([rule(remote_address_group_id="x")], ()),
}


@pytest.mark.parametrize("case", RULES)
def test_security_groups_admit_what_one_of_their_rules_does(case: str) -> None:
    told, expected = RULES[case]
    cloud = one(
        security_groups=[{"id": "g", "security_group_rules": told}],
        ports=[port("p", "a", "10.3.0.7"), port("q", "a", "10.3.0.8")],
    )
    assert cloud.nics[0].inbound == (expected,)


PORTS = {
    "plain": ({}, (), True),
    "a pair": ({"allowed_address_pairs": [{"ip_address": "10.0.0.0/8"}]}, (IPv4Network("10.0.0.0/8"),), True),
    "an address of a pair": ({"allowed_address_pairs": [{"ip_address": "10.3.0.9"}]}, (IPv4Network("10.3.0.9"),), True),
    "no port security": ({"port_security_enabled": False, "security_groups": []}, (ANYWHERE,), False),
}


@pytest.mark.parametrize("case", PORTS)
def test_a_port_sends_what_its_pairs_say_and_all_without_port_security(case: str) -> None:
    more, sends, filtered = PORTS[case]
    (nic,) = one(ports=[port("p", "a", "10.3.0.7", **more)]).nics
    assert (nic.sends, nic.receives, nic.interface, nic.server) == (sends, (ANYWHERE,), "ens3", "vm")
    assert nic.inbound == (((),) if filtered else (ALL,))
    assert nic.outbound == (((Rule(accept=True),),) if filtered else (ALL,))


def test_a_port_that_is_switched_off_carries_nothing() -> None:
    (nic,) = one(ports=[port("p", "a", "10.3.0.7", admin_state_up=False)]).nics
    assert (nic.inbound, nic.outbound) == (((),), ((),))


def test_interfaces_come_in_the_order_of_the_server_and_a_floating_ip_is_its_ports() -> None:
    told = {
        "networks": [network("a"), network("b")],
        "subnets": [subnet("a", "10.3.0.0/24", None), subnet("b", "10.4.0.0/24", None)],
        "ports": [port("q", "b", "10.4.0.9"), port("p", "a", "10.3.0.7"), port("free", "a", "10.3.0.8", "")],
        "security_groups": [],
        "routers": [],
        "floatingips": [{"port_id": "p", "floating_ip_address": "203.0.113.20"}, {"port_id": None}],
    }
    cloud = compiled(told, [server("p", "q", "deleted")])
    assert [(nic.name, nic.interface, nic.public) for nic in cloud.nics] == [
        ("p", "ens3", IPv4Address("203.0.113.20")),
        ("q", "ens4", None),
    ]


@pytest.mark.parametrize(("status", "running"), [("ACTIVE", True), ("SHUTOFF", False)])
def test_a_server_runs_when_it_is_active_with_the_very_user_data(status: str, running: bool) -> None:
    cloud = compiled({}, [server(status=status, user_data=b"#cloud-config\n")])
    assert cloud.servers == (Server("vm", "gateway", running, b"#cloud-config\n"),)
