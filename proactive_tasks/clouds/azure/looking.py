"""What is there of a site in Azure."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv4Network

from proactive_tasks.clouds.azure.calls import Arm, Body
from proactive_tasks.clouds.azure.place import (
    ADDRESS,
    DISK,
    FILTER,
    GROUP,
    MACHINE,
    NETWORK,
    NIC,
    TABLE,
    Kind,
    Place,
)
from proactive_tasks.clouds.provider import (
    GatewayFacts,
)
from proactive_tasks.clouds.steps import until
from proactive_tasks.overlay.errors import InputError, ProviderError

UNSETTLED = frozenset({"creating", "updating", "migrating"})


@dataclass
class Found:
    """What the API tells of a site; bodies as ARM writes them."""

    group: str = ""  # the state of its group; "" while there is none
    things: dict[tuple[str, str], Body] = field(default_factory=dict)  # by type and name, in lower case
    network: Body | None = None
    tables: list[Body] = field(default_factory=list)  # adopted ones, in the order of the option

    def get(self, kind: Kind, name: str) -> Body | None:
        """A resource of the site's group."""
        return self.things.get((kind.type, name.lower()))

    def of(self, kind: Kind) -> list[Body]:
        """The resources of a type."""
        return [body for (type_, _), body in self.things.items() if type_ == kind.type]


def group_of(arm: Arm, place: Place) -> Body | None:
    """The resource group, if it is there."""
    call = f"ResourceGroups.get({place.group})"
    return arm.read(call, lambda: arm.resources.resource_groups.get(place.group))


def listed(arm: Arm, place: Place, kind: Kind) -> list[Body]:
    """All resources of a type in the group."""
    listing = "list_by_resource_group" if kind is DISK else "list"
    return arm.list(f"{kind.api}.{listing}({place.group})", lambda: getattr(kind.on(arm), listing)(place.group))


def machines_of(arm: Arm, place: Place) -> list[Body]:
    """All machines in the group, and how they run."""
    call = f"VirtualMachines.list({place.group}, expand=instanceView)"
    return arm.list(call, lambda: arm.compute.virtual_machines.list(place.group, expand="instanceView"))


def machine_of(arm: Arm, place: Place, part: str = "gateway") -> Body | None:
    """A machine and how it runs: by its name, since a list may lag behind."""
    name = place.machine(part)
    call = f"VirtualMachines.get({name}, expand=instanceView)"
    return arm.read(call, lambda: arm.compute.virtual_machines.get(place.group, name, expand="instanceView"))


def get(arm: Arm, kind: Kind, group: str, name: str) -> Body | None:
    """A resource by its name, in any group."""
    return arm.read(f"{kind.api}.get({group}/{name})", lambda: kind.on(arm).get(group, name))


def look(arm: Arm, place: Place) -> Found:
    """What is there of a site: its group, the resources in it by type, and what it adopts.

    Raises:
        InputError: what the options name is not there, or does not fit.
    """
    group, found = group_of(arm, place), Found()
    if group is None and not place.own_group:
        raise InputError(
            f"site {place.site.name}: resource group {place.group} is not there; make it or drop the option"
        )
    found.group = state(group) if group else ""
    if group is not None and place.own_group:
        claim(place, group)
    if group is not None and found.group != "deleting":
        kinds = (NETWORK, TABLE, FILTER, ADDRESS, NIC, DISK)
        with ThreadPoolExecutor(len(kinds) + 1) as pool:
            machine = pool.submit(machine_of, arm, place)
            for kind, things in zip(kinds, pool.map(partial(listed, arm, place), kinds), strict=True):
                found.things |= {(kind.type, str(body["name"]).lower()): body for body in things}
            if (body := machine.result()) is not None:
                found.things[MACHINE.type, place.machine().lower()] = body
    found.network = found.get(NETWORK, place.name())
    if place.adopted:
        found.network = _adopted(place, get(arm, NETWORK, *place.network))
        found.tables = [_there(place, TABLE, group, name, get(arm, TABLE, group, name)) for group, name in place.tables]
    return found


