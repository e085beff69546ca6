"""The OpenVPN back end: what it computes, and that no name or address slips from one end to the other."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest

from proactive_tasks.overlay.model import Link, Origin, Site
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.vpn.backend import Act, GatewayView
from proactive_tasks.vpn.openvpn import OpenVpn

LINK = Link("east", "west", "openvpn", 7, "west", 1201, since=datetime(2026, 1, 1, tzinfo=UTC))


def site(name, number, **options):
    return Site(
        name, "lab", "", Origin.FILE, number, number, IPv4Network(f"10.250.{number}.0/24"), 4_200_000_000 + number,
        public_address=IPv4Address(f"198.18.0.{number}"), options=options,
    )  # fmt: skip


def view(name, **options):
    sites = [site("east", 1, **options), site("west", 2)]
    mine = next(entry for entry in sites if entry.name == name)
    return GatewayView(load_spec("version: 1\noverlay: presto\n"), mine, sites, [LINK], "", "", "")


def lines(name, **options):
    [file] = OpenVpn().files(view(name, **options), LINK)
    assert (file.mode, file.act, file.units) == (0o600, Act.RESTART, ("overlay-openvpn@link7.service",))
    return file.content.splitlines()


def test_the_mtu_leaves_room_for_every_byte_around_a_packet():
    assert OpenVpn().mtu(1500) == 1500 - 20 - 8 - 24


def test_the_two_ends_mirror_each_other():
    east, west = lines("east"), lines("west")
    assert "ifconfig 100.64.0.14 100.64.0.15" in east
    assert "ifconfig 100.64.0.15 100.64.0.14" in west
    assert "verify-x509-name west name" in east
    assert "verify-x509-name east name" in west


def test_only_the_listener_listens_and_only_the_dialer_dials():
    east, west = lines("east"), lines("west")
    assert "tls-server" in west
    assert "port 1201" in west
    assert not [line for line in west if line.startswith("remote ")]
    assert "tls-client" in east
    assert "nobind" in east
    assert "remote 198.18.0.2 1201" in east


@pytest.mark.parametrize(
    "line", ["tls-version-min 1.3", "allow-compression no", "mssfix 0", "data-ciphers AES-256-GCM"]
)
@pytest.mark.parametrize("name", ["east", "west"])
def test_both_ends_insist_on_what_is_safe(name, line):
    assert line in lines(name)


def test_both_ends_check_the_revocation_list():
    assert all("crl-verify /etc/overlay/pki/revoked.pem" in lines(name) for name in ("east", "west"))


def test_a_port_is_opened_at_the_listener_to_its_dialer_alone():
    backend = OpenVpn()
    assert backend.ports(view("west"), LINK) == [("udp", 1201, IPv4Address("198.18.0.1"))]
    assert backend.ports(view("west", nat=True), LINK) == [("udp", 1201, None)]
    assert backend.ports(view("east"), LINK) == []


def test_a_narrower_underlay_narrows_the_tunnel():
    assert "tun-mtu 1348" in lines("east", wan_mtu=1400)


def test_a_dialer_starts_after_listeners_and_a_locked_out_peer_need_not_return():
    backend = OpenVpn()
    assert backend.unit(view("east"), LINK).phase == 2
    assert backend.unit(view("west"), LINK).phase == 1
    import dataclasses

    revoked = dataclasses.replace(view("west"), revoked={"east": [1]})
    assert backend.unit(view("west"), LINK).returns
    assert not backend.unit(revoked, LINK).returns
    assert backend.unit(dataclasses.replace(revoked, proven={LINK.name}), LINK).returns
