"""A site's servers: its gateway and its application hosts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from openstack.compute.v2.server import Server
from openstack.network.v2.port import Port

from proactive_tasks.clouds import naming
from proactive_tasks.clouds.openstack.api import Api, remove
from proactive_tasks.clouds.openstack.facts import DIGEST, Found, fault, keypair_of, look, servers_of, stillborn
from proactive_tasks.clouds.openstack.making import MANAGED, NEW, soon
from proactive_tasks.clouds.openstack.network import SiteNetwork
from proactive_tasks.clouds.provider import GatewayFacts
from proactive_tasks.clouds.steps import SECRET, Noted, Taken, shown, until
from proactive_tasks.overlay.errors import InputError, ProviderError
from proactive_tasks.overlay.model import Site

SERVER_S = 600.0

GONE_S = 300.0

IMAGES = "debian-12"

MIN_RAM_MB, MIN_DISK_GB = 1024, 5


class Provision(SiteNetwork):
    """The whole of a site."""

    def gateway(self) -> GatewayFacts | None:
        """Network and gateway; the gateway's facts, where steps are taken."""
        auxiliary, inner = self._networks()
        group, _ = self._groups()
        wan, lan = self._gateway_ports(auxiliary, inner, group)
        self._host_routes(inner, lan)
        address = self._address(wan)
        server = self._gateway_server(wan, lan)
        self._tags()
        if isinstance(self.steps, Noted):
            return None
        server = await_active(self.api, [server])[0]
        return GatewayFacts(
            machine=server.id,
            running=True,
            public_address=IPv4Address(address.floating_ip_address),
            user_data_digest=(server.metadata or {}).get(DIGEST, ""),
        )

    def _keypair(self) -> str:
        """The key pair's name; it is the user's, not the project's, so each user has one of his own."""
        name, compute = self.names.key, self.api.compute
        wanted = self.order.ssh_key.split()[:2]
        if not wanted:
            return ""
        there = self.found.keypair
        if there is not None and there.public_key.split()[:2] == wanted:
            return name
        if there is not None:
            call = shown("DeleteKeypair", name=name)
            self.steps.take(
                f"key pair {name}: remove, it holds another key",
                call,
                lambda: self._gone(call, compute.delete_keypair, name),
                instead=None,
            )
        make = shown("CreateKeypair", name=name, public_key=self.order.ssh_key)
        self.steps.take(
            f"key pair {name}: import",
            make,
            lambda: self.api.call(make, lambda: compute.create_keypair(name=name, public_key=self.order.ssh_key)),
            instead=None,
            makes=("key pair", name),
            find=lambda: keypair_of(self.api, name),
        )
        return name

    def _gateway_server(self, wan: Port, lan: Port) -> Server:
        name, site = self.names.gateway, self.site
        server = self.found.servers.get(name)
        if server is not None and stillborn(server):
            call = shown("DeleteServer", name=name, id=server.id)
            fault = (server.fault or {}).get("message", "no reason given")
            self.steps.take(
                f"server {name}: remove, it never ran ({fault})",
                call,
                partial(self._replace, server),
                instead=None,
            )
            server = None
        keypair = self._keypair() if server is None else ""
        if server is None:
            return self._server(name, [wan, lan], keypair, "flavor", "image", self.order.user_data)
        if server.status in {"SHUTOFF", "STOPPED"}:
            call = shown("StartServer", name=name, id=server.id)
            self.steps.take(
                f"server {name}: start",
                call,
                lambda: bool(self.api.call(call, lambda: self.api.compute.start_server(server.id) is None)),
                instead=True,
                find=lambda: self._starting(server),
            )
        elif server.status not in {"ACTIVE", "BUILD", "REBOOT", "HARD_REBOOT"}:
            raise ProviderError(
                f"server {name} is {server.status}{fault(server)}; bring it back to ACTIVE by the cloud's own means, "
                f"or replace the gateway of site {site.name} (overlayctl repair)"
            )
        for port in (wan, lan) if server.status == "ACTIVE" else ():
            if port.device_id != server.id:
                call = shown("CreateServerInterface", server=name, port=port.name)
                self.steps.take(
                    f"server {name}: attach port {port.name}",
                    call,
                    lambda call=call, port=port: self.api.call(  # type: ignore[misc]
                        call, lambda: bool(self.api.compute.create_server_interface(server, port_id=port.id))
                    ),
                    instead=True,
                    find=lambda port=port: self._attached(port, server),  # type: ignore[misc]
                )
        return server

    def _starting(self, server: Server) -> bool | None:
        found = self.api.read(f"GetServer({server.name})", lambda: self.api.compute.get_server(server.id))
        return bool(found.task_state) or found.status == "ACTIVE" or None

    def _attached(self, port: Port, server: Server) -> bool | None:
        found = self.api.read(f"GetPort({port.name})", lambda: self.api.network.get_port(port.id))
        return found.device_id == server.id or None

    def _replace(self, server: Server) -> None:
        delete_server(self.api, server)
        await_gone(self.api, [server])

    def _server(self, name: str, ports: list[Port], keypair: str, flavor: str, image: str, user_data: bytes) -> Server:
        """Make a server; `flavor` and `image` are the names of the options that choose them."""
        chosen = choose_image(self.found, self.site, image)
        size = choose_flavor(self.found, self.site, flavor, chosen)
        zone = self.site.options.get("availability_zone")
        call = shown(
            "CreateServer", name=name, flavor=size.name, image=chosen.name, networks=[port.name for port in ports],
            **({"key_name": keypair} if keypair else {}), **({"availability_zone": zone} if zone else {}),
            **({"user_data": SECRET} if user_data else {}),
        )  # fmt: skip
        attributes = {
            "name": name,
            "flavor_id": size.id,
            "image_id": chosen.id,
            "networks": [{"port": port.id} for port in ports],
            "metadata": naming.tags(self.order.overlay, self.site.name),
            "config_drive": True,
            **({"key_name": keypair} if keypair else {}),
            **({"availability_zone": zone} if zone else {}),
        }
        if user_data:
            attributes["user_data"] = base64.b64encode(user_data).decode()
            attributes["metadata"][DIGEST] = hashlib.sha256(user_data).hexdigest()

        def find() -> Server | None:
            return soon(lambda: next(iter(servers_of(self.api, name)), None))

        return self.steps.take(
            f"server {name}: make ({size.name}, {chosen.name})",
            call,
            lambda: self.api.call(call, lambda: self.api.compute.create_server(**attributes)),
            instead=Server.new(id=NEW, name=name),
            makes=("server", name),
            find=find,
        )

    def hosts(self) -> list[str]:
        """The application hosts: a line for each that was made or removed."""
        names, site, found = self.names, self.site, self.found
        done = self._surplus()
        wanted = [names.host(number) for number in range(1, site.hosts + 1)]
        if any(name not in found.servers or found.port(name) is None for name in wanted):
            inner = found.adopted[1] if found.adopted else found.subnets.get(names.network)
            group = found.groups.get(names.hosts)
            if inner is None or group is None:
                raise ProviderError(f"site {site.name}: its network is not there yet; deploy its gateway first")
            ports = self._bulk(
                "port", Port, {port.name: port for port in reversed(found.ports)}, self._list_ports,
                {
                    name: {
                        "network_id": inner.network_id, "fixed_ips": [{"subnet_id": inner.id}],
                        "security_group_ids": [group.id], "description": f"{MANAGED}host",
                    }
                    for name in wanted
                },
            )  # fmt: skip
            keypair = self._keypair()
            fresh = [
                self._server(name, [ports[name]], keypair, "host_flavor", "host_image", b"")
                for name in wanted
                if name not in found.servers
            ]
            self._tags()
            await_active(self.api, fresh)
            done += [f"host {server.name}: made" for server in fresh]
        return done

    def _surplus(self) -> list[str]:
        """Remove hosts beyond the number wanted, the last ones first, and those that never came up."""
        done, names = [], self.names
        surplus = {}
        for name, server in self.found.servers.items():
            number = re.fullmatch(re.escape(names.prefix) + r"host(\d+)", name)
            if number and (int(number[1]) > self.site.hosts or stillborn(server)):
                surplus[name] = server
        if surplus:
            for server in surplus.values():
                delete_server(self.api, server)
            await_gone(self.api, surplus.values())
            self.found = look(self.api, names, self.site, whole=True)
        for port in self.found.ports:
            number = re.fullmatch(re.escape(names.prefix) + r"host(\d+)", port.name or "")
            if number and int(number[1]) > self.site.hosts:
                call = shown("DeletePort", name=port.name)
                self._gone(call, self.api.network.delete_port, port.id)
        if isinstance(self.steps, Taken):
            for name in surplus:
                for kind in ("server", "port"):
                    self.steps.journal.gone(kind, name)
                done.append(f"host {name}: removed")
        return done


