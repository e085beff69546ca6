"""How a gateway can stand in its networks: two interfaces or one, its address its own or borne, prefixes adopted.

Each layout's firewall is loaded in a namespace that is wired so, and gets every kind of packet at every interface.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from proactive_tasks.gateway import config, interfaces
from proactive_tasks.lab import namespaces

GOLDEN = Path(__file__).parent / "golden"
GATEWAY, WORLD = "gt-layout.gateway", "gt-layout.world"
OTHER, OTHERS_OWN, TRANSIT = IPv4Network("10.250.1.0/24"), IPv4Network("172.22.0.0/16"), IPv4Network("100.64.0.0/10")
OVERLAY = (IPv4Network("10.0.0.0/8"), OTHERS_OWN, TRANSIT)
INTERNET = "192.0.2.77"


@dataclass(frozen=True)
class Layout:
    provider: str
    subnet: str
    wan: tuple[str, str, str]  # interface, address, next hop of the default route
    lan: tuple[str, str] | None = None  # a second interface and its address
    prefixes: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    placed: dict[str, object] = field(default_factory=dict)

    @property
    def own(self):
        return [IPv4Network(each) for each in (self.subnet, *self.prefixes)]

    @property
    def arms(self):
        return {self.wan[0]: self.wan[1], **({self.lan[0]: self.lan[1]} if self.lan else {})}


LAYOUTS = {
    "two interfaces": Layout(
        "lab", "10.250.0.0/24", ("wan", "198.18.0.2/30", "198.18.0.1"), ("lan", "10.250.0.254/24"),
        placed={"wan": "wan", "lan": "lan", "router": "", "bears_address": False},
    ),
    "one interface behind an implicit router": Layout(
        "aws", "10.1.0.0/24", ("ens5", "10.1.0.254/28", "10.1.0.241"),
        placed={"wan": "ens5", "lan": "ens5", "router": "10.1.0.241", "bears_address": False},
    ),
    "auxiliary network": Layout(
        "openstack", "10.3.0.0/24", ("ens3", "192.168.254.9/24", "192.168.254.1"), ("ens4", "10.3.0.254/24"),
        placed={"wan": "ens3", "lan": "ens4", "router": "", "bears_address": False},
    ),
    "edge host with a LAN": Layout(
        "edge", "10.6.0.0/24", ("eth0", "203.0.113.5/24", "203.0.113.1"), ("eth1", "192.168.1.10/24"),
        ("192.168.1.0/24",),
        placed={"wan": "eth0", "lan": "eth1", "router": "", "bears_address": True},
    ),
    "edge host in its LAN": Layout(
        "edge", "10.6.0.0/24", ("eth0", "192.168.1.10/24", "192.168.1.1"), None, ("192.168.1.0/24",),
        placed={"wan": "eth0", "lan": "eth0", "router": "", "bears_address": True},
    ),
    "edge host with a router in its LAN": Layout(
        "edge", "10.6.0.0/24", ("eth0", "203.0.113.5/24", "203.0.113.1"), ("eth1", "192.168.1.10/24"),
        ("192.168.1.0/24", "172.20.0.0/16"), {"lan_router": "192.168.1.1"},
        placed={"wan": "eth0", "lan": "eth1", "router": "192.168.1.1", "bears_address": True},
    ),
    "edge host alone": Layout(
        "edge", "10.6.0.0/24", ("eth0", "203.0.113.5/24", "203.0.113.1"),
        placed={"wan": "eth0", "lan": "eth0", "router": "", "bears_address": True},
    ),
    "adopted network, one interface": Layout(
        "aws", "10.1.0.0/24", ("ens5", "172.31.5.10/24", "172.31.5.1"), None, ("172.31.0.0/16",),
        placed={"wan": "ens5", "lan": "ens5", "router": "172.31.5.1", "bears_address": True},
    ),
    "adopted network, two interfaces": Layout(
        "openstack", "10.3.0.0/24", ("ens3", "192.168.254.9/24", "192.168.254.1"), ("ens4", "192.168.5.9/24"),
        ("192.168.5.0/24",),
        placed={"wan": "ens3", "lan": "ens4", "router": "", "bears_address": True},
    ),
    "adopted network around the WAN": Layout(
        "openstack", "10.3.0.0/24", ("ens3", "10.99.0.9/24", "10.99.0.1"), ("ens4", "10.3.0.254/24"),
        placed={"wan": "ens3", "lan": "ens4", "router": "", "bears_address": False},
    ),
}  # fmt: skip
EACH = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def told(layout, extra=()):
    """What `ip -json` says on such a gateway."""
    arms = {**layout.arms, **dict(extra)}
    addresses = [{"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]}]
    for name, address in arms.items():
        at, _, length = address.partition("/")
        addresses.append({"ifname": name, "addr_info": [{"local": at, "prefixlen": int(length)}]})
    return addresses, [{"dst": "default", "gateway": layout.wan[2], "dev": layout.wan[0]}]


def place(layout, addresses, defaults):
    gateway = str(layout.own[0].broadcast_address - 1)
    more = {"lan": layout.options.get("lan", ""), "router": layout.options.get("lan_router", "")}
    return interfaces.placed(addresses, defaults, gateway, list(map(str, layout.own)), **more)


@pytest.fixture
def rendered(make_site, make_view):
    def render(layout):
        found = layout.placed
        mine = make_site(
            0, name="a-mine", provider=layout.provider, subnet=layout.own[0], prefixes=tuple(layout.own[1:]),
            options=layout.options, wan=found["wan"], lan=found["lan"], bears_address=found["bears_address"],
            lan_router=IPv4Address(found["router"]) if found["router"] else None,
        )  # fmt: skip
        view = make_view(sites=[mine, make_site(1, prefixes=(OTHERS_OWN,)), make_site(2)])
        return {file.path: file.content for file in config.render(view).files}

    return render


@EACH
def test_a_gateway_finds_its_place_by_itself(layout):
    assert place(layout, *told(layout)) == layout.placed


@EACH
def test_tunnels_and_the_borne_address_change_nothing_of_it(layout):
    addresses, defaults = told(layout, {"link0": "100.64.0.1/31"})
    addresses[0]["addr_info"].append({"local": str(layout.own[0].broadcast_address - 1), "prefixlen": 32})
    if layout.placed["bears_address"]:
        assert place(layout, addresses, defaults) == layout.placed


WRONG = {
    "no default route": ({}, [], "no default route"),
    "an interface that is not there": ({"lan": "eth7"}, None, "no interface eth7"),
    "a router that is elsewhere": ({"lan_router": "10.9.9.9"}, None, "router 10.9.9.9 is not on a network"),
}


@pytest.mark.parametrize(("options", "defaults", "words"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_refused(options, defaults, words):
    layout = dataclasses.replace(LAYOUTS["edge host with a LAN"], options=options)
    addresses, usual = told(layout)
    with pytest.raises(ValueError, match=words):
        place(layout, addresses, usual if defaults is None else defaults)


def test_of_several_default_routes_the_best_counts_and_of_several_hops_the_first():
    layout = LAYOUTS["edge host with a LAN"]
    addresses, defaults = told(layout)
    other = {"dst": "default", "gateway": "192.168.1.1", "dev": "eth1", "metric": 100}
    assert place(layout, addresses, [other, *defaults])["wan"] == "eth0"
    hops = [{"gateway": "203.0.113.1", "dev": "eth0"}, {"gateway": "192.168.1.1", "dev": "eth1"}]
    assert place(layout, addresses, [{"dst": "default", "nexthops": hops}])["wan"] == "eth0"


@pytest.mark.parametrize("case", ["one interface behind an implicit router", "edge host with a LAN"])
@pytest.mark.parametrize("path", [config.FIREWALL, config.ROUTING, "/etc/systemd/system/overlay-network.service"])
def test_a_layout_has_the_golden_files(rendered, case, path):
    """OVERLAY_GOLDEN=write makes them anew, for review in the difference."""
    golden = GOLDEN / case.replace(" ", "-") / Path(path).name
    text = rendered(LAYOUTS[case])[path]
    if os.environ.get("OVERLAY_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@EACH
def test_bird_accepts_every_layout(rendered, layout, tmp_path):
    if not shutil.which("bird"):
        pytest.skip("needs bird")
    (tmp_path / "bird.conf").write_text(rendered(layout)[config.ROUTING])
    done = subprocess.run(["bird", "-p", "-c", tmp_path / "bird.conf"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_host_with_other_work_keeps_its_queues_its_ssh_and_its_policy(rendered):
    files = rendered(LAYOUTS["edge host with a LAN"])
    network = files["/etc/systemd/system/overlay-network.service"]
    assert "tc qdisc" not in network
    rules = files[config.FIREWALL]
    assert "policy drop" not in rules
    assert "dport 22" not in rules
    assert "masquerade" not in rules
    assert [line for line in files[config.SYSCTL].splitlines() if "=" in line] == [
        "net.ipv4.ip_forward = 1",
        "net.ipv4.conf.all.rp_filter = 2",
    ]


def test_an_interface_s_name_is_one_within_the_name_of_a_unit(rendered):
    layout = dataclasses.replace(
        LAYOUTS["edge host alone"], placed={**LAYOUTS["edge host alone"].placed, "wan": "br-lan"}
    )
    network = rendered(layout)["/etc/systemd/system/overlay-network.service"]
    assert r"sys-subsystem-net-devices-br\x2dlan.device" in network


# With packets.


class Out(NamedTuple):
    """A packet that came out: by which interface, with which addresses."""

    interface: str
    source: IPv4Address
    target: IPv4Address


class Field:
    """A gateway's namespace in which one layout's firewall stands, and the world at the other ends of its cables."""

    def __init__(self, layout, rules):
        self.layout, self.number = layout, 0
        wan, lan, router = layout.placed["wan"], layout.placed["lan"], layout.placed["router"]
        self.arms = [*layout.arms, "link0"]
        namespaces.delete(GATEWAY, WORLD)
        namespaces.create(GATEWAY, WORLD)
        namespaces.sysctl(GATEWAY, {"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "2"})
        for place, arm in enumerate(self.arms):
            mac = f"02:00:00:00:00:{place:02x}"
            pair = f"link add {arm} address {mac} type veth peer name {arm} netns {WORLD}"
            address = layout.arms.get(arm, "100.64.0.0/31")
            namespaces.ip(GATEWAY, [pair, f"address add {address} dev {arm}", f"link set {arm} up arp off"])
            namespaces.ip(WORLD, [f"link set {arm} up"])
        routes = [f"route add default via {layout.wan[2]}"]
        if layout.placed["bears_address"]:
            routes.append(f"address add {layout.own[0].broadcast_address - 1}/32 dev lo")
        carried = layout.own[1:] if layout.placed["bears_address"] else layout.own
        hop = f"via {router}" if router else f"dev {lan}"
        routes += [f"route append {prefix} {hop}" for prefix in carried]
        namespaces.ip(GATEWAY, routes, force=True)
        namespaces.nft(GATEWAY, rules)
        self.senders = {arm: self.open(arm) for arm in self.arms}
        self.wan, self.lan = wan, lan

    def open(self, arm):
        def made():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            sock.bind((arm, 0x0800))
            sock.setblocking(False)
            return sock

        return namespaces.in_namespace(WORLD, made)

    def tunnel(self, *, up):
        """The routes that BGP brings, or none: then all that is left is the default route."""
        verb = "replace" if up else "del"
        namespaces.ip(GATEWAY, [f"route {verb} {prefix} dev link0" for prefix in (OTHER, OTHERS_OWN)], force=not up)

    def send(self, arm, source, target, ports=(4000, 5000)):
        """One packet from the world; its number."""
        self.number += 1
        body = struct.pack("!HHHHI", *ports, 12, 0, self.number)
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, self.number & 0xFFFF, 0, 64, 17, 0,
                           IPv4Address(source).packed, IPv4Address(target).packed)  # fmt: skip
        total = sum(struct.unpack("!10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        head = head[:10] + struct.pack("!H", total ^ 0xFFFF) + head[12:]
        mac = bytes([2, 0, 0, 0, 0, self.arms.index(arm)])
        self.senders[arm].send(mac + bytes(6) + b"\x08\x00" + head + body)
        return self.number

    def came_out(self, settle_s=0.2):
        """By number, what came out of the gateway; read until nothing more comes."""
        found, quiet = {}, time.monotonic() + settle_s
        came = True
        while came or time.monotonic() < quiet:
            came = False
            for arm, sock in self.senders.items():
                try:
                    data, place = sock.recvfrom(2048)
                except BlockingIOError:
                    continue
                came = True
                if place[2] == socket.PACKET_OUTGOING or data[23] != 17 or len(data) < 46:
                    continue
                quiet = time.monotonic() + settle_s
                number = struct.unpack("!I", data[42:46])[0]
                found.setdefault(number, []).append(Out(arm, IPv4Address(data[26:30]), IPv4Address(data[30:34])))
        return found

    def end(self):
        for sock in self.senders.values():
            sock.close()
        namespaces.delete(GATEWAY, WORLD)


@pytest.fixture
def wired(rendered):
    if os.geteuid() or not shutil.which("nft"):
        pytest.skip("needs root and nft")
    made = []

    def wire(layout, more=""):
        made.append(Field(layout, rendered(layout)[config.FIREWALL] + more))
        return made[-1]

    try:
        yield wire
    finally:
        for each in made:
            each.end()


def among(address, networks):
    return any(address in network for network in networks)


def samples(layout):
    """An address of each kind: of the site, of others, of tunnels, of the Internet, of the gateway itself."""
    own = [str(network.network_address + 7) for network in layout.own]
    gateway = str(layout.own[0].broadcast_address - 1)
    return [*own, "10.250.1.7", "10.99.7.7", "172.22.0.7", "100.64.0.9", INTERNET, gateway, layout.wan[1].split("/")[0]]


@EACH
@pytest.mark.parametrize("up", [True, False], ids=["tunnel up", "tunnel down"])
def test_nothing_of_the_overlay_leaves_in_clear_and_no_lie_enters_a_tunnel(wired, layout, up):
    field = wired(layout)
    field.tunnel(up=up)
    sent = {}
    for arm, source, target in product(field.arms, samples(layout), samples(layout)):
        sent[field.send(arm, source, target)] = (arm, IPv4Address(source), IPv4Address(target))
        if len(sent) % 64 == 0:
            time.sleep(0.005)
    own, one_armed, shared = layout.own, field.wan == field.lan, layout.provider == "edge"
    wan_address = IPv4Interface(layout.wan[1]).ip
    seen = field.came_out()
    assert seen
    for number, outs in seen.items():
        arm, source, target = sent[number]
        for out in outs:
            what = f"{arm} {source} > {target}: out by {out}"
            if out.interface == field.wan:
                to_site = one_armed and among(out.target, own)
                assert to_site or not among(out.target, OVERLAY), what
                clean = out.source == wan_address or not among(out.source, (*OVERLAY, *own))
                assert to_site or clean or (shared and among(out.source, own[1:])), what
            if out.interface == "link0":
                assert among(out.target, OVERLAY), what
                assert not among(out.target, own), what
                honest = among(source, own) if arm == field.lan else among(source, OVERLAY) and not among(source, own)
                assert honest, what
                assert arm in (field.lan, "link0"), what
                assert out.source == source, what
            if arm == "link0":
                assert among(source, OVERLAY), what
                assert not among(source, own), what
            if arm == field.wan and not one_armed:
                # A carrier's routers may speak from the transit network, too: on a shared host it is for others to say.
                assert not among(source, (*OVERLAY[:2], *own, *(() if shared else [TRANSIT]))), what


PEER = "198.18.0.2"


@EACH
def test_only_what_belongs_there_is_let_in(wired, layout):
    """A service on port 5000 beside a tunnel's listener on port 1195, whose peer is one of two others."""
    field = wired(layout)
    field.tunnel(up=True)
    one_armed, shared = field.wan == field.lan, layout.provider == "edge"
    own, sent, heard = layout.own, {}, {}
    here = {str(own[0].broadcast_address - 1), layout.wan[1].split("/")[0]}
    listeners = [namespaces.socket_in(GATEWAY, kind=socket.SOCK_DGRAM) for _ in range(2)]
    with listeners[0], listeners[1]:
        for sock, port in zip(listeners, (5000, 1195), strict=True):
            sock.bind(("0.0.0.0", port))
            sock.setblocking(False)
        sources = {*samples(layout), PEER, "198.18.0.9"} - here
        for arm, source, target, port in product(field.arms, sources, here, (5000, 1195)):
            sent[field.send(arm, source, target, (4000, port))] = (arm, IPv4Address(source), port)
        field.came_out()
        for sock, port in zip(listeners, (5000, 1195), strict=True):
            with contextlib.suppress(BlockingIOError):
                while data := sock.recv(100):
                    heard[struct.unpack("!I", data)[0]] = port
    for number, (arm, source, port) in sent.items():
        what = f"{arm} {source} to port {port}"
        if port == 1195:
            admitted = source == IPv4Address(PEER) and (arm == field.wan or (shared and arm != "link0"))
        elif not shared:
            admitted = False
        elif arm == "link0":
            admitted = among(source, OVERLAY[:2]) and not among(source, own)
        else:
            lies = among(source, [*OVERLAY[:2], *own]) and not (one_armed and among(source, own))
            admitted = not (arm == field.wan and lies)
        assert (number in heard) == admitted, what


