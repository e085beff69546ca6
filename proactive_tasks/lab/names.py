"""What the parts of a lab are called and where they are kept.

Overlay and site names hold letters, digits and `-` only, so `.` and `_` keep the names made of them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proactive_tasks.overlay.checks import NAME
from proactive_tasks.overlay.errors import InputError

STATE = Path("/run/overlay-lab")
"""State of all labs, a folder each; it goes with a reboot, as their machines do."""

CACHE = Path("/var/cache/overlay-lab")
"""Images and the relay's program, built once."""

GATEWAY = "gateway"
"""The gateway's name within its site."""


@dataclass(frozen=True, slots=True)
class LabNames:
    """Names of what an overlay's sites share."""

    overlay: str

    def __post_init__(self) -> None:
        _check("overlay", self.overlay)

    @property
    def prefix(self) -> str:
        """What the names of all this lab's namespaces start with."""
        return f"ovl.{self.overlay}."

    @property
    def internet(self) -> str:
        """The namespace of the router between all legs."""
        return f"{self.prefix}_internet"

    @property
    def controller(self) -> str:
        """The namespace from which the controller reaches the gateways."""
        return f"{self.prefix}_controller"

    @property
    def folder(self) -> Path:
        """Where this lab's state and disks are."""
        return STATE / self.overlay

    @property
    def lock(self) -> Path:
        """Guards the router namespace and the lab's state; it outlives the lab's folder."""
        return STATE / f"{self.overlay}.lock"

    def site(self, site: str) -> SiteNames:
        """The names of one site's parts."""
        return SiteNames(self.overlay, site)


@dataclass(frozen=True, slots=True)
class SiteNames:
    """Names of a site's parts."""

    overlay: str
    site: str

    def __post_init__(self) -> None:
        _check("overlay", self.overlay)
        _check("site", self.site)

    @property
    def gateway(self) -> str:
        """The namespace of the gateway's machine."""
        return f"ovl.{self.overlay}.{self.site}"

    @property
    def lan(self) -> str:
        """The namespace of the site's switch."""
        return f"{self.gateway}.lan"

    @property
    def nat(self) -> str:
        """The namespace of the NAT in front of the site, where there is one."""
        return f"{self.gateway}.nat"

    @property
    def relay(self) -> str:
        """The namespace of the relay that delays the leg, where there is one."""
        return f"{self.gateway}.relay"

    def host(self, number: int) -> str:
        """The namespace of an application host, from 1."""
        return f"{self.gateway}.h{number}"

    @property
    def machine(self) -> str:
        """The gateway's machine: at most 63 characters, as a host name may have."""
        return f"{self.overlay}.{self.site}"

    @property
    def folder(self) -> Path:
        """Where the machine's disk and state are."""
        return STATE / self.overlay / self.site

    @property
    def lock(self) -> Path:
        """Guards the site; it outlives the site's folder."""
        return STATE / f"{self.overlay}.{self.site}.lock"


def _check(kind: str, name: str) -> None:
    if len(name) > 31 or not NAME.fullmatch(name):
        raise InputError(f"{kind} {ascii(name)[:60]}: not a name; use 1 to 31 of a-z, 0-9 and single '-'")
