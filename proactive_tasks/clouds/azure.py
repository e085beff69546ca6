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

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

from proactive_tasks.clouds import dialing, naming
from proactive_tasks.clouds.arm import bodies
from proactive_tasks.clouds.arm.calls import Arm, Body, Patience, credential, endpoint, subscription
from proactive_tasks.clouds.arm.compare import differences, merged
from proactive_tasks.clouds.arm.place import (
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
from proactive_tasks.clouds.provider import (
    Change,
    GatewayFacts,
    GatewayOrder,
    HostProbe,
    Journal,
    Leftover,
    Progress,
    SiteFacts,
)
from proactive_tasks.clouds.security import ANYWHERE, gateway_rules, host_rules
from proactive_tasks.clouds.steps import Noted, Steps, Taken, shown, until
from proactive_tasks.overlay.errors import InputError, ProviderError
from proactive_tasks.overlay.model import Site

T = TypeVar("T")

NOTHING: Body = {}
TOGETHER = 8  # how many calls go on at a time
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

    def names(self, kind: Kind) -> list[str]:
        """The names of the resources of a type."""
        return [str(body["name"]) for (of, _), body in self.things.items() if of == kind.type]


class AzureProvider:
    """Gateways in Azure. See `provider.Provider`."""

    name = "azure"

    def __init__(self, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()

    @cached_property
    def _credential(self) -> Any:
        return credential()

    def _arm(self, subscription_id: str) -> Arm:
        return Arm(subscription_id, self._credential, self.patience)

    def _taken(self, journal: Journal, progress: Progress) -> Taken:
        return Taken(journal, progress, lambda made: str((made or {}).get("id", "")), self.patience.step_s)

    def check(self) -> None:
        """The SDK is there, since this module could be imported; the endpoint must be one."""
        endpoint()

    def facts(self, overlay: str, site: Site) -> SiteFacts:
        """What is there for this site: the group, then its resources by type, and what is adopted."""
        place = _place(overlay, site)
        with self._arm(place.subscription) as arm:
            found = _look(arm, place)
        return SiteFacts(_gateway(place, found), found)

    def difference(self, order: GatewayOrder, facts: SiteFacts) -> list[Change]:
        """What `apply` would do."""
        place = _place(order.overlay, order.site)
        noted = Noted()
        with self._arm(place.subscription) as arm:
            _steps(arm, place, order, facts.found, noted)
        return noted.changes

    def apply(self, order: GatewayOrder, facts: SiteFacts, journal: Journal, progress: Progress) -> GatewayFacts:
        """Make what lacks, repair what differs, start what is stopped."""
        place = _place(order.overlay, order.site)
        with self._arm(place.subscription) as arm:
            address = _steps(arm, place, order, facts.found, self._taken(journal, progress))
        public = address.get("properties", {}).get("ipAddress")
        return GatewayFacts(place.machine(), running=True, public_address=IPv4Address(public) if public else None)

    def attach(self, order: GatewayOrder, journal: Journal, progress: Progress) -> list[str]:
        """Bring the application hosts to the number wanted."""
        place = _place(order.overlay, order.site)
        taken = self._taken(journal, progress)
        with self._arm(place.subscription) as arm:
            found = _look(arm, place)
            if not (found.group and found.network) and order.site.hosts:
                raise ProviderError(f"site {order.site.name}: it has no network yet; provision its gateway first")
            numbers = _hosts(place, found)
            listed = _machines(arm, place) if numbers or order.site.hosts else []
            machines = {str(body["name"]).lower(): body for body in listed}
            surplus = [partial(_drop_host, arm, place, n, taken) for n in numbers if n > order.site.hosts]
            wanted = range(1, order.site.hosts + 1)
            _together(taken, surplus)
            _together(taken, [partial(_host, arm, place, order, n, found, machines, taken) for n in wanted])
        return [change.line for change in taken.changes]

    def discard(self, overlay: str, site: Site, journal: Journal) -> list[str]:
        """Remove the gateway's machine and disk."""
        place = _place(overlay, site)
        taken = self._taken(journal, lambda _line: None)
        with self._arm(place.subscription) as arm:
            _drop_machine(arm, place, "gateway", taken)
        return [change.line for change in taken.changes]

    def release(self, overlay: str, site: Site, journal: Journal, progress: Progress) -> list[str]:
        """Remove everything of the site: our routes in tables of others, then the group, or what in it is ours."""
        place = _place(overlay, site)
        taken = self._taken(journal, progress)
        with self._arm(place.subscription) as arm:
            for group, table in place.tables:
                _drop_routes(arm, place, group, table, taken)
            if place.own_group:
                _drop_group(arm, place, taken)
            else:
                _drop_things(arm, place, taken)
        journal.gone(GROUP, place.group)
        return [change.line for change in taken.changes]

    def leftovers(self, overlay: str, regions: Sequence[str]) -> list[Leftover]:
        """What has our tags, disks of our names (a crash can leave one that has none), our routes in others' tables.

        Of the subscription that the environment names: sites with one of their own are to be looked for there.
        """
        with self._arm(subscription("", "leftovers")) as arm:
            found = [entry for body in _tagged(arm) if (entry := _leftover(body))]
        places = {region.lower() for region in regions if region}
        return [
            entry
            for entry in found
            if overlay in {"", entry.overlay} and (not places or entry.region.lower() in places)
        ]

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> socket.socket:  # noqa: ARG002
        """Connect over the Internet."""
        return dialing.dial(address, port, timeout)

    def hosts(self, overlay: str, site: Site) -> list[HostProbe]:
        """The application hosts: targets only, as the controller has no way into them."""
        place = _place(overlay, site)
        with self._arm(place.subscription) as arm:
            listed = {(NIC.type, b["name"].lower()): b for b in _list(arm, place, NIC)} if _group(arm, place) else {}
        found = Found(things=listed)
        return [
            HostProbe(f"{site.name}/host{number}", IPv4Address(inner["privateIPAddress"]), None)
            for number in _hosts(place, found)
            if (inner := _configuration(found.get(NIC, place.name(f"host{number}")))).get("privateIPAddress")
        ]

    def controllers(self, overlay: str) -> Sequence[str]:  # noqa: ARG002 - those of the specification are all
        """None beyond the specification's."""
        return []


def _place(overlay: str, site: Site) -> Place:
    place = Place(overlay, site, subscription(str(site.options.get("subscription", "")), f"site {site.name}"))
    place.check()
    return place


# Looking.


def _group(arm: Arm, place: Place) -> Body | None:
    call = f"ResourceGroups.get({place.group})"
    return arm.read(call, lambda: arm.resources.resource_groups.get(place.group))


def _list(arm: Arm, place: Place, kind: Kind) -> list[Body]:
    listing = "list_by_resource_group" if kind is DISK else "list"
    return arm.list(f"{kind.api}.{listing}({place.group})", lambda: getattr(kind.on(arm), listing)(place.group))


def _machines(arm: Arm, place: Place) -> list[Body]:
    call = f"VirtualMachines.list({place.group}, expand=instanceView)"
    return arm.list(call, lambda: arm.compute.virtual_machines.list(place.group, expand="instanceView"))


def _machine(arm: Arm, place: Place, part: str = "gateway") -> Body | None:
    """A machine and how it runs: by its name, since a list may lag behind."""
    name = place.machine(part)
    call = f"VirtualMachines.get({name}, expand=instanceView)"
    return arm.read(call, lambda: arm.compute.virtual_machines.get(place.group, name, expand="instanceView"))


def _get(arm: Arm, kind: Kind, group: str, name: str) -> Body | None:
    return arm.read(f"{kind.api}.get({group}/{name})", lambda: kind.on(arm).get(group, name))


def _look(arm: Arm, place: Place) -> Found:
    group, found = _group(arm, place), Found()
    if group is None and not place.own_group:
        raise InputError(
            f"site {place.site.name}: resource group {place.group} is not there; make it or drop the option"
        )
    found.group = _state(group) if group else ""
    if group is not None and place.own_group:
        _claim(place, group)
    if group is not None and found.group != "deleting":
        kinds = (NETWORK, TABLE, FILTER, ADDRESS, NIC, DISK)
        with ThreadPoolExecutor(len(kinds) + 1) as pool:
            machine = pool.submit(_machine, arm, place)
            for kind, listed in zip(kinds, pool.map(partial(_list, arm, place), kinds), strict=True):
                found.things |= {(kind.type, str(body["name"]).lower()): body for body in listed}
            if (body := machine.result()) is not None:
                found.things[MACHINE.type, place.machine().lower()] = body
    found.network = found.get(NETWORK, place.name())
    if place.adopted:
        found.network = _adopted(place, _get(arm, NETWORK, *place.network))
        found.tables = [
            _there(place, TABLE, group, name, _get(arm, TABLE, group, name)) for group, name in place.tables
        ]
    return found


def _claim(place: Place, group: Body) -> None:
    """A group that bears the site's name must be the site's."""
    tags = group.get("tags") or {}
    if any(tags.get(key) != value for key, value in place.tags.items()):
        raise ProviderError(
            f"site {place.site.name}: resource group {place.group} is there, but has not our tags "
            f"({', '.join(f'{key}={value}' for key, value in place.tags.items())}); remove it, or name another by option "
            "resource_group"
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


def _state(body: Body | None) -> str:
    """The provisioning state, in lower case: succeeded, updating, deleting, failed."""
    return str((body or {}).get("properties", {}).get("provisioningState", "")).lower()


def _power(machine: Body) -> str:
    """running, stopped, deallocated, ...; "" while unknown."""
    statuses = machine["properties"].get("instanceView", {}).get("statuses", [])
    codes = [str(status.get("code", "")) for status in statuses]
    return next((code.split("/", 1)[1] for code in codes if code.startswith("PowerState/")), "")


def _configuration(nic: Body | None) -> Body:
    configurations = (nic or {}).get("properties", {}).get("ipConfigurations") or [{}]
    inner: Body = configurations[0].get("properties", {})
    return inner


def _gateway(place: Place, found: Found) -> GatewayFacts | None:
    machine, nic = found.get(MACHINE, place.machine()), found.get(NIC, place.name("gateway"))
    if machine is None or _state(machine) == "deleting":
        return None
    address = found.get(ADDRESS, place.name("gateway")) or {}
    bound = str(_configuration(nic).get("publicIPAddress", {}).get("id", "")).lower()
    public = address.get("properties", {}).get("ipAddress") if bound == str(address.get("id")).lower() else None
    return GatewayFacts(
        place.machine(),
        running=_power(machine) == "running",
        public_address=IPv4Address(public) if public else None,
        user_data_digest=str((machine.get("tags") or {}).get("user-data-sha256", "")),
    )


def _hosts(place: Place, found: Found) -> list[int]:
    """The numbers of the application hosts that have an interface: it is made before and goes after the machine."""
    pattern = re.compile(re.escape(place.name("host")) + r"([1-9]\d*)", re.IGNORECASE)
    return sorted(int(match[1]) for name in found.names(NIC) if (match := pattern.fullmatch(name)))


# Making.


def _steps(arm: Arm, place: Place, order: GatewayOrder, found: Found, steps: Steps) -> Body:
    """Every step once, in order; returns the public address."""
    _make_group(arm, place, found, steps)
    gateway = gateway_rules(place.site, order.controllers)
    hosts = host_rules(dict.fromkeys([*order.routes, *place.site.announced]))
    first: list[Callable[[], Body]] = [
        partial(_ensure_filter, arm, place, "gateway", gateway, found, steps),
        partial(_ensure_filter, arm, place, "hosts", hosts, found, steps),
        partial(_ensure, arm, place, ADDRESS, place.name("gateway"), bodies.public_address(place), found, steps),
    ]
    if not place.adopted:
        first.append(partial(_ensure_table, arm, place, order, found, steps))
    address = _together(steps, first)[2]
    if not place.adopted:
        _ensure_network(arm, place, found, steps)
    wanted = bodies.gateway_interface(place, place.id(ADDRESS, place.name("gateway")))
    nic = _ensure(arm, place, NIC, place.name("gateway"), wanted, found, steps)
    _ensure_machine(arm, place, order, "gateway", found.get(MACHINE, place.machine()), found, steps)
    via = str(_configuration(nic).get("privateIPAddress", "(its address)"))
    for (group, name), table in zip(place.tables, found.tables, strict=True):
        _ensure_routes(arm, place, order, via, (group, name), table, steps)
    return address


def _together(steps: Steps, jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Do jobs that do not depend on one another: all at once, where they are really done."""
    if isinstance(steps, Noted) or len(jobs) < 2:
        return [job() for job in jobs]
    with ThreadPoolExecutor(min(len(jobs), TOGETHER)) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def _make_group(arm: Arm, place: Place, found: Found, steps: Steps) -> None:
    if found.group == "deleting":
        line = f"{GROUP} {place.group}: wait until its removal is over"
        steps.take(
            line,
            shown("ResourceGroups.get", resource_group_name=place.group),
            partial(_gone, arm, place),
            instead=NOTHING,
        )
        found.group = ""
    if not found.group:
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


def _gone(arm: Arm, place: Place) -> Body:
    patience = arm.patience
    return until(
        lambda: {} if _group(arm, place) is None else None,
        patience.operation_s,
        f"{GROUP} {place.group}: removal",
        patience.poll_s,
    )


def _put(
    arm: Arm, place: Place, kind: Kind, line: str, name: str, body: Body, steps: Steps, show: Body | None = None
) -> Body:
    """Make a resource, or make it so."""
    call = f"{kind.api}.begin_create_or_update"
    return steps.take(
        f"{kind.label} {name}: {line}",
        shown(call, resource_group_name=place.group, name=name, parameters=show or body),
        lambda: arm.done(f"{call}({name})", lambda: kind.on(arm).begin_create_or_update(place.group, name, body)),
        instead={**body, "id": place.id(kind, name), "name": name},
        makes=(kind.label, name),
    )


def _ensure(arm: Arm, place: Place, kind: Kind, name: str, wanted: Body, found: Found, steps: Steps) -> Body:
    """A resource as it is wanted: made, repaired, or left alone."""
    there = found.get(kind, name)
    if there is None:
        return _put(arm, place, kind, "make", name, wanted, steps)
    wrong = [*differences(wanted, there), *(["its last change failed"] if _state(there) == "failed" else [])]
    if not wrong:
        return there
    return _put(arm, place, kind, f"repair: {'; '.join(wrong)}", name, merged(there, wanted), steps)


def _child(
    arm: Arm, kind: Child, parent: tuple[str, str], name: str, line: str, inner: Body | None, steps: Steps
) -> None:
    """Put a child of a resource, or delete it: its parent is changed in nothing else."""
    verb = "begin_create_or_update" if inner is not None else "begin_delete"
    call, body = f"{kind.api}.{verb}", {} if inner is None else {"parameters": {"properties": inner}}
    do = partial(getattr(kind.on(arm), verb), *parent, name, *body.values())
    steps.take(
        f"{kind.label} {name} of {parent[1]}: {line}",
        shown(call, resource_group_name=parent[0], parent=parent[1], name=name, **body),
        lambda: arm.done(f"{call}({parent[1]}/{name})", do, deleting=inner is None),
        instead=NOTHING,
    )


def _inner(parent: Body, held: str) -> dict[str, Body]:
    """The children of a resource by name."""
    return {str(c["name"]): c.get("properties", {}) for c in parent["properties"].get(held) or []}


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
            _child(arm, kind, parent, name, "remove, no longer wanted", None, steps)
    for name, inner in wanted.items():
        wrong = list(differences(inner, there[name])) if name in there else ["it is missing"]
        if wrong:
            body = merged(there.get(name), inner)
            _child(arm, kind, parent, name, f"repair: {'; '.join(wrong)}", body, steps)


def _ensure_filter(arm: Arm, place: Place, part: str, admitted: Any, found: Found, steps: Steps) -> Body:
    name = place.name(part)
    there = found.get(FILTER, name)
    if there is None:
        rules = bodies.children(bodies.rules(admitted, {}))
        return _put(arm, place, FILTER, "make", name, bodies.resource(place, {"securityRules": rules}), steps)
    have = _inner(there, "securityRules")
    made = _ensure(arm, place, FILTER, name, bodies.resource(place, {}), found, steps)

    def former(_name: str, rule: Body) -> bool:
        return str(rule.get("description", "")).startswith(bodies.OURS)

    _ensure_children(arm, RULE, (place.group, name), have, bodies.rules(admitted, have), former, steps)
    return made


def _ensure_table(arm: Arm, place: Place, order: GatewayOrder, found: Found, steps: Steps) -> Body:
    name, via = place.name("routes"), str(place.site.gateway)
    there, wanted = found.get(TABLE, name), bodies.routes((*order.routes, ANYWHERE), via)
    if there is None:
        return _put(arm, place, TABLE, "make", name, bodies.resource(place, {"routes": bodies.children(wanted)}), steps)
    made = _ensure(arm, place, TABLE, name, bodies.resource(place, {}), found, steps)

    def former(route: str, inner: Body) -> bool:
        return route.startswith("to-") and inner.get("nextHopIpAddress") == via

    _ensure_children(arm, ROUTE, (place.group, name), _inner(there, "routes"), wanted, former, steps)
    return made


def _ensure_network(arm: Arm, place: Place, found: Found, steps: Steps) -> None:
    name, wanted = place.name(), bodies.network(place)
    there = found.network
    if there is None:
        _put(arm, place, NETWORK, f"make ({place.site.subnet})", name, wanted, steps)
        return
    parts = {child["name"]: child["properties"] for child in wanted["properties"].pop("subnets")}
    _ensure(arm, place, NETWORK, name, wanted, found, steps)
    _ensure_children(arm, SUBNET, (place.group, name), _inner(there, "subnets"), parts, lambda *_: False, steps)


def _ensure_machine(
    arm: Arm, place: Place, order: GatewayOrder, part: str, there: Body | None, found: Found, steps: Steps
) -> None:
    name, wait = place.machine(part), f"VirtualMachines.get({place.machine(part)})"
    left = found.get(DISK, name)
    if there is not None and _state(there) == "deleting":
        line = f"machine {name}: wait until its removal is over"
        steps.take(line, wait, partial(_settled, arm, place, part), instead=NOTHING)
        there, left = None, None if isinstance(steps, Noted) else _get(arm, DISK, place.group, name)
    if there is None:
        if left is not None and not left.get("managedBy"):
            _delete(arm, place, DISK, name, "remove, left over from a machine that is gone", steps)
        _make_machine(arm, place, order, part, steps)
        return
    if _state(there) in UNSETTLED:
        line = f"machine {name}: wait until it is made"
        there = steps.take(line, wait, partial(_settled, arm, place, part), instead=NOTHING)
        if isinstance(steps, Noted):
            return
        if not there:
            raise ProviderError(f"machine {name}: it vanished while it was made; run this again")
    if _power(there) != "running":
        call = "VirtualMachines.begin_start"
        steps.take(
            f"machine {name}: start, it is {_power(there) or _state(there)}",
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
    _put(arm, place, MACHINE, f"make ({size})", name, body, steps, show)


def _settled(arm: Arm, place: Place, part: str) -> Body:
    """Wait until what goes on with a machine is over; {} when it is gone."""

    def look() -> Body | None:
        body = _machine(arm, place, part)
        return {} if body is None else None if _state(body) in {*UNSETTLED, "deleting"} else body

    patience = arm.patience
    return until(look, patience.operation_s, f"machine {place.machine(part)}: settling", patience.poll_s)


def _ensure_routes(
    arm: Arm, place: Place, order: GatewayOrder, via: str, parent: tuple[str, str], table: Body, steps: Steps
) -> None:
    """Our routes in a table that was there before; whoever loses traffic by them is named."""
    prefix = place.route
    have = _inner(table, "routes")
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
        shadowed = [n for n, b in others.items() if _within(inner["addressPrefix"], b.get("addressPrefix", ""))]
        if wrong:
            more = f"; it takes traffic from route {', '.join(shadowed)}" if shadowed else ""
            _child(arm, ROUTE, parent, name, "; ".join(wrong) + more, inner, steps)
    for name in have:
        if name.startswith(prefix) and name not in wanted:
            _child(arm, ROUTE, parent, name, "remove, no longer wanted", None, steps)


def _within(narrow: str, wide: str) -> bool:
    try:
        return IPv4Network(narrow).subnet_of(IPv4Network(wide))
    except ValueError:
        return False  # a service tag, or IPv6


# Hosts.


def _host(
    arm: Arm, place: Place, order: GatewayOrder, number: int, found: Found, machines: Mapping[str, Body], steps: Steps
) -> None:
    part = f"host{number}"
    _ensure(arm, place, NIC, place.name(part), bodies.host_interface(place), found, steps)
    there = machines.get(place.machine(part).lower())
    _ensure_machine(arm, place, order, part, there, found, steps)


def _drop_host(arm: Arm, place: Place, number: int, steps: Taken) -> None:
    part = f"host{number}"
    _drop_machine(arm, place, part, steps)
    _delete(arm, place, NIC, place.name(part), "remove", steps)


# Removing.


def _delete(arm: Arm, place: Place, kind: Kind, name: str, line: str, steps: Steps) -> None:
    call = f"{kind.api}.begin_delete"
    steps.take(
        f"{kind.label} {name}: {line}",
        shown(call, resource_group_name=place.group, name=name),
        lambda: arm.done(f"{call}({name})", lambda: kind.on(arm).begin_delete(place.group, name), deleting=True),
        instead=NOTHING,
    )
    if isinstance(steps, Taken):
        steps.journal.gone(kind.label, name)


def _drop_machine(arm: Arm, place: Place, part: str, steps: Taken) -> None:
    """A machine, and its disk: that goes with it, unless a crash or a failure left it."""
    name = place.machine(part)
    if _machine(arm, place, part) is not None:
        _delete(arm, place, MACHINE, name, "remove", steps)
    if _get(arm, DISK, place.group, name) is not None:
        _delete(arm, place, DISK, name, "remove", steps)


def _drop_routes(arm: Arm, place: Place, group: str, table: str, steps: Taken) -> None:
    body = _get(arm, TABLE, group, table)
    for name in _inner(body, "routes") if body else {}:
        if name.startswith(place.route):
            _child(arm, ROUTE, (group, table), name, "remove", None, steps)


def _drop_group(arm: Arm, place: Place, steps: Taken) -> None:
    group = _group(arm, place)
    if group is not None and _state(group) != "deleting":
        _claim(place, group)
        call = f"Resources.list_by_resource_group({place.group})"
        inside = arm.list(call, lambda: arm.resources.resources.list_by_resource_group(place.group))
        held = ", ".join(sorted(f"{body['type'].rsplit('/', 1)[-1]} {body['name']}" for body in inside))
        call = "ResourceGroups.begin_delete"
        steps.take(
            f"{GROUP} {place.group}: remove with {held or 'nothing in it'}",
            shown(call, resource_group_name=place.group),
            lambda: arm.done(
                f"{call}({place.group})", lambda: arm.resources.resource_groups.begin_delete(place.group), deleting=True
            ),
            instead=NOTHING,
        )
    if group is not None:
        _gone(arm, place)
    for kind, part in (
        (NETWORK, ""),
        (TABLE, "routes"),
        (FILTER, "hosts"),
        *((k, "gateway") for k in (FILTER, ADDRESS, NIC)),
    ):
        steps.journal.gone(kind.label, place.name(part))
    for kind in (MACHINE, DISK):
        steps.journal.gone(kind.label, place.machine())


def _drop_things(arm: Arm, place: Place, steps: Taken) -> None:
    """What is ours in a group that was there before, users before what they use."""
    if _group(arm, place) is None:
        return
    nics = Found(things={(NIC.type, b["name"].lower()): b for b in _list(arm, place, NIC)})
    parts = ["gateway", *(f"host{number}" for number in _hosts(place, nics))]
    _together(steps, [partial(_drop_machine, arm, place, part, steps) for part in parts])
    nets = [] if place.adopted else [(NETWORK, place.name())]
    for stage in (
        [(NIC, place.name(part)) for part in parts],
        [(ADDRESS, place.name("gateway")), *nets],
        [(FILTER, place.name("gateway")), (FILTER, place.name("hosts")), (TABLE, place.name("routes"))],
    ):
        present = [(kind, name) for kind, name in stage if _get(arm, kind, place.group, name) is not None]
        _together(steps, [partial(_delete, arm, place, kind, name, "remove", steps) for kind, name in present])


# Leftovers.


def _tagged(arm: Arm) -> list[Body]:
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
        for name in _inner(table, "routes")
    ]


def _leftover(body: Body) -> Leftover | None:
    """What the API still holds, if it is ours: by its tags, else by its name."""
    tags = body.get("tags") or {}
    overlay, site = tags.get("overlay", ""), tags.get("site", "")
    if tags.get("managed-by") != naming.MANAGED_BY:
        parts = str(body["name"]).split("--")
        if len(parts) != 3 or not all(parts):
            return None
        overlay, site = parts[:2]
    kind = str(body.get("type") or GROUP).rsplit("/", 1)[-1]
    return Leftover("azure", str(body.get("location", "")), overlay, site, kind, str(body["name"]))
