"""What the emulated OpenStack keeps on this machine: its software, and the state from which every start begins.

The first installation takes minutes; the databases, migrated and with their users, are copied at each start.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proactive_tasks.lab import files
from proactive_tasks.lab.cloud.model import BLOCKS
from proactive_tasks.lab.cloud.openstack.plane import ADMIN, MIGRATE_S, PARTS, REGION, SERVICES, Plane, run
from proactive_tasks.lab.names import CACHE

Progress = Callable[[str], None]

INSTALL_S = 1200.0
DATABASES = ("keystone", "placement", "glance", "neutron", "nova_api", "nova", "nova_cell0")
FLAVORS = (("m1.nano", 256, 1, 2), ("m1.tiny", 512, 1, 5), ("m1.small", 2048, 1, 20), ("m1.large", 8192, 4, 80))
"""Name, MB of memory, virtual CPUs, GB of disk."""

IMAGE = "debian-12-genericcloud-amd64"


@dataclass(frozen=True)
class Store:
    """What is kept on this machine: the software, and the state from which every start begins."""

    venv: Path
    state: Path

    @classmethod
    @contextlib.contextmanager
    def ready(cls, progress: Progress) -> Iterator[Store]:
        """The store, made if it is not there; nobody replaces it meanwhile."""
        constraints = (PARTS / "constraints.txt").read_bytes()
        venv = CACHE / f"openstack-venv-{_digest(constraints, sys.version.encode())}"
        parts = [path.read_bytes() for path in (*sorted(PARTS.glob("*.j2")), Path(__file__))]
        state = CACHE / f"openstack-{_digest(venv.name.encode(), *parts)}"
        with files.locked(CACHE / "openstack.lock", INSTALL_S + MIGRATE_S):
            store = cls(venv, state)
            if not (venv / "ready").exists():
                store.install(progress)
            if not (state / "secrets.json").exists():
                store.bootstrap(progress)
            yield store

    def copy(self, folder: Path) -> None:
        """Lay the state out in a folder."""
        shutil.copytree(self.state, folder, dirs_exist_ok=True)

    def install(self, progress: Progress) -> None:
        """A virtual environment with the services."""
        progress("OpenStack: installing its software, once: two minutes, 560 MB")
        shutil.rmtree(self.venv, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(self.venv)], 120)
        services = ["keystone", "openstack-placement", "glance", "neutron", "nova", "PyMySQL", "waitress", "setuptools"]
        pip = [f"{self.venv}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--constraint", str(PARTS / "constraints.txt"), *services], INSTALL_S)
        packages = next(self.venv.glob("lib/python*/site-packages"))
        record = packages / "overlay_lab-1.dist-info"
        record.mkdir()
        (record / "METADATA").write_text("Metadata-Version: 2.1\nName: overlay-lab\nVersion: 1\n")
        (record / "entry_points.txt").write_text(
            "[neutron.ml2.mechanism_drivers]\noverlay_lab = overlay_lab_neutron:Mechanism\n"
        )
        (self.venv / "ready").touch()

    def bootstrap(self, progress: Progress) -> None:
        """Databases with all migrations, users, the catalog, what every start offers; then stopped and kept."""
        progress("OpenStack: making its databases, once: two minutes")
        for path in (path for path in CACHE.glob("openstack-*") if not path.name.startswith("openstack-venv-")):
            shutil.rmtree(path, ignore_errors=True)
        folder = CACHE / f"{self.state.name}.new"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        files.write(
            folder / "secrets.json", {user: secrets.token_urlsafe(18) for user in ("admin", "overlay", "service")}
        )
        plane = Plane(folder, self.venv)
        try:
            run(
                ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={folder}/mysql", "--skip-test-db",
                 "--auth-root-authentication-method=normal", "--innodb-log-file-size=16M"], 120,
            )  # fmt: skip
            plane.configure()
            plane.start_database(place=False)
            for name in DATABASES:
                run(["mariadb-admin", "--no-defaults", f"--socket={folder}/mariadb.sock", "create", name], 60)
            _together(lambda: _migrate(plane), lambda: _migrate_nova(plane))
            progress("OpenStack: first start")
            plane.start_services("keystone", hypervisor=False)
            plane.write_clouds()
            _fill_catalog(plane)
            plane.start_services(*(name for name in SERVICES if name != "keystone"), hypervisor=False)
            plane.manage("nova", "cell_v2", "discover_hosts")
            _fill(plane)
        finally:
            plane.stop_services()
            plane.stop_database()
        for name in ("ports.json", "clouds.yaml", "place.sql", *(path.name for path in folder.glob("*.pid"))):
            (folder / name).unlink(missing_ok=True)
        for path in (*folder.glob("*.log"), *folder.glob("*.out")):
            path.unlink()
        shutil.rmtree(folder / "etc")
        folder.rename(self.state)
        progress("OpenStack: made, and kept")


def _migrate(plane: Plane) -> None:
    owner = ["--keystone-user", "root", "--keystone-group", "root"]
    plane.manage("keystone", "db_sync")
    for task, folder in (("fernet_setup", "fernet"), ("credential_setup", "credential")):
        (plane.folder / folder).mkdir(mode=0o700)
        plane.manage("keystone", task, *owner)
    places = [f"--bootstrap-{kind}-url={plane.url('keystone')}" for kind in ("public", "internal", "admin")]
    plane.manage(
        "keystone", "bootstrap", f"--bootstrap-password={plane.secrets['admin']}", f"--bootstrap-region-id={REGION}",
        *places,
    )  # fmt: skip
    plane.manage("glance", "db_sync")
    plane.manage("placement", "db", "sync")
    plane.manage("neutron", "upgrade", "heads")


def _migrate_nova(plane: Plane) -> None:
    plane.manage("nova", "api_db", "sync")
    plane.manage("nova", "cell_v2", "map_cell0", "--database_connection", plane.database("nova_cell0"))
    plane.manage("nova", "db", "sync")
    plane.manage("nova", "cell_v2", "create_cell", "--name=cell1")


def _admin(plane: Plane) -> Any:
    import openstack

    content = yaml.safe_load((plane.folder / "clouds.yaml").read_text())["clouds"][ADMIN]
    return openstack.connect(load_yaml_config=False, load_envvars=False, **content)


def _fill_catalog(plane: Plane) -> None:
    """Users, and who is where. The driver's user is a mere member of a project of its own."""
    with contextlib.closing(_admin(plane)) as admin:
        identity = admin.identity
        roles = {role.name: role for role in identity.roles()}
        for name, wanted in (("service", ("admin", "service")), ("overlay", ("member",))):
            project = identity.create_project(name=name, domain_id="default")
            user = identity.create_user(
                name=name, password=plane.secrets[name], domain_id="default", default_project_id=project.id
            )
            for role in wanted:
                identity.assign_project_role_to_user(project, user, roles[role])
        for name, kind in SERVICES.items():
            if name == "keystone":
                continue
            service = identity.create_service(name=name, type=kind)
            identity.create_endpoint(service_id=service.id, interface="public", url=plane.url(name), region_id=REGION)


def _fill(plane: Plane) -> None:
    """The network to the outside, an image, flavors."""
    block = BLOCKS["openstack"]
    with contextlib.closing(_admin(plane)) as admin:
        outside = admin.network.create_network(
            name="public", is_router_external=True, provider_network_type="flat", provider_physical_network="external"
        )
        admin.network.create_subnet(
            name="public", network_id=outside.id, ip_version=4, cidr=str(block), is_dhcp_enabled=False,
            gateway_ip=str(block[1]), allocation_pools=[{"start": str(block[10]), "end": str(block[-6])}],
        )  # fmt: skip
        for name, ram, vcpus, disk in FLAVORS:
            admin.compute.create_flavor(name=name, ram=ram, vcpus=vcpus, disk=disk)
        admin.image.create_image(
            name=IMAGE, disk_format="raw", container_format="bare", visibility="public", data=b"\0" * 1024,
            validate_checksum=False, min_disk=2,
        )  # fmt: skip


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _together(*works: Callable[[], None]) -> None:
    faults: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as fault:  # noqa: BLE001 - handed to the caller's thread
            faults.append(fault)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
