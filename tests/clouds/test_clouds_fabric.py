"""An emulated cloud's network does what its API was told: packets between real namespaces, and a real machine."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.lab import Lab, labs, namespaces
from proactive_tasks.lab.cloud.fabric import Fabric
from proactive_tasks.lab.cloud.model import (
    ALL,
    ANYWHERE,
    INTERNET,
    Cloud,
    Domain,
    Nic,
    Route,
    Rule,
    Segment,
    Server,
)
from proactive_tasks.lab.cloud.wiring import port
from proactive_tasks.lab.machine import Machine
from proactive_tasks.lab.names import CloudNames
from proactive_tasks.lab.processes import wait
from proactive_tasks.lab.requirements import missing
from proactive_tasks.overlay.errors import InputError, ProviderError

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no lab here; it lacks {'; '.join(missing())}")

OVERLAY = IPv4Network("10.0.0.0/8")
CONTROLLER = "198.18.255.2"
TUNNEL = Rule(accept=True, protocol=17, ports=(4789, 4789))
PUBLIC = {1: IPv4Address("192.0.2.5"), 2: IPv4Address("192.0.2.6")}


def vpc(number: int) -> Cloud:
    """A VPC of a gateway and two hosts: 10.N.0.0/24, gateway at .254, hosts at .4 and .5."""
    name, net = f"vpc-{number}", IPv4Network(f"10.{number}.0.0/24")
    gateway = net[254]
    ping = tuple(
        Rule(accept=True, remote=IPv4Network(block), protocol=1) for block in ("192.0.2.0/24", "198.18.0.0/16")
    )
    segments = (
        Segment(f"{name}-edge", name, IPv4Network(f"10.{number}.0.240/28"), net[241], (Route(ANYWHERE, INTERNET),)),
        Segment(
            f"{name}-hosts",
            name,
            IPv4Network(f"10.{number}.0.0/25"),
            net[1],
            (Route(OVERLAY, gateway), Route(ANYWHERE, gateway)),
        ),
    )
    hosts = [
        Nic(
            f"eni-{number}-{host}",
            f"{name}-hosts",
            net[3 + host],
            server=f"i-{number}-{host}",
            interface="ens5",
            inbound=((Rule(accept=True, remote=OVERLAY),),),
        )
        for host in (1, 2)
    ]
    edge = Nic(
        f"eni-{number}-gateway",
        f"{name}-edge",
        gateway,
        server=f"i-{number}-gateway",
        interface="ens5",
        inbound=((Rule(accept=True, remote=net), TUNNEL, *ping),),
        sends=(ANYWHERE,),
        receives=(ANYWHERE,),
        public=PUBLIC.get(number),
    )
    servers = tuple(Server(nic.server, nic.server.replace("i-", "server-")) for nic in (edge, *hosts))
    return Cloud((Domain(name, (net,), internet=True),), segments, (edge, *hosts), servers)


def together(*clouds: Cloud) -> Cloud:
    return Cloud(*(sum((getattr(cloud, part) for cloud in clouds), ()) for part in Cloud.__slots__))


def changed(cloud: Cloud, name: str, **values: object) -> Cloud:
    """The cloud with some fields of one of its parts changed."""
    parts = {
        part: tuple(replace(each, **values) if each.name == name else each for each in getattr(cloud, part))
        for part in Cloud.__slots__
    }
    assert Cloud(**parts) != cloud
    return Cloud(**parts)


@contextmanager
def lab(kind: str) -> Iterator[str]:
    """A lab's name that no other run of the tests has; the lab is gone afterwards, as are those of killed runs."""
    for other in labs():
        stem, _, pid = other.rpartition("-")
        if stem.startswith("fabric-t-") and pid.isdigit() and not Path("/proc", pid).exists():
            Lab(other).destroy()
    name = f"fabric-t-{kind}-{os.getpid()}"
    try:
        yield name
    finally:
        Lab(name).destroy()
    assert Lab(name).leftovers() == []
    assert name not in labs()


