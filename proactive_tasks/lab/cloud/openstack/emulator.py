"""OpenStack's own control plane on this machine: Keystone, Placement, Glance, Neutron and Nova, over real HTTP.

Only hypervisor and agents are ours (hypervisor.py, controlplane/). The first installation takes minutes, a
later start seconds (store.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from proactive_tasks.lab import files, image, processes
from proactive_tasks.lab.cloud.openstack.plane import CLOUD, SERVICES, Plane
from proactive_tasks.lab.cloud.openstack.store import INSTALL_S, Store
from proactive_tasks.lab.names import LabNames
from proactive_tasks.overlay.errors import InputError

Progress = Callable[[str], None]

PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb-admin")


class OpenStackEmulator:
    """An OpenStack of one lab. See `emulator.Emulator`."""

    name = "openstack"

    def __init__(self, lab: str, *, machines: bool = True) -> None:
        self.lab = lab
        self.machines = machines
        self._names = LabNames(lab)
        self._folder = self._names.folder / "_openstack"  # no site's name

    def up(self, progress: Progress) -> Mapping[str, str]:
        """Start it; the variables by which openstacksdk finds it, as a user with the role member.

        Raises:
            InputError: this machine lacks what it needs, or it runs already with, or without, machines.
            ProviderError: it does not start; the message has the last lines of the log.
        """
        require()
        if self.machines:
            image.ensure(progress)
        with files.locked(self._names.folder.with_name(f"{self.lab}._openstack.lock"), INSTALL_S):
            if not self._running():
                self._remove()
                with Store.ready(progress) as store:
                    begun = time.monotonic()
                    progress("OpenStack: starting (database, five services)")
                    self._folder.mkdir(parents=True, mode=0o700)
                    store.copy(self._folder)
                plane = Plane(self._folder, store.venv)
                plane.configure()
                plane.start_database()
                plane.start_hypervisor(self.lab, machines=self.machines)
                plane.start_services(*SERVICES)
                plane.write_clouds()
                files.write(self._folder / "up.json", {"machines": self.machines})
                progress(f"OpenStack: answers after {time.monotonic() - begun:.0f} s")
            elif self._machines() != self.machines:
                how = "with" if self._machines() else "without"
                raise InputError(f"cloud {self.name}: runs {how} machines already; 'down' ends it")
        return self.environment()

    def environment(self) -> Mapping[str, str]:
        """The variables by which openstacksdk finds it; empty when it does not run."""
        if not self._running():
            return {}
        return {"OS_CLIENT_CONFIG_FILE": str(self._folder / "clouds.yaml"), "OS_CLOUD": CLOUD}

    def down(self) -> list[str]:
        """Stop it and remove its state, databases included."""
        lock = self._names.folder.with_name(f"{self.lab}._openstack.lock")
        with files.locked(lock, INSTALL_S):
            removed = self._remove()
            lock.unlink(missing_ok=True)
        return removed

    @property
    def log(self) -> Path:
        """The folder with everybody's log."""
        return self._folder

    def _machines(self) -> bool | None:
        """Whether its servers run, as it was started; None where it was not."""
        return files.read(self._folder / "up.json").get("machines")

    def _running(self) -> bool:
        return self._machines() is not None and all(
            Plane.alive(self._folder, name) for name in ("mariadb", "hypervisor", *SERVICES)
        )

    def _remove(self) -> list[str]:
        """End our processes, the hypervisor last but one, so that it may still answer those that end."""
        removed = []
        for name in (*reversed(SERVICES), "hypervisor", "mariadb"):
            pid = Plane.alive(self._folder, name)
            if pid:
                processes.end(pid, Plane.mark(self._folder, name))
                removed.append(f"process {name} ({pid})")
        if self._machines() is True or (self._machines() is None and self.machines):
            removed += fabric(self.lab).destroy()
        if self._folder.exists():
            shutil.rmtree(self._folder)
            removed.append(f"state {self._folder}")
        with contextlib.suppress(OSError):
            self._names.folder.rmdir()  # unless the lab's own state is there
        return removed


def fabric(lab: str) -> Any:
    """What carries out an OpenStack of a lab, in namespaces and machines."""
    return import_module("proactive_tasks.lab.cloud.fabric").Fabric(lab, "openstack")


def require() -> None:
    """Refuse where the control plane cannot be.

    Raises:
        InputError: it names what is missing and how to get it.
    """
    lacks = [] if os.geteuid() == 0 else ["root (start it with sudo)"]
    if programs := [program for program in PROGRAMS if shutil.which(program) is None]:
        lacks.append(f"{', '.join(programs)} (apt-get install mariadb-server)")
    if lacks:
        raise InputError(f"the emulated OpenStack cannot run on this machine; it lacks {'; '.join(lacks)}")
