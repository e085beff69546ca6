"""A machine: systemd-nspawn on an overlay of the image, in the network namespace made for it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from proactive_tasks.lab import cgroups, processes
from proactive_tasks.lab.namespaces import NAMESPACES
from proactive_tasks.overlay.errors import ProviderError

UNMOUNT_S = 5.0


class MachineNames(Protocol):
    """What a machine's parts are called."""

    @property
    def machine(self) -> str:
        """The machine, among all of this host: at most 63 characters."""

    @property
    def hostname(self) -> str:
        """What it calls itself."""

    @property
    def namespace(self) -> str:
        """The network namespace in which it runs."""

    @property
    def folder(self) -> Path:
        """Where its disk and state are."""


class Machine:
    """One machine: disk, power switch, way in."""

    def __init__(self, names: MachineNames) -> None:
        self._names = names
        self._disk = names.folder / "disk"
        self._record = names.folder / "machine.pid"
        self._argument = f"--directory={self.root}"

    @property
    def root(self) -> Path:
        """Where the machine's file system is mounted."""
        return self._disk / "root"

    def pid(self) -> int | None:
        """The machine's supervisor, if the machine runs."""
        return processes.find(self._argument, self._record)

    def init(self) -> int | None:
        """The machine's own first process."""
        pid = self.pid()
        return processes.child(pid) if pid else None

    def make_disk(self, image: Path, user_data: bytes) -> None:
        """An empty disk over the image, with the machine's seed of cloud-init (NoCloud) on it."""
        self.remove_disk()
        for part in ("root", "work", "upper"):
            (self._disk / part).mkdir(parents=True)
        (self._disk / "image").write_text(str(image))
        seed = self._disk / "upper/var/lib/cloud/seed/nocloud"
        seed.mkdir(parents=True)
        # dsmode: a local source is served in cloud-init's first stage, which spares a second one.
        meta = f"instance-id: {self._names.machine}\nlocal-hostname: {self._names.hostname}\ndsmode: local\n"
        (seed / "meta-data").write_text(meta)
        secret = seed / "user-data"  # it holds the seeded host key
        secret.touch(mode=0o600)
        secret.write_bytes(user_data)

    def boot(self) -> None:
        """Switch it on; the call returns when the machine has its first process."""
        self._mount()
        argv = [
            "systemd-nspawn", "--quiet", "--boot", "--settings=no", "--register=no", "--keep-unit",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--capability=CAP_NET_ADMIN",
            "--bind=/dev/net/tun", f"--network-namespace-path={NAMESPACES / self._names.namespace}",
            f"--machine={self._names.machine}", self._argument,
        ]  # fmt: skip
        env = processes.environment(SYSTEMD_NSPAWN_API_VFS_WRITABLE="network")  # forwarding is the machine's to set
        log = self._names.folder / "console.log"
        processes.start(cgroups.command(self._names.machine, argv), record=self._record, log=log, env=env)
        message = f"lab: machine {self._names.machine}: systemd-nspawn does not start it; see {log}"
        processes.wait(lambda: self.init() is not None or self.pid() is None, 20, message)
        if self.pid() is None:
            raise ProviderError(f"{message} ({_last(log)})")

    def kill(self) -> bool:
        """Power off, no goodbye: everything in it is dead when this returns. False when it was off."""
        pid = self.pid()
        if pid is None:
            return False
        init = processes.child(pid)
        if init:
            processes.end_child(init, pid)  # with the first process of its namespace every other one dies
        processes.end(pid, self._argument)
        cgroups.remove(self._names.machine)
        return True

    def remove_disk(self) -> bool:
        """Remove the disk of a machine that is off; False when there was none."""
        cgroups.remove(self._names.machine)
        if not self._disk.exists():
            return False
        self._unmount()
        shutil.rmtree(self._disk)
        return True

    def _mount(self) -> None:
        if self.root.is_mount():
            return
        lower = (self._disk / "image").read_text()
        layers = f"lowerdir={lower},upperdir={self._disk / 'upper'},workdir={self._disk / 'work'}"
        command = ["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            raise ProviderError(
                f"lab: machine {self._names.machine}: {done.stderr.strip()}; its disk needs a file system that can "
                f"hold an overlay (ext4, xfs, tmpfs) under {self._names.folder}"
            )

    def _unmount(self) -> None:
        def unmounted() -> bool:
            if not self.root.is_mount():
                return True
            subprocess.run(["umount", str(self.root)], capture_output=True, timeout=20, check=False)
            return not self.root.is_mount()

        with contextlib.suppress(ProviderError):
            processes.wait(unmounted, UNMOUNT_S, "busy")
        if self.root.is_mount():  # a forgotten shell stands in it: it keeps what it sees, nobody else does
            subprocess.run(["umount", "--lazy", str(self.root)], timeout=20, check=True)


def _last(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
    return "no log"