def choose_image(found: Found, site: Site, option: str) -> Any:
    """The image that the option names, or the newest Debian 12."""
    wanted = site.options.get(option)
    if wanted:
        fitting = [image for image in found.images if wanted in {image.name, image.id}]
    else:
        fitting = [image for image in found.images if (image.name or "").startswith(IMAGES)]
    if not fitting:
        there = ", ".join(sorted(str(image.name) for image in found.images)[:20]) or "none"
        raise InputError(
            f"site {site.name}: image {wanted or IMAGES + '*'}: there is none that can be used; the cloud has {there}; "
            f"set the site's option {option}, or upload Debian 12's genericcloud image"
        )
    return max(fitting, key=lambda image: image.created_at or "")


def choose_flavor(found: Found, site: Site, option: str, image: Any) -> Any:
    """The flavor that the option names, or the smallest one that a gateway fits in."""
    wanted = site.options.get(option)
    flavors = sorted(found.flavors, key=lambda flavor: (flavor.ram, flavor.vcpus, flavor.disk))
    there = ", ".join(str(flavor.name) for flavor in flavors[:20]) or "none"
    if wanted:
        fitting = [flavor for flavor in flavors if wanted in {flavor.name, flavor.id}]
    else:
        ram, disk = max(MIN_RAM_MB, image.min_ram or 0), max(MIN_DISK_GB, image.min_disk or 0)
        fitting = [flavor for flavor in flavors if flavor.ram >= ram and flavor.disk >= disk]
    if not fitting:
        wish = wanted or f"of {MIN_RAM_MB} MB and {MIN_DISK_GB} GB"
        raise InputError(
            f"site {site.name}: flavor {wish}: there is none; the cloud has {there}; set the site's option {option}"
        )
    return fitting[0]


