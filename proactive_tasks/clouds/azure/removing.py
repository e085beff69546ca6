"""Removing what a site has in Azure, and finding what is left."""

from __future__ import annotations

import re
from functools import partial

from proactive_tasks.clouds import naming
from proactive_tasks.clouds.azure.calls import Arm, Body
from proactive_tasks.clouds.azure.looking import (
    Found,
    claim,
    get,
    gone,
    group_of,
    hosts_of,
    inner_of,
    listed,
    machine_of,
    state,
)
from proactive_tasks.clouds.azure.place import (
    ADDRESS,
    DISK,
    FILTER,
    GROUP,
    MACHINE,
    NETWORK,
    NIC,
    ROUTE,
    TABLE,
    Place,
)
from proactive_tasks.clouds.azure.writing import NOTHING, child, delete, together
from proactive_tasks.clouds.provider import (
    Leftover,
)
from proactive_tasks.clouds.steps import Taken, shown

UNTAGGED = re.compile(r"(.+?)--(.+?)--(?:gateway|host\d+|[\d.]+-\d+)")
"""The names of our disks, and of our routes in tables of others."""


def drop_host(arm: Arm, place: Place, number: int, steps: Taken) -> None:
    """An application host: its machine and disk, then its interface."""
    part = f"host{number}"
    drop_machine(arm, place, part, steps)
    delete(arm, place, NIC, place.name(part), "remove", steps)


def drop_machine(arm: Arm, place: Place, part: str, steps: Taken) -> None:
    """A machine, and its disk: that goes with it, unless a crash or a failure left it."""
    name = place.machine(part)
    if machine_of(arm, place, part) is not None:
        delete(arm, place, MACHINE, name, "remove", steps)
    if get(arm, DISK, place.group, name) is not None:
        delete(arm, place, DISK, name, "remove", steps)


def drop_routes(arm: Arm, place: Place, group: str, table: str, steps: Taken) -> None:
    """Our routes in a table that was there before."""
    body = get(arm, TABLE, group, table)
    for name in inner_of(body, "routes") if body else {}:
        if name.startswith(place.route):
            child(arm, ROUTE, (group, table), name, "remove", None, steps, written=True)


def drop_group(arm: Arm, place: Place, steps: Taken) -> None:
    """The site's own group with all that is in it."""
    group = group_of(arm, place)
    if group is not None and state(group) != "deleting":
        claim(place, group)
        call = f"Resources.list_by_resource_group({place.group})"
        inside = arm.list(call, lambda: arm.resources.resources.list_by_resource_group(place.group))
        held = sorted(f"{body['type'].rsplit('/', 1)[-1]} {body['name']}" for body in inside)
        call = "ResourceGroups.begin_delete"
        steps.take(
            f"{GROUP} {place.group}: remove with {', '.join(held) or 'nothing in it'}",
            shown(call, resource_group_name=place.group),
            lambda: arm.done(
                f"{call}({place.group})", lambda: arm.resources.resource_groups.begin_delete(place.group), deleting=True
            ),
            instead=NOTHING,
        )
    if group is not None:
        gone(arm, place)
    for kind, part in (
        (NETWORK, ""),
        (TABLE, "routes"),
        (FILTER, "hosts"),
        *((k, "gateway") for k in (FILTER, ADDRESS, NIC)),
    ):
        steps.journal.gone(kind.label, place.name(part))
    for kind in (MACHINE, DISK):
        steps.journal.gone(kind.label, place.machine())


def drop_things(arm: Arm, place: Place, steps: Taken) -> None:
    """What is ours in a group that was there before, users before what they use."""
    if group_of(arm, place) is None:
        return
    nics = Found(things={(NIC.type, b["name"].lower()): b for b in listed(arm, place, NIC)})
    parts = ["gateway", *(f"host{number}" for number in hosts_of(place, nics))]
    together(steps, [partial(drop_machine, arm, place, part, steps) for part in parts])
    nets = [] if place.adopted else [(NETWORK, place.name())]
    for stage in (
        [(NIC, place.name(part)) for part in parts],
        [(ADDRESS, place.name("gateway")), *nets],
        [(FILTER, place.name("gateway")), (FILTER, place.name("hosts")), (TABLE, place.name("routes"))],
    ):
        present = [(kind, name) for kind, name in stage if get(arm, kind, place.group, name) is not None]
        together(steps, [partial(delete, arm, place, kind, name, "remove", steps) for kind, name in present])


def tagged(arm: Arm) -> list[Body]:
    """What may be ours in a subscription: by tags, or of types that bear none."""
    call, tag = "Resources.list", f"tagName eq 'managed-by' and tagValue eq '{naming.MANAGED_BY}'"
    disks = f"resourceType eq '{DISK.type}'"
    found = arm.list("ResourceGroups.list", lambda: arm.resources.resource_groups.list(filter=tag))
    found += arm.list(call, lambda: arm.resources.resources.list(filter=tag))
    named = arm.list(call, lambda: arm.resources.resources.list(filter=disks))
    tables = arm.list("RouteTables.list_all", arm.network.route_tables.list_all)
    found += [body for body in named if (body.get("tags") or {}).get("managed-by") != naming.MANAGED_BY]
    return found + [
        {"type": "routes", "name": name, "location": table["location"]}
        for table in tables
        if (table.get("tags") or {}).get("managed-by") != naming.MANAGED_BY
        for name in inner_of(table, "routes")
    ]


def leftover(body: Body) -> Leftover | None:
    """What the API still holds, if it is ours: by its tags, else by its name."""
    tags = body.get("tags") or {}
    overlay, site = tags.get("overlay", ""), tags.get("site", "")
    if tags.get("managed-by") != naming.MANAGED_BY:
        match = UNTAGGED.fullmatch(str(body["name"]))
        if match is None:
            return None
        overlay, site = match.groups()
    kind = str(body.get("type") or GROUP).rsplit("/", 1)[-1]
    return Leftover("azure", str(body.get("location", "")), overlay, site, kind, str(body["name"]))
