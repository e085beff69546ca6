"""Three gateways in a lab: real machines, tunnels, routing and firewalls, brought up by the session alone."""

from __future__ import annotations

import dataclasses
import functools
import re
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from io import StringIO

import paramiko
import pytest

from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.clouds.provider import GatewayOrder, NoJournal, SiteFacts
from proactive_tasks.gateway import config, userdata
from proactive_tasks.gateway.session import connect
from proactive_tasks.lab import Lab
from proactive_tasks.lab.namespaces import socket_in
from proactive_tasks.lab.requirements import missing
from proactive_tasks.lab.traffic import EchoStream
from proactive_tasks.overlay.errors import GatewayError, GatewayUnreachableError, HostKeyError
from proactive_tasks.pki import authority as pki
from proactive_tasks.probes import echo
from tests.gateway.live import listening
from tests.overlays import until

LAB = "gt-machines"
COUNT = 3
SPEC = """
version: 1
overlay: gt-machines
bfd: {interval_ms: 20, multiplier: 10}
"""


class Field:
    """The lab, and what a store would know of it."""

    def __init__(self, make_site, make_view, make_mesh):
        self.lab, self.provider, self.make_view, self.make_mesh = Lab(LAB), LabProvider(), make_view, make_mesh
        private, self.public = userdata.new_host_key()
        self.key = paramiko.Ed25519Key(file_obj=StringIO(private))
        self.sites = [make_site(number, hosts=1) for number in range(COUNT)]
        self.host_keys, self.seeds, self.revoked = {}, {}, {}
        self.now = datetime.now(UTC)
        self.authority = pki.make_authority(LAB, self.now)
        self.leaves = {}

    def boot(self, site):
        private, seed = userdata.new_host_key()
        controllers = self.provider.controllers(LAB)
        document = userdata.user_data(LAB, site, self.public, private, controllers)
        order = GatewayOrder(LAB, site, document)
        facts = self.provider.apply(order, SiteFacts(None), NoJournal(), lambda _line: None)
        self.seeds[site.name] = self.host_keys[site.name] = seed
        return dataclasses.replace(site, public_address=facts.public_address, wan="wan", lan="lan")

    def introduce(self, site):
        with self.session(site, 60) as session:
            request = session.make_key(site.name)
            fresh = session.prepare_host_key()
            assert session.prepare_host_key() == fresh
            assert session.switch_host_key() == fresh
        self.host_keys[site.name] = fresh
        return pki.sign_request(self.authority, LAB, site.name, request, self.now)

    def session(self, site, deadline_s=20.0, host_keys=None):
        dial = partial(self.provider.dial, LAB)
        return connect(dial, site.public_address, self.key, host_keys or [self.host_keys[site.name]], deadline_s)

    def config(self, number, **changes):
        return config.render(self.make_view(number, **{**self.known(number), **changes}))

    def known(self, number):
        return {
            "spec": SPEC,
            "sites": self.sites,
            "certificate": self.leaves[self.sites[number].name].pem,
            "authority": self.authority.certificate,
            "revocations": self.revocations(),
            "controllers": self.provider.controllers(LAB),
        }

    @functools.cache  # noqa: B019 - a signature differs each time, and the store keeps but one
    def revocations(self):
        leaves = [dataclasses.replace(leaf, revoked_at=self.revoked.get(leaf.serial)) for leaf in self.leaves.values()]
        return pki.sign_revocations(self.authority, leaves, 1 + len(self.revoked), self.now).pem

    def apply(self, number, **changes):
        with self.session(self.sites[number]) as session:
            return session.apply(self.config(number, **changes))

    def shell(self, number, command):
        done = self.lab.exec(f"{self.sites[number].name}/gateway", ["sh", "-c", command])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def listening(self, number, expression):
        return listening(self.lab.namespace(f"{self.sites[number].name}/gateway"), "wan", expression)

    def host_socket(self, number):
        return partial(socket_in, self.lab.namespace(f"{self.sites[number].name}/host1"))

    def reach(self, source, target, deadline_s=60.0):
        address = str(self.sites[target].subnet.network_address + 1)
        return echo.reach_from(self.host_socket(source), [address], deadline_s)[address]

    def way(self, number, target):
        with self.session(self.sites[number]) as session:
            return session.routes().get(str(self.sites[target].subnet))


