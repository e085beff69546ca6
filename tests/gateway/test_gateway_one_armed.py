"""Gateways with one interface, as AWS and Azure give them: real machines behind a router that is in no subnet."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import pytest
import yaml

from proactive_tasks import clouds
from proactive_tasks.allocate_subnet import allocate_subnet
from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.clouds.provider import HostProbe
from proactive_tasks.gateway.access import open_session
from proactive_tasks.lab import Lab, namespaces
from proactive_tasks.lab.namespaces import socket_in
from proactive_tasks.lab.network import CONTROLLER
from proactive_tasks.lab.requirements import missing
from proactive_tasks.probes import echo
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store
from proactive_tasks.verify_overlay import verify_overlay
from tests.gateway.live import converge, listening
from tests.overlays import until

LAB = "gt-arm"
NAMES = ("own", "adopted", "home")
ROUTED = ("own", "adopted")
NAT = """table ip vpc {{
  chain in {{ type nat hook prerouting priority dstnat; iifname "net" dnat to {gateway}; }}
  chain out {{ type nat hook postrouting priority srcnat; oifname "net" ip saddr {gateway} snat to {public}; }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname "net" ip saddr != {gateway} counter name bare drop
    iifname "app" ip daddr {gateway} oifname "gw" accept
  }}
  counter bare {{ comment "packets to the Internet from whom no public address is" }}
}}"""


@dataclass(frozen=True)
class Network:
    """A cloud's network of one site: the gateway's subnet, the hosts' subnet, and what the route table says of them."""

    gateway: str
    router: str  # of the gateway's subnet
    host: str
    host_router: str


NETWORKS = {
    # The site's own subnet, split in two: the gateway bears its last address.
    "own": Network("10.1.0.254/28", "10.1.0.241/28", "10.1.0.5/25", "10.1.0.1/25"),
    # A network that was there before: the site's own subnet is nowhere in it.
    "adopted": Network("172.31.5.10/24", "172.31.5.1/24", "172.31.80.7/20", "172.31.80.1/20"),
}


class RoutedProvider(LabProvider):
    """A lab's machine whose two interfaces are taken, and which gets one behind an implicit router."""

    def apply(self, order, facts, journal, progress):
        bare = replace(order.site, hosts=0, options={})
        made = super().apply(replace(order, site=bare), facts, journal, progress)
        lab, name = Lab(order.overlay), order.site.name
        if not namespaces.exists(vpc(lab, name)):
            wire(lab, name, made.public_address)
        return made

    def difference(self, order, facts):
        return super().difference(replace(order, site=replace(order.site, hosts=0, options={})), facts)

    def attach(self, *_):
        return []  # the hosts come with the wiring

    def hosts(self, overlay, site):
        network = NETWORKS[site.name]
        space = host(Lab(overlay), site.name)

        def probe(targets, deadline_s):
            return echo.reach_from(partial(socket_in, space), targets, deadline_s)

        return [HostProbe(f"{site.name}/host1", IPv4Address(network.host.split("/")[0]), probe)]


def vpc(lab, name):
    return f"{lab.namespace(f'{name}/gateway')}.vpc"


def host(lab, name):
    return f"{lab.namespace(f'{name}/gateway')}.h1"


def wire(lab, name, public):
    """Between the Internet and the machine, the cloud: 1:1 NAT, a router that is nowhere, a route table a subnet."""
    machine, router, guest, network = lab.namespace(f"{name}/gateway"), vpc(lab, name), host(lab, name), NETWORKS[name]
    gateway, inside = network.gateway.split("/")[0], network.router.split("/")[0]
    namespaces.create(router, guest)
    silent = {f"ipv4/conf/{which}/send_redirects": "0" for which in ("all", "default")}
    namespaces.sysctl(router, {"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", **silent})
    namespaces.ip(machine, [f"link set wan netns {router} name net", "link del lan"])
    namespaces.ip(
        router,
        [
            f"address add {public}/30 dev net",
            "link set net up",
            f"route add default via {public - 1}",
            f"link add gw type veth peer name ens5 netns {machine}",
            f"address add {network.router} dev gw",
            "link set gw up",
            f"link add app type veth peer name eth0 netns {guest}",
            f"address add {network.host_router} dev app",
            "link set app up",
            # The hosts' route table: the network itself, and all else to the gateway. The gateway's: the Internet.
            "rule add iif app lookup 100 priority 100",
            f"route add {IPv4Network(network.host, strict=False)} dev app table 100",
            f"route add default via {gateway} dev gw table 100",
            f"route add {IPv4Network(network.router, strict=False)} dev gw table 100",
        ],
    )
    namespaces.nft(router, NAT.format(gateway=gateway, public=public))
    namespaces.ip(
        machine, [f"address add {network.gateway} dev ens5", "link set ens5 up", f"route add default via {inside}"]
    )
    namespaces.ip(
        guest,
        [
            f"address add {network.host} dev eth0",
            "link set eth0 up",
            f"route add default via {network.host_router.split('/')[0]}",
        ],
    )


