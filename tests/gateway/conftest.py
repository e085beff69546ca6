"""Views of gateways, as the store would give them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

import pytest

from proactive_tasks.overlay.model import Link, Origin, Site
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.vpn.backend import GatewayView

NAMES = ("aws-frankfurt", "campus", "edge-1", "far")
SPEC = """
version: 1
overlay: presto
controllers: [192.0.2.0/24]
"""


def site(number, **fields):
    values = {
        "name": NAMES[number],
        "provider": "lab",
        "region": "",
        "origin": Origin.FILE,
        "deployment": number,
        "index": 64000 + number,
        "subnet": IPv4Network(f"10.250.{number}.0/24"),
        "asn": 4_200_064_000 + number,
        "public_address": IPv4Address(f"198.18.0.{number + 1}"),
        "wan": "wan",
        "lan": "lan",
    }
    return Site(**{**values, **fields})


def mesh(sites):
    links, ports = [], {}
    for index, (a, b) in enumerate(combinations(sorted(site.name for site in sites), 2)):
        ports[a] = ports.get(a, 1194) + 1
        links.append(Link(a, b, "openvpn", index, a, ports[a]))
    return links


def view(number=0, count=3, *, spec=SPEC, sites=None, **fields):
    """What gateway `number` of a mesh of `count` is rendered from."""
    sites = sites or [site(each) for each in range(count)]
    mine = sites[number]
    values = {
        "spec": load_spec(spec),
        "site": mine,
        "sites": sites,
        "links": [link for link in mesh(sites) if mine.name in {link.a, link.b}],
        "certificate": "certificate\n",
        "authority": "authority\n",
        "revocations": "revocations\n",
    }
    return GatewayView(**{**values, **fields})


@pytest.fixture(scope="session")
def make_site() -> Callable[..., Site]:
    return site


@pytest.fixture(scope="session")
def make_view() -> Callable[..., GatewayView]:
    return view


@pytest.fixture(scope="session")
def make_mesh() -> Callable[..., list[Link]]:
    return mesh