@pytest.fixture(scope="module")
def field(make_site, make_view, make_mesh):
    if missing():
        pytest.skip(f"no lab here; it lacks {'; '.join(missing())}")
    made = Field(make_site, make_view, make_mesh)
    made.lab.destroy()
    try:
        with ThreadPoolExecutor(COUNT) as pool:
            made.sites = list(pool.map(made.boot, made.sites))
            for site, leaf in zip(made.sites, pool.map(made.introduce, made.sites), strict=True):
                made.leaves[site.name] = leaf
            barrier = threading.Barrier(COUNT)
            list(pool.map(partial(bring_up, made, barrier), range(COUNT)))
        yield made
    finally:
        made.lab.destroy()
    assert made.lab.leftovers() == []


def bring_up(field, barrier, number):
    with field.session(field.sites[number]) as session:
        assert session.difference(field.config(number))
        session.apply(field.config(number), phase=1)
        barrier.wait(60)
        session.apply(field.config(number), phase=2)
        others = [str(site.gateway) for site in field.sites if site is not field.sites[number]]
        answers = session.reach(others, source=str(field.sites[number].gateway), deadline_s=60)
        assert None not in answers.values()


OVERLAY_PACKETS = "net 10.0.0.0/8 or net 100.64.0.0/10"


def test_every_host_reaches_every_other(field):
    for source in range(COUNT):
        for target in set(range(COUNT)) - {source}:
            assert field.reach(source, target) is not None


def test_a_second_run_finds_nothing_to_do(field):
    for number in range(COUNT):
        with field.session(field.sites[number]) as session:
            assert session.difference(field.config(number)) == []
            assert session.apply(field.config(number)).changed == []


def test_only_the_recorded_host_key_is_believed(field):
    site = field.sites[0]
    with pytest.raises(HostKeyError, match="another host key"):
        field.session(site, host_keys=[field.seeds[site.name]])
    field.session(site, host_keys=[field.seeds[site.name], field.host_keys[site.name]]).close()


def test_a_stranger_is_not_admitted(field):
    stranger = paramiko.Ed25519Key(file_obj=StringIO(userdata.new_host_key()[0]))
    site = field.sites[0]
    with pytest.raises(GatewayUnreachableError, match="does not admit"):
        connect(partial(field.provider.dial, LAB), site.public_address, stranger, [field.host_keys[site.name]], 10)


def test_the_private_key_is_root_s_alone_and_stays_the_same(field):
    assert field.shell(0, "stat -c '%a %U' /etc/overlay/pki/key.pem").split() == ["600", "root"]
    before = field.shell(0, "sha256sum /etc/overlay/pki/key.pem")
    with field.session(field.sites[0]) as session:
        session.make_key(field.sites[0].name)
    assert field.shell(0, "sha256sum /etc/overlay/pki/key.pem") == before


def test_tunnels_speak_tls_1_3_and_aead(field):
    said = field.shell(0, "journalctl -u 'overlay-openvpn@*' -o cat --no-pager")
    assert "TLSv1.3" in said
    assert "cipher 'AES-256-GCM'" in said
    assert "TLSv1.2" not in said


def test_the_path_mtu_inside_is_the_one_computed(field):
    a, b = field.sites[:2]
    with field.session(a) as session:
        assert session.path_mtu(str(b.gateway), source=str(a.gateway)) == config.BACKENDS["openvpn"].mtu(1500)
        assert session.path_mtu(str(b.public_address)) == 1500
        samples = session.probe(str(b.gateway), source=str(a.gateway), count=5)
        assert None not in samples


def test_status_tells_of_each_link(field):
    with field.session(field.sites[0]) as session:
        status = session.tunnels(field.config(0))
        assert {name: (end.connected, end.bfd) for name, end in status.items()} == {
            "link0": (True, "Up"),
            "link1": (True, "Up"),
        }
        subnet, direct = str(field.sites[1].subnet), ("link0", [field.sites[1].asn])
        # A session that has just come up may not have told its routes yet.
        until(lambda: session.routes()[subnet][:2] == direct, 60, "the direct route")


def test_a_cut_link_is_detoured_and_nothing_goes_in_clear(field):
    a, b = field.sites[0], field.sites[1]
    target = str(b.subnet.network_address + 1)
    with field.listening(0, OVERLAY_PACKETS) as seen, echo.open_echo("", field.host_socket(0)) as sock:
        timer = threading.Timer(0.5, field.lab.cut, (a.name, b.name))
        timer.start()
        try:
            samples = echo.round_trips(sock, target, 300, 0.01)
            until(lambda: field.way(0, 1).path == [field.sites[2].asn, b.asn])
            assert field.reach(0, 1) is not None
        finally:
            timer.join()
            field.lab.heal(a.name, b.name)
    assert None in samples  # it was noticed
    assert seen == []
    until(lambda: field.way(0, 1).path == [b.asn])


