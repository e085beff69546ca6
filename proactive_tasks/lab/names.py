"""What the parts of a lab are called and where they are kept.

Overlay and site names hold letters, digits and `-` only, so `.` and `_` keep the names made of them apart.
"""

from __future__ import annotations

import hashlib
import re
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

CLOUD = "cloud-"
"""What the folders of emulated clouds start with, in a lab's; those of their own processes may start with `_`."""


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

    @property
    def daemons(self) -> Path:
        """Guards what serves in the background for the lab's emulated clouds."""
        return STATE / f"{self.overlay}.clouds.lock"

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

    @property
    def namespace(self) -> str:
        """The namespace in which the site's machine runs."""
        return self.gateway

    @property
    def hostname(self) -> str:
        """What the site's machine calls itself."""
        return self.site

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


@dataclass(frozen=True, slots=True)
class ServerNames(SiteNames):
    """Names of an emulated cloud's server, which has a machine where a site has its gateway."""

    label: str = ""

    @property
    def hostname(self) -> str:
        """The name that its maker gave, as far as a host name can hold it."""
        return re.sub(r"[^a-z0-9]+", "-", self.label.lower())[:63].strip("-") or self.site


@dataclass(frozen=True, slots=True)
class CloudNames:
    """Names of an emulated cloud's parts. Each part stands where a site's would: what removes a lab finds it there."""

    lab: str
    cloud: str

    def __post_init__(self) -> None:
        _check("lab", self.lab)
        _check("cloud", self.own.site)

    @property
    def own(self) -> SiteNames:
        """Where the cloud keeps its record, and what its processes write."""
        return SiteNames(self.lab, f"{CLOUD}{self.cloud}")

    @property
    def internet(self) -> str:
        """The namespace of the lab's router, to which every domain has an uplink."""
        return LabNames(self.lab).internet

    @property
    def prefixes(self) -> tuple[str, str]:
        """What the names of all its domains and of all its servers start with."""
        return f"{self.cloud}-net-", f"{self.cloud}-vm-"

    def domain(self, name: str) -> str:
        """The namespace of a domain's router."""
        return SiteNames(self.lab, f"{self.prefixes[0]}{short(name)}").gateway

    def server(self, name: str, label: str = "") -> ServerNames:
        """The names of a server, by the identifier that it has in the API."""
        return ServerNames(self.lab, f"{self.prefixes[1]}{short(name)}", label)


def short(name: str) -> str:
    """Stands for any identifier where only a few letters fit."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _check(kind: str, name: str) -> None:
    if len(name) > 31 or not NAME.fullmatch(name):
        raise InputError(f"{kind} {ascii(name)[:60]}: not a name; use 1 to 31 of a-z, 0-9 and single '-'")
