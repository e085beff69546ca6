"""OpenStack, by openstacksdk: the gateway stands in a demilitarised zone, its second interface in the site's network.

The layout is that of the PrEstoCloud deliverable (3.2.3): an auxiliary network behind a router to the external network,
where the gateway boots and has its floating IP; a private network whose subnet is the site's, and whose default route
and routes to the overlay lead to the gateway's second port.

What DHCP would tell the gateway itself on that port, a default route by its own address, the kernel refuses and a
network manager may stumble over: the port's own DHCP options (`extra_dhcp_opts`) leave out both routes.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from proactive_tasks.clouds import dialing
from proactive_tasks.clouds.openstack.api import READ_S, Api
from proactive_tasks.clouds.openstack.facts import (
    Found,
    Names,
    address_of,
    gateway_facts,
    identifier_of,
    leftovers,
    look,
    ports_of,
    servers_of,
    wanted_of,
)
from proactive_tasks.clouds.openstack.release import Release
from proactive_tasks.clouds.openstack.servers import Provision, await_gone, delete_server
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
from proactive_tasks.clouds.steps import Noted, Taken, until
from proactive_tasks.overlay.errors import ProviderError
from proactive_tasks.overlay.model import Site


class OpenStackProvider:
    """Gateways in OpenStack. See `provider.Provider`."""

    name = "openstack"

    def __init__(self, *, settle_s: float = 15.0) -> None:
        self.settle_s = settle_s
        """How long after its call something may still appear whose maker was killed while it waited."""

        self._apis: dict[tuple[str, ...], Api] = {}

    @property
    def calls(self) -> int:
        """How many API calls it made so far."""
        return sum(api.calls for api in self._apis.values())

    def check(self) -> None:
        """Credentials are looked at when a site needs them: which ones is the site's option."""

    def facts(self, overlay: str, site: Site) -> SiteFacts:
        """What is there for this site."""
        names = Names(overlay, site.name)
        found = look(self._api(site), names, site, whole=True)
        return SiteFacts(gateway_facts(found, names), found)

    def difference(self, order: GatewayOrder, facts: SiteFacts) -> list[Change]:
        """What `apply` would do."""
        noted = Noted()
        Provision(self._api(order.site), order, facts.found, noted).gateway()
        return noted.changes

    def apply(self, order: GatewayOrder, facts: SiteFacts, journal: Journal, progress: Progress) -> GatewayFacts:
        """Make what lacks, repair what differs, start what is stopped."""
        api, names = self._api(order.site), Names(order.overlay, order.site.name)
        found = self._settled(api, names, order.site, facts.found, journal)
        made = Provision(api, order, found, Taken(journal, progress)).gateway()
        if made is None:
            raise ProviderError(f"server {names.gateway}: it is not there although it was made; run this again")
        return made

    def attach(self, order: GatewayOrder, journal: Journal, progress: Progress) -> list[str]:
        """Bring the site's application hosts to the number wanted."""
        api, names = self._api(order.site), Names(order.overlay, order.site.name)
        found = self._settled(api, names, order.site, look(api, names, order.site, whole=True), journal)
        return Provision(api, order, found, Taken(journal, progress)).hosts()

    def discard(self, overlay: str, site: Site, journal: Journal) -> list[str]:
        """Remove the gateway's server, and with it its disk; ports and addresses stay."""
        api, names = self._api(site), Names(overlay, site.name)
        servers = servers_of(api, names.gateway)
        for server in servers:
            delete_server(api, server)
        await_gone(api, servers)
        journal.gone("server", names.gateway)
        return [f"server {server.name}: removed with its disk" for server in servers]

    def release(self, overlay: str, site: Site, journal: Journal, progress: Progress) -> list[str]:
        """Remove everything of the site."""
        api, names = self._api(site), Names(overlay, site.name)
        found = self._settled(api, names, site, look(api, names, site, whole=False), journal, whole=False)
        return Release(api, names, found, site, journal, progress).all()

    def leftovers(self, overlay: str, regions: Sequence[str]) -> list[Leftover]:
        """What is tagged ours, or is called like ours, in these regions of the cloud of OS_CLOUD or OS_*."""
        return [
            leftover
            for region in dict.fromkeys(regions or [""])
            for leftover in leftovers(self._place("", region), overlay, region)
        ]

    def network(self, overlay: str, site: Site, made: Mapping[tuple[str, str], str]) -> NetworkFacts:
        """The inner network and its subnet; an adopted one as the site names it."""
        if network := str(site.options.get("network", "")):
            return NetworkFacts(network, str(site.options.get("subnet", "")))
        name = Names(overlay, site.name).network
        return NetworkFacts(made.get(("network", name), ""), made.get(("subnet", name), ""))

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> socket.socket:  # noqa: ARG002
        """A TCP connection from the controller."""
        return dialing.dial(address, port, timeout)

    def hosts(self, overlay: str, site: Site) -> list[HostProbe]:
        """The site's application hosts, by their ports."""
        if not site.hosts:
            return []
        api, names = self._api(site), Names(overlay, site.name)
        ports = {port.name: port for port in ports_of(api)}
        wanted = ((f"{site.name}/host{n}", ports.get(names.host(n))) for n in range(1, site.hosts + 1))
        return [
            HostProbe(name, IPv4Address(address_of(port)), None) for name, port in wanted if port and address_of(port)
        ]

    def controllers(self, overlay: str) -> Sequence[str]:  # noqa: ARG002
        """None beyond those of the specification."""
        return []

    # --- what a crash may have left in the air

    def _settled(
        self, api: Api, names: Names, site: Site, found: Found, journal: Journal, *, whole: bool = True
    ) -> Found:
        """Look again while something that a killed run asked for can still appear; record what it made."""
        wanted = wanted_of(names, site)
        intended = {each: since for each in wanted if (since := journal.pending(*each)) is not None}
        ends = {each: since + timedelta(seconds=self.settle_s) for each, since in intended.items()}
        seen = found

        def settled() -> Found | None:
            nonlocal seen
            now = datetime.now(UTC)
            if not any(end > now and identifier_of(seen, *each) is None for each, end in ends.items()):
                return seen
            seen = look(api, names, site, whole=whole)
            return None

        found = until(settled, self.settle_s + READ_S, f"site {site.name}: what an earlier run made shows up")
        for each in ends:
            if (identifier := identifier_of(found, *each)) is not None:
                journal.made(*each, identifier)
        return found

    def _api(self, site: Site) -> Api:
        return self._place(str(site.options.get("cloud", "")), site.region)

    def _place(self, *key: str) -> Api:
        if key not in self._apis:
            self._apis[key] = Api(*key)
        return self._apis[key]


# --- reading