def in_server(lab: str, server: str, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command in the server of that identifier, or in the controller's namespace."""
    if server == "controller":
        return Lab(lab).exec("controller", command)
    fabric = Fabric(lab, "aws")
    status = next(each for each in fabric.servers() if each.name == server)
    return subprocess.run(fabric.argv(status, command), capture_output=True, text=True, timeout=30, **options)


FLOWS = {
    "host to host": ("i-1-1", "10.1.0.5"),
    "host to gateway": ("i-1-1", "10.1.0.254"),
    "host to peer": ("i-1-1", "10.2.0.4"),
    "peer to host": ("i-2-1", "10.1.0.4"),
    "host to Internet": ("i-1-1", CONTROLLER),
    "gateway to Internet": ("i-1-gateway", CONTROLLER),
    "Internet to gateway": ("controller", "192.0.2.5"),
    "gateway to peer's": ("i-1-gateway", "192.0.2.6"),
    "peer to peer": ("i-2-1", "10.2.0.5"),
    "peer to Internet": ("i-2-1", CONTROLLER),
}
BY_TUNNEL = {"host to peer", "peer to host"}
BY_GATEWAY = {"host to peer", "peer to host", "host to Internet"}
BY_INTERNET = BY_GATEWAY | {"gateway to Internet", "Internet to gateway", "gateway to peer's"}


def broken(lab: str) -> set[str]:
    """The flows that do not work."""

    def works(flow: tuple[str, str]) -> bool:
        return in_server(lab, flow[0], "ping", "-c1", "-W0.7", flow[1]).returncode == 0

    with ThreadPoolExecutor(len(FLOWS)) as pool:
        return {name for name, good in zip(FLOWS, pool.map(works, FLOWS.values()), strict=True) if not good}


def forward(lab: str, number: int, peer: int) -> None:
    """Make of a bare namespace a gateway: a tunnel to its peer's public address, masquerading for the rest."""
    space = CloudNames(lab, "aws").server(f"i-{number}-gateway").namespace
    namespaces.sysctl(space, {"ipv4/ip_forward": "1"})
    namespaces.ip(
        space,
        [
            f"link add tunnel type vxlan id 7 local 10.{number}.0.254 remote {PUBLIC[peer]} dstport 4789",
            f"address add 100.64.0.{number}/24 dev tunnel",
            "link set tunnel mtu 1400 up",
            f"route add 10.{peer}.0.0/24 via 100.64.0.{peer} dev tunnel",
        ],
    )
    namespaces.nft(
        space,
        """table ip gateway {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "ens5" ip daddr != 10.0.0.0/8 masquerade
  }
}""",
    )


COUNT = """table ip seen {
  counter private { }
  chain seen {
    type filter hook prerouting priority -400;
    ip saddr 10.0.0.0/8 counter name "private"
    ip daddr 10.0.0.0/8 counter name "private"
  }
}"""


@pytest.fixture(scope="module")
def clouds() -> Iterator[str]:
    """Two VPCs whose gateways carry a tunnel; the Internet between them counts what is private."""
    with lab("pair") as name:
        fabric = Fabric(name, "aws")
        fabric.apply(together(vpc(1), vpc(2)))
        forward(name, 1, 2)
        forward(name, 2, 1)
        namespaces.nft(CloudNames(name, "aws").internet, COUNT)
        yield name
        fabric.destroy()


WHOLE = together(vpc(1), vpc(2))
EDGE = WHOLE.nics[0]
TO_GATEWAY = {"host to gateway", "host to peer", "host to Internet"}

FORGOTTEN: dict[str, tuple[Cloud, set[str]]] = {
    "nothing": (WHOLE, set()),
    "the hosts' routes to the gateway": (changed(WHOLE, "vpc-1-hosts", routes=()), BY_GATEWAY),
    "to lift the check of destinations": (changed(WHOLE, "eni-1-gateway", receives=()), BY_GATEWAY),
    "to lift the check of sources": (changed(WHOLE, "eni-1-gateway", sends=()), BY_GATEWAY),
    "the inbound rule of a host": (changed(WHOLE, "eni-1-1", inbound=((),)), {"peer to host"}),
    "the inbound rule of the other host": (changed(WHOLE, "eni-1-2", inbound=((),)), {"host to host"}),
    "a second list's rule": (changed(WHOLE, "eni-1-2", inbound=(ALL, ())), {"host to host"}),
    "the outbound rule of a host": (
        changed(WHOLE, "eni-1-1", outbound=((),)),
        {"host to host", "host to gateway", "host to peer", "host to Internet"},
    ),
    "the gateway's inbound rule for its site": (
        changed(WHOLE, "eni-1-gateway", inbound=((TUNNEL, *EDGE.inbound[0][2:]),)),
        TO_GATEWAY,
    ),
    "the gateway's inbound rule for tunnels": (
        changed(WHOLE, "eni-1-gateway", inbound=((EDGE.inbound[0][0], *EDGE.inbound[0][2:]),)),
        BY_TUNNEL,
    ),
    "the Internet gateway": (changed(WHOLE, "vpc-1", internet=False), BY_INTERNET),
    "the public address": (changed(WHOLE, "eni-1-gateway", public=None), BY_INTERNET),
    "the route to the Internet": (changed(WHOLE, "vpc-1-edge", routes=()), BY_INTERNET),
    "to start a host": (changed(WHOLE, "i-1-2", running=False), {"host to host"}),
}


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_what_was_forgotten_breaks_what_it_breaks_in_a_cloud(clouds: str, forgotten: str) -> None:
    cloud, breaks = FORGOTTEN[forgotten]
    Fabric(clouds, "aws").apply(cloud)
    try:
        assert broken(clouds) == breaks
    finally:
        Fabric(clouds, "aws").apply(WHOLE)


def test_nothing_private_was_ever_seen_between_the_domains(clouds: str) -> None:
    # By its routes this leaves the domain, behind the gateway's back: no source but a public one gets out.
    assert in_server(clouds, "i-1-1", "ping", "-c1", "-W0.3", "10.3.0.4").returncode != 0
    shown = subprocess.run(
        ["ip", "netns", "exec", CloudNames(clouds, "aws").internet, "nft", "list", "counter", "ip", "seen", "private"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "packets 0 bytes 0" in shown


def test_a_domain_with_the_same_addresses_is_another_world(clouds: str) -> None:
    twin = vpc(1)
    twin = Cloud(
        (replace(twin.domains[0], name="twin"),),
        (replace(twin.segments[1], name="twin-hosts", domain="twin"),),
        (replace(twin.nics[1], name="twin-nic", segment="twin-hosts", server="i-twin"),),
        (Server("i-twin", "twin"),),
    )
    Fabric(clouds, "aws").apply(together(WHOLE, twin))
    try:
        assert in_server(clouds, "i-twin", "ping", "-c1", "-W9", "10.1.0.4").returncode == 0  # itself
        assert in_server(clouds, "i-twin", "ping", "-c1", "-W0.5", "10.1.0.5").returncode != 0
        assert broken(clouds) == set()
    finally:
        Fabric(clouds, "aws").apply(WHOLE)


def test_changes_lose_no_packet_of_a_flow_that_they_are_not_about(clouds: str) -> None:
    fabric, space = Fabric(clouds, "aws"), CloudNames(clouds, "aws").server("i-1-1").namespace
    command = ["ip", "netns", "exec", space, "ping", "-q", "-i0.005", "-c400", "10.2.0.4"]
    changes = 0
    while changes <= 12:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as flow:
            while flow.poll() is None:
                fabric.apply(changed(WHOLE, "eni-1-2", inbound=((Rule(accept=True, protocol=6, ports=(22, 22)),),)))
                fabric.apply(changed(WHOLE, "i-1-2", running=False))
                fabric.apply(changed(WHOLE, "eni-1-2", public=IPv4Address("192.0.2.9")))
                fabric.apply(WHOLE)
                changes += 4
            assert flow.stdout
            assert "400 packets transmitted, 400 received" in flow.stdout.read()


def test_a_change_of_a_rule_is_one_command_and_no_change_none(clouds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fabric, plain = Fabric(clouds, "aws"), subprocess.run
    ran: list[list[str]] = []
    monkeypatch.setattr(namespaces.subprocess, "run", lambda argv, **kw: ran.append(argv) or plain(argv, **kw))
    fabric.apply(WHOLE)
    assert ran == []
    fabric.apply(changed(WHOLE, "eni-1-2", inbound=((),)))
    assert ran == [["nft", "-f", "-"]]
    fabric.apply(WHOLE)


def test_a_host_that_is_reached_by_its_own_public_address_answers_with_it(clouds: str) -> None:
    fabric = Fabric(clouds, "aws")
    cloud = changed(WHOLE, "eni-1-2", public=IPv4Address("192.0.2.9"), inbound=(ALL,), segment="vpc-1-edge")
    fabric.apply(cloud)
    try:
        assert in_server(clouds, "controller", "ping", "-c1", "-W9", "192.0.2.9").returncode == 0
        # Two public addresses of one domain reach each other by the Internet.
        assert in_server(clouds, "i-1-gateway", "ping", "-c1", "-W9", "192.0.2.9").returncode == 0
    finally:
        fabric.apply(WHOLE)


def test_a_domain_that_masquerades_lets_out_and_back_and_nobody_in(clouds: str) -> None:
    fabric = Fabric(clouds, "openstack")
    net = IPv4Network("192.168.7.0/24")
    cloud = Cloud(
        (Domain("campus", (net,), masquerade=IPv4Address("203.0.113.7")),),
        (Segment("campus-net", "campus", net, net[1], (Route(ANYWHERE, INTERNET),)),),
        (Nic("port-1", "campus-net", net[10], server="6f8c", interface="ens3"),),
        (Server("6f8c", "campus-host"),),
    )
    fabric.apply(cloud)
    try:
        space = CloudNames(clouds, "openstack").server("6f8c").namespace
        ping = ["ip", "netns", "exec", space, "ping", "-c1", "-W1"]
        assert subprocess.run([*ping, CONTROLLER], capture_output=True).returncode == 0
        assert subprocess.run([*ping, "192.0.2.5"], capture_output=True).returncode == 1  # refused by a group there
        assert in_server(clouds, "controller", "ping", "-c1", "-W0.5", "203.0.113.7").returncode != 0
    finally:
        fabric.destroy()
    assert broken(clouds) == set()


def test_path_mtu_is_told_and_each_router_takes_one_hop(clouds: str) -> None:
    large = in_server(clouds, "i-1-1", "ping", "-c2", "-W9", "-Mdo", "-s1372", "10.2.0.4")
    assert large.returncode == 0, large.stdout
    assert "ttl=60" in large.stdout  # two domains' routers and two gateways
    told = in_server(clouds, "i-1-1", "ping", "-c1", "-W9", "-Mdo", "-s1373", "10.2.0.4")
    assert re.search(r"From 10\.1\.0\.254 .*mtu = 1400", told.stdout + told.stderr)


def test_a_failure_is_told_and_the_next_call_repairs(clouds: str) -> None:
    fabric, router = Fabric(clouds, "aws"), CloudNames(clouds, "aws").domain("vpc-2")
    namespaces.ip(router, [f"link del {port('eni-2-2')}"])
    other = changed(WHOLE, "vpc-2-hosts", routes=(Route(OVERLAY, IPv4Address("10.2.0.5")),))
    with pytest.raises(ProviderError, match="Cannot find device"):
        fabric.apply(other)
    fabric.apply(WHOLE)
    assert broken(clouds) - BY_GATEWAY - {"peer to Internet"} == set()  # a new interface lacks the gateway's own routes
    namespaces.ip(CloudNames(clouds, "aws").server("i-1-gateway").namespace, ["link del tunnel"], force=True)
    namespaces.ip(CloudNames(clouds, "aws").server("i-2-gateway").namespace, ["link del tunnel"], force=True)
    forward(clouds, 1, 2)
    forward(clouds, 2, 1)
    assert broken(clouds) == set()


def test_a_server_that_is_off_runs_no_command(clouds: str) -> None:
    fabric = Fabric(clouds, "aws")
    fabric.apply(changed(WHOLE, "i-1-2", running=False))
    try:
        status = next(each for each in fabric.servers() if each.name == "i-1-2")
        assert (status.state, status.label, status.private) == ("stopped", "server-1-2", ("10.1.0.5",))
        with pytest.raises(InputError, match="server server-1-2: it is off"):
            fabric.argv(status, ["true"])
    finally:
        fabric.apply(WHOLE)


USER_DATA = b"""#cloud-config
users: []
disable_root: false
ssh_deletekeys: false
bootcmd: [[ssh-keygen, -q, -t, ed25519, -N, "", -f, /etc/ssh/ssh_host_ed25519_key]]
ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3Cy1WIx1kzzPbyKqvkVLpLHhyP9J6DEkCFX0oXmMfL nobody]
write_files: [{path: /etc/overlay/seeded, content: "yes"}]
"""


def greeting(lab: str, address: IPv4Address) -> bytes:
    """What a server's SSH says first, seen from the controller."""
    try:
        with LabProvider().dial(lab, address, 22, 2.0) as connection:
            return connection.recv(100)
    except OSError:
        return b""


APPLY = """
import pickle, sys
from proactive_tasks.lab.cloud.fabric import Fabric
lab, clouds = pickle.load(sys.stdin.buffer)
fabric = Fabric(lab, "aws")
print("ready", flush=True)
while True:
    for cloud in clouds:
        fabric.apply(cloud)
"""


def apply_until(lab: str, clouds: list[Cloud], seconds: float) -> None:
    """Have another process apply these over and over, and kill it."""
    with subprocess.Popen([sys.executable, "-c", APPLY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        pickle.dump((lab, clouds), process.stdin)
        process.stdin.close()
        process.stdout.readline()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)


def test_what_a_killed_process_began_is_completed(clouds: str) -> None:
    with lab("killed") as name:
        states = [vpc(1), changed(vpc(1), "vpc-1", internet=False), Cloud(), together(vpc(1), vpc(2)), vpc(2)]
        for moment in (0.03, 0.06, 0.1, 0.15, 0.2, 0.27, 0.35, 0.45):
            apply_until(name, states, moment)
        Fabric(name, "aws").apply(vpc(1))
        assert in_server(name, "i-1-1", "ping", "-c1", "-W9", "10.1.0.5").returncode == 0
        assert in_server(name, "controller", "ping", "-c1", "-W9", "192.0.2.5").returncode == 0
        assert in_server(name, "i-1-gateway", "ping", "-c1", "-W9", CONTROLLER).returncode == 0
        assert len(namespaces.existing(f"ovl.{name}.aws-")) == 4
        assert Fabric(name, "aws").destroy()
        assert Lab(name).leftovers() == []


@pytest.mark.parametrize("moment", [0.02, 0.05, 0.09, 0.14, 0.2, 0.3])
def test_destroy_removes_what_a_killed_process_began(moment: float) -> None:
    with lab("torn") as name:
        machines = changed(changed(vpc(1), "i-1-1", user_data=USER_DATA), "i-1-2", user_data=USER_DATA)
        apply_until(name, [vpc(1), Cloud(), machines, Cloud()], moment)
        Lab(name).destroy()
        assert Lab(name).leftovers() == []


def test_a_lab_whose_record_is_lost_is_made_anew_or_removed() -> None:
    with lab("lost") as name:
        fabric = Fabric(name, "aws")
        fabric.apply(together(vpc(1), vpc(2)))
        (CloudNames(name, "aws").own.folder / "cloud.json").unlink()
        fabric.apply(vpc(1))
        assert in_server(name, "controller", "ping", "-c1", "-W9", "192.0.2.5").returncode == 0
        assert in_server(name, "controller", "ping", "-c1", "-W0.3", "192.0.2.6").returncode != 0
        (CloudNames(name, "aws").own.folder / "cloud.json").unlink()
        assert Fabric(name, "aws").destroy()
        assert Lab(name).leftovers() == []


def test_a_server_with_user_data_is_a_machine_that_keeps_its_disk_until_it_is_terminated() -> None:
    with lab("machine") as name:
        fabric, cloud = Fabric(name, "aws"), vpc(1)
        cloud = changed(cloud, "i-1-gateway", user_data=USER_DATA, label="Demo--Paris_gateway")
        cloud = changed(cloud, "eni-1-gateway", inbound=(ALL,))
        disk = CloudNames(name, "aws").server("i-1-gateway").folder
        fabric.apply(cloud)

        def says(*command: str) -> str:
            return in_server(name, "i-1-gateway", *command).stdout

        wait(lambda: says("cat", "/etc/overlay/seeded") == "yes", 30, "no marker")
        assert says("hostname").strip() == "demo-paris-gateway"
        assert "nobody" in says("cat", "/root/.ssh/authorized_keys")
        wait(lambda: greeting(name, PUBLIC[1]).startswith(b"SSH-2.0"), 30, "no SSH")
        assert "10.1.0.254/28" in says("ip", "-br", "address", "show", "ens5")
        says("sh", "-c", "echo kept > /etc/overlay/mine")
        assert in_server(name, "i-1-1", "ping", "-c1", "-W9", "10.1.0.254").returncode == 0
        before = says("cat", "/proc/1/stat").split()[21]

        fabric.apply(changed(cloud, "eni-1-1", inbound=((),)))  # it runs on
        assert says("cat", "/proc/1/stat").split()[21] == before

        fabric.apply(changed(cloud, "i-1-gateway", running=False))
        assert in_server(name, "controller", "ping", "-c1", "-W0.5", "192.0.2.5").returncode != 0
        fabric.apply(cloud)
        wait(lambda: says("cat", "/etc/overlay/mine") == "kept\n", 30, "no disk")
        assert in_server(name, "controller", "ping", "-c1", "-W9", "192.0.2.5").returncode == 0

        Machine(CloudNames(name, "aws").server("i-1-gateway")).kill()  # a crash: the next change finds it
        assert [each.state for each in fabric.servers()] == ["dead", "running", "running"]
        fabric.apply(cloud)
        wait(lambda: says("cat", "/etc/overlay/mine") == "kept\n", 30, "no disk")

        fabric.apply(Cloud(cloud.domains, cloud.segments, cloud.nics, cloud.servers[1:]))
        assert not disk.exists()
        assert in_server(name, "controller", "ping", "-c1", "-W0.5", "192.0.2.5").returncode != 0
        fabric.apply(cloud)
        wait(lambda: says("cat", "/etc/overlay/seeded") == "yes", 30, "no marker")
        assert says("cat", "/etc/overlay/mine") == ""
        Lab(name).destroy()
        assert Lab(name).leftovers() == []
