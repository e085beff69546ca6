"""The lab as a provider: gateways are machines on this one, the Internet between them is emulated."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address

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
from proactive_tasks.lab.lab import Lab, SiteStatus, labs
from proactive_tasks.lab.namespaces import socket_in
from proactive_tasks.lab.network import CONTROLLER
from proactive_tasks.lab.requirements import require
from proactive_tasks.overlay.model import Site
from proactive_tasks.probes.echo import reach_from


class LabProvider:
    """Gateways in a lab. See `provider.Provider`."""

    name = "lab"
    calls = 0  # it has no API

    def check(self) -> None:
        """A lab needs root and programs of its own."""
        require()

    def facts(self, overlay: str, site: Site) -> SiteFacts:
        """What is there for this site."""
        status = Lab(overlay).status(site.name)
        return SiteFacts(_facts(overlay, status) if status else None)

    def difference(self, order: GatewayOrder, facts: SiteFacts) -> list[Change]:  # noqa: ARG002 - the lab looks itself
        """What `apply` would do."""
        return [Change(line) for line in Lab(order.overlay).difference(order.site)]

    def apply(
        self,
        order: GatewayOrder,
        facts: SiteFacts,  # noqa: ARG002
        journal: Journal,  # noqa: ARG002 - the lab keeps its own record
        progress: Progress,
    ) -> GatewayFacts:
        """Make what lacks, start what is stopped. The user-data of a machine that has its disk already is not used."""
        return _facts(order.overlay, Lab(order.overlay).provide(order.site, order.user_data, progress))

    def attach(self, order: GatewayOrder, journal: Journal, progress: Progress) -> list[str]:  # noqa: ARG002
        """Hosts are namespaces on the site's switch. They are made with it, so mostly nothing is left to do."""
        lab = Lab(order.overlay)
        lines = [line for line in lab.difference(order.site) if line.startswith("host ")]
        if lines:
            lab.provide(order.site, b"", progress)
        return lines

    def discard(self, overlay: str, site: Site, journal: Journal) -> list[str]:  # noqa: ARG002
        """Give up the machine and its disk; leg, addresses and hosts stay."""
        lab = Lab(overlay)
        if lab.status(site.name) is None:
            return []
        lab.kill(f"{site.name}/gateway", disk=True)
        return [f"machine {site.name}/gateway: removed with its disk"]

    def release(self, overlay: str, site: Site, journal: Journal, progress: Progress) -> list[str]:  # noqa: ARG002
        """Remove machine, disk, hosts and leg."""
        return Lab(overlay).release(site.name, progress)

    def leftovers(self, overlay: str, regions: Sequence[str]) -> list[Leftover]:  # noqa: ARG002 - there is one place
        """Processes, mounts, namespaces and state of the overlay's lab, or of all labs.

        Of a lab that holds emulated clouds, too, only the sites count: the clouds are their user's to stop.
        """
        return [
            Leftover(self.name, "this machine", name, "", *line.split(" ", 1))
            for name in ([overlay] if overlay else filter(_is_overlays, labs()))
            for lab in [Lab(name)]
            for line in ([f"site {site}" for site in lab.sites()] if lab.clouds() else lab.leftovers())
        ]

    def network(self, overlay: str, site: Site, made: Mapping[tuple[str, str], str]) -> NetworkFacts:  # noqa: ARG002
        """The site's subnet: a lab's switch has no identifier."""
        return NetworkFacts(str(site.subnet), str(site.subnet))

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> socket.socket:
        """Connect from the controller's place in the lab's Internet; an OSError is for the caller to retry."""
        connection = socket_in(Lab(overlay).namespace("controller"))
        try:
            connection.settimeout(timeout)
            connection.connect((str(address), port))
        except OSError:
            connection.close()
            raise
        return connection

    def hosts(self, overlay: str, site: Site) -> list[HostProbe]:
        """The site's hosts, which are namespaces of this machine; they are there without a gateway, too."""
        lab = Lab(overlay)
        return [HostProbe(name, address, partial(_reach, lab, name)) for name, address in lab.hosts(site.name).items()]

    def controllers(self, overlay: str) -> Sequence[str]:  # noqa: ARG002 - the same in every lab
        """The controller's place in the lab's Internet."""
        return [f"{CONTROLLER}/32"]


def _is_overlays(lab: str) -> bool:
    """A lab that holds emulated clouds is no overlay's: what is in it is theirs to tell of."""
    return not Lab(lab).clouds()


def _reach(lab: Lab, host: str, targets: Sequence[str], deadline_s: float) -> dict[str, float | None]:
    return reach_from(partial(socket_in, lab.namespace(host)), targets, deadline_s)


def _facts(overlay: str, status: SiteStatus) -> GatewayFacts:
    return GatewayFacts(
        machine=f"{overlay}.{status.site}",
        running=status.running,
        public_address=status.public_address,
        user_data_digest=status.user_data_digest,
    )