def claim(place: Place, group: Body) -> None:
    """A group that bears the site's name must be the site's."""
    tags = group.get("tags") or {}
    if any(tags.get(key) != value for key, value in place.tags.items()):
        raise ProviderError(
            f"site {place.site.name}: resource group {place.group} is there, but has not our tags "
            f"({', '.join(f'{key}={value}' for key, value in place.tags.items())}); remove it, or name another one by "
            "option resource_group"
        )


def _there(place: Place, kind: Kind, group: str, name: str, body: Body | None) -> Body:
    if body is None:
        raise InputError(
            f"site {place.site.name}: {kind.label} {group}/{name} is not there; correct the site's options"
        )
    return body


def _adopted(place: Place, body: Body | None) -> Body:
    """The network that was there before, if the site can live in it."""
    site, (group, name) = place.site, place.network
    network = _there(place, NETWORK, group, name, body)
    if network["location"].lower() != site.region.lower():
        raise InputError(
            f"site {site.name}: virtual network {name} is in {network['location']}, the site in {site.region}; correct "
            "the site's region"
        )
    space = [IPv4Network(p) for p in network["properties"]["addressSpace"]["addressPrefixes"] if ":" not in p]
    strange = [str(p) for p in space if not any(p.subnet_of(own) for own in site.prefixes)]
    if strange:
        raise InputError(
            f"site {site.name}: virtual network {name} has {', '.join(strange)}, which the site does not name; add "
            f"prefixes: [{', '.join(strange)}] to the site"
        )
    subnets = [subnet["name"] for subnet in network["properties"].get("subnets", [])]
    if place.option("subnet").lower() not in {subnet.lower() for subnet in subnets}:
        raise InputError(
            f"site {site.name}: virtual network {name} has no subnet {place.option('subnet')}; it has: "
            f"{', '.join(subnets) or 'none'}"
        )
    return network


def state(body: Body | None) -> str:
    """The provisioning state, in lower case: succeeded, updating, deleting, failed."""
    return str((body or {}).get("properties", {}).get("provisioningState", "")).lower()


def power(machine: Body) -> str:
    """running, stopped, deallocated, ...; "" while unknown."""
    statuses = machine["properties"].get("instanceView", {}).get("statuses", [])
    codes = [str(status.get("code", "")) for status in statuses]
    return next((code.split("/", 1)[1] for code in codes if code.startswith("PowerState/")), "")


def configuration(nic: Body | None) -> Body:
    """The one address configuration of an interface; {} if there is none."""
    configurations = (nic or {}).get("properties", {}).get("ipConfigurations") or [{}]
    inner: Body = configurations[0].get("properties", {})
    return inner


def gateway_of(place: Place, found: Found) -> GatewayFacts | None:
    """The gateway, if its machine is there: its public address only if it is bound to it."""
    machine, nic = found.get(MACHINE, place.machine()), found.get(NIC, place.name("gateway"))
    if machine is None or state(machine) == "deleting":
        return None
    address = found.get(ADDRESS, place.name("gateway")) or {}
    bound = str(configuration(nic).get("publicIPAddress", {}).get("id", "")).lower()
    public = address.get("properties", {}).get("ipAddress") if bound == str(address.get("id")).lower() else None
    return GatewayFacts(
        place.machine(),
        running=power(machine) == "running",
        public_address=IPv4Address(public) if public else None,
        user_data_digest=str((machine.get("tags") or {}).get("user-data-sha256", "")),
    )


def hosts_of(place: Place, found: Found) -> list[int]:
    """The numbers of the application hosts that have an interface: it is made before and goes after the machine."""
    pattern = re.compile(re.escape(place.name("host")) + r"([1-9]\d*)", re.IGNORECASE)
    return sorted(int(match[1]) for body in found.of(NIC) if (match := pattern.fullmatch(body["name"])))


def gone(arm: Arm, place: Place) -> Body:
    """Wait until the group is gone."""
    patience = arm.patience
    return until(
        lambda: {} if group_of(arm, place) is None else None,
        patience.operation_s,
        f"{GROUP} {place.group}: removal",
        patience.poll_s,
    )


def inner_of(parent: Body, held: str) -> dict[str, Body]:
    """The children of a resource by name."""
    return {str(c["name"]): c.get("properties", {}) for c in parent["properties"].get(held) or []}
