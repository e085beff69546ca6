"""What a host must be to become a gateway, judged from what it says of itself; and whose key opens it."""

from __future__ import annotations

import copy
from ipaddress import IPv4Network

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from proactive_tasks.clouds import driver
from proactive_tasks.clouds.edge.rules import conflicts, lacking, shadowed
from proactive_tasks.clouds.edge.ssh import KEY, Place, keys
from proactive_tasks.clouds.provider import GatewayOrder
from proactive_tasks.overlay.errors import InputError, SecretError
from proactive_tasks.overlay.model import Origin, Site

OPTIONS = {"address": "203.0.113.5", "host_key": "ssh-ed25519 AAAA"}


def interface(name, address):
    at, _, length = address.partition("/")
    return {"ifname": name, "addr_info": [{"local": at, "prefixlen": int(length)}]}


FOUND = {
    "root": True,
    "python": [3, 11],
    "systemd": True,
    "apt": True,
    "tun": True,
    "nftables": "",
    "missing": [],
    "free_mb": 1000,
    "addresses": [
        interface("lo", "127.0.0.1/8"),
        interface("eth0", "203.0.113.5/24"),
        interface("eth1", "192.168.1.10/24"),
        interface("link0", "100.64.0.1/31"),
    ],
    "routes": [
        {"dst": "default", "gateway": "203.0.113.1", "dev": "eth0"},
        {"dst": "10.250.1.0/24", "dev": "link0", "protocol": "bird"},
    ],
    "bird": "",
    "refusing": [],
    "listening": [],
    "talks_to": [],
    "ssh": {
        "permitrootlogin": "prohibit-password",
        "pubkeyauthentication": "yes",
        "authorizedkeysfile": ".ssh/authorized_keys",
    },
}


def order(prefixes=("192.168.1.0/24",), routes=("10.0.0.0/8",), **options):
    site = Site("campus", "edge", "", Origin.FILE, 0, 1536, IPv4Network("10.6.0.0/24"), 42,
                prefixes=tuple(map(IPv4Network, prefixes)), options={**OPTIONS, **options})  # fmt: skip
    networks = tuple(map(IPv4Network, routes))
    return GatewayOrder("presto", site, b"", networks, ssh_key="ssh-ed25519 BBBB", transit=IPv4Network("100.64.0.0/10"))


def judged(asked, **changes):
    found, place = {**copy.deepcopy(FOUND), **changes}, Place.of(asked.site)
    return [*lacking(place, found), *conflicts(asked, place, found)]


def with_interface(name, address):
    return [*FOUND["addresses"], interface(name, address)]


def with_route(dst, **more):
    return [*FOUND["routes"], {"dst": dst, "gateway": "203.0.113.9", "dev": "eth0", "protocol": "static", **more}]


def test_a_host_that_has_all_is_taken():
    assert judged(order()) == []


TAKEN = {
    "no LAN at all": (order(prefixes=()), {}),
    "what lies beyond a router of its LAN": (order(("192.168.1.0/24", "172.20.0.0/16"), lan_router="192.168.1.1"), {}),
    "a prefix that is a part of the LAN": (order(("192.168.1.128/25",)), {}),
    "a LAN in the overlay's network that is the site's": (
        order(("10.200.1.0/24",)), {"addresses": [FOUND["addresses"][1], interface("eth1", "10.200.1.1/24")]}),
    "a LAN numbered by the plan": (
        order(()), {"addresses": [FOUND["addresses"][1], interface("eth1", "10.6.0.254/24")]}),
    "a route into its own site": (order(("192.168.1.0/24", "10.9.0.0/16"), lan_router="192.168.1.1"),
                                  {"routes": with_route("10.9.3.0/24", gateway="192.168.1.1", dev="eth1")}),
    "a wide route, of which the overlay takes a part": (order(routes=("10.0.0.0/8", "172.31.0.0/16")),
                                                       {"routes": with_route("172.16.0.0/12")}),
    "several default routes by hops": (order(), {"routes": [{"dst": "default", "nexthops": [{"dev": "eth0"}]}]}),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "changes"), TAKEN.values(), ids=TAKEN)
def test_it_takes(asked, changes):
    assert judged(asked, **changes) == []


