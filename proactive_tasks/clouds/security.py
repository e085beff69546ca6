"""The security groups of a site, coarse and written once: peers are narrowed by the gateway's own firewall.

So a further site changes no other site's group, and a group's limit of rules is no limit of the mesh. The ports are
those of Table 3.2 of the PrEstoCloud deliverable, and ESP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network

from proactive_tasks.overlay.model import PORTS, Site

ANYWHERE = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True, slots=True)
class Admitted:
    """Traffic that is let in. `protocol` is tcp, udp, icmp, esp or all; `ports` from and to, for tcp and udp."""

    protocol: str
    source: IPv4Network
    reason: str
    ports: tuple[int, int] | None = None


def gateway_rules(site: Site, controllers: Iterable[IPv4Network]) -> list[Admitted]:
    """What a site's gateway admits."""
    return [
        *(Admitted("tcp", source, "SSH from a controller", (22, 22)) for source in controllers),
        Admitted("tcp", ANYWHERE, "tunnels over TCP", (443, 443)),
        Admitted("udp", ANYWHERE, "tunnels", PORTS),
        Admitted("udp", ANYWHERE, "IKE", (500, 500)),
        Admitted("udp", ANYWHERE, "IPsec through NAT", (4500, 4500)),
        Admitted("esp", ANYWHERE, "IPsec"),
        Admitted("icmp", ANYWHERE, "path MTU and echo"),
        *(Admitted("all", source, "the site itself") for source in site.announced),
    ]


def host_rules(routes: Iterable[IPv4Network]) -> list[Admitted]:
    """What a site's application hosts admit: the overlay, and ICMP."""
    return [
        *(Admitted("all", source, "the overlay") for source in routes),
        Admitted("icmp", ANYWHERE, "path MTU and echo"),
    ]
