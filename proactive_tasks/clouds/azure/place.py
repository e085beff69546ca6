"""Where a site's resources are in Azure, what they are called, and by which calls of the SDK they are handled."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from proactive_tasks.clouds import naming
from proactive_tasks.clouds.azure.calls import Arm, Body
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import Site

LONGEST_MACHINE = 64
LONGEST_ROUTE = 60


def shortened(name: str, limit: int) -> str:
    """A name that is not too long: else it ends in a digest."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 11]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


class Kind(NamedTuple):
    """A type of resource: its name for people, for ARM, and the SDK's group of calls for it."""

    label: str
    type: str
    api: str
    client: str
    calls: str

    def on(self, arm: Arm) -> Any:
        """The SDK's calls."""
        return getattr(getattr(arm, self.client), self.calls)


GROUP = "resource group"
NETWORK = Kind("virtual network", "Microsoft.Network/virtualNetworks", "VirtualNetworks", "network", "virtual_networks")
TABLE = Kind("route table", "Microsoft.Network/routeTables", "RouteTables", "network", "route_tables")
FILTER = Kind(
    "security group",
    "Microsoft.Network/networkSecurityGroups",
    "NetworkSecurityGroups",
    "network",
    "network_security_groups",
)
ADDRESS = Kind(
    "public address", "Microsoft.Network/publicIPAddresses", "PublicIPAddresses", "network", "public_ip_addresses"
)
NIC = Kind("interface", "Microsoft.Network/networkInterfaces", "NetworkInterfaces", "network", "network_interfaces")
MACHINE = Kind("machine", "Microsoft.Compute/virtualMachines", "VirtualMachines", "compute", "virtual_machines")
DISK = Kind("disk", "Microsoft.Compute/disks", "Disks", "compute", "disks")
KINDS = (NETWORK, TABLE, FILTER, ADDRESS, NIC, MACHINE, DISK)


class Child(NamedTuple):
    """A type of what lives in another resource."""

    label: str
    api: str
    calls: str

    def on(self, arm: Arm) -> Any:
        """The SDK's calls."""
        return getattr(arm.network, self.calls)


SUBNET = Child("subnet", "Subnets", "subnets")
ROUTE = Child("route", "Routes", "routes")
RULE = Child("rule", "SecurityRules", "security_rules")


@dataclass(frozen=True)
class Place:
    """Where a site's resources are, and what they are called."""

    overlay: str
    site: Site
    subscription: str

    def option(self, key: str, default: str = "") -> str:
        """An option of the site."""
        return str(self.site.options.get(key, default))

    def name(self, part: str = "") -> str:
        """The name of a resource."""
        return naming.resource(self.overlay, self.site.name, part)

    def machine(self, part: str = "gateway") -> str:
        """The name of a machine and its disk: Azure allows 64 characters."""
        return shortened(self.name(part), LONGEST_MACHINE)

    @property
    def route(self) -> str:
        """How the names of our routes in others' tables begin: with a prefix they have 80 characters at most."""
        return shortened(self.name(), LONGEST_ROUTE) + "--"

    @cached_property
    def tags(self) -> dict[str, str]:
        """What all resources of the site are found by."""
        return naming.tags(self.overlay, self.site.name)

    @cached_property
    def group(self) -> str:
        """The resource group."""
        return self.option("resource_group") or self.name()

    @property
    def own_group(self) -> bool:
        """Whether the group is made for the site, and goes with it."""
        return not self.option("resource_group")

    @property
    def adopted(self) -> bool:
        """Whether the network was there before."""
        return bool(self.option("vnet"))

    @cached_property
    def network(self) -> tuple[str, str]:
        """Group and name of the virtual network."""
        return self._within(self.option("vnet"), "vnet") if self.adopted else (self.group, self.name())

    @cached_property
    def tables(self) -> list[tuple[str, str]]:
        """Groups and names of the route tables that were there before, and get our routes."""
        named = (name.strip() for name in self.option("route_tables").split(","))
        return [self._within(name, "route_tables", self.network[0]) for name in named if name]

    def _within(self, named: str, option: str, default: str = "") -> tuple[str, str]:
        group, _, name = named.rpartition("/")
        group = group or default or self.option("resource_group")
        if not group or not name or "/" in group:
            raise InputError(f"site {self.site.name}: option {option}: {named!r}; write it as GROUP/NAME")
        return group, name

    @property
    def group_id(self) -> str:
        """The id of the resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"

    def id(self, kind: Kind | str, name: str, group: str = "") -> str:
        """The id of a resource."""
        of = kind if isinstance(kind, str) else kind.type
        return f"/subscriptions/{self.subscription}/resourceGroups/{group or self.group}/providers/{of}/{name}"

    def subnet(self, part: str) -> Body:
        """A reference to the hosts' or the gateway's subnet."""
        group, network = self.network
        return {"id": f"{self.id(NETWORK, network, group)}/subnets/{self.option('subnet') or part}"}

    @cached_property
    def availability_set(self) -> str:
        """The id of the availability set, if one is named."""
        if not self.option("availability_set"):
            return ""
        group, name = self._within(self.option("availability_set"), "availability_set", self.group)
        return self.id("Microsoft.Compute/availabilitySets", name, group)

    def check(self) -> None:
        """Refuse options that do not go together."""
        who = f"site {self.site.name}"
        if not self.site.region:
            raise InputError(f"{who}: provider azure needs a region, such as westeurope; add region: to the site")
        if self.adopted != bool(self.option("subnet")):
            raise InputError(f"{who}: options vnet and subnet go together: the gateway's interface is made there")
        if self.option("route_tables") and not self.adopted:
            raise InputError(f"{who}: option route_tables is for a network that is there already: name it by vnet")
        if self.option("zone") and self.option("availability_set"):
            raise InputError(f"{who}: Azure takes either zone or availability_set; remove one of these options")
        for key in ("image", "host_image"):
            if self.option(key) and len(self.option(key).split(":")) != 4:
                raise InputError(f"{who}: option {key}: {self.option(key)!r}; write PUBLISHER:OFFER:SKU:VERSION")
        _ = self.network, self.tables, self.availability_set
