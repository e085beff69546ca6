"""A gateway's whole configuration as a pure function of what the store knows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, collapse_addresses
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import INTERFACE_PREFIX
from proactive_tasks.vpn.backend import (
    AUTHORITY,
    CERTIFICATE,
    REVOCATIONS,
    Act,
    Backend,
    GatewayView,
    ManagedFile,
    ManagedUnit,
)
from proactive_tasks.vpn.openvpn import OpenVpn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proactive_tasks.overlay.model import Link, Site

__all__ = ["BACKENDS", "Bundle", "GatewayView", "ManagedFile", "ManagedUnit", "initial_files", "render", "static_files"]

ROUTING = "/etc/bird/bird.conf"
FIREWALL = "/etc/overlay/firewall.nft"
SYSCTL = "/etc/sysctl.d/60-overlay.conf"
_UNITS = "/etc/systemd/system"
_FIREWALL_UNIT = "overlay-firewall.service"
_NETWORK_UNIT = "overlay-network.service"
_ROUTING_UNIT = "overlay-routing.service"

BACKENDS: dict[str, Backend] = {"openvpn": OpenVpn()}

_SYSCTL = """\
# Detours are asymmetric, so the reverse path is checked loosely; the firewall drops spoofed sources.
net.ipv4.ip_forward = 1
net.ipv4.conf.all.rp_filter = 2
net.ipv4.conf.default.rp_filter = 2
net.ipv4.conf.all.accept_redirects = 0
net.ipv4.conf.default.accept_redirects = 0
net.ipv4.conf.all.send_redirects = 0
net.ipv4.conf.default.send_redirects = 0
# Receive buffers of tunnels; a container may not set it, hence the dash.
-net.core.rmem_max = 4194304
"""


_SHARED_SYSCTL = """\
# Only what the overlay cannot do without: this host has other work. Detours are asymmetric, so the reverse path is
# checked loosely; the firewall drops spoofed sources.
net.ipv4.ip_forward = 1
net.ipv4.conf.all.rp_filter = 2
"""

_ANYWHERE = IPv4Network("0.0.0.0/0")

OTHERS = "/etc/overlay/others*.nft"
"""On a host with other work: rules for what is not the overlay's, put there when it became a gateway, if any."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that a gateway is to have: one change."""

    files: tuple[ManagedFile, ...]
    units: tuple[ManagedUnit, ...]
    settle_s: float  # how long link detection takes to notice that a change broke a link
    controllers: tuple[IPv4Network, ...]  # from where SSH is admitted; anywhere, where that is not the overlay's to say


def render(view: GatewayView) -> Bundle:
    """Files and units of a gateway. The same view gives the same bytes."""
    links = _links(view)
    tunnels = [_backend(link.backend).unit(view, link) for link in links]
    names = tuple(unit.name for unit in tunnels)
    files = [
        *static_files(view.site, [view.spec.network, view.spec.transit_network]),
        ManagedFile(FIREWALL, _firewall(view), 0o644, (_FIREWALL_UNIT,), Act.RELOAD),
        ManagedFile(ROUTING, _bird(view), 0o644, (_ROUTING_UNIT,), Act.RELOAD),
        ManagedFile(AUTHORITY, view.authority, 0o644, names, Act.RESTART),
        ManagedFile(CERTIFICATE, view.certificate, 0o644, names, Act.RESTART),
        ManagedFile(REVOCATIONS, view.revocations, 0o644),  # read anew at each handshake
    ]
    for name in sorted({link.backend for link in links}):
        files += _backend(name).shared_files(view)
    for link in links:
        files += _backend(link.backend).files(view, link)
    units = (ManagedUnit(_FIREWALL_UNIT), ManagedUnit(_NETWORK_UNIT), ManagedUnit(_ROUTING_UNIT), *tunnels)
    settle_s = 1.5 * view.spec.bfd.interval_ms * view.spec.bfd.multiplier / 1000
    controllers = [_ANYWHERE] if view.site.shared else _controllers(view)
    return Bundle(tuple(sorted(files, key=lambda file: file.path)), units, settle_s, tuple(controllers))


