"""What an OpenStack holds of a site, in one list per kind, and how its resources are called."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

from openstack.compute.v2.keypair import Keypair
from openstack.compute.v2.server import Server
from openstack.network.v2.floating_ip import FloatingIP
from openstack.network.v2.network import Network
from openstack.network.v2.port import Port
from openstack.network.v2.router import Router
from openstack.network.v2.security_group import SecurityGroup
from openstack.network.v2.subnet import Subnet

from proactive_tasks.clouds import naming
from proactive_tasks.clouds.openstack.api import Api, RefusedError
from proactive_tasks.clouds.provider import GatewayFacts, Leftover
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import Site

T = TypeVar("T")

DIGEST = "user-data-sha256"
"""Key of the server's metadata: the user-data itself is shown to administrators only."""


@dataclass(frozen=True)
class Found:
    """What the cloud holds of a site, and what a site's servers can be made of."""

    networks: Mapping[str, Network] = field(default_factory=dict)  # by name, as all below
    subnets: Mapping[str, Subnet] = field(default_factory=dict)
    routers: Mapping[str, Router] = field(default_factory=dict)
    groups: Mapping[str, SecurityGroup] = field(default_factory=dict)
    addresses: Mapping[str, FloatingIP] = field(default_factory=dict)
    servers: Mapping[str, Server] = field(default_factory=dict)
    keypair: Keypair | None = None
    ports: Sequence[Port] = ()  # all of the project
    outside: Network | None = None
    adopted: tuple[Network, Subnet] | None = None
    flavors: Sequence[Any] = ()
    images: Sequence[Any] = ()

    def port(self, name: str) -> Port | None:
        """A port by its name."""
        return next((port for port in self.ports if port.name == name), None)


@dataclass(frozen=True, slots=True)
class Names:
    """The deterministic names of a site's resources."""

    overlay: str
    site: str

    def __getattr__(self, part: str) -> str:
        return naming.resource(self.overlay, self.site, part)

    def host(self, number: int) -> str:
        """An application host's server and port, from 1."""
        return naming.resource(self.overlay, self.site, f"host{number}")

    @property
    def prefix(self) -> str:
        """What all of them start with."""
        return naming.resource(self.overlay, self.site) + "--"

    @property
    def tags(self) -> list[str]:
        """Neutron's tags are words."""
        return [f"{key}={value}" for key, value in sorted(naming.tags(self.overlay, self.site).items())]


def look(api: Api, names: Names, site: Site, *, whole: bool) -> Found:
    """Everything of a site in one list per kind; `whole` with what new servers can be made of."""
    networks = api.list("ListNetworks()", api.network.networks)
    own = named((network for network in networks if network.project_id == api.project), names)
    adopted = None
    if site.options.get("network"):
        with contextlib.nullcontext() if whole else contextlib.suppress(InputError):  # who removes takes what is left
            adopted = _adopted(api, site, networks)
    here = [*(network.id for network in own.values()), *([adopted[0].id] if adopted else [])]
    servers = servers_of(api)
    ours = {server.name: server for server in servers if server.name.startswith(names.prefix)}
    living = {name for name, server in ours.items() if not stillborn(server)}
    needed = whole and not living >= {names.gateway, *map(names.host, range(1, site.hosts + 1))}
    addresses = api.list("ListFloatingIps()", lambda: api.network.ips(project_id=api.project))
    return Found(
        networks=own,
        subnets=named(_subnets(api) if here else [], names),
        routers=named(api.list("ListRouters()", lambda: api.network.routers(project_id=api.project)), names),
        groups=named(
            api.list("ListSecurityGroups()", lambda: api.network.security_groups(project_id=api.project)), names
        ),
        addresses={ip.description: ip for ip in addresses if (ip.description or "").startswith(names.prefix)},
        servers=ours,
        keypair=keypair_of(api, names.key),
        ports=ports_of(api) if here else [],
        outside=_outside(networks, site) if whole else None,
        adopted=adopted,
        flavors=api.list("ListFlavors()", api.compute.flavors) if needed else (),
        images=api.list("ListImages(status='active')", lambda: api.image.images(status="active")) if needed else (),
    )


def named(objects: Iterable[T], names: Names) -> dict[str, T]:
    """What has a name of the site's, by it."""
    found: dict[str, T] = {}
    for one in objects:
        name = getattr(one, "name", "") or ""
        if name.startswith(names.prefix):
            found.setdefault(name, one)
    return found


def _subnets(api: Api) -> list[Subnet]:
    return api.list("ListSubnets()", lambda: api.network.subnets(project_id=api.project))


def ports_of(api: Api) -> list[Port]:
    """All ports of the project."""
    return api.list("ListPorts()", lambda: api.network.ports(project_id=api.project))


def servers_of(api: Api, name: str = "") -> list[Server]:
    """All servers of the project, or those of one name."""
    found: list[Server] = api.list("ListServers()", lambda: api.compute.servers(details=True))
    return [server for server in found if not name or server.name == name]


def keypair_of(api: Api, name: str) -> Keypair | None:
    """The user's key pair of that name."""
    try:
        found: Keypair = api.read(f"GetKeypair({name})", lambda: api.compute.get_keypair(name))
    except RefusedError as error:
        if error.status != 404:
            raise
        return None
    return found


