"""OpenVPN 2.6: one point-to-point TLS process per link, over UDP."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from proactive_tasks.vpn.backend import (
    AUTHORITY,
    CERTIFICATE,
    KEY,
    REVOCATIONS,
    Act,
    GatewayView,
    ManagedFile,
    ManagedUnit,
)

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from proactive_tasks.overlay.model import Link

FOLDER = "/etc/overlay/openvpn"
OVERHEAD: Final = 20 + 8 + 4 + 4 + 16
"""Bytes around each packet: IPv4, UDP, opcode with peer identifier, packet identifier, tag of the AEAD cipher."""

QUEUE = 500
"""Packets that wait in the tunnel device, whatever the qdisc before it says: one that finds it full is dropped, one
that gets in waits behind the others, link detection's among them. Tried with every tunnel of three gateways saturated
on two cores, link detection at 10 x 18 ms, 45 s each: 2000 lost 1 packet in 400, delayed by up to 0.3 s and raised 18
false alarms; 1000: 1 in 30, 19 alarms; 500: 1 in 17, 2 alarms; 250: 1 in 4, 2 alarms; 100: 1 in 3, none."""

BUFFER = 256 << 10
"""Bytes of the UDP receive buffer, the other place where packets wait: with 2 MB in the same trial, 1 round trip in 100
through 500 packets of queue took more than 0.27 s, with 256 KB 0.21 s, at the same throughput and less loss."""


class OpenVpn:
    """The back end `openvpn`."""

    name = "openvpn"

    def shared_files(self, view: GatewayView) -> list[ManagedFile]:  # noqa: ARG002 - Protocol
        """The unit template."""
        unit = _templates().get_template("overlay-openvpn@.service.j2").render(folder=FOLDER)
        return [ManagedFile("/etc/systemd/system/overlay-openvpn@.service", unit)]

    def files(self, view: GatewayView, link: Link) -> list[ManagedFile]:
        """The configuration of this end."""
        site, peer, network = view.site.name, view.peer(link), view.spec.transit_network
        content = (
            _templates()
            .get_template("openvpn.conf.j2")
            .render(
                link=link,
                peer=peer,
                listens=link.listener == site,
                local=link.transit(site, network),
                remote=link.transit(peer.name, network),
                mtu=self.mtu(int(view.site.options.get("wan_mtu", 1500))),
                queue=QUEUE,
                buffer=BUFFER,
                cipher=view.spec.cipher,
                revoked=sorted(view.revoked.get(peer.name, ())),
                key=KEY,
                certificate=CERTIFICATE,
                authority=AUTHORITY,
                revocations=REVOCATIONS,
            )
        )
        unit = self.unit(view, link).name
        return [ManagedFile(f"{FOLDER}/{link.interface}.conf", content, 0o600, (unit,), Act.RESTART)]

    def unit(self, view: GatewayView, link: Link) -> ManagedUnit:
        """One instance of the unit template per link."""
        phase = 1 if link.listener == view.site.name else 2
        returns = not view.revoked.get(link.peer(view.site.name)) or link.name in view.proven
        return ManagedUnit(f"overlay-openvpn@{link.interface}.service", phase, link.interface, returns)

    def mtu(self, wan_mtu: int) -> int:
        """1448 bytes over 1500."""
        return wan_mtu - OVERHEAD

    def ports(self, view: GatewayView, link: Link) -> list[tuple[str, int, IPv4Address | None]]:
        """The listener's port, from the dialer alone; from anywhere when the dialer sits behind NAT."""
        if link.listener != view.site.name:
            return []
        peer = view.peer(link)
        return [("udp", link.port, None if peer.options.get("nat") else peer.public_address)]


@cache
def _templates() -> Environment:
    return Environment(  # noqa: S701 - configuration files, not HTML
        loader=PackageLoader("proactive_tasks.vpn"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