def test_without_any_route_nothing_goes_in_clear(field):
    with field.listening(0, OVERLAY_PACKETS) as seen:
        field.shell(0, "systemctl stop overlay-routing.service")
        try:
            assert field.reach(0, 1, 0.5) is None
            field.shell(0, "ip route del unreachable 10.0.0.0/8 metric 65535")
            assert field.reach(0, 1, 0.5) is None  # not even with the fallback route gone: the firewall
            leaked = field.shell(0, "nft list counter inet overlay leaked")
        finally:
            field.shell(0, "systemctl restart overlay-network.service; systemctl start overlay-routing.service")
    assert seen == []
    assert "packets 0 " not in leaked
    assert field.reach(0, 1) is not None


def test_hosts_reach_the_internet_masqueraded(field):
    with field.listening(0, "icmp") as seen:
        answers = echo.reach_from(field.host_socket(0), [str(field.sites[1].public_address)], 60)
        assert None not in answers.values()
        until(lambda: any(f"IP {field.sites[0].public_address} > " in line for line in seen))
    assert not any("IP 10." in line for line in seen)


def test_a_firewall_that_is_loaded_anew_loses_no_packet(field):
    target = str(field.sites[0].subnet.network_address + 1)
    stream = EchoStream.start(field.lab.namespace(f"{field.sites[1].name}/host1"), target, 0.001)
    field.shell(0, "for _ in $(seq 200); do nft -f /etc/overlay/firewall.nft || exit 1; done")
    assert stream.stop().lost == 0


def test_ssh_is_admitted_from_the_controller_alone(field):
    address = field.sites[0].public_address
    field.provider.dial(LAB, address, 22, 60).close()
    knock = f"timeout 1 bash -c '</dev/tcp/{address}/22'; echo $?"
    assert field.shell(1, knock).strip() == "124"  # no answer at all, though the address answers pings
    assert field.shell(1, f"ping -c 1 -W 9 {address}")


def refused(field, number):
    return int(re.search(r"packets (\d+)", field.shell(number, "nft list counter inet overlay refused"))[1])


def test_a_tunnel_s_port_is_admitted_from_its_peer_alone(field):
    link = next(link for link in field.make_mesh(field.sites) if field.sites[2].name not in {link.a, link.b})
    listener = next(number for number, site in enumerate(field.sites) if site.name == link.listener)
    before = refused(field, listener)
    field.shell(2, f"bash -c 'echo knock > /dev/udp/{field.sites[listener].public_address}/{link.port}'")
    until(lambda: refused(field, listener) > before)


def test_tcp_between_sites_starts_with_segments_that_fit_the_tunnel(field):
    make, listen = field.host_socket(0), field.host_socket(1)
    with make() as client, listen() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        client.settimeout(60)
        client.connect((str(field.sites[1].subnet.network_address + 1), server.getsockname()[1]))
        segment = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    assert segment <= config.BACKENDS["openvpn"].mtu(1500) - 20 - 20


def test_a_spoofed_source_is_dropped(field):
    space = field.lab.namespace(f"{field.sites[0].name}/host1")
    foreign = str(field.sites[2].subnet.network_address + 9)
    subprocess.run(["ip", "-n", space, "addr", "add", f"{foreign}/32", "dev", "eth0"], check=True, timeout=10)
    try:
        target = str(field.sites[1].subnet.network_address + 1)
        assert echo.reach_from(field.host_socket(0), [target], 1.0, source=foreign)[target] is None
    finally:
        subprocess.run(["ip", "-n", space, "addr", "del", f"{foreign}/32", "dev", "eth0"], check=True, timeout=10)
    assert "packets 0 " not in field.shell(0, "nft list counter inet overlay spoofed")


