"""The processes of an OpenStack control plane in one folder: database, services, hypervisor."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import jinja2
import yaml

from proactive_tasks.lab import files, processes
from proactive_tasks.overlay.errors import ProviderError

PARTS = Path(__file__).with_name("controlplane")
SERVICES = {
    "keystone": "identity",
    "placement": "placement",
    "glance": "image",
    "neutron": "network",
    "nova": "compute",
}
"""The services and what the catalog calls them."""

PATHS = {"keystone": "/v3", "nova": "/v2.1"}
REGION = "RegionOne"
CLOUD = "overlay-lab"
ADMIN = "overlay-lab-admin"
MIGRATE_S, START_S = 600.0, 180.0

_PLACE_ENDPOINT = (
    "UPDATE keystone.endpoint AS e JOIN keystone.service AS s ON e.service_id = s.id "
    "SET e.url = '{url}' WHERE s.type = '{kind}';"
)
_PLACE_CELL = "UPDATE nova_api.cell_mappings SET database_connection = '{url}' WHERE name = '{name}';"


@dataclass(frozen=True)
class Plane:
    """The control plane's processes in one folder."""

    folder: Path
    venv: Path

    @staticmethod
    def mark(folder: Path, name: str) -> str:
        """An argument by which a process is known to be this one."""
        return f"--pid-file={folder}/mariadb.pid" if name == "mariadb" else f"{folder}/{name}"

    @staticmethod
    def alive(folder: Path, name: str) -> int | None:
        """The living process of that name."""
        return processes.find(Plane.mark(folder, name), folder / f"{name}.pid")

    @cached_property
    def ports(self) -> dict[str, int]:
        """A free port of the loopback interface for each service, kept for as long as the folder is."""
        path = self.folder / "ports.json"
        if not path.exists():
            with contextlib.ExitStack() as held:
                found = {name: held.enter_context(_held_port()).getsockname()[1] for name in SERVICES}
            files.write(path, found)
        return files.read(path)

    @cached_property
    def secrets(self) -> dict[str, str]:
        """The users' passwords."""
        return files.read(self.folder / "secrets.json")

    def url(self, service: str) -> str:
        """Where a service answers, as the catalog has it."""
        return f"http://127.0.0.1:{self.ports[service]}{PATHS.get(service, '')}"

    def database(self, name: str) -> str:
        """A database's URL: a socket in a folder of root's, hence no password."""
        return f"mysql+pymysql://root@localhost/{name}?unix_socket={self.folder}/mariadb.sock&charset=utf8"

    def configure(self) -> None:
        """Write all configuration, and the statements by which the database learns of its folder and ports."""
        account = {
            "auth_type": "password",
            "auth_url": self.url("keystone"),
            "www_authenticate_uri": self.url("keystone"),
            "username": "service",
            "password": self.secrets["service"],
            "project_name": "service",
            "user_domain_id": "default",
            "project_domain_id": "default",
            "region_name": REGION,
        }
        values = {
            "folder": self.folder,
            "venv": self.venv,
            "database": self.database,
            "account": "\n".join(f"{key} = {value}" for key, value in account.items()),
        }
        for service in SERVICES:
            (self.folder / "etc" / service).mkdir(parents=True, exist_ok=True)
            text = jinja2.Template(
                (PARTS / f"{service}.conf.j2").read_text(), undefined=jinja2.StrictUndefined, autoescape=False
            ).render(values)
            self.config(service).write_text(text)
        shutil.copy(self.venv / "etc/nova/api-paste.ini", self.config("nova").parent)
        for folder in ("locks", "images", "nova", "neutron"):
            (self.folder / folder).mkdir(exist_ok=True)
        statements = [
            _PLACE_ENDPOINT.format(url=self.url(service), kind=kind) for service, kind in SERVICES.items()
        ] + [
            _PLACE_CELL.format(url=self.database(database), name=name)
            for name, database in (("cell0", "nova_cell0"), ("cell1", "nova"))
        ]
        (self.folder / "place.sql").write_text("\n".join(statements) + "\n")

    def config(self, service: str) -> Path:
        """A service's configuration."""
        return self.folder / "etc" / service / ("glance-api.conf" if service == "glance" else f"{service}.conf")

    def start_database(self, *, place: bool = True) -> None:
        """Start MariaDB; with `place` it is told of folder and ports first."""
        self._start(
            "mariadb",
            [
                "mariadbd", "--no-defaults", "--user=root", self.mark(self.folder, "mariadb"), "--skip-networking",
                f"--datadir={self.folder}/mysql", f"--socket={self.folder}/mariadb.sock", "--skip-name-resolve",
                "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0",
                "--max-connections=200", "--performance-schema=OFF", "--character-set-server=utf8mb3",
                *([f"--init-file={self.folder}/place.sql"] if place else []),
            ],
        )  # fmt: skip
        self._wait("mariadb", lambda: _connects(self.folder / "mariadb.sock"))

    def stop_database(self) -> None:
        """An orderly end: its files are whole afterwards."""
        pid = self.alive(self.folder, "mariadb")
        if pid:
            os.kill(pid, signal.SIGTERM)
            processes.wait(lambda: not self.alive(self.folder, "mariadb"), 60, "MariaDB does not end")

    def start_hypervisor(self, lab: str, *, machines: bool) -> None:
        """Start what carries out what the services are told."""
        self._start(
            "hypervisor",
            [
                sys.executable, "-m", "proactive_tasks.lab.cloud.openstack.hypervisor", lab,
                self.mark(self.folder, "hypervisor"), *([] if machines else ["--no-machines"]),
            ],
        )  # fmt: skip
        self._wait("hypervisor", lambda: _connects(Path(self.mark(self.folder, "hypervisor"))))

    def start_services(self, *names: str, hypervisor: bool = True) -> None:
        """Start services, and wait until each answers."""
        for name in names:
            variables = {
                "PYTHONPATH": str(PARTS),
                "OS_KEYSTONE_CONFIG_DIR": str(self.config("keystone").parent),
                "OS_PLACEMENT_CONFIG_DIR": str(self.config("placement").parent),
                "OS_GLANCE_CONFIG_DIR": str(self.config("glance").parent),
                "OS_NEUTRON_CONFIG_DIR": str(self.config("neutron").parent),
                "OS_NEUTRON_CONFIG_FILES": self.config("neutron").name,
                "OS_NOVA_CONFIG_DIR": str(self.config("nova").parent),
                "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1",
                "PATH": f"{self.venv}/bin:{os.environ.get('PATH', '')}",
                "OVERLAY_LAB_NEEDS": f"{self.ports['keystone']} {self.ports['placement']}" if name == "nova" else "",
            }
            if hypervisor:
                variables["OVERLAY_LAB_HYPERVISOR"] = self.mark(self.folder, "hypervisor")
            program = [f"{self.venv}/bin/python", str(PARTS / "serve.py"), name, str(self.ports[name])]
            self._start(name, [*program, self.mark(self.folder, name)], variables)
        for name in names:
            self._wait(name, lambda name=name: _answers(f"http://127.0.0.1:{self.ports[name]}/"))  # type: ignore[misc]

    def stop_services(self) -> None:
        """End them."""
        for name in reversed(SERVICES):
            if pid := self.alive(self.folder, name):
                processes.end(pid, self.mark(self.folder, name))

    def write_clouds(self) -> None:
        """The two users' access, as clouds.yaml."""
        clouds = {
            cloud: {
                "region_name": REGION,
                "auth": {
                    "auth_url": self.url("keystone"),
                    "username": user,
                    "password": self.secrets[user],
                    "project_name": user,
                    "user_domain_id": "default",
                    "project_domain_id": "default",
                },
            }
            for cloud, user in ((CLOUD, "overlay"), (ADMIN, "admin"))
        }
        path = self.folder / "clouds.yaml"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump({"clouds": clouds}, sort_keys=False))

    def manage(self, service: str, *arguments: str, timeout: float = MIGRATE_S) -> None:
        """Run a service's management program.

        Raises:
            ProviderError: it failed; with its last lines.
        """
        program = {"neutron": "neutron-db-manage"}.get(service, f"{service}-manage")
        run([f"{self.venv}/bin/{program}", "--config-file", str(self.config(service)), *arguments], timeout)

    def _start(self, name: str, argv: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
        processes.start(
            argv, record=self.folder / f"{name}.pid", log=self.folder / f"{name}.out",
            env={**processes.environment(), **(variables or {})},
        )  # fmt: skip

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + START_S
        while not ready():
            if not self.alive(self.folder, name):
                raise ProviderError(f"OpenStack: {name} ended while it started: {self._last(name)}")
            if time.monotonic() > end:
                raise ProviderError(f"OpenStack: {name} does not answer within {START_S:.0f} s: {self._last(name)}")
            time.sleep(0.05)

    def _last(self, name: str) -> str:
        lines = [
            line
            for path in (self.folder / f"{name}.log", self.folder / f"{name}.out")
            if path.exists()
            for line in path.read_text(errors="replace").splitlines()
        ]
        return " | ".join(lines[-8:]) or "no word"


def run(argv: Sequence[str], timeout: float) -> None:
    """Run a program to its end.

    Raises:
        ProviderError: it failed; with its last lines.
    """
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout, check=False, env=processes.environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ProviderError(f"OpenStack: {Path(argv[0]).name}: not done within {timeout:.0f} s") from error
    if done.returncode:
        last = " | ".join(done.stdout.splitlines()[-8:])
        raise ProviderError(f"OpenStack: {Path(argv[0]).name} ended with {done.returncode}: {last}")


@contextlib.contextmanager
def _held_port() -> Iterator[socket.socket]:
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", 0))
        yield place


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.connect(str(path))
        return True
    return False


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=10):  # noqa: S310 - our own
            return True
    except HTTPError as error:
        return error.code < 500
    except OSError:
        return False