def await_active(api: Api, servers: Sequence[Server]) -> list[Server]:
    """Wait until all run; one list a look."""
    if not servers:
        return []

    def look() -> list[Server] | None:
        there = {server.id: server for server in servers_of(api)}
        for server in servers:
            now = there.get(server.id)
            if now is None:
                raise ProviderError(f"server {server.name} is gone while it was waited for; run this again")
            if now.status == "ERROR":
                raise ProviderError(
                    f"CreateServer({server.name}) ended in ERROR{fault(now)}; correct that (quota, flavor, "
                    "availability_zone), then run this again: it is made anew"
                )
        return [there[s.id] for s in servers] if all(there[s.id].status == "ACTIVE" for s in servers) else None

    return until(look, SERVER_S, f"servers {', '.join(str(server.name) for server in servers)}: not ACTIVE", 0.5)


def delete_server(api: Api, server: Server) -> None:
    """Ask for a server's end."""
    remove(api, shown("DeleteServer", name=server.name, id=server.id), lambda: api.compute.delete_server(server.id))


def await_gone(api: Api, servers: Iterable[Server]) -> None:
    """Wait until all are gone; one list a look."""
    waited = {server.id: server.name for server in servers}
    if not waited:
        return

    def look() -> bool | None:
        left = [server for server in servers_of(api) if server.id in waited]
        for server in left:
            if server.status == "ERROR" and not server.task_state:
                raise ProviderError(
                    f"DeleteServer({server.name}) ended in ERROR{fault(server)}; run this again, or ask the cloud's "
                    "administrator to remove it"
                )
        return None if left else True

    until(look, GONE_S, f"servers {', '.join(map(str, waited.values()))}: not removed", 0.3)
