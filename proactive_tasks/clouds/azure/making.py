"""Making what a site lacks in Azure, and repairing what differs: each step once, for plan and deed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

from proactive_tasks.clouds.azure import bodies
from proactive_tasks.clouds.azure.calls import Arm, Body
from proactive_tasks.clouds.azure.compare import differences, merged
from proactive_tasks.clouds.azure.looking import (
    UNSETTLED,
    Found,
    configuration,
    get,
    gone,
    inner_of,
    machine_of,
    power,
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
    RULE,
    SUBNET,
    TABLE,
    Child,
    Kind,
    Place,
)
from proactive_tasks.clouds.azure.writing import NOTHING, child, delete, put, together
from proactive_tasks.clouds.provider import (
    GatewayOrder,
)
from proactive_tasks.clouds.security import ANYWHERE, gateway_rules, host_rules
from proactive_tasks.clouds.steps import Noted, Steps, shown, until
from proactive_tasks.overlay.errors import InputError, ProviderError


def make(arm: Arm, place: Place, order: GatewayOrder, found: Found, steps: Steps) -> Body:
    """Every step once, in order; returns the public address."""
    _make_group(arm, place, found, steps)
    gateway = gateway_rules(place.site, order.controllers)
    hosts = host_rules(collapse_addresses([*order.routes, *place.site.announced]))
    first: list[Callable[[], Body]] = [
        partial(_ensure_filter, arm, place, "gateway", gateway, found, steps),
        partial(_ensure_filter, arm, place, "hosts", hosts, found, steps),
        partial(_ensure, arm, place, ADDRESS, place.name("gateway"), bodies.public_address(place), found, steps),
    ]
    if not place.adopted:
        first.append(partial(_ensure_table, arm, place, order, found, steps))
    address = together(steps, first)[2]
    if not place.adopted:
        _ensure_network(arm, place, found, steps)
    wanted = bodies.gateway_interface(place, place.id(ADDRESS, place.name("gateway")))
    nic = _ensure(arm, place, NIC, place.name("gateway"), wanted, found, steps)
    _ensure_machine(arm, place, order, "gateway", found.get(MACHINE, place.machine()), found, steps)
    via = str(configuration(nic).get("privateIPAddress", "(its address)"))
    for (group, name), table in zip(place.tables, found.tables, strict=True):
        _ensure_routes(arm, place, order, via, (group, name), table, steps)
    return address


def _make_group(arm: Arm, place: Place, found: Found, steps: Steps) -> None:
    if found.group == "deleting":
        line = f"{GROUP} {place.group}: wait until its removal is over"
        steps.take(
            line,
            shown("ResourceGroups.get", resource_group_name=place.group),
            partial(gone, arm, place),
            instead=NOTHING,
        )
    if found.group in {"", "deleting"}:
        body = {"location": place.site.region, "tags": place.tags}
        call = "ResourceGroups.create_or_update"
        steps.take(
            f"{GROUP} {place.group}: make in {place.site.region}",
            shown(call, resource_group_name=place.group, parameters=body),
            lambda: arm.once(
                f"{call}({place.group})", lambda: arm.resources.resource_groups.create_or_update(place.group, body)
            ),
            instead=NOTHING,
            makes=(GROUP, place.group),
        )


def _ensure(arm: Arm, place: Place, kind: Kind, name: str, wanted: Body, found: Found, steps: Steps) -> Body:
    """A resource as it is wanted: made, repaired, or left alone."""
    there = found.get(kind, name)
    if there is None:
        return put(arm, place, kind, "make", name, wanted, steps)
    wrong = [*differences(wanted, there), *(["its last change failed"] if state(there) == "failed" else [])]
    if not wrong:
        return there
    return put(arm, place, kind, f"repair: {'; '.join(wrong)}", name, merged(there, wanted), steps)


def _ensure_children(
    arm: Arm,
    kind: Child,
    parent: tuple[str, str],
    there: Mapping[str, Body],
    wanted: Mapping[str, Body],
    former: Callable[[str, Body], bool],
    steps: Steps,
) -> None:
    """Put what lacks or differs, one after the other, since they share their parent; take out what was ours."""
    for name, inner in there.items():
        if name not in wanted and former(name, inner):
            child(arm, kind, parent, name, "remove, no longer wanted", None, steps)
    for name, inner in wanted.items():
        wrong = list(differences(inner, there[name])) if name in there else ["it is missing"]
        if wrong:
            body = merged(there.get(name), inner)
            child(arm, kind, parent, name, f"repair: {'; '.join(wrong)}", body, steps)


def _ensure_filter(arm: Arm, place: Place, part: str, admitted: Any, found: Found, steps: Steps) -> Body:
    name = place.name(part)
    there = found.get(FILTER, name)
    if there is None:
        rules = bodies.children(bodies.rules(admitted, {}))
        return put(arm, place, FILTER, "make", name, bodies.resource(place, {"securityRules": rules}), steps)
    have = inner_of(there, "securityRules")
    made = _ensure(arm, place, FILTER, name, bodies.resource(place, {}), found, steps)

    def former(_name: str, rule: Body) -> bool:
        return str(rule.get("description", "")).startswith(bodies.OURS)

    _ensure_children(arm, RULE, (place.group, name), have, bodies.rules(admitted, have), former, steps)
    return made


def _ensure_table(arm: Arm, place: Place, order: GatewayOrder, found: Found, steps: Steps) -> Body:
    name, via = place.name("routes"), str(place.site.gateway)
    there, wanted = found.get(TABLE, name), bodies.routes((*order.routes, ANYWHERE), via)
    if there is None:
        return put(arm, place, TABLE, "make", name, bodies.resource(place, {"routes": bodies.children(wanted)}), steps)
    made = _ensure(arm, place, TABLE, name, bodies.resource(place, {}), found, steps)

    def former(route: str, inner: Body) -> bool:
        return route.startswith("to-") and inner.get("nextHopIpAddress") == via

    _ensure_children(arm, ROUTE, (place.group, name), inner_of(there, "routes"), wanted, former, steps)
    return made


def _ensure_network(arm: Arm, place: Place, found: Found, steps: Steps) -> None:
    name, wanted = place.name(), bodies.network(place)
    there = found.network
    if there is None:
        put(arm, place, NETWORK, f"make ({place.site.subnet})", name, wanted, steps)
        return
    parts = {child["name"]: child["properties"] for child in wanted["properties"].pop("subnets")}
    _ensure(arm, place, NETWORK, name, wanted, found, steps)
    _ensure_children(arm, SUBNET, (place.group, name), inner_of(there, "subnets"), parts, lambda *_: False, steps)


def _ensure_machine(
    arm: Arm, place: Place, order: GatewayOrder, part: str, there: Body | None, found: Found, steps: Steps
) -> None:
    name, wait = place.machine(part), f"VirtualMachines.get({place.machine(part)})"
    left = found.get(DISK, name)
    if there is not None and state(there) == "deleting":
        line = f"machine {name}: wait until its removal is over"
        steps.take(line, wait, partial(_settled, arm, place, part), instead=NOTHING)
        there, left = None, None if isinstance(steps, Noted) else get(arm, DISK, place.group, name)
    if there is None:
        if left is not None and not left.get("managedBy"):
            delete(arm, place, DISK, name, "remove, left over from a machine that is gone", steps)
        _make_machine(arm, place, order, part, steps)
        return
    if state(there) in UNSETTLED:
        line = f"machine {name}: wait until it is made"
        there = steps.take(line, wait, partial(_settled, arm, place, part), instead=NOTHING)
        if isinstance(steps, Noted):
            return
        if not there:
            raise ProviderError(f"machine {name}: it vanished while it was made; run this again")
    if power(there) != "running":
        call = "VirtualMachines.begin_start"
        steps.take(
            f"machine {name}: start, it is {power(there) or state(there)}",
            shown(call, resource_group_name=place.group, name=name),
            lambda: arm.done(f"{call}({name})", lambda: arm.compute.virtual_machines.begin_start(place.group, name)),
            instead=NOTHING,
        )


def _make_machine(arm: Arm, place: Place, order: GatewayOrder, part: str, steps: Steps) -> None:
    name, hosts = place.machine(part), part != "gateway"
    if not (hosts or order.user_data or isinstance(steps, Noted)):
        raise ProviderError(f"machine {name}: it vanished while this was running; run this again")
    body, show = (bodies.machine(place, order, part, show=show) for show in (False, True))
    size = place.option("host_vm_size" if hosts else "vm_size", bodies.SIZE)
    put(arm, place, MACHINE, f"make ({size})", name, body, steps, show)


def _settled(arm: Arm, place: Place, part: str) -> Body:
    """Wait until what goes on with a machine is over; {} when it is gone."""

    def look() -> Body | None:
        body = machine_of(arm, place, part)
        return {} if body is None else None if state(body) in {*UNSETTLED, "deleting"} else body

    patience = arm.patience
    return until(look, patience.operation_s, f"machine {place.machine(part)}: settling", patience.poll_s)


def _ensure_routes(
    arm: Arm, place: Place, order: GatewayOrder, via: str, parent: tuple[str, str], table: Body, steps: Steps
) -> None:
    """Our routes in a table that was there before; whoever loses traffic by them is named."""
    prefix = place.route
    have = inner_of(table, "routes")
    wanted = bodies.routes(order.routes, via, prefix)
    for name, inner in wanted.items():
        others = {n: b for n, b in have.items() if not n.startswith(prefix)}
        same = [n for n, b in others.items() if b.get("addressPrefix") == inner["addressPrefix"]]
        if same:
            raise InputError(
                f"site {place.site.name}: route table {parent[1]} has a route for {inner['addressPrefix']} already "
                f"({same[0]}); remove it, or take the table out of option route_tables"
            )
        wrong = list(differences(inner, have[name])) if name in have else [f"put {inner['addressPrefix']} to {via}"]
        shadowed = [n for n, b in others.items() if _covers(inner["addressPrefix"], b.get("addressPrefix", ""))]
        if wrong:
            more = f"; it takes traffic from route {', '.join(shadowed)}" if shadowed else ""
            child(arm, ROUTE, parent, name, "; ".join(wrong) + more, inner, steps, written=True)
    for name in have:
        if name.startswith(prefix) and name not in wanted:
            child(arm, ROUTE, parent, name, "remove, no longer wanted", None, steps, written=True)


def _covers(narrow: str, wide: str) -> bool:
    try:
        return IPv4Network(narrow).subnet_of(IPv4Network(wide))
    except ValueError:
        return False  # a service tag, or IPv6


def make_host(
    arm: Arm, place: Place, order: GatewayOrder, number: int, found: Found, machines: Mapping[str, Body], steps: Steps
) -> None:
    """An application host: its interface, then its machine."""
    part = f"host{number}"
    _ensure(arm, place, NIC, place.name(part), bodies.host_interface(place), found, steps)
    there = machines.get(place.machine(part).lower())
    _ensure_machine(arm, place, order, part, there, found, steps)
