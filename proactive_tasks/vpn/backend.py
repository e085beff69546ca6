"""What every VPN back end does, and the words in which it says so. A back end is one file, and imports no sibling."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from ipaddress import IPv4Address

    from proactive_tasks.overlay.model import Link, Site
    from proactive_tasks.overlay.spec import OverlaySpec

PKI_FOLDER = "/etc/overlay/pki"
KEY = f"{PKI_FOLDER}/key.pem"
CERTIFICATE = f"{PKI_FOLDER}/certificate.pem"
AUTHORITY = f"{PKI_FOLDER}/authority.pem"
REVOCATIONS = f"{PKI_FOLDER}/revoked.pem"


class Act(StrEnum):
    """What a unit needs when one of its files has changed."""

    RESTART = "restart"
    RELOAD = "reload"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ManagedFile:
    """A file on a gateway, written whole, owned by root. `units` are those that `act` befalls when it changes."""

    path: str
    content: str
    mode: int = 0o644
    units: tuple[str, ...] = ()
    act: Act = Act.NONE


@dataclass(frozen=True, slots=True)
class ManagedUnit:
    """A systemd unit that is to run. Units of phase 2 are dialers: they start when their listeners wait."""

    name: str
    phase: int = 1
    interface: str = ""  # the link's interface, for a tunnel
    returns: bool = True  # a restarted tunnel must come back; not so when its peer was locked out


@dataclass(frozen=True, slots=True)
class GatewayView:
    """All that a gateway's configuration depends on."""

    spec: OverlaySpec
    site: Site
    sites: Sequence[Site]  # every site whose prefixes are believed, this one included
    links: Sequence[Link]  # this site's
    certificate: str
    authority: str
    revocations: str
    controllers: Sequence[str] = ()  # prefixes, beyond those of the specification
    revoked: Mapping[str, Sequence[int]] = field(default_factory=dict)  # serials by site
    proven: Collection[str] = ()  # links that stood since a certificate of their peer was revoked: it has another one

    def peer(self, link: Link) -> Site:
        """The site at the other end of one of this gateway's links."""
        name = link.peer(self.site.name)
        return next(site for site in self.sites if site.name == name)


class Backend(Protocol):
    """One kind of tunnel."""

    name: str

    def shared_files(self, view: GatewayView) -> list[ManagedFile]:
        """Files that all links of this back end share: unit templates and the like."""

    def files(self, view: GatewayView, link: Link) -> list[ManagedFile]:
        """This gateway's files of one link."""

    def unit(self, view: GatewayView, link: Link) -> ManagedUnit:
        """The unit that carries this gateway's end of the link."""

    def mtu(self, wan_mtu: int) -> int:
        """The tunnel's MTU in bytes over an underlay of `wan_mtu`, from the back end's overhead."""

    def ports(self, view: GatewayView, link: Link) -> list[tuple[str, int, IPv4Address | None]]:
        """What the firewall must admit at this end: protocol, port, source address (None: any)."""