REFUSED = {
    "no root": (order(user="ops"), {"root": False}, "user ops is not root there"),
    "an old python": (order(), {"python": [3, 9]}, "python3 is 3.9"),
    "no systemd": (order(), {"systemd": False}, "not run by systemd"),
    "no tun": (order(), {"tun": False}, "modprobe tun"),
    "no nftables": (order(), {"nftables": "Operation not supported"}, "nftables do not work: Operation"),
    "nothing to install with": (order(), {"missing": ["/usr/sbin/bird"], "apt": False}, "/usr/sbin/bird not installed"),
    "no room": (order(), {"free_mb": 19}, "19 MB free, 20 are needed"),
    "no room to install": (order(), {"free_mb": 200, "missing": ["/usr/sbin/bird"]}, "200 MB free, 300 are needed"),
    "its own BIRD": (order(), {"bird": "enabled"}, "bird.service is enabled"),
    "its own firewall": (order(), {"refusing": ["inet f in (input)"]}, "add 'iifname \"link*\" accept' and 'udp"),
    "its own VPN": (order(), {"listening": [1195]}, "UDP port 1195 is used"),
    "no root login": (order(), {"ssh": {**FOUND["ssh"], "permitrootlogin": "no"}}, "PermitRootLogin no: set it to"),
    "no keys": (order(), {"ssh": {**FOUND["ssh"], "pubkeyauthentication": "no"}}, "PubkeyAuthentication no"),
    "no key file": (order(), {"ssh": {**FOUND["ssh"], "authorizedkeysfile": "none"}}, "no AuthorizedKeysFile"),
    "others only": (order(), {"ssh": {**FOUND["ssh"], "allowusers": "ops"}}, "AllowUsers has ops: add root"),
    "not root": (order(), {"ssh": {**FOUND["ssh"], "denyusers": "x root"}}, "DenyUsers has root"),
    "another sshd": (order(), {"ssh": {}}, "is it OpenSSH"),
    "no default route": (order(), {"routes": []}, "no default route"),
    "no such interface": (order((), lan="eth9"), {}, "no interface eth9"),
    "a prefix nowhere": (order(("172.20.0.0/16",)), {}, "prefix 172.20.0.0/16 is on none of its interfaces"),
    "a prefix on another interface": (order(lan="eth0"), {}, "prefix 192.168.1.0/24 is on none"),
    "a prefix larger than the LAN": (order(("192.168.0.0/16",)), {}, "prefix 192.168.0.0/16 is on none"),
    "a router nowhere": (order(lan_router="192.168.7.1"), {}, "lan_router 192.168.7.1 is on none of its networks"),
    "two LANs": (order(("192.168.1.0/24", "192.168.2.0/24")), {"addresses": with_interface("eth2", "192.168.2.1/24")},
                 "on several interfaces"),
    "a network of the overlay's": (order(), {"addresses": with_interface("br0", "10.77.0.1/16")},
                                   "network 10.77.0.0/16 on br0 overlaps 10.0.0.0/8"),
    "another site's": (order(routes=("10.0.0.0/8", "172.31.0.0/16")),
                       {"addresses": with_interface("eth2", "172.31.9.1/24")},
                       "172.31.9.0/24 on eth2 overlaps 172.31.0.0/16"),
    "more than the site's": (order(("10.200.1.0/24",)), {"addresses": with_interface("eth2", "10.200.1.1/16")},
                             "network 10.200.0.0/16 on eth2 overlaps"),
    "a carrier's NAT": (order(), {"addresses": with_interface("ppp0", "100.70.1.2/24")}, "overlaps 100.64.0.0/10"),
    "a route of its own": (order(), {"routes": with_route("10.20.0.0/16")}, "its own route to 10.20.0.0/16 lies in"),
    "a resolver": (order(), {"talks_to": ["10.0.0.53"]}, "it talks to 10.0.0.53 now"),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "changes", "words"), REFUSED.values(), ids=REFUSED)
def test_it_refuses(asked, changes, words):
    (said,) = judged(asked, **changes)
    assert words in said


def test_all_that_lacks_is_told_at_once():
    assert len(judged(order(), tun=False, systemd=False, bird="active", routes=[])) == 4


def test_routes_of_which_the_overlay_takes_a_part_are_told():
    asked = order(routes=("10.0.0.0/8", "172.31.0.0/16"))
    found = {**FOUND, "routes": with_route("172.16.0.0/12")}
    assert shadowed(asked, found) == ["of its route to 172.16.0.0/12 the overlay takes 172.31.0.0/16"]


WRONG = {
    "address": ({"address": ""}, "site campus, options: .* needs the option address"),
    "host_key": ({"host_key": ""}, "site campus, options: .*ssh-keyscan"),
    "another kind of key": ({"host_key": "ecdsa-sha2-nistp256 AAAA"}, "not an ed25519 key"),
    "half a key": ({"host_key": "ssh-ed25519"}, "not an ed25519 key"),
    "a name": (
        {"address": "campus.example.org"},
        r"site campus, options\.address: 'campus.example.org' is not an IPv4 address",
    ),
    "a router by name": ({"lan_router": "r1"}, r"site campus, options\.lan_router: 'r1' is not an IPv4 address"),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=WRONG)
def test_options_are_checked_by_name(options, words):
    with pytest.raises(InputError, match=words):
        Place.of(order(**options).site)


def test_a_comment_of_the_host_key_is_no_part_of_it():
    assert Place.of(order(host_key="ssh-ed25519 AAAA root@campus").site).host_key == "ssh-ed25519 AAAA"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in (KEY, f"{KEY}_FILE", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)


def pem(key, encryption=None):
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption).decode()


KINDS = {
    "ssh-ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ecdsa-sha2-nistp256": ec.generate_private_key(ec.SECP256R1()),
    "ssh-rsa": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize(("name", "key"), KINDS.items(), ids=KINDS)
def test_a_key_comes_from_the_credentials_or_from_a_file(monkeypatch, tmp_path, name, key):
    monkeypatch.setenv(KEY, pem(key))
    assert [each.get_name() for each in keys()] == [name]
    monkeypatch.delenv(KEY)
    (tmp_path / "key").write_text(pem(key))
    monkeypatch.setenv(f"{KEY}_FILE", str(tmp_path / "key"))
    assert [each.get_name() for each in keys()] == [name]


SECRET = "not to be told"
BAD = {
    "nothing": ({}, "no SSH key for edge hosts"),
    "no key": ({KEY: SECRET}, "not a private key of OpenSSH"),
    "a locked key": (
        {KEY: pem(KINDS["ssh-ed25519"], serialization.BestAvailableEncryption(b"x"))},
        "has a passphrase: add it to your SSH agent",
    ),
    "no file": ({f"{KEY}_FILE": "/nowhere/key"}, "key file /nowhere/key cannot be read"),
}


@pytest.mark.parametrize(("environment", "words"), BAD.values(), ids=BAD)
def test_a_key_that_is_none_is_refused_without_showing_it(monkeypatch, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SecretError, match=words) as refused:
        keys()
    assert SECRET not in str(refused.value)
    assert "PRIVATE" not in str(refused.value)


def test_nobody_is_refused_for_a_key_that_may_not_be_needed():
    driver("edge").check()
