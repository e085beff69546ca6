"""Servers that exist already become gateways, over SSH, without what else they do missing a beat, and are left so."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
import subprocess
import threading
from functools import partial
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from proactive_tasks.allocate_subnet import allocate_subnet
from proactive_tasks.clouds import dialing
from proactive_tasks.clouds.edge.driver import EdgeProvider
from proactive_tasks.clouds.edge.ssh import ABANDON, KEY, Host
from proactive_tasks.clouds.provider import GatewayOrder, NoJournal
from proactive_tasks.gateway.userdata import new_host_key
from proactive_tasks.lab import Lab, edge
from proactive_tasks.lab.namespaces import socket_in
from proactive_tasks.lab.requirements import missing
from proactive_tasks.overlay.errors import HostKeyError, InputError, ProviderError, SecretError
from proactive_tasks.overlay.model import Origin, Site
from proactive_tasks.probes import echo
from proactive_tasks.provision_gateway import provision_gateway
from proactive_tasks.release_site import release_site
from proactive_tasks.replace_gateway import replace_gateway
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store
from proactive_tasks.verify_overlay import verify_overlay
from tests.gateway.live import converge, listening
from tests.overlays import until

LAB = "gt-edge"
NAMES = ("branch", "campus", "home")  # the oldest is behind NAT

ALL = """
nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//'
ip -4 address | grep -v valid_lft; ip -4 route show table all; ip rule
sysctl -a 2>/dev/null | grep -E '^net\\.ipv4\\.(ip_forward|conf\\..*(forwarding|rp_filter|redirects))'
tc qdisc show
systemctl list-units --plain --no-legend --state=running,failed | cut -d' ' -f1 | sort
systemctl list-unit-files --no-legend | sort
find /etc /root /srv -printf '%p %m %u %l\\n' | sort
find /etc /root /srv -type f -exec sha256sum {} + | sort
"""
"""What makes a host what it is."""

CORE = """
nft list tables; ip -4 address show lo; ip -4 route; systemctl list-units --all --plain --no-legend 'overlay-*'
sysctl net.ipv4.ip_forward net.ipv4.conf.all.rp_filter net.ipv4.conf.all.accept_redirects
cat /etc/bird/bird.conf /root/.ssh/authorized_keys; ls -R /etc/overlay /run/overlay 2>&1
ls /etc/systemd/system /etc/systemd/system/multi-user.target.wants /etc/sysctl.d
"""
"""The part of it that an overlay touches; quicker to ask for."""


class Seen(NamedTuple):
    asked: int
    failed: list[str]


class Field:
    """Two servers and a lab site, and the overlay of them."""

    def __init__(self, store):
        self.lab, self.driver = Lab(LAB), EdgeProvider()
        self.context = Context(store, passphrase=lambda: "pw", progress=lambda *_: None)
        self.servers, self.before = {}, {}

    def boot(self, name, public, network, nat):
        server = edge.up(name, public, lab=LAB, lan=IPv4Network(network), nat=nat)
        self.servers[name] = server
        until(lambda: self.serves(server.address if not nat else None, name))
        return server

    def serves(self, address, name):
        """Its web service answers; behind the NAT it is asked from the LAN."""
        space = self.lab.namespace("controller" if address else f"{name}/host1")
        target = str(address or self.servers[name].lan.broadcast_address - 1)
        try:
            with socket_in(space) as sock:
                sock.settimeout(30)
                sock.connect((target, edge.SERVICE_PORT))
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                said = b""
                while data := sock.recv(4096):
                    said += data
        except OSError:
            return False
        return f"{name} serves".encode() in said

    def shell(self, name, command, code=0):
        done = self.lab.exec(f"{name}/gateway", ["sh", "-c", command])
        assert code is None or done.returncode == code, done.stderr
        return done.stdout

    def deploy(self):
        rows = [self.servers[name].site() if name in self.servers else {"name": name, "provider": "lab", "hosts": 1}
                for name in NAMES]  # fmt: skip
        head = {"version": 1, "overlay": LAB, "bfd": {"interval_ms": 20, "multiplier": 10}}
        allocate_subnet(self.context, spec=yaml.safe_dump({**head, "sites": rows}))
        return self.converge()

    def converge(self):
        return converge(self.context, LAB, NAMES)

    def site(self, name):
        return self.context.store.site(LAB, name)

    def host(self, name):
        return str(self.lab.hosts(name)[f"{name}/host1"])

    def reach(self, host, target, deadline_s=60.0, **more):
        make = partial(socket_in, self.lab.namespace(f"{host}/host1"))
        return echo.reach_from(make, [target], deadline_s, **more)[target]

    @contextlib.contextmanager
    def watched(self, name, address):
        """Whether the server's work goes on: a request every 50 ms, and one connection for the whole time."""
        seen, stop = Seen(0, []), threading.Event()
        count = 0

        def ask():
            nonlocal count
            while not stop.is_set():
                count += 1
                if not self.serves(address, name):
                    seen.failed.append(f"request {count}")
                stop.wait(0.05)

        thread = threading.Thread(target=ask)
        with socket_in(self.lab.namespace("controller" if address else f"{name}/host1")) as held:
            held.settimeout(60)
            held.connect((str(address or self.servers[name].lan.broadcast_address - 1), edge.SERVICE_PORT))
            thread.start()
            try:
                yield seen
            finally:
                stop.set()
                thread.join()
            held.sendall(b"GET / HTTP/1.0\r\n\r\n")
            if b"200" not in held.recv(4096):
                seen.failed.append("the connection that was there before")
        assert count > 5

    def listening(self, name, expression):
        return listening(self.lab.namespace(f"{name}/gateway"), "wan", expression)


