"""Cloud-init user-data that turns a Debian 12 image into a gateway that waits for its first connection.

User-data can be read by whoever may describe the machine: the host key in it is replaced at the first connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proactive_tasks.gateway.config import FIREWALL, SYSCTL, initial_files
from proactive_tasks.overlay.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network

    from proactive_tasks.overlay.model import Site

PACKAGES = {
    "openvpn": "/usr/sbin/openvpn",
    "bird2": "/usr/sbin/bird",
    "nftables": "/usr/sbin/nft",
    "openssl": "/usr/bin/openssl",
    "iproute2": "/usr/sbin/tc",
}
"""Debian packages that a gateway needs, and a program of each by which an image is seen to have it."""

_SSHD = """\
AllowUsers root
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
UseDNS no
LoginGraceTime 20
MaxAuthTries 2
ClientAliveInterval 10
ClientAliveCountMax 3
HostKey /etc/ssh/ssh_host_ed25519_key
"""


def new_host_key() -> tuple[str, str]:
    """A new ed25519 key: OpenSSH PEM, and the public line without comment."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private.decode(), _public_line(key)


def public_line(private: str) -> str:
    """The public line of a private ed25519 key.

    Raises:
        InputError: it is a key of another kind.
    """
    key = serialization.load_ssh_private_key(private.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError("the host key is not ed25519: make it with new_host_key")
    return _public_line(key)


def user_data(
    overlay: str, site: Site, ssh_public_key: str, host_key: str, controllers: Iterable[IPv4Network | str]
) -> bytes:
    """The user-data of a site's gateway: root's key, the seeded host key, a firewall that admits the controllers.

    Only the cloud-init modules that are needed run. What sshd depends on is done before it starts (cloud-init's
    network stage), so that whoever gets an answer finds a gateway behind its firewall; packages come last, and only
    if the image lacks them.
    """
    config: dict[str, Any] = {
        "cloud_init_modules": ["seed_random", "growpart", "resizefs", "write-files", "set_hostname", "ssh", "bootcmd"],
        "cloud_config_modules": ["runcmd"],
        "cloud_final_modules": ["scripts-user"],
        "hostname": f"{site.name}-gateway",
        "users": [{"name": "root"}],  # no other
        "disable_root": False,
        "ssh_authorized_keys": [ssh_public_key],
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": public_line(host_key)},
        "write_files": [
            {"path": "/etc/ssh/sshd_config.d/10-overlay.conf", "content": _SSHD},
            *(
                {"path": file.path, "content": file.content, "permissions": f"{file.mode:04o}"}
                for file in initial_files(controllers)
            ),
        ],
        "bootcmd": [
            ["ln", "-sf", "/dev/null", "/etc/systemd/system/bird.service"],  # the overlay brings its own unit
            ["sh", "-c", f"! command -v nft || nft -f {FIREWALL}"],
            ["sysctl", "-q", "-p", SYSCTL],
        ],
        "runcmd": [["sh", "-c", _install()]],
    }
    head = f"#cloud-config\n# Gateway of site {site.name}, overlay {overlay}\n"
    return (head + yaml.safe_dump(config, sort_keys=False, width=1000)).encode()


def _public_line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _install() -> str:
    """Nothing but a few tests on an image that has the packages: no network is needed then."""
    present = " && ".join(f"test -x {program}" for program in PACKAGES.values())
    apt = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"
    return f"{{ {present}; }} || {{ export DEBIAN_FRONTEND=noninteractive; {apt} && nft -f {FIREWALL}; }}"