def reaching(layout):
    """A host of the site, where it has any behind the gateway."""
    usable = layout.own[1:] if layout.placed["bears_address"] else layout.own
    return str(usable[-1].network_address + 7) if usable else None


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS.values() if reaching(layout)])
def test_what_is_the_overlay_s_passes(wired, layout):
    field, host = wired(layout), reaching(layout)
    field.tunnel(up=True)
    there = [field.send(field.lan, host, target) for target in ("10.250.1.7", "172.22.0.7")]
    back = [field.send("link0", source, host) for source in ("10.250.1.7", "172.22.0.7")]
    seen = field.came_out()
    assert [seen[number][0].interface for number in there] == ["link0"] * 2
    assert [seen[number][0].interface for number in back] == [field.lan] * 2


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS.values() if layout.provider != "edge"])
def test_a_site_s_own_traffic_to_the_internet_is_masqueraded_and_answered(wired, layout):
    host, masked = reaching(layout), IPv4Interface(layout.wan[1]).ip
    field = wired(layout)
    number = field.send(field.lan, host, INTERNET)
    assert field.came_out()[number] == [Out(field.wan, masked, IPv4Address(INTERNET))]
    number = field.send(field.wan, INTERNET, str(masked), ports=(5000, 4000))
    assert field.came_out()[number] == [Out(field.lan, IPv4Address(INTERNET), IPv4Address(host))]