@pytest.fixture(scope="module")
def user():
    return new_host_key()


@pytest.fixture(scope="module", autouse=True)
def way(user):
    """The driver reaches the servers from the lab's controller, with the user's key."""

    def dial(address, port, timeout):
        connection = socket_in(Lab(LAB).namespace("controller"))
        connection.settimeout(timeout)
        connection.connect((str(address), port))
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        patch.setenv(KEY, user[0])
        patch.setattr(dialing, "dial", dial)
        yield


@pytest.fixture(scope="module")
def field(tmp_path_factory, user):
    if missing():
        pytest.skip(f"no lab here; it lacks {'; '.join(missing())}")
    Lab(LAB).destroy()
    with Store.open(f"sqlite:///{tmp_path_factory.mktemp('edge')}/store.db") as store:
        made = Field(store)
        try:
            made.boot("campus", user[1], "192.168.1.0/24", nat=False)
            made.boot("branch", user[1], "192.168.2.0/24", nat=True)
            # This one routes for its LAN already, and masquerades by rules of its own.
            made.shell("branch", "sysctl -qw net.ipv4.ip_forward=1; nft -f -", None)
            rules = (
                'table ip own { chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }; }'
            )
            made.shell("branch", f"nft '{rules}'")
            made.before = {name: made.shell(name, ALL) for name in made.servers}
            with made.watched("campus", made.servers["campus"].address) as seen:
                made.results = made.deploy()
            made.seen = seen
            yield made
        finally:
            made.lab.destroy()
    assert made.lab.leftovers() == []


def test_its_service_missed_no_beat_while_it_became_a_gateway(field):
    assert field.seen.failed == []


def test_every_host_and_gateway_reaches_every_other(field):
    assert not verify_overlay(field.context, overlay=LAB).facts.get("unanswered")
    for source in NAMES:
        for target in set(NAMES) - {source}:
            assert field.reach(source, field.host(target)) is not None
            assert field.reach(source, str(field.site(target).gateway)) is not None


def test_a_second_run_changes_nothing(field):
    assert [result.difference for result in field.converge()] == [[]] * 7


def test_its_own_host_key_stays(field):
    site = field.site("campus")
    assert (site.host_key, site.host_key_seeded) == (field.servers["campus"].host_key, False)


def test_it_bears_its_site_address_itself(field):
    site = field.site("campus")
    assert (site.bears_address, site.wan, site.lan, site.lan_router) == (True, "wan", "lan", None)
    assert site.gateway == IPv4Address("10.6.1.254")


def test_behind_nat_it_only_dials(field):
    assert {link.listener for link in field.context.store.links(LAB, "branch")} == {"campus", "home"}


def test_what_it_forwarded_before_it_forwards_still(field):
    controller = str(field.lab.namespace("controller") and IPv4Address("198.18.255.2"))
    assert field.reach("branch", controller) is not None


def test_what_it_did_not_forward_before_it_does_not_forward_now(field):
    with field.listening("campus", "icmp") as seen:
        assert field.reach("campus", "198.18.255.2", 0.5) is None
    assert seen == []


def test_without_routing_nothing_of_the_overlay_leaves_in_clear(field):
    with field.listening("campus", "net 10.0.0.0/8 or net 192.168.0.0/16 or net 100.64.0.0/10") as seen:
        field.shell("campus", "systemctl stop overlay-routing.service")
        try:
            field.shell("campus", "ip route del unreachable 10.0.0.0/8 metric 65535")
            assert field.reach("campus", field.host("home"), 0.5) is None
            field.shell("campus", f"ping -c 1 -W 1 {field.host('home')} || true")
        finally:
            field.shell("campus", "systemctl restart overlay-network.service; systemctl start overlay-routing.service")
    assert seen == []
    assert field.reach("campus", field.host("home")) is not None


