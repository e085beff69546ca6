"""Azure: a resource group per site, in it a virtual network with a subnet for hosts and one for the gateway.

Only the hosts' subnet has the route table, else the gateway's own tunnel packets would return to it. That table's
default route makes the tag `VirtualNetwork` mean the whole Internet, so each security group has explicit rules and a
refusal of everything below them. Both groups also let everything out by a rule of their own: Azure's default rules
judge the source of a forwarded packet, which is no address of the network.

All creating calls are PUTs by deterministic names: made twice they make one thing, so a call whose answer was lost is
simply made again. A group made for a site is deleted whole, by one call that goes on at Azure whatever becomes of us,
in the right order and with whatever a crash left in it; in a group that was there before, only what is ours.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from ipaddress import IPv4Address
from typing import Any

from proactive_tasks.clouds import dialing, naming
from proactive_tasks.clouds.azure.calls import Arm, Patience, credential, endpoint, subscription
from proactive_tasks.clouds.azure.looking import (
    Found,
    configuration,
    gateway_of,
    group_of,
    hosts_of,
    listed,
    look,
    machines_of,
)
from proactive_tasks.clouds.azure.making import make, make_host
from proactive_tasks.clouds.azure.place import (
    GROUP,
    KINDS,
    NETWORK,
    NIC,
    ROUTE,
    Place,
)
from proactive_tasks.clouds.azure.removing import (
    drop_group,
    drop_host,
    drop_machine,
    drop_routes,
    drop_things,
    leftover,
    tagged,
)
from proactive_tasks.clouds.azure.writing import together
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
from proactive_tasks.clouds.steps import Noted, Taken
from proactive_tasks.overlay.errors import ProviderError
from proactive_tasks.overlay.model import Site


class AzureProvider:
    """Gateways in Azure. See `provider.Provider`."""

    name = "azure"

    def __init__(self, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.calls = 0

    def _count(self, _request: Any) -> None:
        self.calls += 1

    @cached_property
    def _credential(self) -> Any:
        return credential()

    def _arm(self, subscription_id: str) -> Arm:
        return Arm(subscription_id, self._credential, self.patience, self._count)

    def _taken(self, journal: Journal, progress: Progress) -> Taken:
        return Taken(journal, progress, lambda made: str((made or {}).get("id", "")), self.patience.step_s)

    def check(self) -> None:
        """The SDK is there, since this module could be imported; the endpoint must be one."""
        endpoint()

    def facts(self, overlay: str, site: Site) -> SiteFacts:
        """What is there for this site: the group, then its resources by type, and what is adopted."""
        place = _place(overlay, site)
        with self._arm(place.subscription) as arm:
            found = look(arm, place)
        return SiteFacts(gateway_of(place, found), found)

    def difference(self, order: GatewayOrder, facts: SiteFacts) -> list[Change]:
        """What `apply` would do."""
        place = _place(order.overlay, order.site)
        noted = Noted()
        with self._arm(place.subscription) as arm:
            make(arm, place, order, facts.found, noted)
        return noted.changes

    def apply(self, order: GatewayOrder, facts: SiteFacts, journal: Journal, progress: Progress) -> GatewayFacts:
        """Make what lacks, repair what differs, start what is stopped."""
        place = _place(order.overlay, order.site)
        _record(journal, place, facts.found)
        with self._arm(place.subscription) as arm:
            address = make(arm, place, order, facts.found, self._taken(journal, progress))
        public = address.get("properties", {}).get("ipAddress")
        return GatewayFacts(place.machine(), running=True, public_address=IPv4Address(public) if public else None)

    def attach(self, order: GatewayOrder, journal: Journal, progress: Progress) -> list[str]:
        """Bring the application hosts to the number wanted."""
        place = _place(order.overlay, order.site)
        taken = self._taken(journal, progress)
        with self._arm(place.subscription) as arm:
            found = look(arm, place)
            _record(journal, place, found)
            if not (found.group and found.network) and order.site.hosts:
                raise ProviderError(f"site {order.site.name}: it has no network yet; provision its gateway first")
            numbers = hosts_of(place, found)
            there = machines_of(arm, place) if numbers or order.site.hosts else []
            machines = {str(body["name"]).lower(): body for body in there}
            surplus = [partial(drop_host, arm, place, n, taken) for n in numbers if n > order.site.hosts]
            wanted = range(1, order.site.hosts + 1)
            together(taken, surplus)
            together(taken, [partial(make_host, arm, place, order, n, found, machines, taken) for n in wanted])
        return [change.line for change in taken.changes]

    def discard(self, overlay: str, site: Site, journal: Journal) -> list[str]:
        """Remove the gateway's machine and disk."""
        place = _place(overlay, site)
        taken = self._taken(journal, lambda _line: None)
        with self._arm(place.subscription) as arm:
            drop_machine(arm, place, "gateway", taken)
        return [change.line for change in taken.changes]

    def release(self, overlay: str, site: Site, journal: Journal, progress: Progress) -> list[str]:
        """Remove everything of the site: our routes in tables of others, then the group, or what in it is ours."""
        place = _place(overlay, site)
        taken = self._taken(journal, progress)
        with self._arm(place.subscription) as arm:
            for group, table in place.tables:
                drop_routes(arm, place, group, table, taken)
            if place.own_group:
                drop_group(arm, place, taken)
            else:
                drop_things(arm, place, taken)
        journal.gone(GROUP, place.group)
        return [change.line for change in taken.changes]

    def leftovers(self, overlay: str, regions: Sequence[str]) -> list[Leftover]:
        """What has our tags, disks of our names (a crash can leave one that has none), our routes in others' tables.

        Of the subscription that the environment names: sites with one of their own are to be looked for there.
        """
        with self._arm(subscription("", "leftovers")) as arm:
            found = [entry for body in tagged(arm) if (entry := leftover(body))]
        places = {region.lower() for region in regions if region}
        return [
            entry
            for entry in found
            if overlay in {"", entry.overlay} and (not places or entry.region.lower() in places)
        ]

    def network(self, overlay: str, site: Site, made: Mapping[tuple[str, str], str]) -> NetworkFacts:
        """The virtual network and the applications' subnet, by their ids; of an adopted one the subnet it names."""
        if site.options.get("vnet"):
            subnet = str(_place(overlay, site).subnet("applications")["id"])
            return NetworkFacts(subnet.rpartition("/subnets/")[0], subnet)
        network = made.get((NETWORK.label, naming.resource(overlay, site.name)), "")
        return NetworkFacts(network, f"{network}/subnets/applications" if network else "")

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> socket.socket:  # noqa: ARG002
        """Connect over the Internet."""
        return dialing.dial(address, port, timeout)

    def hosts(self, overlay: str, site: Site) -> list[HostProbe]:
        """The application hosts: targets only, as the controller has no way into them."""
        place = _place(overlay, site)
        with self._arm(place.subscription) as arm:
            nics = listed(arm, place, NIC) if group_of(arm, place) else []
        found = Found(things={(NIC.type, str(body["name"]).lower()): body for body in nics})
        return [
            HostProbe(f"{site.name}/host{number}", IPv4Address(inner["privateIPAddress"]), None)
            for number in hosts_of(place, found)
            if (inner := configuration(found.get(NIC, place.name(f"host{number}")))).get("privateIPAddress")
        ]

    def controllers(self, overlay: str) -> Sequence[str]:  # noqa: ARG002 - those of the specification are all
        """None beyond the specification's."""
        return []


def _place(overlay: str, site: Site) -> Place:
    place = Place(overlay, site, subscription(str(site.options.get("subscription", "")), f"site {site.name}"))
    place.check()
    return place


def _record(journal: Journal, place: Place, found: Found) -> None:
    """What is there, though a crash kept it from being written down."""
    there = [(kind.label, str(body["name"]), str(body["id"])) for kind in KINDS for body in found.of(kind)]
    if found.group:
        there.append((GROUP, place.group, place.group_id))
    there += [
        (ROUTE.label, "/".join((*parent, route["name"])), str(route["id"]))
        for parent, table in zip(place.tables, found.tables, strict=True)
        for route in table["properties"].get("routes") or []
        if route["name"].startswith(place.route)
    ]
    for kind, name, identifier in there:
        if journal.pending(kind, name) is not None:
            journal.made(kind, name, identifier)
