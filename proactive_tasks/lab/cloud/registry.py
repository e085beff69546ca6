"""The emulated clouds by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proactive_tasks.lab import files, image
from proactive_tasks.lab.cloud import proxy, serve
from proactive_tasks.lab.cloud.daemon import Daemon
from proactive_tasks.lab.cloud.emulator import Emulator
from proactive_tasks.lab.cloud.fabric import Fabric
from proactive_tasks.lab.lab import Lab
from proactive_tasks.lab.names import CloudNames, LabNames
from proactive_tasks.lab.requirements import require
from proactive_tasks.overlay.errors import InputError

CLOUDS = ("aws", "azure", "openstack")
PORTS = {"aws": 4601, "azure": 4602}
PROXY_PORT = 4600
START_S = 1800.0
"""The first start of all may build an image, or install a control plane."""

LAB = "clouds"
"""The lab in which emulated clouds are, unless another is named."""

Progress = Callable[[str], None]


def emulator(name: str, lab: str = LAB, *, port: int = 0, proxy_port: int = 0, machines: bool = True) -> Emulator:
    """An emulated cloud with a way to its servers.

    Args:
        name: one of `CLOUDS`.
        lab: the lab in which it is.
        port: where its API is served, by default as in `PORTS`.
        proxy_port: where the lab's proxy is served, by default `PROXY_PORT`.
        machines: whether its servers run; else there is only its API.
    """
    made: Emulator
    if name in PORTS:
        made = ApiEmulator(name, lab, port, machines=machines)
    elif name == "openstack":  # many processes, with a starter of their own
        made = serve.module_of(name).OpenStackEmulator(lab, machines=machines)
    else:
        raise InputError(f"cloud {name!r}: there is no such emulated cloud; use one of {', '.join(CLOUDS)}")
    return Dialled(made, lab, proxy_port or PROXY_PORT) if machines else made


@dataclass(frozen=True)
class ApiEmulator:
    """An emulated cloud whose API is a WSGI application of ours, served by `serve`."""

    name: str
    lab: str
    port: int = 0  # 0: as in `PORTS`, or the one by which it runs already
    machines: bool = True
    module: str = ""  # where it is not one of ours

    @property
    def _daemon(self) -> Daemon:
        word = f"{self.name}={self.module}" if self.module else self.name
        folder = CloudNames(self.lab, self.name).own.folder
        return Daemon(f"API of {self.name}", "proactive_tasks.lab.cloud.serve", (word,), self.lab, folder, serve.STEM)

    def up(self, progress: Progress) -> Mapping[str, str]:
        """Start what does not run yet.

        Raises:
            InputError: it runs in another way than asked for, or cannot run here.
            ProviderError: it does not start.
        """
        require(machines=self.machines)
        said = self._daemon.endpoint()
        if said is None:
            port = self.port or PORTS[self.name]
            progress(f"starting the API of {self.name} on 127.0.0.1:{port}")
            said = self._daemon.start(port, *([] if self.machines else ["--no-machines"]))
        self._check(said)
        return dict(said["environment"])

    def environment(self) -> Mapping[str, str]:
        """How the API is found; empty when it does not run."""
        said = self._daemon.endpoint()
        return dict(said["environment"]) if said else {}

    def down(self) -> list[str]:
        """End the API, remove network and servers."""
        removed = [*self._daemon.stop(), *Fabric(self.lab, self.name).destroy()]
        shutil.rmtree(CloudNames(self.lab, self.name).own.folder, ignore_errors=True)
        return removed

    def _check(self, said: Mapping[str, Any]) -> None:
        if self.port and said["port"] != self.port:
            raise InputError(f"cloud {self.name}: runs on port {said['port']} already; 'down' ends it")
        if said["machines"] != self.machines:
            how = "with" if said["machines"] else "without"
            raise InputError(f"cloud {self.name}: runs {how} machines already; 'down' ends it")


@dataclass(frozen=True)
class Dialled:
    """An emulated cloud and the lab's proxy, which comes with the first cloud and goes with the last."""

    inner: Emulator
    lab: str
    port: int

    @property
    def name(self) -> str:
        """The cloud's."""
        return self.inner.name

    def up(self, progress: Progress) -> Mapping[str, str]:
        """Start what does not run yet."""
        require()
        image.ensure(progress)
        with files.locked(LabNames(self.lab).daemons, START_S):
            if not self.inner.environment():
                Fabric(self.lab, self.name).destroy()  # of an API that died: what it knew is lost
            variables = self.inner.up(progress)
            if not proxy.environment(self.lab):
                progress(f"starting the proxy into the lab on 127.0.0.1:{self.port}")
                proxy.daemon(self.lab).start(self.port)
            return {**variables, **proxy.environment(self.lab)}

    def environment(self) -> Mapping[str, str]:
        """How the API and its servers are found; empty when the API does not run."""
        variables = self.inner.environment()
        return {**variables, **proxy.environment(self.lab)} if variables else {}

    def down(self) -> list[str]:
        """Stop the cloud, and with the last one of the lab the proxy."""
        with files.locked(LabNames(self.lab).daemons, START_S):
            others = set(Lab(self.lab).clouds()) - {self.name}
            removed = [] if others else proxy.daemon(self.lab).stop()
            removed += [*self.inner.down(), *Fabric(self.lab, self.name).destroy()]
            if not others:
                LabNames(self.lab).daemons.unlink(missing_ok=True)
        Lab(self.lab).remove_if_empty()
        return removed
