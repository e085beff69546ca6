# ruff: noqa: ARG002 - methods of an interface, few of which look at all they are given
"""A provider without machines, and gateways that are files: what tasks meet where only their scripts are on trial.

Whoever imports this module has the provider `lab` answered by it, in that process alone. FIELD names the folder where
gateways are files; a site whose name begins with `broken` is refused by its provider, and a gateway whose site's name
begins with `silent` does not answer.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proactive_tasks import clouds
from proactive_tasks.clouds.provider import (
    Change,
    GatewayFacts,
    GatewayOrder,
    Journal,
    Leftover,
    NetworkFacts,
    Progress,
    SiteFacts,
)
from proactive_tasks.gateway import access, session
from proactive_tasks.overlay.errors import GatewayUnreachableError, ProviderError
from proactive_tasks.overlay.model import Site
from proactive_tasks.store import vault

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFieldFieldFieldFieldFieldFieldFieldFieldFiel"


def _folder(overlay: str) -> Path:
    folder = Path(os.environ["FIELD"]) / overlay
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class FieldProvider:
    """A cloud in a folder."""

    name = "lab"

    def __init__(self) -> None:
        self.calls = 0

    def check(self) -> None:
        pass

    def facts(self, overlay: str, site: Site) -> SiteFacts:
        self.calls += 1
        known = (_folder(overlay) / f"{site.name}.machine").exists()
        return SiteFacts(GatewayFacts(site.name, True, self._address(site)) if known else None)

    def _address(self, site: Site) -> IPv4Address:
        return IPv4Address("198.18.0.1") + sum(site.name.encode()) % 250

    def difference(self, order: GatewayOrder, facts: SiteFacts) -> list[Change]:
        return [] if facts.gateway else [Change(f"gateway {order.site.name}: make it", "make")]

    def apply(self, order: GatewayOrder, facts: SiteFacts, journal: Journal, progress: Progress) -> GatewayFacts:
        if order.site.name.startswith("broken"):
            raise ProviderError(f"site {order.site.name}: the field has no room left; ask for some")
        self.calls += 1
        progress("making a machine")
        journal.intend("machine", order.site.name)
        (_folder(order.overlay) / f"{order.site.name}.machine").write_text("")
        journal.made("machine", order.site.name, order.site.name)
        return GatewayFacts(order.site.name, True, self._address(order.site))

    def attach(self, order: GatewayOrder, journal: Journal, progress: Progress) -> list[str]:
        there = _folder(order.overlay) / f"{order.site.name}.hosts"
        before = int(there.read_text()) if there.exists() else 0
        there.write_text(str(order.site.hosts))
        return [f"host {order.site.name}/host{n}: made" for n in range(before + 1, order.site.hosts + 1)]

    def discard(self, overlay: str, site: Site, journal: Journal) -> list[str]:
        found = sorted(_folder(overlay).glob(f"{site.name}.machine"))
        for path in found:
            path.unlink()
        journal.gone("machine", site.name)
        return [f"machine {path.stem}: removed" for path in found]

    def release(self, overlay: str, site: Site, journal: Journal, progress: Progress) -> list[str]:
        removed = self.discard(overlay, site, journal)
        for path in _folder(overlay).glob(f"{site.name}.*"):
            path.unlink()
        return removed

    def leftovers(self, overlay: str, regions: Sequence[str]) -> list[Leftover]:
        names = sorted(path.stem for path in _folder(overlay).glob("*.machine"))
        return [Leftover("lab", "", overlay, name, "machine", name) for name in names]

    def network(self, overlay: str, site: Site, made: Any) -> NetworkFacts:
        return NetworkFacts(str(site.subnet), str(site.subnet))

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> Any:
        raise OSError("nothing listens in the field")

    def hosts(self, overlay: str, site: Site) -> list[Any]:
        return []

    def controllers(self, overlay: str) -> Sequence[str]:
        return ["198.18.1.1/32"]


class FieldSession(session.GatewaySession):
    """A gateway that takes what it is given, and reaches everyone."""

    def __init__(self, overlay: str, site: Site) -> None:
        self.folder, self.site = _folder(overlay), site

    def close(self) -> None:
        pass

    def ready(self, deadline_s: float) -> None:
        pass

    def make_key(self, site: str, algorithm: str = "ecdsa") -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
        signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def prepare_host_key(self) -> str:
        return HOST_KEY

    def switch_host_key(self) -> str:
        return HOST_KEY

    def interfaces(self, address: str, networks: Sequence[str], *, lan: str = "", router: str = "") -> Any:
        return session.Interfaces(wan="ens3", lan="ens4", router="", bears_address=False)

    def _digest(self, config: Any) -> str:
        return hashlib.sha256(repr(config).encode()).hexdigest()

    def difference(self, config: Any) -> list[str]:
        there = self.folder / f"{self.site.name}.config"
        return [] if there.exists() and there.read_text() == self._digest(config) else ["configuration: written"]

    def apply(self, config: Any, phase: int = 2, deadline_s: float = 90) -> Any:
        if phase == 2:
            (self.folder / f"{self.site.name}.config").write_text(self._digest(config))
            (self.folder / f"{self.site.name}.links").write_text(json.dumps(True))
        return session.Applied(["configuration: written"], {}, 0.1)

    def reach(self, targets: Sequence[str], *, source: str = "", deadline_s: float) -> dict[str, float | None]:
        return dict.fromkeys(targets, 1.5)

    def probe(self, target: str, *, source: str = "", count: int = 20, interval_s: float = 0.02) -> list[float | None]:
        return [2.5] * (count - 1) + [None]

    def path_mtu(self, target: str, *, source: str = "", high: int = 1500) -> int | None:
        return 1420 if source else 1500

    def established(self) -> set[str]:
        return _Everything()


class _Everything(set[str]):
    def __contains__(self, _: object) -> bool:
        return True


def _open_session(
    store: Any, overlay: str, site: Site, driver: Any, vault: Any, deadline_s: float = 30.0
) -> FieldSession:
    if site.name.startswith("silent"):
        raise GatewayUnreachableError(f"site {site.name}: its gateway does not answer within {deadline_s:.0f} s")
    return FieldSession(overlay, site)


vault.COST = 1 << 8  # nobody guesses the passphrase here
clouds.DRIVERS["lab"] = (__name__, "FieldProvider")
access.open_session = _open_session  # type: ignore[assignment]  # before any task imports it

from proactive_tasks import configure_tunnel  # noqa: E402

configure_tunnel.LISTENERS_WAIT_S = 0.0  # one task after the other: no listener comes while a dialer waits
