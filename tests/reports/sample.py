"""An overlay as a report sees it, of any size, without a store."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from ipaddress import IPv4Network
from itertools import combinations

from proactive_tasks.overlay.model import Link, LinkState, Origin, Site, SiteState
from proactive_tasks.reports.overview import Direction, Overview

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORDS = ("paris", "rome", "oslo", "wien", "bern", "riga", "nice", "cork", "gent", "lyon", "turin", "malmo")


def overview(count: int, *, measured: bool = True, error: str = "") -> Overview:
    names = [WORDS[n] if n < len(WORDS) else f"site-{n}" for n in range(count)]
    dice = random.Random(count)
    links = [Link(a, b, "openvpn", n, a, 1195, LinkState.CONNECTED, NOW) for n, (a, b) in enumerate(pairs(names))]
    if error:
        links[0] = Link(links[0].a, links[0].b, "openvpn", 0, links[0].a, 1195, LinkState.ERROR, NOW, error)
    directions = []
    for link in links:
        for source in (link.a, link.b):
            outside = dice.uniform(1, 40)
            figures = {
                "rtt": outside + dice.uniform(0.2, 3),
                "rtt_outside": outside,
                "loss": dice.choice([0, 0, 0, 0.05]),
                "loss_outside": 0,
                "path_mtu": dice.choice([1420, 1420, 1380]),
                "path_mtu_outside": 1500,
            }
            directions.append(Direction(source, link.peer(source), **(figures if measured else {})))
    sites = [site(name, order) for order, name in enumerate(names)]
    return Overview("presto", NOW, sites, links, directions, {})


def pairs(names: list[str]) -> list[tuple[str, str]]:
    return [(min(pair), max(pair)) for pair in combinations(names, 2)]


def site(name: str, order: int) -> Site:
    subnet = IPv4Network((0x0AFA0000 + (order << 8), 24))
    return Site(name, "lab", "", Origin.FILE, order, order, subnet, 4200000000 + order, state=SiteState.CONNECTED)
