"""A lab of two sites, booted once for all tests of a module that use it."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.clouds.provider import GatewayOrder, NoJournal, SiteFacts
from proactive_tasks.lab import Lab, labs
from proactive_tasks.lab.requirements import missing
from proactive_tasks.overlay.model import Origin, Site


@dataclass(frozen=True)
class Keys:
    """An SSH key for root and one for the host, as OpenSSH writes them."""

    root: paramiko.Ed25519Key
    root_line: str
    host: str
    host_line: str


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    texts = []
    for _ in range(2):
        key = Ed25519PrivateKey.generate()
        texts.append(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())
        texts.append(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
    path = tmp_path_factory.mktemp("keys") / "root"
    path.write_text(texts[0])
    return Keys(paramiko.Ed25519Key.from_private_key_file(str(path)), texts[1], texts[2], texts[3])


@pytest.fixture(scope="session")
def user_data(keys: Keys) -> bytes:
    config = {
        "users": [],
        "disable_root": False,
        "ssh_authorized_keys": [keys.root_line],
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": keys.host, "ed25519_public": keys.host_line},
        "write_files": [{"path": "/etc/overlay/seeded", "content": "yes\n"}],
        "runcmd": [["touch", "/run/overlay-ready"]],
    }
    return f"#cloud-config\n{json.dumps(config)}\n".encode()


def _site(name: str, index: int, hosts: int = 1, **options: object) -> Site:
    return Site(
        name=name,
        provider="lab",
        region="",
        origin=Origin.FILE,
        deployment=index,
        index=index,
        subnet=IPv4Network(f"10.250.{index}.0/24"),
        asn=4_200_000_000 + index,
        hosts=hosts,
        options=options,
    )


@contextmanager
def _ssh(lab: str, address: IPv4Address, keys: Keys, seconds: float = 20.0) -> Iterator[paramiko.SSHClient]:
    """A session by a host key known beforehand, as soon as the machine answers."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.get_host_keys().add(
        str(address),
        "ssh-ed25519",
        paramiko.PKey.from_type_string("ssh-ed25519", base64.b64decode(keys.host_line.split()[1])),
    )
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection = LabProvider().dial(lab, address, 22, 2.0)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
            continue
        break
    with client:
        client.connect(
            str(address), username="root", pkey=keys.root, sock=connection, allow_agent=False, look_for_keys=False
        )
        yield client


@pytest.fixture(scope="session")
def make_site() -> Callable[..., Site]:
    return _site


@pytest.fixture(scope="session")
def ssh(keys: Keys) -> Callable[..., AbstractContextManager[paramiko.SSHClient]]:
    """`ssh(lab, address)`: a session with a machine of that lab, host key strictly checked."""
    return partial(_ssh, keys=keys)


@pytest.fixture(scope="session")
def lab_of() -> Callable[[str], AbstractContextManager[Lab]]:
    return _lab_of


@contextmanager
def _lab_of(name: str) -> Iterator[Lab]:
    """A lab under a name that no other run of the tests has, gone afterwards; so are those of runs that were killed."""
    if missing():
        pytest.skip(f"no lab here; it lacks {'; '.join(missing())}")
    for other in labs():
        kind, _, pid = other.rpartition("-")
        if kind.startswith("lt-") and pid.isdigit() and not Path("/proc", pid).exists():
            Lab(other).destroy()
    lab = Lab(f"{name}-{os.getpid()}")
    try:
        yield lab
    finally:
        lab.destroy()
    assert lab.leftovers() == []


@pytest.fixture(scope="module")
def lab(user_data: bytes) -> Iterator[Lab]:
    """Sites `east` and `west`, a host each."""
    with _lab_of("lt-shared") as lab:
        for index, name in enumerate(("east", "west")):
            order = GatewayOrder(lab.overlay, _site(name, index), user_data)
            LabProvider().apply(order, SiteFacts(None), NoJournal(), lambda _line: None)
        yield lab