LIES = {
    "another site's prefix as its own": "route 10.250.1.0/24 unreachable;",
    "a default route": "route 0.0.0.0/0 unreachable;",
    "a longer prefix": "route 10.250.1.0/25 unreachable;",
    "our own prefix": "route 10.250.0.0/24 unreachable;",
    "a forged path": "route 10.250.1.0/24 unreachable { bgp_path.prepend(4200064001); };",
    "a forged longer prefix": "route 10.250.1.0/25 unreachable { bgp_path.prepend(4200064001); };",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lying_gateway_is_not_believed(field, lie):
    """Site 2 lies to site 0 about site 1, while the link between 0 and 1 stands."""
    honest = next(file.content for file in field.config(2).files if file.path == config.ROUTING)
    liar = honest.replace(
        'export where source = RTS_BGP || proto = "announced"', 'export where proto = "announced" || proto = "lies"'
    )
    liar += f"\nprotocol static lies {{ ipv4 {{ preference 300; }}; {lie} }}\n"
    site = field.sites[2]
    field.shell(2, f"cat > /etc/bird/bird.conf <<'END'\n{liar}\nEND\nbirdc configure")
    try:
        until(lambda: "lies" in field.shell(2, "birdc show route export link1 all; birdc show protocols"))
        told = lie.split()[1]
        until(
            lambda: told in field.shell(0, "birdc show route import table link1.ipv4 2>&1 || true") or "no such" in told
        )
        assert field.way(0, 1).path == [field.sites[1].asn]
        best = field.shell(0, "birdc show route primary")
        assert "/25" not in best
        assert "0.0.0.0/0" not in best
        assert field.reach(0, 1) is not None
    finally:
        field.shell(2, f"cat > /etc/bird/bird.conf <<'END'\n{honest}END\nbirdc configure")
    with field.session(site) as session:
        assert session.difference(field.config(2)) == []


def test_a_site_whose_origin_is_withdrawn_is_no_longer_believed(field):
    """The table of origins judges anew what was learned long ago, without a session being disturbed."""
    since = field.shell(0, "birdc show protocols link0")
    routing = next(file.content for file in field.config(0).files if file.path == config.ROUTING)
    asn = field.sites[1].asn
    field.shell(0, f"sed -i '/route 10.250.1.0.24 max/s/{asn}/{asn + 9}/' /etc/bird/bird.conf && birdc configure")
    try:
        until(lambda: field.way(0, 1) is None)
        assert field.shell(0, "birdc show protocols link0") == since
    finally:
        field.shell(0, f"cat > /etc/bird/bird.conf <<'END'\n{routing}END\nbirdc configure")
    until(lambda: field.way(0, 1) is not None)


def test_a_refused_firewall_changes_nothing(field):
    good = field.config(0)
    bad = dataclasses.replace(
        good,
        files=tuple(
            dataclasses.replace(file, content="nonsense") if file.path == config.FIREWALL else file
            for file in good.files
        ),
    )
    with field.session(field.sites[0]) as session:
        with pytest.raises(GatewayError, match="nothing was changed"):
            session.apply(bad)
        assert session.difference(good) == []


def test_a_change_that_would_lock_its_own_controller_out_is_refused(field):
    with pytest.raises(GatewayError, match=r"no longer be admitted from 198\.18\.255\.2"):
        field.apply(0, controllers=["192.0.2.0/24"])
    with field.session(field.sites[0]) as session:
        assert session.difference(field.config(0)) == []


def test_without_its_firewall_a_gateway_starts_neither_tunnels_nor_routing(field):
    units = "overlay-routing.service overlay-openvpn@link0.service overlay-openvpn@link1.service"
    field.shell(0, "systemctl stop overlay-firewall.service; mv /etc/overlay/firewall.nft /run/kept")
    try:
        field.shell(0, f"! systemctl start {units}")
        assert field.shell(0, f"systemctl is-active {units} || true").split() == ["inactive"] * 3
    finally:
        field.shell(0, f"mv /run/kept /etc/overlay/firewall.nft; systemctl start overlay-firewall.service {units}")
    assert field.reach(0, 1) is not None


def test_a_rebooted_gateway_returns_by_itself(field):
    machine = f"{field.sites[2].name}/gateway"
    field.lab.kill(machine)
    field.lab.boot(machine)
    assert field.reach(0, 2) is not None
    with field.session(field.sites[2]) as session:
        assert session.difference(field.config(2)) == []


def test_a_revoked_gateway_is_gone_and_cannot_return(field):
    leaf = field.leaves[field.sites[2].name]
    field.revoked[leaf.serial] = datetime.now(UTC)
    Field.revocations.cache_clear()
    for number in (0, 1):
        field.apply(number, revoked={field.sites[2].name: [leaf.serial]})
    until(lambda: field.way(0, 2) is None)
    field.shell(2, "systemctl restart 'overlay-openvpn@*.service'")
    assert field.reach(2, 0, 5) is None
    assert "certificate revoked" in field.shell(0, "journalctl -u overlay-openvpn@link1 -o cat --no-pager").lower()
    assert field.reach(0, 1) is not None
