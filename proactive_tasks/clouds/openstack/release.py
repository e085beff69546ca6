"""Removing a site, in the order in which its parts can go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from openstack.network.v2.port import Port

from proactive_tasks.clouds.openstack.api import Api, remove
from proactive_tasks.clouds.openstack.facts import Found, Names, address_of, keypair_of, ports_of, servers_of, wanted_of
from proactive_tasks.clouds.openstack.servers import await_gone, delete_server
from proactive_tasks.clouds.provider import Journal, Progress
from proactive_tasks.clouds.steps import shown
from proactive_tasks.overlay.model import Site


@dataclass
class Release:
    """Everything of a site. It looks for the beginning of the name: twins that a lost answer left go, too."""

    api: Api
    names: Names
    found: Found
    site: Site
    journal: Journal
    progress: Progress
    done: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        """A line for each thing removed."""
        network = self.api.network
        self._servers()
        addresses = self.api.list("ListFloatingIps()", lambda: network.ips(project_id=self.api.project))
        for address in addresses:
            if (address.description or "").startswith(self.names.prefix):
                self._delete("floating IP", "FloatingIp", address.description, partial(network.delete_ip, address.id))
        ports = ports_of(self.api)
        self._give_back(ports)
        for port in ports:
            if (port.name or "").startswith(self.names.prefix):
                self._delete("port", "Port", port.name, partial(network.delete_port, port.id))
        self._routers(ports)
        for kind, word, look, delete in (
            ("subnet", "Subnet", network.subnets, network.delete_subnet),
            ("network", "Network", network.networks, network.delete_network),
            ("security group", "SecurityGroup", network.security_groups, network.delete_security_group),
        ):
            for one in self._ours(look, word):
                self._delete(kind, word, one.name, partial(delete, one.id))
        if keypair_of(self.api, self.names.key) is not None:
            name = self.names.key
            self._delete("key pair", "Keypair", name, partial(self.api.compute.delete_keypair, name))
        for kind, name in wanted_of(self.names, self.site):
            self.journal.gone(kind, name)
        return self.done

    def _servers(self) -> None:
        servers = [server for server in servers_of(self.api) if (server.name or "").startswith(self.names.prefix)]
        for server in servers:
            self.progress(f"server {server.name}: remove")
            delete_server(self.api, server)
        await_gone(self.api, servers)
        for server in servers:
            self._removed("server", server.name)

    def _routers(self, ports: Iterable[Port]) -> None:
        network = self.api.network
        for router in self._ours(network.routers, "Router"):
            for port in ports:
                if port.device_id == router.id and (port.device_owner or "").startswith("network:router_interface"):
                    call = shown("RemoveRouterInterface", router=router.name, port=port.id)
                    remove(self.api, call, partial(network.remove_interface_from_router, router, None, port.id))
            self._delete("router", "Router", router.name, partial(network.delete_router, router.id))

    def _ours(self, look: Callable[..., Iterable[Any]], word: str) -> list[Any]:
        found = self.api.list(f"List{word}s()", lambda: look(project_id=self.api.project))
        return [one for one in found if (one.name or "").startswith(self.names.prefix)]

    def _give_back(self, ports: Iterable[Port]) -> None:
        """An adopted subnet is as it was, before the port is gone by whose address its routes are known as ours."""
        hop = next((address_of(port) for port in ports if port.name == self.names.lan), "")
        if not self.found.adopted or not hop:
            return
        subnet = self.found.adopted[1]
        kept = [route for route in subnet.host_routes or () if route["nexthop"] != hop]
        if len(kept) != len(subnet.host_routes or ()):
            call = shown("UpdateSubnet", name=subnet.name, host_routes=kept)
            remove(self.api, call, partial(self.api.network.update_subnet, subnet.id, host_routes=kept))
            self.done.append(f"subnet {subnet.name}: routes by {hop} removed")

    def _delete(self, kind: str, word: str, name: str, do: Callable[[], Any]) -> None:
        self.progress(f"{kind} {name}: remove")
        remove(self.api, shown(f"Delete{word}", name=name), do)
        self._removed(kind, name)

    def _removed(self, kind: str, name: str) -> None:
        self.journal.gone(kind, name)
        self.done.append(f"{kind} {name}: removed")