def packets(field, name, counter):
    return int(re.search(r"packets (\d+)", field.shell(name, f"nft list counter inet overlay {counter}"))[1])


def test_a_spoofed_source_enters_no_tunnel(field):
    before, space = packets(field, "campus", "spoofed"), field.lab.namespace("campus/host1")
    subprocess.run(["ip", "-n", space, "addr", "add", "192.168.9.9/32", "dev", "eth0"], check=True, timeout=10)
    try:
        assert field.reach("campus", field.host("home"), 0.5, source="192.168.9.9") is None
    finally:
        subprocess.run(["ip", "-n", space, "addr", "del", "192.168.9.9/32", "dev", "eth0"], check=True, timeout=10)
    assert packets(field, "campus", "spoofed") > before


def test_a_tunnel_s_port_is_admitted_from_its_peer_alone(field):
    link = next(link for link in field.context.store.links(LAB, "campus") if link.peer("campus") == "home")
    assert link.listener == "campus"
    before = packets(field, "campus", "refused")
    with socket_in(field.lab.namespace("controller"), kind=socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"knock", (str(field.site("campus").public_address), link.port))
    until(lambda: packets(field, "campus", "refused") > before)


def test_its_own_rules_loaded_anew_leave_the_overlay_s_in_force(field):
    field.shell("campus", "systemctl reload nftables.service")
    until(lambda: "table inet overlay" in field.shell("campus", "nft list tables"))
    assert field.reach("campus", field.host("home")) is not None


def test_a_flushed_firewall_is_noticed_and_loaded_anew(field):
    field.shell("campus", "nft flush ruleset; nft -f /etc/nftables.conf")
    order = "its firewall was flushed by somebody: load the overlay's table anew"
    assert any(
        order in line for line in provision_gateway(field.context, overlay=LAB, site="campus", dry_run=True).difference
    )
    assert provision_gateway(field.context, overlay=LAB, site="campus").changed
    assert "table inet overlay" in field.shell("campus", "nft list tables")


def test_it_is_nobody_else_s_gateway(field):
    site = field.site("campus")
    with pytest.raises(ProviderError, match=f"it is the gateway of site campus of overlay {LAB} already"):
        field.driver.facts("another", site)


def test_a_replaced_gateway_is_cleaned_and_made_anew_on_the_same_host(field):
    old = field.shell("campus", "sha256sum /etc/overlay/pki/key.pem")
    result = replace_gateway(field.context, overlay=LAB, site="campus")
    assert any("SSH key of the overlay" in line for line in result.difference)
    assert field.shell("campus", ALL) == field.before["campus"]
    field.converge()
    assert field.shell("campus", "sha256sum /etc/overlay/pki/key.pem") != old
    assert field.reach("campus", field.host("home")) is not None


def test_released_they_are_what_they_were_and_their_service_missed_no_beat(field):
    campus = field.servers["campus"]
    with field.watched("campus", campus.address) as seen, field.watched("branch", None) as other:
        for name in field.servers:
            field.context.store.start_release(LAB, name, "test")
            result = release_site(field.context, overlay=LAB, site=name)
            assert any("SSH key of the overlay" in line for line in result.difference)
            assert field.driver.release(LAB, spare_site(field.servers[name]), NoJournal(), lambda _line: None) == []
    assert (seen.failed, other.failed) == ([], [])
    for name, before in field.before.items():
        assert field.shell(name, ALL) == before


# What is refused, on a server that no overlay has touched.


def spare_site(server, **options):
    entry = server.site()
    prefixes = tuple(map(IPv4Network, entry["prefixes"]))
    return Site(server.name, "edge", "", Origin.FILE, 9, 1545, IPv4Network("10.6.9.0/24"), 42, prefixes=prefixes,
                options={**entry["options"], **options})  # fmt: skip


@pytest.fixture(scope="module")
def spare(field, user):
    return field.boot("spare", user[1], "192.168.3.0/24", nat=False)


@pytest.fixture
def order(spare, user):
    return GatewayOrder(LAB, spare_site(spare), b"", routes=(IPv4Network("10.0.0.0/8"),), ssh_key=user[1],
                        transit=IPv4Network("100.64.0.0/10"))  # fmt: skip