def _outside(networks: Iterable[Network], site: Site) -> Network:
    wanted = site.options.get("external_network")
    external = [network for network in networks if network.is_router_external]
    fitting = [network for network in external if wanted in {None, network.name, network.id}]
    if len(fitting) != 1:
        there = ", ".join(sorted(str(network.name) for network in external)) or "none"
        wrong = "is not one of them" if wanted else "one must be chosen" if external else "one is needed"
        raise InputError(
            f"site {site.name}: external networks of the cloud: {there}; {wanted or 'external_network'}: {wrong}; "
            "set the site's option external_network"
        )
    return fitting[0]


def _adopted(api: Api, site: Site, networks: Iterable[Network]) -> tuple[Network, Subnet]:
    """The network that the site brings, and that subnet of it whose prefix is among the site's."""
    wanted, within = site.options["network"], site.options.get("subnet")
    fitting = [network for network in networks if wanted in {network.name, network.id}]
    if len(fitting) != 1:
        wrong = "there is none" if not fitting else "several are called so; name it by its id"
        raise InputError(f"site {site.name}: network {wanted}: {wrong}; correct the site's option network")
    subnets: list[Subnet] = api.list("ListSubnets()", lambda: api.network.subnets(network_id=fitting[0].id))
    subnets = [s for s in subnets if s.ip_version == 4 and within in {None, s.name, s.id}]
    ours = [subnet for subnet in subnets if IPv4Network(subnet.cidr) in site.prefixes]
    if len(ours) != 1:
        there = ", ".join(str(subnet.cidr) for subnet in subnets) or "none"
        listed = ", ".join(map(str, site.prefixes)) or "none"
        raise InputError(
            f"site {site.name}: subnets of network {wanted}: {there}; the site's prefixes: {listed}; "
            "write the one to be adopted into the site's prefixes, or name it by the option subnet"
        )
    return fitting[0], ours[0]


def gateway_facts(found: Found, names: Names) -> GatewayFacts | None:
    """The gateway, where there is one that ever ran."""
    server = found.servers.get(names.gateway)
    if server is None or stillborn(server):
        return None
    address, wan = found.addresses.get(names.gateway), found.port(names.wan)
    mapped = address is not None and wan is not None and address.port_id == wan.id
    return GatewayFacts(
        machine=server.id,
        running=server.status == "ACTIVE",
        public_address=IPv4Address(address.floating_ip_address) if address and mapped else None,
        user_data_digest=(server.metadata or {}).get(DIGEST, ""),
    )


def stillborn(server: Server) -> bool:
    """It ended in ERROR before it ever ran: there is nothing on it to keep."""
    return server.status == "ERROR" and not server.launched_at


def address_of(port: Port) -> str:
    """A port's IPv4 address."""
    return next((ip["ip_address"] for ip in port.fixed_ips or () if "." in ip.get("ip_address", "")), "")


def fault(server: Server) -> str:
    """Why a server failed, in brackets."""
    message = (server.fault or {}).get("message", "")
    return f" ({message})" if message else ""


def wanted_of(names: Names, site: Site) -> list[tuple[str, str]]:
    """What a site's calls make, as the journal has it."""
    inner = [] if site.options.get("network") else [("network", names.network), ("subnet", names.network)]
    return [
        ("network", names.auxiliary), ("subnet", names.auxiliary), *inner, ("router", names.router),
        ("security group", names.gateway), ("security group", names.hosts), ("port", names.wan), ("port", names.lan),
        ("floating IP", names.gateway), ("key pair", names.key), ("server", names.gateway),
        *((kind, names.host(n)) for n in range(1, site.hosts + 1) for kind in ("port", "server")),
    ]  # fmt: skip


def identifier_of(found: Found, kind: str, name: str) -> str | None:
    """The identifier of something that the journal knows; None while it is not there."""
    held: Mapping[str, Mapping[str, Any]] = {
        "network": found.networks, "subnet": found.subnets, "router": found.routers, "security group": found.groups,
        "floating IP": found.addresses, "server": found.servers,
    }  # fmt: skip
    one: Any = found.port(name) if kind == "port" else held[kind].get(name) if kind in held else found.keypair
    return None if one is None else str(one.id)


def leftovers(api: Api, overlay: str, region: str) -> list[Leftover]:
    """By tags, and by the name where a crash lost them."""
    network = api.network
    found: list[Leftover] = []

    def add(kind: str, name: str, tags: Mapping[str, str]) -> None:
        first, _, rest = name.partition("--")
        ours = tags.get("managed-by") == naming.MANAGED_BY or (overlay and first == overlay and "--" in rest)
        of = tags.get("overlay", first)
        if ours and overlay in {"", of}:
            found.append(Leftover("openstack", region, of, tags.get("site", rest.partition("--")[0]), kind, name))

    for server in servers_of(api):
        add("server", server.name, server.metadata or {})
    for kind, look in (
        ("network", network.networks), ("subnet", network.subnets), ("router", network.routers),
        ("port", network.ports), ("security group", network.security_groups), ("floating IP", network.ips),
    ):  # fmt: skip
        for one in api.list(f"List({kind})", lambda look=look: look(project_id=api.project)):  # type: ignore[misc]
            name = one.description if kind == "floating IP" else one.name
            add(kind, name or "", dict(tag.partition("=")[::2] for tag in one.tags or ()))
    for keypair in api.list("ListKeypairs()", api.compute.keypairs):
        add("key pair", keypair.name, {})
    return found


# --- errors
