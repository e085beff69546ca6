"""Makes of an emulated cloud what it has been told: namespaces, routes, filters, machines."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from proactive_tasks.lab import cgroups, files, image, namespaces
from proactive_tasks.lab.cloud.model import Cloud
from proactive_tasks.lab.cloud.wiring import ROUTER, SERVER, Batch, Key, Known, Plan, Value, difference, world
from proactive_tasks.lab.lab import Lab
from proactive_tasks.lab.machine import Machine
from proactive_tasks.lab.names import CloudNames, LabNames, ServerNames
from proactive_tasks.lab.network import FORWARDING
from proactive_tasks.lab.state import LabState
from proactive_tasks.overlay.errors import InputError

AT_ONCE = 4
"""Machines that are started at the same time."""

_ROUTING = {**FORWARDING, "ipv4/conf/default/proxy_arp": "1"}


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """A server of an emulated cloud, as `lab cloud ls` tells of it."""

    cloud: str
    label: str
    name: str  # the API's identifier
    state: str  # running, stopped; dead: it should run and does not
    private: tuple[str, ...]
    public: tuple[str, ...]
    namespace: str
    machine: bool  # else a bare namespace


class Fabric:
    """The network and the servers of one emulated cloud, in a lab. Several processes and threads may use it at once.

    What was applied last is written down, and what is under way is marked there first: whoever comes next, after a
    failure or a crash, makes anew what is marked, and nothing else.
    """

    def __init__(self, lab: str, cloud: str) -> None:
        self.cloud = cloud
        self._names = CloudNames(lab, cloud)
        self._lab = LabNames(lab)
        self._file = self._names.own.folder / "cloud.json"
        self._lock = threading.Lock()

    def apply(self, cloud: Cloud) -> None:
        """Make network and servers equal to the model; callers see to it that the newest comes last.

        Raises:
            ProviderError: something refused; the next call repairs it.
        """
        with self._lock, files.locked(self._names.own.lock):
            self._names.own.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with LabState(self._lab).changing() as state:
                internet = state["router"]
            wanted = world(cloud, self._names, internet)
            known, servers = self._read()
            known = {**known, **self._doubtful(known, servers, cloud)}
            plan = difference(known, wanted, self._names.internet)
            merged = _servers(cloud, servers)
            certain: Known = {**known, **dict.fromkeys(plan.touched)}
            self._write(certain, merged)
            try:
                self._clear(plan, cloud, merged)
                certain = _distrusted(known, wanted, plan)
                _network(plan)
                certain = wanted
                self._start(cloud, merged)
            finally:
                self._write(certain, merged)

    def destroy(self) -> list[str]:
        """Remove everything of the cloud, also one whose record was lost; a line for each thing removed."""
        lab, removed = Lab(self._lab.overlay), []
        with self._lock, files.locked(self._names.own.lock):
            for part in self._parts():
                removed += lab.release(part, lambda _line: None)
            shutil.rmtree(self._names.own.folder, ignore_errors=True)
            self._names.own.lock.unlink(missing_ok=True)
        lab.remove_if_empty()
        return removed

    def servers(self) -> list[ServerStatus]:
        """The servers as they were applied last."""
        return [
            ServerStatus(
                cloud=self._names.cloud,
                label=entry["label"],
                name=name,
                state=self._state(name, entry),
                private=tuple(entry["private"]),
                public=tuple(entry["public"]),
                namespace=self._names.server(name).namespace,
                machine=entry["machine"],
            )
            for name, entry in sorted(self._read()[1].items(), key=lambda item: (item[1]["label"], item[0]))
        ]

    def argv(self, server: ServerStatus, command: Sequence[str]) -> list[str]:
        """The command line that runs a command in a server, from this machine.

        Raises:
            InputError: it is off.
        """
        machine = Machine(self._names.server(server.name))
        init = machine.init() if server.machine else None
        if server.state != "running" or (server.machine and init is None):
            raise InputError(f"server {server.label}: it is off; start it through the API of {self._names.cloud}")
        if init is None:
            return ["ip", "netns", "exec", server.namespace, *command]
        return ["nsenter", "--target", str(init), "--all", "--", *command]

    # --- what there is

    def _read(self) -> tuple[dict[Key, Value | None], dict[str, dict[str, Any]]]:
        record = files.read(self._file)
        known = {
            Key(kind, space, name): None if value is None else tuple(value)
            for kind, space, name, value in record.get("world", [])
        }
        return known, record.get("servers", {})

    def _state(self, name: str, entry: dict[str, Any]) -> str:
        if not entry["running"]:
            return "stopped"
        dead = entry["machine"] and Machine(self._names.server(name)).pid() is None
        return "dead" if dead else "running"

    def _write(self, known: Known, servers: dict[str, dict[str, Any]]) -> None:
        files.write(self._file, {"world": [[*key, value] for key, value in sorted(known.items())], "servers": servers})

    def _parts(self) -> list[str]:
        """Domains and servers of which anything is left, as a lab calls them."""
        folder, prefix = self._names.own.folder.parent, self._lab.prefix
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        found |= {name.removeprefix(prefix).split(".")[0] for name in namespaces.existing(prefix)}
        found |= {name.removeprefix(f"{self._lab.overlay}.") for name in cgroups.existing(f"{self._lab.overlay}.")}
        return sorted(name for name in found if name.startswith(self._names.prefixes))

    def _doubtful(self, known: Known, servers: dict[str, dict[str, Any]], cloud: Cloud) -> Known:
        """What is not as the record has it: namespaces that it does not know or that are gone, machines that died."""
        there = {name for part in self._names.prefixes for name in namespaces.existing(f"{self._lab.prefix}{part}")}
        lost = {key for key in known if key.kind == "space" and not namespaces.exists(key.space)}
        found = {Key("space", name) for name in there} - set(known)
        dead = {
            Key("space", names.namespace)
            for server in cloud.servers
            if server.running and server.name in servers and servers[server.name]["machine"]
            for names in [self._names.server(server.name)]
            if known.get(Key("space", names.namespace)) and Machine(names).pid() is None
        }
        return dict.fromkeys(lost | found | dead)

    # --- deeds

    def _clear(self, plan: Plan, cloud: Cloud, servers: dict[str, dict[str, Any]]) -> None:
        """Power off what loses its namespace, and remove what is not wanted."""
        wanted = {server.name for server in cloud.servers}
        names = {name: self._names.server(name, entry["label"]) for name, entry in servers.items()}
        off = [each for name, each in names.items() if servers[name]["machine"] and each.namespace in plan.remade]
        _each(off, lambda each: Machine(each).kill())
        for stray in self._folders() - {each.site for name, each in names.items() if name in wanted}:
            _remove(ServerNames(self._lab.overlay, stray))
        for name in set(servers) - wanted:
            del servers[name]

    def _start(self, cloud: Cloud, servers: dict[str, dict[str, Any]]) -> None:
        """Give machines their disks, and start those that have an interface: a boot looks for the network once."""
        machines = [(server, self._names.server(server.name, server.label)) for server in cloud.servers]
        machines = [(server, names) for server, names in machines if server.user_data]
        for server, names in machines:
            if not servers[server.name]["disk"]:
                Machine(names).kill()
                Machine(names).make_disk(image.ensure(lambda _line: None), server.user_data)
                servers[server.name]["disk"] = True
        wired = {nic.server for nic in cloud.nics}
        _each([names for server, names in machines if server.running and server.name in wired], _boot)

    def _folders(self) -> set[str]:
        """The servers that have a disk, or the beginnings of one."""
        return {path.name for path in self._names.own.folder.parent.glob(f"{self._names.prefixes[1]}*")}


def _network(plan: Plan) -> None:
    namespaces.delete(*sorted(plan.remade))
    _run(plan.unmake)
    namespaces.create(*(space for space, _ in plan.make))
    for space, kind in plan.make:
        if kind == ROUTER:
            namespaces.sysctl(space, _ROUTING)
    _run(plan.fill)


def _run(batches: Iterable[Batch]) -> None:
    for batch in batches:
        if batch.tool == "nft":
            namespaces.nft(batch.space, "\n".join(batch.lines))
        elif not batch.force or namespaces.exists(batch.space):
            namespaces.ip(batch.space, batch.lines, force=batch.force)


def _boot(names: ServerNames) -> None:
    machine = Machine(names)
    if machine.pid() is None:
        machine.boot()


def _remove(names: ServerNames) -> None:
    """Remove a server's machine, its disk and its folder."""
    machine = Machine(names)
    machine.kill()
    machine.remove_disk()
    shutil.rmtree(names.folder, ignore_errors=True)


def _each(names: Sequence[ServerNames], work: Callable[[ServerNames], object]) -> None:
    """Do the same with several servers at once; all have ended when the first fault is raised."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = [pool.submit(work, each) for each in names]
    for each in done:
        each.result()


def _distrusted(known: Known, wanted: Known, plan: Plan) -> dict[Key, Value | None]:
    """After a failure nothing counts as known but the namespaces in which servers run on."""
    kept = {key: value for key, value in known.items() if value == (SERVER,) and key not in plan.touched}
    return {**dict.fromkeys({*known, *wanted}), **kept}


def _servers(cloud: Cloud, before: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The record of the servers: those that are wanted, and those of before that are still to be removed."""
    merged = {name: {**entry, "running": False, "disk": False} for name, entry in before.items()}
    for server in cloud.servers:
        nics = [nic for nic in cloud.nics if nic.server == server.name]
        merged[server.name] = {
            "label": server.label,
            "running": server.running,
            "machine": bool(server.user_data),
            "disk": bool(before.get(server.name, {}).get("disk")),
            "private": [str(nic.address) for nic in nics],
            "public": [str(nic.public) for nic in nics if nic.public is not None],
        }
    return merged