EDGES = [layout for layout in LAYOUTS.values() if layout.provider == "edge" and reaching(layout)]


@pytest.mark.parametrize("layout", EDGES)
def test_on_a_host_with_other_work_all_else_goes_as_it_went(wired, layout):
    """As long as it forwarded before; where it did not, a rule says so."""
    field, host = wired(layout), reaching(layout)
    number = field.send(field.lan, host, INTERNET)
    other = field.send(field.wan, INTERNET, host)
    seen = field.came_out()
    assert seen[number] == [Out(field.wan, IPv4Address(host), IPv4Address(INTERNET))]
    assert seen[other][0].interface == field.lan


@pytest.mark.parametrize("layout", EDGES)
def test_on_a_host_that_forwarded_nothing_nothing_but_the_overlay_s_is_forwarded(wired, layout):
    field, host = wired(layout, "add rule inet overlay others drop\n"), reaching(layout)
    field.tunnel(up=True)
    lost = [field.send(field.lan, host, INTERNET), field.send(field.wan, INTERNET, host)]
    kept = field.send(field.lan, host, "10.250.1.7"), field.send("link0", "10.250.1.7", host)
    seen = field.came_out()
    assert set(seen) == set(kept)
    assert not set(lost) & set(seen)


@EACH
def test_a_gateway_s_own_packets_leave_under_its_wan_address_alone(wired, layout):
    field = wired(layout)
    field.tunnel(up=False)
    gateway = str(layout.own[0].broadcast_address - 1)
    wan_address = layout.wan[1].split("/")[0]
    numbers = {}
    for number, (source, target) in enumerate(
        product((gateway, wan_address), ("10.250.1.7", "172.22.0.7", INTERNET)), start=50_000
    ):
        numbers[number] = (source, target)
        with namespaces.socket_in(GATEWAY, kind=socket.SOCK_DGRAM) as sock:
            sock.bind((source, 0))
            try:
                sock.sendto(struct.pack("!I", number), (target, 5000))
            except PermissionError:  # dropped before it leaves
                assert target != INTERNET or (source == gateway and layout.provider == "edge")
    seen = field.came_out()
    for number, outs in seen.items():
        assert outs == [Out(field.wan, IPv4Address(wan_address), IPv4Address(INTERNET))], numbers[number]
    assert (wan_address, INTERNET) in {numbers[number] for number in seen}
