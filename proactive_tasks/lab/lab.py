"""One overlay's lab: its machines, its Internet, and ways to break them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from proactive_tasks.lab import cgroups, files, image, namespaces, network, processes
from proactive_tasks.lab.cloud.daemon import STOP_S, is_of
from proactive_tasks.lab.machine import Machine
from proactive_tasks.lab.names import CLOUD, GATEWAY, STATE, LabNames, SiteNames
from proactive_tasks.lab.network import Conditions, Leg
from proactive_tasks.lab.requirements import require
from proactive_tasks.lab.state import LabState, wiring
from proactive_tasks.overlay.errors import InputError, ProviderError, UnknownObjectError
from proactive_tasks.overlay.model import Site

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """What a lab holds of a site."""

    site: str
    running: bool
    public_address: IPv4Address
    subnet: IPv4Network
    gateway: IPv4Address
    hosts: tuple[IPv4Address, ...]
    conditions: Conditions
    user_data_digest: str


def labs() -> list[str]:
    """The overlays that have a lab on this machine."""
    folders = [path.name for path in STATE.iterdir() if path.is_dir()] if STATE.is_dir() else []
    spaces = [name.split(".")[1] for name in namespaces.existing("ovl.")]
    return sorted({*folders, *spaces})


class Lab:
    """The lab of an overlay. Several processes may use it at once; what one leaves unfinished the next completes."""

    def __init__(self, overlay: str) -> None:
        self.overlay = overlay
        self._names = LabNames(overlay)
        self._state = LabState(self._names)

    # --- what is there

    def sites(self) -> list[str]:
        """The sites that have a leg."""
        return sorted(self._state.legs())

    def clouds(self) -> list[str]:
        """The emulated clouds that are here."""
        folders = [path.name for path in _children(self._names.folder) if path.is_dir()]
        return sorted({name.removeprefix(CLOUD).removeprefix("_") for name in folders if name.startswith((CLOUD, "_"))})

    def status(self, site: str) -> SiteStatus | None:
        """What is there of a site; None while it has no machine."""
        names, record, leg = self._names.site(site), self._state.record(site), self._state.legs().get(site)
        if leg is None or "user_data_digest" not in record:
            return None
        subnet = IPv4Network(record["subnet"])
        return SiteStatus(
            site=site,
            running=Machine(names).pid() is not None,
            public_address=leg.public,
            subnet=subnet,
            gateway=IPv4Address(record["gateway"]),
            hosts=tuple(subnet.network_address + number for number in record.get("hosts", [])),
            conditions=leg.conditions,
            user_data_digest=record["user_data_digest"],
        )

    def hosts(self, site: str) -> dict[str, IPv4Address]:
        """The names of a site's application hosts, as `exec` takes them, and their addresses."""
        record = self._state.record(site)
        numbers = record.get("hosts", [])
        return {f"{site}/host{number}": IPv4Network(record["subnet"]).network_address + number for number in numbers}

    def conditions(self, site: str) -> Conditions:
        """What a site's leg is like now."""
        return self._state.leg(site).conditions

    def namespace(self, machine: str) -> str:
        """The network namespace of `SITE/gateway`, `SITE/hostN` or `controller`.

        Raises:
            UnknownObjectError: there is no such machine.
        """
        if machine == "controller":
            return self._names.controller
        site, part = self._split(machine)
        names = self._names.site(site)
        if part == GATEWAY:
            return names.gateway
        if machine not in self.hosts(site):
            raise UnknownObjectError(f"machine {machine}: the lab of {self.overlay} has no such host; see 'lab ls'")
        return names.host(int(part.removeprefix("host")))

    def cuts(self) -> list[tuple[str, str]]:
        """The pairs of sites between which nothing passes."""
        return [(a, b) for a, b in self._state.read().get("cuts", [])]

    # --- making and removing

    def difference(self, site: Site) -> list[str]:
        """What `provide` would do, a line each."""
        conditions, record, leg = (
            Conditions.of(site.options),
            self._state.record(site.name),
            self._state.legs().get(site.name),
        )
        lines = []
        if leg is None:
            lines.append(f"leg of {site.name}: make ({conditions})")
        elif record.get("options") != dict(site.options) and leg.conditions != conditions:
            lines.append(f"leg of {site.name}: {leg.conditions} becomes {conditions}")
        have = set(record.get("hosts", []))
        want = set(range(1, site.hosts + 1))
        lines += [f"host {site.name}/host{number}: make" for number in sorted(want - have)]
        lines += [f"host {site.name}/host{number}: remove" for number in sorted(have - want)]
        if "user_data_digest" not in record:
            lines.append(f"machine {site.name}/gateway: make and start")
        elif Machine(self._names.site(site.name)).pid() is None:
            lines.append(f"machine {site.name}/gateway: start")
        return lines

    def provide(self, site: Site, user_data: bytes, progress: Progress) -> SiteStatus:
        """Make what lacks of a site and start its machine.

        Raises:
            InputError: this machine cannot carry a lab, or the site cannot be in one.
            ProviderError: something refused; what was made stays, and the next call goes on from there.
        """
        require()
        conditions = Conditions.of(site.options)
        if site.hosts > site.subnet.num_addresses - 3:
            raise InputError(f"site {site.name}: {site.subnet} has no room for {site.hosts} hosts; ask for fewer")
        rootfs = image.ensure(progress)
        names, machine = self._names.site(site.name), Machine(self._names.site(site.name))
        with files.locked(names.lock):
            with self._state.changing() as state:
                leg = self._leg(state, site, conditions)
            self._provide_lan(site, progress)
            record = self._state.record(site.name)
            if machine.pid() is None:
                if "user_data_digest" not in record:
                    progress("making the gateway's disk")
                    machine.make_disk(rootfs, user_data)
                    record["user_data_digest"] = hashlib.sha256(user_data).hexdigest()
                    self._state.save(site.name, record)
                progress("booting the gateway")
                self._boot(site.name)
            elif record.get("wired") != wiring(state, leg):
                progress("wiring the gateway anew")
                self._rewire(names, leg)
        status = self.status(site.name)
        if status is None:
            raise ProviderError(f"lab: site {site.name}: removed by another process while it was being made")
        return status

    def release(self, site: str, progress: Progress) -> list[str]:
        """Remove everything of a site; a line for each thing removed."""
        names, machine = self._names.site(site), Machine(self._names.site(site))
        removed = []
        with files.locked(names.lock):
            progress(f"removing site {site}")
            self._state.forget_disk(site)
            removed += [f"machine {names.machine}"] if machine.kill() else []
            with self._state.changing() as state:
                leg = self._state.legs(state).get(site)
                if leg:
                    network.dismantle(names, self._names, leg)
                    del state["legs"][site]
                    state["cuts"] = [cut for cut in state.get("cuts", []) if site not in cut]
                    removed.append(f"leg {leg.public}")
                spaces = [name for name in namespaces.existing(names.gateway) if _is_of(name, names.gateway)]
                for pid in processes.having(lambda argv: names.relay in argv):
                    processes.end(pid, names.relay)
                namespaces.delete(*spaces)
                removed += [f"namespace {name}" for name in spaces]
            removed += [f"disk of {names.machine}"] if machine.remove_disk() else []
            shutil.rmtree(names.folder, ignore_errors=True)
            names.lock.unlink(missing_ok=True)
        self.remove_if_empty()
        return removed

    def destroy(self, progress: Progress = lambda _line: None) -> list[str]:
        """Remove the lab, also one whose state was lost; a line for each thing removed."""
        removed = self._end_clouds()
        for site in self._traces():
            removed += self.release(site, progress)
        for machine in cgroups.existing(f"{self.overlay}."):
            cgroups.remove(machine)
        with files.locked(self._names.lock):
            spaces = namespaces.existing(self._names.prefix)
            namespaces.delete(*spaces)
            removed += [f"namespace {name}" for name in spaces]
            shutil.rmtree(self._names.folder, ignore_errors=True)
            self._names.lock.unlink(missing_ok=True)
        return removed

    def leftovers(self) -> list[str]:
        """Everything that is there of this lab: processes, control groups, mounts, namespaces, state."""
        serving, inside = is_of(self.overlay), f"{self._names.folder}/_"

        def ours(argv: list[str]) -> bool:
            return self._is_ours(argv) or serving(argv) or any(inside in word for word in argv)

        left = [f"process {pid}" for pid in processes.having(ours)]
        left += [f"mount {path}" for path in _mounts() if path.is_relative_to(self._names.folder)]
        left += [f"control group of {name}" for name in cgroups.existing(f"{self.overlay}.")]
        left += [f"namespace {name}" for name in namespaces.existing(self._names.prefix)]
        left += [f"state {self._names.folder}"] if self._names.folder.exists() else []
        return left

    # --- ways to use and break it

    def argv(self, machine: str, command: Sequence[str]) -> list[str]:
        """The command line that runs a command in a machine, from this one."""
        space = self.namespace(machine)
        if machine == "controller" or self._split(machine)[1] != GATEWAY:
            return ["ip", "netns", "exec", space, *command]
        init = Machine(self._names.site(self._split(machine)[0])).init()
        if init is None:
            raise InputError(f"machine {machine}: it is off; 'lab boot {machine}' starts it")
        return ["nsenter", "--target", str(init), "--all", "--", *command]

    def exec(self, machine: str, argv: Sequence[str], timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a command in a machine and hand back its answer, whatever its exit code."""
        command = self.argv(machine, argv)
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
            env=processes.environment(),
        )  # fmt: skip

    def link(self, site: str, **changes: Any) -> Conditions:
        """Change a leg's conditions (the fields of `Conditions`), while the machine runs on."""
        names = self._names.site(site)
        self._state.leg(site)  # an unknown one is refused before anything is made for it
        with files.locked(names.lock):
            with self._state.changing() as state:
                leg = self._state.leg(site, state)
                leg = replace(leg, conditions=replace(leg.conditions, **changes).checked())
                state["legs"][site] = leg.record()
            if namespaces.exists(names.gateway) and self._state.record(site).get("wired") != wiring(state, leg):
                self._rewire(names, leg)
            elif namespaces.exists(names.gateway):
                with self._state.changing():
                    network.shape(self._names, leg)
        return leg.conditions

    def cut(self, a: str, b: str) -> None:
        """Let nothing pass between the public addresses of two sites."""
        self._set_cut(a, b, there=True)

    def heal(self, a: str, b: str) -> None:
        """Undo a cut."""
        self._set_cut(a, b, there=False)

    def kill(self, machine: str, *, disk: bool = False) -> None:
        """Power a gateway off, no goodbye; with `disk`, destroy its disk too."""
        site = self._gateway(machine)
        power = Machine(self._names.site(site))
        with files.locked(self._names.site(site).lock):
            if not power.kill() and not disk:
                raise InputError(f"machine {machine}: it is off already")
            if disk:
                self._state.forget_disk(site)
                power.remove_disk()

    def boot(self, machine: str) -> None:
        """Start a gateway that is off, from its own disk."""
        site = self._gateway(machine)
        with files.locked(self._names.site(site).lock):
            if Machine(self._names.site(site)).pid() is not None:
                raise InputError(f"machine {machine}: it runs already")
            if "user_data_digest" not in self._state.record(site):
                raise InputError(f"machine {machine}: it has no disk; 'overlayctl replace {site}' makes a new one")
            self._boot(site)

    # --- inside

    def _boot(self, site: str) -> None:
        """Start the machine in a fresh namespace. The caller holds the site's lock."""
        names, record = self._names.site(site), self._state.record(site)
        record.pop("wired", None)
        self._state.save(site, record)
        subnet = IPv4Network(record["subnet"])
        with self._state.changing() as state:
            leg = self._state.leg(site, state)
            address = f"{record['gateway']}/{subnet.prefixlen}"
            network.build_gateway(names, self._names, leg, address)
        record["wired"] = wiring(state, leg)
        self._state.save(site, record)
        Machine(names).boot()

    def _rewire(self, names: SiteNames, leg: Leg) -> None:
        record = self._state.record(names.site)
        record.pop("wired", None)
        self._state.save(names.site, record)
        with self._state.changing() as state:
            network.rewire(names, self._names, leg)
        record["wired"] = wiring(state, leg)
        self._state.save(names.site, record)

    def _provide_lan(self, site: Site, progress: Progress) -> None:
        """Switch and hosts as they are wanted; what a crash left half made is made anew."""
        names, record = self._names.site(site.name), self._state.record(site.name)
        record["options"] = dict(site.options)
        record["subnet"], record["gateway"] = str(site.subnet), str(site.gateway)
        whole = record.pop("lan", False) and namespaces.exists(names.lan)
        made = {number for number in record.pop("hosts", []) if whole and namespaces.exists(names.host(number))}
        wanted = set(range(1, site.hosts + 1))
        if not whole:
            record.pop("wired", None)
        if whole and made == wanted:
            self._state.save(site.name, {**record, "lan": True, "hosts": sorted(made)})
            return
        self._state.save(site.name, record)  # while this is under way, nothing of it counts as made
        if not whole:
            network.build_lan(names)
            if namespaces.exists(names.gateway):
                network.join_lan(names, f"{site.gateway}/{site.subnet.prefixlen}")
        namespaces.delete(*(names.host(number) for number in made - wanted))
        for number in sorted(wanted - made):
            progress(f"making host{number}")
            address = f"{site.subnet.network_address + number}/{site.subnet.prefixlen}"
            network.build_host(names, number, address, site.gateway)
        self._state.save(site.name, {**record, "lan": True, "hosts": sorted(wanted)})

    def _leg(self, state: dict[str, Any], site: Site, conditions: Conditions) -> Leg:
        """The site's leg: as it is, or as its options have it now if these changed since they were last applied."""
        legs = self._state.legs(state)
        leg = legs.get(site.name)
        if leg is None:
            taken = {other.number for other in legs.values()}
            candidates = (1 + (site.index + step) % network.LEGS for step in range(network.LEGS))
            number = next((number for number in candidates if number not in taken), None)
            if number is None:
                raise InputError(f"lab {self.overlay}: all {network.LEGS} legs are taken; release a site")
            leg = Leg(site.name, number, conditions)
        elif self._state.record(site.name).get("options", dict(site.options)) != dict(site.options):
            leg = replace(leg, conditions=conditions)
        state["legs"][site.name] = leg.record()
        return leg

    def _set_cut(self, a: str, b: str, *, there: bool) -> None:
        pair = sorted((a, b))
        if a == b:
            raise InputError(f"site {a}: a cut needs two sites")
        with self._state.changing() as state:
            for site in pair:
                self._state.leg(site, state)
            others = [cut for cut in state["cuts"] if cut != pair]
            state["cuts"] = [*others, pair] if there else others

    def remove_if_empty(self) -> None:
        """With its last site goes the router, unless somebody still serves here."""
        with files.locked(self._names.lock):
            if processes.having(is_of(self.overlay)):
                return
            if not self._state.legs() and not any(path.is_dir() for path in _children(self._names.folder)):
                namespaces.delete(self._names.internet, self._names.controller)
                shutil.rmtree(self._names.folder, ignore_errors=True)
                self._names.lock.unlink(missing_ok=True)

    def _traces(self) -> list[str]:
        """Sites of which anything is left, be it only a process or a namespace."""
        folders = {path.name for path in _children(self._names.folder) if path.is_dir()}
        found = {name for name in folders if not name.startswith("_")} | set(self._state.legs())
        for name in namespaces.existing(self._names.prefix):
            site = name.removeprefix(self._names.prefix).split(".")[0]
            found |= set() if site.startswith("_") else {site}
        for pid in processes.having(self._is_ours):
            for word in processes.arguments(pid):
                if word.startswith(f"--directory={self._names.folder}/"):
                    found.add(Path(word).parts[len(self._names.folder.parts)])
        return sorted(found)

    def _end_clouds(self) -> list[str]:
        """Nobody is to make anew what is being removed."""
        removed = []
        if clouds := self.clouds():
            from proactive_tasks.lab.cloud import registry

            for cloud in sorted({*clouds} & {*registry.CLOUDS}):
                removed += registry.emulator(cloud, self.overlay).down()
        for pid in processes.having(is_of(self.overlay)):
            processes.terminate(pid, is_of(self.overlay), STOP_S)
            removed.append(f"process {pid}")
        self._names.daemons.unlink(missing_ok=True)
        return removed

    def _is_ours(self, argv: list[str]) -> bool:
        machine = any(word.startswith(f"--directory={self._names.folder}/") for word in argv)
        return machine or (len(argv) == 6 and argv[5].startswith(self._names.prefix) and argv[5].endswith(".relay"))

    def _split(self, machine: str) -> tuple[str, str]:
        site, _, part = machine.partition("/")
        if not part:
            raise InputError(f"machine {ascii(machine)[:60]}: write SITE/gateway or SITE/hostN")
        if site not in self.sites():
            raise UnknownObjectError(f"machine {machine}: the lab of {self.overlay} has no site {site}; see 'lab ls'")
        return site, part

    def _gateway(self, machine: str) -> str:
        site, part = self._split(machine)
        if part != GATEWAY:
            raise InputError(f"machine {machine}: only a gateway has a power switch; write {site}/gateway")
        return site


def _is_of(namespace: str, gateway: str) -> bool:
    return namespace == gateway or namespace.startswith(f"{gateway}.")


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _mounts() -> list[Path]:
    return [Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()]
