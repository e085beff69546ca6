"""An edge host as a provider: a machine that exists already and is reached by SSH becomes a site's gateway.

A campus server, an IoT gateway, a small data centre's router. Nothing is made but what the overlay needs on it, nothing
of what else it does is touched, it is not rebooted, and on release it is left as it was. The driver's own way in is the
user's key; the overlay's key is let in by it, and all other work goes by that.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from proactive_tasks.clouds import dialing
from proactive_tasks.clouds.edge.rules import LISTENING, conflicts, lacking, shadowed
from proactive_tasks.clouds.edge.ssh import ABANDON, ASK_S, Host, Place, connected, keys
from proactive_tasks.clouds.naming import resource
from proactive_tasks.clouds.provider import (
    Change,
    GatewayFacts,
    GatewayOrder,
    HostProbe,
    Journal,
    Leftover,
    NetworkFacts,
    Progress,
    SiteFacts,
)
from proactive_tasks.clouds.steps import Noted, Steps, Taken, insist
from proactive_tasks.gateway.userdata import PACKAGES
from proactive_tasks.overlay.errors import InputError, ProviderError
from proactive_tasks.overlay.model import FIRST_PORT, Site

INSTALL_S = 600.0


class EdgeProvider:
    """Hosts that are there already. See `provider.Provider`."""

    name = "edge"
    calls = 0  # it has no API

    def check(self) -> None:
        """A key that is named must be one; whether any is needed shows when a host is to be changed."""
        keys(needed=False)

    def facts(self, overlay: str, site: Site) -> SiteFacts:
        """What the host says; its gateway is there as soon as anything of an overlay is on it."""
        place = Place.of(site)
        if site.machine and site.machine != str(place.address):
            raise InputError(
                f"site {site.name}: its gateway is the host {site.machine}, but its option address is {place.address}; "
                "scale the site in first, or put the option back"
            )
        if site.name in _abandoned():
            return SiteFacts(None)

        def look() -> Any:
            with connected(place) as host:
                return host.ask("facts", programs=list(PACKAGES.values()), ports=_ports(place))

        found = insist(look)
        before = found["before"]
        if before and (before["overlay"], before["site"]) != (overlay, site.name):
            raise ProviderError(
                f"{place}: it is the gateway of site {before['site']} of overlay {before['overlay']} already; "
                "release it there first, or name another host"
            )
        there = GatewayFacts(str(place.address), running=True, public_address=place.address)
        return SiteFacts(there if found["traces"] else None, found)

    def difference(self, order: GatewayOrder, facts: SiteFacts) -> list[Change]:
        """What `apply` would do."""
        noted = Noted()
        self._steps(order, facts, noted, None)
        return noted.changes

    def apply(self, order: GatewayOrder, facts: SiteFacts, journal: Journal, progress: Progress) -> GatewayFacts:
        """Let the overlay's key in, install what lacks. The rest comes by the overlay's own session."""
        place = Place.of(order.site)
        taken = Taken(journal, progress)
        with connected(place, progress) as host:
            self._steps(order, facts, taken, host)
        return GatewayFacts(str(place.address), running=True, public_address=place.address)

    def attach(self, order: GatewayOrder, journal: Journal, progress: Progress) -> list[str]:  # noqa: ARG002
        """Nothing: a LAN's hosts are there already."""
        return []

    def discard(self, overlay: str, site: Site, journal: Journal) -> list[str]:
        """The host stays: it is cleaned, as on release, so that the next provisioning starts anew."""
        return self.release(overlay, site, journal, lambda _line: None)

    def release(self, overlay: str, site: Site, journal: Journal, progress: Progress) -> list[str]:
        """Remove everything of the overlay from the host, and put its settings back; the overlay's key goes last."""
        place = Place.of(site)
        name = resource(overlay, site.name)
        if site.name in _abandoned():
            journal.gone("host", name)
            return [f"{place}: not asked, since {ABANDON} names its site; what is on it stays"]
        if site.machine and site.machine != str(place.address):
            raise InputError(
                f"site {site.name}: its gateway is the host {site.machine}, but its option address is {place.address}; "
                f"put the option back, or, if that host is gone for good, set {ABANDON}={site.name}"
            )
        progress(f"{place}: removing what is the overlay's")

        def leave() -> list[str]:
            with connected(place) as host:
                found = host.ask("facts", programs=[], ports=[])
                before = found["before"]
                if not found["traces"] or (before and (before["overlay"], before["site"]) != (overlay, site.name)):
                    return []
                done = host.ask("leave", within_s=120)
                if left := host.ask("facts", programs=[], ports=[])["traces"]:
                    raise ProviderError(f"{place}: still there after its release: {', '.join(left)}; run this again")
                return [f"{place.address}: {line}" for line in done]

        done = insist(leave)
        journal.gone("host", name)
        return done

    def leftovers(self, overlay: str, regions: Sequence[str]) -> list[Leftover]:  # noqa: ARG002
        """None known: once a site is dropped, nobody knows its host's address. `release` itself proves it clean."""
        return []

    def network(self, overlay: str, site: Site, made: Mapping[tuple[str, str], str]) -> NetworkFacts:  # noqa: ARG002
        """The LAN that the site brings, or its subnet: it is nobody's to number."""
        lan = str(next(iter(site.prefixes), site.subnet))
        return NetworkFacts(lan, lan)

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> socket.socket:  # noqa: ARG002
        """A TCP connection from the controller; an OSError is for the caller to retry."""
        return dialing.dial(address, port, timeout)

    def hosts(self, overlay: str, site: Site) -> list[HostProbe]:  # noqa: ARG002
        """Nobody told of them."""
        return []

    def controllers(self, overlay: str) -> Sequence[str]:  # noqa: ARG002
        """None: who may reach the host's SSH is the host's to say."""
        return []

    def _steps(self, order: GatewayOrder, facts: SiteFacts, steps: Steps, host: Host | None) -> None:
        """Every step, in order, of those that are needed."""
        place, found = Place.of(order.site), facts.found
        if found is None:
            raise InputError(f"{place}: {ABANDON} names its site; take it out, then run this again")
        lacks = [*lacking(place, found), *conflicts(order, place, found)]
        if lacks:
            raise InputError(f"{place}: it cannot be a gateway: {'; '.join(lacks)}")

        def do(op: str, within_s: float = ASK_S, **arguments: Any) -> Any:
            if host is None:
                raise ProviderError(f"{place}: no connection")
            return host.ask(op, within_s=within_s, **arguments)

        asked = f"ssh {place.user}@{place.address} -p {place.port}:"
        keys_file = found["ssh"].get("authorizedkeysfile", ".ssh/authorized_keys")
        if not found["before"] or not found["key"] or order.ssh_key not in found["before"].get("key", ""):
            forwards = found["settings"].get("ipv4/ip_forward") == "1"
            steps.take(
                f"{place.address}: keep its settings (it forwards {'already' if forwards else 'nothing'}), let the "
                "overlay's key in as root" + "".join(f"; {line}" for line in shadowed(order, found)),
                f"{asked} write /etc/overlay/before.json, {keys_file.split(maxsplit=1)[0]}",
                lambda: do(
                    "adopt", overlay=order.overlay, site=order.site.name, key=order.ssh_key, keys_file=keys_file
                ),
                instead="",
                makes=("host", resource(order.overlay, order.site.name)),
            )
        if found["missing"]:
            packages = [name for name, program in PACKAGES.items() if program in found["missing"]]
            steps.take(
                f"{place.address}: install {', '.join(packages)}",
                f"{asked} apt-get install {' '.join(packages)}",
                lambda: do("install", INSTALL_S + 10, packages=packages, limit_s=INSTALL_S),
                instead="",
            )
        if found["flushed"]:
            steps.take(
                f"{place.address}: its firewall was flushed by somebody: load the overlay's table anew",
                f"{asked} systemctl reload overlay-firewall.service",
                lambda: do("reload"),
                instead="",
            )


def _ports(place: Place) -> list[int]:
    return [] if place.nat else list(range(FIRST_PORT, FIRST_PORT + LISTENING))


def _abandoned() -> set[str]:
    return {name.strip() for name in os.environ.get(ABANDON, "").split(",") if name.strip()}