def test_all_that_lacks_stands_in_one_message(field, spare, order):
    chain = "add table inet f; add chain inet f mid { type filter hook forward priority 0; policy drop; }"
    try:
        field.shell("spare", "echo 'PermitRootLogin no' > /etc/ssh/sshd_config.d/own.conf")
        field.shell("spare", f"systemctl start bird.service; nft '{chain}'")
        field.shell("spare", "ip link add br-x type bridge; ip addr add 10.77.0.1/16 dev br-x; ip link set br-x up")
        facts = field.driver.facts(LAB, order.site)
        with pytest.raises(InputError) as refused:
            field.driver.difference(order, facts)
    finally:
        field.shell("spare", "rm -f /etc/ssh/sshd_config.d/own.conf; systemctl stop bird.service", None)
        field.shell("spare", "nft delete table inet f; ip link del br-x", None)
    said = str(refused.value)
    assert said.startswith(f"edge host {spare.address} of site spare: it cannot be a gateway: ")
    for part in (
        "PermitRootLogin no: set it to prohibit-password",
        "its own bird.service is active",
        "its own nftables chain inet f mid (forward) drops by default",
        "its network 10.77.0.0/16 on br-x overlaps 10.0.0.0/8",
    ):
        assert part in said


def test_a_package_that_lacks_is_installed_or_the_last_words_of_apt_are_told(field, spare, order):
    apt = "#!/bin/sh\n[ $2 = update ] && exit 0\necho 'Setting up bird2 (2.0.12)'\n"
    field.shell("spare", "mv /usr/sbin/bird /usr/sbin/away; cp /usr/bin/apt-get /root/apt-get")
    try:
        write = "cat > /usr/bin/apt-get <<'END'\n{}END\nchmod +x /usr/bin/apt-get"
        field.shell("spare", write.format(apt + "echo 'E: Unable to locate package bird2'; exit 100\n"))
        facts = field.driver.facts(LAB, order.site)
        assert any("install bird2" in str(change) for change in field.driver.difference(order, facts))
        with pytest.raises(ProviderError, match=r"exit code 100: .*Unable to locate package bird2"):
            field.driver.apply(order, facts, NoJournal(), lambda _line: None)
        field.shell("spare", write.format(apt + "mv /usr/sbin/away /usr/sbin/bird\n"))
        told = []
        field.driver.apply(order, field.driver.facts(LAB, order.site), NoJournal(), told.append)
        assert any("Setting up bird2" in line for line in told)
        assert field.driver.difference(order, field.driver.facts(LAB, order.site)) == []
        assert field.shell("spare", "systemctl is-enabled bird.service || true").strip() == "disabled"
    finally:
        field.shell("spare", "mv /root/apt-get /usr/bin/apt-get; mv /usr/sbin/away /usr/sbin/bird || true")
        field.driver.release(LAB, order.site, NoJournal(), lambda _line: None)


class Broken:
    """The connection breaks at the n-th request of one kind: before the host hears it, or before its answer comes."""

    def __init__(self, patch, at, *, heard):
        self.left, real = at, Host.ask

        def ask(host, op, **more):
            self.left -= 1
            if self.left != 0:
                return real(host, op, **more)
            if heard:
                real(host, op, **more)
            raise ProviderError("killed here")

        patch.setattr(Host, "ask", ask)


@pytest.mark.parametrize("heard", [False, True], ids=["before", "after"])
def test_cut_off_at_a_request_that_changes_something_a_second_run_completes(field, spare, order, monkeypatch, heard):
    before, moments = field.shell("spare", ALL), ((2, 0), (0, 2), (0, 3))  # adopt; leave, and the look after it
    for moment in moments:
        for work, at in zip((apply_to, release_from), moment, strict=True):
            with monkeypatch.context() as patch:
                Broken(patch, at, heard=heard)
                with pytest.raises(ProviderError, match="killed here") if at else contextlib.nullcontext():
                    work(field, order)
            work(field, order)
        assert field.shell("spare", ALL) == before


INSIDE = """
import os, pathlib, shutil, sys, types
for name, text in SOURCES:
    module = sys.modules[name] = types.ModuleType(name)
    parent, _, leaf = name.rpartition(".")
    sys.modules.setdefault(parent, types.ModuleType(parent)).__dict__[leaf] = module
    exec(compile(text, name, "exec"), module.__dict__)
left = int(sys.argv[1])
def dying(real):
    def call(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return real(*arguments, **named)
    return call
from proactive_tasks.gateway.machine import Machine
host = module.Host(Machine())
if sys.argv[2] == "adopt":
    host.adopt("o", "s", "ssh-ed25519 CCCC", ".ssh/authorized_keys")
    os._exit(0)
for place, name in ((Machine, "run"), (pathlib.Path, "unlink"), (pathlib.Path, "write_text"), (pathlib.Path, "replace"),
                    (shutil, "rmtree")):
    setattr(place, name, dying(getattr(place, name)))
host.leave()
os._exit(0)
"""

