"""The controller's way to a gateway: the overlay's SSH key, the recorded host key, the driver's dial."""

from __future__ import annotations

from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from proactive_tasks.overlay.errors import GatewayError, SecretError

if TYPE_CHECKING:
    from collections.abc import Callable

    from proactive_tasks.clouds.provider import Provider
    from proactive_tasks.gateway.session import GatewaySession
    from proactive_tasks.overlay.model import Site
    from proactive_tasks.store import Store
    from proactive_tasks.store.vault import Vault

SECRET = "ssh key"  # noqa: S105 - the name of a secret, not one
ANSWER_S = 30.0
"""How long a gateway that runs may take to answer; long enough for an sshd that restarts."""


def ensure_key(store: Store, overlay: str, vault: Callable[[str], Vault]) -> bool:
    """Make the overlay's SSH key if there is none; True when one was made."""
    if store.secret(overlay, SECRET) is not None:
        return False
    made = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return store.add_secret(overlay, SECRET, vault(overlay).seal(made, SECRET))


def private_key(store: Store, overlay: str, vault: Callable[[str], Vault]) -> paramiko.Ed25519Key:
    """The overlay's SSH key.

    Raises:
        SecretError: there is none, or the passphrase does not open it.
    """
    sealed = store.secret(overlay, SECRET)
    if sealed is None:
        raise SecretError(f"overlay {overlay}: it has no SSH key yet; deploy it first")
    return paramiko.Ed25519Key(file_obj=StringIO(vault(overlay).open(sealed, SECRET).decode()))


def public_key(store: Store, overlay: str, vault: Callable[[str], Vault]) -> str:
    """The public line of the overlay's SSH key."""
    return f"ssh-ed25519 {private_key(store, overlay, vault).get_base64()}"


def placed(session: GatewaySession, site: Site) -> dict[str, Any]:
    """Which interfaces of a gateway look where, as the fields of its site."""
    networks = [str(network) for network in site.announced]
    named = {"lan": str(site.options.get("lan", "")), "router": str(site.options.get("lan_router", ""))}
    return session.interfaces(str(site.gateway), networks, **named).fields()


def open_session(
    store: Store,
    overlay: str,
    site: Site,
    driver: Provider,
    vault: Callable[[str], Vault],
    deadline_s: float = ANSWER_S,
) -> GatewaySession:
    """A session with a site's gateway, its host key checked against the recorded one.

    Raises:
        GatewayUnreachableError: no answer within `deadline_s`.
        HostKeyError: the gateway showed another key.
    """
    from proactive_tasks.gateway.session import connect

    if site.public_address is None or not site.host_key:
        raise GatewayError(f"site {site.name}: it has no gateway yet; deploy it first")
    return connect(
        partial(driver.dial, overlay),
        site.public_address,
        private_key(store, overlay, vault),
        site.host_key.splitlines(),
        deadline_s,
        site.ssh_port,
    )