def static_files(site: Site, networks: Iterable[IPv4Network]) -> list[ManagedFile]:
    """The files that depend on no link: unit files and kernel settings."""
    network_unit = _template("overlay-network.service.j2", site=site, networks=list(networks), sysctl=SYSCTL)
    routing_unit = _template("overlay-routing.service.j2", routing=ROUTING)
    firewall_unit = _template("overlay-firewall.service.j2", firewall=FIREWALL, shared=site.shared)
    settings = _SHARED_SYSCTL if site.shared else _SYSCTL
    return [
        ManagedFile(SYSCTL, settings, 0o644, (_NETWORK_UNIT,), Act.RESTART),
        ManagedFile(f"{_UNITS}/{_NETWORK_UNIT}", network_unit, 0o644, (_NETWORK_UNIT,), Act.RESTART),
        ManagedFile(f"{_UNITS}/{_FIREWALL_UNIT}", firewall_unit),
        ManagedFile(f"{_UNITS}/{_ROUTING_UNIT}", routing_unit, 0o644, (_ROUTING_UNIT,), Act.RESTART),
    ]


def initial_files(controllers: Iterable[IPv4Network | str]) -> list[ManagedFile]:
    """What user-data writes: kernel settings, and a firewall that lets nobody in but the controllers."""
    content = _template("firewall-initial.nft.j2", controllers=_networks(controllers))
    return [
        ManagedFile(SYSCTL, _SYSCTL),
        ManagedFile(FIREWALL, content),
        ManagedFile(
            f"{_UNITS}/{_FIREWALL_UNIT}", _template("overlay-firewall.service.j2", firewall=FIREWALL, shared=False)
        ),
    ]


def _firewall(view: GatewayView) -> str:
    ports = [port for link in _links(view) for port in _backend(link.backend).ports(view, link)]
    prefixes = [prefix for site in view.sites for prefix in site.announced]
    return _template(
        "firewall.nft.j2",
        site=view.site,
        wan=view.site.wan,
        lan=view.site.lan,
        one_armed=view.site.lan == view.site.wan,
        controllers=_controllers(view),
        overlay=_networks([view.spec.network, *prefixes]),
        own=_networks(view.site.announced),
        prefixes=_networks(view.site.prefixes),
        shared=view.site.shared,
        others=OTHERS,
        transit=view.spec.transit_network,
        ports=ports,
    )


def _bird(view: GatewayView) -> str:
    network = view.spec.transit_network
    neighbours = [
        {
            "interface": link.interface,
            "name": (peer := view.peer(link)).name,
            "asn": peer.asn,
            "local": link.transit(view.site.name, network),
            "remote": link.transit(peer.name, network),
        }
        for link in _links(view)
    ]
    return _template(
        "bird.conf.j2",
        site=view.site,
        own=view.site.announced,
        sites=sorted(view.sites, key=lambda site: site.index),
        bfd=view.spec.bfd,
        neighbours=neighbours,
    )


def _controllers(view: GatewayView) -> list[IPv4Network]:
    return _networks([*view.spec.controllers, *view.controllers])


def _networks(prefixes: Iterable[IPv4Network | str]) -> list[IPv4Network]:
    """The fewest prefixes that cover the same addresses."""
    return list(collapse_addresses(IPv4Network(str(prefix)) for prefix in prefixes))


def _links(view: GatewayView) -> list[Link]:
    return sorted(view.links, key=lambda link: link.index)


def _backend(name: str) -> Backend:
    if name not in BACKENDS:
        raise InputError(f"VPN back end {name!r} is not known: use one of {', '.join(sorted(BACKENDS))}")
    return BACKENDS[name]


def _each(networks: list[IPv4Network], rule: str) -> str:
    """A rule of the firewall for each of some prefixes."""
    return "\n        ".join(rule.format(network) for network in networks)


def _unit(interface: str) -> str:
    """An interface's name within the name of a systemd unit (systemd-escape(1))."""
    return re.sub(r"[^A-Za-z0-9:_.]", lambda match: f"\\x{ord(match[0]):02x}", interface)


def _template(name: str, **values: Any) -> str:
    return _templates().get_template(name).render(each=_each, tunnels=f"{INTERFACE_PREFIX}*", **values)


@cache
def _templates() -> Environment:
    environment = Environment(  # noqa: S701 - configuration files, not HTML
        loader=PackageLoader("proactive_tasks.gateway"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["suffix"] = lambda text, suffix: text + suffix
    environment.filters["unit"] = _unit
    return environment