TRACES = """
cd /etc/systemd/system
printf '[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=/bin/true\n' > overlay-routing.service
printf '[Service]\nType=oneshot\nRemainAfterExit=true
ExecStart=/usr/sbin/ip route replace unreachable 10.0.0.0/8 metric 65535
ExecStart=/usr/sbin/ip address replace 10.6.9.254/32 dev lo\n' > overlay-network.service
ln -sf /etc/systemd/system/overlay-routing.service multi-user.target.wants/overlay-routing.service
systemctl daemon-reload; systemctl start overlay-routing.service overlay-network.service
echo 'net.ipv4.ip_forward = 1' > /etc/sysctl.d/60-overlay.conf
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=2
echo overlay > /etc/bird/bird.conf; mkdir -p /etc/overlay/pki; echo key > /etc/overlay/pki/key.pem
echo '{"files": ["/etc/bird/bird.conf", "/etc/overlay/firewall.nft"]}' > /etc/overlay/manifest.json
nft add table inet overlay; mkdir -p /run/overlay
"""


def test_a_host_that_dies_at_any_step_of_its_release_is_left_as_it_was_by_the_next(field, spare):
    names = ("proactive_tasks.gateway.machine", "proactive_tasks.gateway.host")
    loaded = [(name, Path(import_module(name).__file__).read_text()) for name in names]
    script = INSIDE.replace("SOURCES", repr(loaded))
    root = Path(f"/proc/{field.lab.argv('spare/gateway', [])[2]}/root")
    (root / "run/inside.py").write_text(script)
    whole, before = field.shell("spare", ALL), field.shell("spare", CORE)
    moment, died = 0, 9
    while died == 9:
        moment += 4  # every one takes minutes, and was tried
        field.shell("spare", f"python3 -I -S /run/inside.py 0 adopt\n{TRACES}")
        assert field.shell("spare", CORE) != before
        died = field.lab.exec(
            "spare/gateway", ["python3", "-I", "-S", "/run/inside.py", str(moment), "leave"]
        ).returncode
        field.shell("spare", "python3 -I -S /run/inside.py 0 leave")
        assert field.shell("spare", CORE) == before, f"died at step {moment}"
    assert died == 0
    assert moment > 15
    assert field.shell("spare", ALL) == whole


def apply_to(field, order):
    field.driver.apply(order, field.driver.facts(LAB, order.site), NoJournal(), lambda _line: None)
    assert field.driver.difference(order, field.driver.facts(LAB, order.site)) == []


def release_from(field, order):
    field.driver.release(LAB, order.site, NoJournal(), lambda _line: None)
    assert field.driver.facts(LAB, order.site).gateway is None


REFUSED = {
    "no address": ({"address": ""}, InputError, "site spare, options: .* needs the option address"),
    "no host key": ({"host_key": ""}, InputError, "ssh-keyscan"),
    "another host key": ({"host_key": new_host_key()[1]}, HostKeyError, "another host key than the option"),
    "a key that is none": ({"host_key": "ssh-rsa AAAA"}, InputError, "not an ed25519 key"),
    "another user": ({"user": "operator"}, ProviderError, "does not admit user operator"),
    "a router elsewhere": ({"lan_router": "172.16.0.1"}, InputError, "lan_router 172.16.0.1 is on none"),
    "no such interface": ({"lan": "eth7"}, InputError, "no interface eth7"),
}


@pytest.mark.parametrize(("options", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_option_is_refused_with_the_way_out(field, spare, order, options, kind, words):
    site = spare_site(spare, **options)
    with pytest.raises(kind, match=words):
        field.driver.difference(dataclasses.replace(order, site=site), field.driver.facts(LAB, site))


def test_without_a_key_it_says_where_one_is_looked_for(field, spare, monkeypatch):
    monkeypatch.delenv(KEY)
    with pytest.raises(SecretError, match=f"{KEY}_FILE"):
        field.driver.facts(LAB, spare_site(spare))


def test_a_host_that_is_gone_for_good_can_be_abandoned(field, spare, monkeypatch):
    monkeypatch.setenv(ABANDON, "spare")
    site = spare_site(spare, address="198.18.3.3")
    assert "not asked" in field.driver.release(LAB, site, NoJournal(), lambda _line: None)[0]
    assert field.driver.facts(LAB, site).gateway is None