class Field:
    def __init__(self, store):
        self.lab = Lab(LAB)
        self.context = Context(store, passphrase=lambda: "pw", progress=lambda *_: None)

    def deploy(self):
        document = {
            "version": 1,
            "overlay": LAB,
            "bfd": {"interval_ms": 20, "multiplier": 10},
            "sites": [
                {"name": "own", "provider": "aws", "hosts": 1},
                {"name": "adopted", "provider": "azure", "prefixes": ["172.31.0.0/16"], "hosts": 1},
                {"name": "home", "provider": "lab", "hosts": 1},
            ],
        }
        allocate_subnet(self.context, spec=yaml.safe_dump(document))
        return self.converge()

    def converge(self):
        return converge(self.context, LAB, NAMES)

    def site(self, name):
        return self.context.store.site(LAB, name)

    def shell(self, name, command):
        done = self.lab.exec(f"{name}/gateway", ["sh", "-c", command])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def space(self, name):
        return host(self.lab, name) if name in NETWORKS else self.lab.namespace(f"{name}/host1")

    def address(self, name):
        known = NETWORKS.get(name)
        return known.host.split("/")[0] if known else str(self.lab.hosts(name)[f"{name}/host1"])

    def reach(self, origin, target, deadline_s=60.0, **more):
        return echo.reach_from(partial(socket_in, self.space(origin)), [target], deadline_s, **more)[target]

    def listening(self, name, expression):
        """What the cloud's router sends to the Internet for this site, or gets from it."""
        return listening(vpc(self.lab, name), "net", expression)

    def counter(self, name, counter):
        return int(re.search(r"packets (\d+)", self.shell(name, f"nft list counter inet overlay {counter}"))[1])


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    if missing():
        pytest.skip(f"no lab here; it lacks {'; '.join(missing())}")
    Lab(LAB).destroy()
    with pytest.MonkeyPatch.context() as patch, Store.open(f"sqlite:///{tmp_path_factory.mktemp('arm')}/s.db") as store:
        patch.setattr(clouds, "driver", lambda name: LabProvider() if name == "lab" else RoutedProvider())
        made = Field(store)
        try:
            made.deploy()
            yield made
        finally:
            made.lab.destroy()
    assert made.lab.leftovers() == []


def test_it_finds_its_one_interface_and_the_router_behind_it(field):
    told = {name: field.site(name) for name in ROUTED}
    assert {name: (site.wan, site.lan, str(site.lan_router), site.bears_address) for name, site in told.items()} == {
        "own": ("ens5", "ens5", "10.1.0.241", False),
        "adopted": ("ens5", "ens5", "172.31.5.1", True),
    }


def test_every_host_and_gateway_reaches_every_other(field):
    assert not verify_overlay(field.context, overlay=LAB).warnings
    for origin in NAMES:
        for target in set(NAMES) - {origin}:
            assert field.reach(origin, field.address(target)) is not None
            assert field.reach(origin, str(field.site(target).gateway)) is not None


def test_a_second_run_changes_nothing(field):
    assert [result.difference for result in field.converge()] == [[]] * 7


@pytest.mark.parametrize("name", ROUTED)
def test_its_hosts_reach_the_internet_masqueraded(field, name):
    public = field.site(name).public_address
    with field.listening(name, "icmp") as seen:
        assert field.reach(name, str(CONTROLLER)) is not None
        until(lambda: any(f"IP {public} > {CONTROLLER}" in line for line in seen))
    assert not any("IP 10." in line or "IP 172.31." in line for line in seen)


@pytest.mark.parametrize("name", ROUTED)
def test_without_its_tunnels_nothing_leaves_in_clear(field, name):
    expression = (
        f"not host {field.site(name).public_address} or net 10.0.0.0/8 or net 172.16.0.0/12 or net 100.64.0.0/10"
    )
    with field.listening(name, f"ip and ({expression})") as seen:
        field.shell(name, "systemctl stop overlay-routing.service 'overlay-openvpn@*'; ip route flush type unreachable")
        try:
            before = field.counter(name, "leaked")
            for target in {*NAMES} - {name}:
                assert field.reach(name, field.address(target), 0.5) is None
                field.shell(name, f"ping -c 1 -W 1 {field.address(target)} || true")
            assert field.counter(name, "leaked") > before
        finally:
            each = "for f in link*.conf; do systemctl start overlay-openvpn@${f%.conf}.service; done"
            field.shell(name, "systemctl restart overlay-network.service; systemctl start overlay-routing.service")
            field.shell(name, f"cd /etc/overlay/openvpn; {each}")
    assert seen == []
    assert field.reach(name, field.address("home")) is not None


@pytest.mark.parametrize("name", ROUTED)
def test_a_spoofed_source_is_dropped(field, name):
    before = field.counter(name, "spoofed")
    space, foreign = field.space(name), "10.250.0.99"
    subprocess.run(["ip", "-n", space, "addr", "add", f"{foreign}/32", "dev", "eth0"], check=True, timeout=10)
    try:
        assert field.reach(name, field.address("home"), 0.5, source=foreign) is None
    finally:
        subprocess.run(["ip", "-n", space, "addr", "del", f"{foreign}/32", "dev", "eth0"], check=True, timeout=10)
    assert field.counter(name, "spoofed") > before


def test_a_cut_between_two_of_them_is_detoured(field):
    def way():
        with open_session(field.context.store, LAB, field.site("own"), LabProvider(), field.context.vault) as session:
            return session.routes()[str(field.site("adopted").prefixes[0])].path

    field.lab.cut("adopted", "own")
    try:
        assert field.reach("own", field.address("adopted")) is not None
        assert way() == [field.site("home").asn, field.site("adopted").asn]
    finally:
        field.lab.heal("adopted", "own")
