"""OpenStack's control plane for tests, without machines: once for all tests of a run."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml

from proactive_tasks.clouds.openstack.driver import OpenStackProvider
from proactive_tasks.clouds.provider import GatewayFacts, GatewayOrder, Journal, NoJournal
from proactive_tasks.lab.cloud.model import Cloud
from proactive_tasks.lab.cloud.openstack.emulator import OpenStackEmulator
from proactive_tasks.lab.cloud.openstack.hypervisor import TOLD
from proactive_tasks.lab.cloud.openstack.plane import ADMIN, CLOUD, SERVICES
from proactive_tasks.lab.cloud.openstack.state import compiled
from proactive_tasks.lab.names import STATE
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import Origin, Site
from tests.clouds.trouble import Answer, Judge, Request, Trouble, trouble

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPvxh6ZLyGvNWDYOwLLiTsvpTuaOxmwTbJ4mJbaCq0Sn"
OVERLAY = "presto"
NETWORK = IPv4Network("10.0.0.0/8")
CONTROLLER = IPv4Network("192.0.2.7/32")
USER_DATA = b"#cloud-config\nhostname: paris-gateway\n"
READING = {"GET", "HEAD"}


@dataclass(frozen=True)
class Plane:
    """The control plane that runs."""

    folder: Path
    environment: dict[str, str]

    @property
    def clouds(self) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load((self.folder / "clouds.yaml").read_text())["clouds"]
        return content

    def connection(self, cloud: str = CLOUD) -> openstack.connection.Connection:
        return openstack.connect(load_yaml_config=False, load_envvars=False, **self.clouds[cloud])

    def told(self) -> Cloud:
        """What the hypervisor was told last, compiled."""
        told = json.loads((self.folder / TOLD).read_text())
        return compiled(told["network"], told["servers"])

    def holdings(self) -> list[str]:
        """Everything that the project of the driver's user holds, as kind and name."""
        with contextlib.closing(self.connection()) as cloud:
            network, project = cloud.network, cloud.current_project_id
            found = [
                f"{kind} {one.name or one.id}"
                for kind, look in (
                    ("network", network.networks),
                    ("subnet", network.subnets),
                    ("router", network.routers),
                    ("port", network.ports),
                    ("security group", network.security_groups),
                )
                for one in look(project_id=project)
                if (kind, one.name) != ("security group", "default")
            ]
            found += [f"floating IP {one.description}" for one in network.ips(project_id=project)]
            found += [f"server {one.name}" for one in cloud.compute.servers()]
            return sorted(found + [f"key pair {one.name}" for one in cloud.compute.keypairs()])


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    """OpenStack, installed first if this machine has not had it yet: minutes then, else about 20 s."""
    for folder in STATE.glob("cto-*"):
        name = folder.name.partition(".")[0]  # a lab's folder, or its lock
        if not Path("/proc", name.removeprefix("cto-")).exists():
            OpenStackEmulator(name, machines=False).down()
    emulator = OpenStackEmulator(f"cto-{os.getpid()}", machines=False)
    try:
        environment = emulator.up(print)
    except InputError as error:
        pytest.skip(str(error))
    try:
        yield Plane(emulator.log, dict(environment))
    finally:
        emulator.down()
    assert not emulator.log.exists()


@pytest.fixture
def cloud(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> Plane:
    """The control plane, and the environment in which a driver finds it."""
    for name in list(os.environ):
        if name.startswith("OS_"):
            monkeypatch.delenv(name)
    for name, value in plane.environment.items():
        monkeypatch.setenv(name, value)
    return plane


def site(name: str = "paris", hosts: int = 0, prefixes: tuple[str, ...] = (), index: int = 768, **options: Any) -> Site:
    return Site(
        name=name,
        provider="openstack",
        region="RegionOne",
        origin=Origin.FILE,
        deployment=index - 768,
        index=index,
        subnet=IPv4Network((int(NETWORK.network_address) + (index << 8), 24)),
        asn=4_200_000_000 + index,
        prefixes=tuple(map(IPv4Network, prefixes)),
        hosts=hosts,
        options=options,
    )


def order(of: Site, user_data: bytes = b"", *, controllers: tuple[IPv4Network, ...] = (CONTROLLER,)) -> GatewayOrder:
    return GatewayOrder(OVERLAY, of, user_data, routes=(NETWORK,), controllers=controllers, ssh_key=KEY)


def deploy(
    provider: OpenStackProvider, of: Site, user_data: bytes = USER_DATA, journal: Journal | None = None
) -> tuple[GatewayFacts, list[str]]:
    """Facts and apply, as the task does; and what the plan said before."""
    facts = provider.facts(OVERLAY, of)
    wanted = order(of, user_data if facts.gateway is None else b"")
    planned = [change.line for change in provider.difference(wanted, facts)]
    done: list[str] = []
    made = provider.apply(wanted, facts, journal or NoJournal(), done.append)
    assert done == planned  # a plan says what is done, and nothing else
    return made, planned


@dataclass
class Watched:
    """The control plane behind proxies."""

    cloud: Path
    proxies: list[Trouble]

    @property
    def calls(self) -> list[Request]:
        return [request for proxy in self.proxies for request in proxy.calls]

    @property
    def writes(self) -> list[Request]:
        return [call for call in self.calls if call.method not in READING and not call.path.endswith("/auth/tokens")]

    def forget(self) -> None:
        for proxy in self.proxies:
            proxy.calls.clear()


@contextlib.contextmanager
def watched(
    plane: Plane,
    folder: Path,
    judge: Judge = lambda _request: None,
    after: Callable[[Request], None] = lambda _request: None,
) -> Iterator[Watched]:
    """A clouds.yaml whose cloud is the control plane behind proxies that count and judge each call."""
    ports = json.loads((plane.folder / "ports.json").read_text())
    own = plane.clouds[CLOUD]
    with contextlib.ExitStack() as open_:
        proxies = {}
        for service, kind in SERVICES.items():
            if service != "placement":
                proxy = proxies[kind] = open_.enter_context(trouble(f"http://127.0.0.1:{ports[service]}"))
                proxy.judge, proxy.after = judge, after
        own["auth"]["auth_url"] = f"{proxies['identity'].url}/v3"
        own |= {
            "network_endpoint_override": proxies["network"].url,
            "compute_endpoint_override": f"{proxies['compute'].url}/v2.1/",
            "image_endpoint_override": proxies["image"].url,
        }
        path = folder / "clouds.yaml"
        path.write_text(yaml.safe_dump({"clouds": {CLOUD: own}}))
        yield Watched(path, list(proxies.values()))


__all__ = ["ADMIN", "Answer", "Plane", "Watched", "cloud", "deploy", "order", "plane", "site", "watched"]
