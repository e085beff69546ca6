"""A campus server that exists already: a lab machine that no driver made, for an overlay to make a gateway of.

It has a leg, a LAN with a few hosts, users and keys of its own, a web service and a firewall table of its own. Nothing
in it knows of an overlay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proactive_tasks.lab import files
from proactive_tasks.lab.lab import Lab
from proactive_tasks.lab.names import LabNames
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import Origin, Site

LAB = "clouds"
"""The lab that such machines are in unless another is named."""

LAN = IPv4Network("192.168.1.0/24")
SERVICE_PORT = 8080

_SERVICE = f"""\
[Unit]
Description=What this server is here for
After=network.target

[Service]
ExecStart=/usr/bin/python3 -m http.server --directory /srv {SERVICE_PORT}
Restart=always

[Install]
WantedBy=multi-user.target
"""

_FIREWALL = f"""\
#!/usr/sbin/nft -f
flush ruleset
table inet campus {{
    counter served {{ comment "requests to the web service" }}
    chain input {{
        type filter hook input priority filter; policy accept;
        tcp dport {SERVICE_PORT} ct state new counter name served accept
        tcp dport 23 drop
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class EdgeHost:
    """An edge host in a lab, and what a specification says of it."""

    lab: str
    name: str
    address: IPv4Address
    host_key: str
    lan: IPv4Network
    hosts: dict[str, IPv4Address]
    nat: bool

    def site(self) -> dict[str, Any]:
        """Its entry among the sites of a specification."""
        options = {"address": str(self.address), "host_key": self.host_key, **({"nat": True} if self.nat else {})}
        return {"name": self.name, "provider": "edge", "prefixes": [str(self.lan)], "options": options}


def up(
    name: str,
    key: str,
    *,
    lab: str = LAB,
    lan: IPv4Network = LAN,
    hosts: int = 1,
    nat: bool = False,
    progress: Callable[[str], None] = lambda _line: None,
) -> EdgeHost:
    """Make the machine, or find it, and start it; it answers SSH soon afterwards.

    Args:
        name: the machine's, and its site's in the lab.
        key: public line of the SSH key that it admits as root.
        lab: the lab that it is in.
        lan: its network; the machine has the last usable address, hosts have the first ones.
        hosts: how many.
        nat: put it behind a NAT that lets in nothing but SSH.
        progress: takes a line about what is being done.

    Raises:
        InputError: this machine cannot carry a lab.
        ProviderError: something refused.
    """
    if not key.startswith(("ssh-", "ecdsa-")):
        raise InputError("the key of an edge host: give the public line of an SSH key, 'ssh-ed25519 AAAA...'")
    there, record = Lab(lab), LabNames(lab).site(name).folder / "edge.json"
    known = files.read(record)
    user_data = b""
    if there.status(name) is None or not known:
        known, user_data = _identity(name, key)
        record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write(record, known)
    options = {"nat": True} if nat else {}
    site = Site(name, "lab", "", Origin.FILE, 0, _leg_of(name), lan, 0, hosts=hosts, options=options)
    status = there.provide(site, user_data, progress)
    return EdgeHost(lab, name, status.public_address, known["host_key"], lan, there.hosts(name), nat)


def down(name: str, *, lab: str = LAB, progress: Callable[[str], None] = lambda _line: None) -> list[str]:
    """Remove the machine with its LAN; a line for each thing removed."""
    return Lab(lab).release(name, progress)


def _leg_of(name: str) -> int:
    """Where its number among the legs is looked for first: not where the lab's own sites begin."""
    return 8000 + sum(name.encode()) % 1000


def _identity(name: str, key: str) -> tuple[dict[str, str], bytes]:
    """A host key, and user-data as an administrator may have written it long ago."""
    made = Ed25519PrivateKey.generate()
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()
    public = made.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    config = {
        "hostname": name,
        "users": [{"name": "root"}, {"name": "operator", "shell": "/bin/bash"}],
        "disable_root": False,
        "ssh_authorized_keys": [key],
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": private, "ed25519_public": public},
        "write_files": [
            {"path": "/etc/systemd/system/campus-web.service", "content": _SERVICE},
            {"path": "/etc/nftables.conf", "content": _FIREWALL, "permissions": "0755"},
            {"path": "/srv/index.html", "content": f"{name} serves\n"},
        ],
        "runcmd": [["systemctl", "enable", "--now", "nftables.service", "campus-web.service"]],
    }
    return {"host_key": public}, b"#cloud-config\n" + yaml.safe_dump(config, sort_keys=False, width=1000).encode()
