"""The host key that user-data brings to a new gateway: the same one at every try, until the gateway has been met.

A try that died may have made a machine that nobody sees yet. With another key in the user-data of the next try, the
provider would refuse it as another order under the same token, or the machine that turns up could not be logged in to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proactive_tasks.gateway.userdata import new_host_key, public_line
from proactive_tasks.overlay.model import Site
from proactive_tasks.store import Store

if TYPE_CHECKING:
    from proactive_tasks.store.vault import Vault


def seeded_host_key(
    store: Store, overlay: str, site: Site, vault: Callable[[str], Vault], actor: str
) -> tuple[str, str]:
    """The private key (OpenSSH PEM) and the public line; recorded, the private half sealed, before this returns."""
    name = _secret(site)
    sealed = store.secret(overlay, name)
    if sealed is not None and site.host_key_seeded and site.host_key:
        private = vault(overlay).open(sealed, name).decode()
        if public_line(private) == site.host_key:
            return private, site.host_key
    private, public = new_host_key()
    store.drop_secret(overlay, name, actor)
    store.add_secret(overlay, name, vault(overlay).seal(private.encode(), name), actor)
    store.update_site(overlay, site.name, actor, host_key=public, host_key_seeded=True, request="")
    return private, public


def forget_seed(store: Store, overlay: str, site: Site, actor: str) -> None:
    """The gateway has a key of its own making: the seeded one is of no use any more."""
    store.drop_secret(overlay, _secret(site), actor)


def _secret(site: Site) -> str:
    return f"seeded host key of {site.name}"
