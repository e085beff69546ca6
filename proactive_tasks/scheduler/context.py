"""What every task works with: the store, the vault, the drivers, and whom to tell."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from proactive_tasks import clouds
from proactive_tasks.clouds.provider import NetworkFacts, Provider
from proactive_tasks.overlay.errors import InputError, SecretError
from proactive_tasks.store import Store

if TYPE_CHECKING:
    from proactive_tasks.scheduler.client import Scheduler
    from proactive_tasks.store.vault import Vault

PASSPHRASE = "OVERLAY_PASSPHRASE"  # noqa: S105 - the name of a credential, not one
"""Third-party credential, or environment variable, that opens the vault; `..._FILE` names a file that holds it."""


VAULT_KEY = "OVERLAY_VAULT_KEY"
"""Credential with a vault's derived key, in hexadecimal: the embedded engine's tasks need not derive it once more."""


def _say(_percent: int, line: str) -> None:
    print(line, flush=True)


def _no_scheduler() -> Scheduler:
    raise InputError("this task asks the scheduler that runs it, and none does: submit its workflow to one")


@dataclass
class Context:
    """A task's surroundings. `actor` stands in the events of the store; `progress` takes percent and one line.

    `job` owns the locks that the task takes: they are free as soon as the job is known to be dead. `scheduler` is the
    one that runs the task, reached with the session of the job's owner.
    """

    store: Store
    actor: str = "overlayctl"
    job: str = "overlayctl"
    passphrase: Callable[[], str] = field(default=lambda: passphrase_of({}), repr=False)
    vault_key: bytes = field(default=b"", repr=False)
    progress: Callable[[int, str], None] = _say
    scheduler: Callable[[], Scheduler] = _no_scheduler
    _vaults: dict[str, Vault] = field(default_factory=dict, repr=False)

    def vault(self, overlay: str) -> Vault:
        """The overlay's vault; opened once, since the key derivation is slow on purpose."""
        if overlay not in self._vaults:
            self._vaults[overlay] = self.store.vault(overlay, self.passphrase(), self.vault_key)
        return self._vaults[overlay]

    def driver(self, provider: str) -> Provider:
        """The driver of a provider; one per task, so that its connections are shared."""
        if provider not in self._drivers:
            self._drivers[provider] = clouds.driver(provider)
        return self._drivers[provider]

    def calls(self) -> dict[str, int]:
        """How many calls each provider's API was asked."""
        return {name: driver.calls for name, driver in self._drivers.items() if driver.calls}

    @cached_property
    def _drivers(self) -> dict[str, Provider]:
        return {}

    def overlay(self, name: str = "") -> str:
        """The overlay that is meant: the one named, or the only one there is.

        Raises:
            InputError: there is none, it is unknown, or there are several and none was named.
        """
        known = self.store.overlays()
        if name and name in known:
            return name
        if name:
            raise InputError(f"overlay {name!r} is not in the store; it knows: {', '.join(known) or 'none'}")
        if len(known) != 1:
            raise InputError(
                f"which overlay? The store knows {', '.join(known)}; name one (--overlay)"
                if known
                else "the store knows no overlay; deploy one first: overlayctl deploy FILE"
            )
        return known[0]

    def network(self, overlay: str, site: str) -> NetworkFacts:
        """Where a further machine of a site is to be started: what SUBNET_ID means. Asks no provider.

        Raises:
            UnknownObjectError: no such overlay or site.
        """
        known = self.store.site(overlay, site)
        made = {(each.kind, each.name): each.identifier for each in self.store.resources(overlay, site)}
        return self.driver(known.provider).network(overlay, known, made)

    def each_gateway(self, overlay: str) -> list[dict[str, str]]:
        """Every gateway that can be configured, as the arguments of a replica."""
        return [{"overlay": overlay, "site": site.name} for site in self.store.sites(overlay) if site.ready]


def passphrase_of(credentials: dict[str, str]) -> str:
    """The passphrase from the scheduler's third-party credentials, else from the environment.

    Raises:
        SecretError: it is nowhere, or the file that should hold it does not.
    """
    if found := credentials.get(PASSPHRASE) or os.environ.get(PASSPHRASE):
        return found
    if path := os.environ.get(f"{PASSPHRASE}_FILE"):
        try:
            written = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SecretError(f"passphrase file {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SecretError(f"passphrase file {path} is not UTF-8 text; save it as such") from error
        if not written:
            raise SecretError(f"passphrase file {path} is empty; write the passphrase into it")
        return written
    raise SecretError(
        f"the passphrase of the overlay's keys is missing: put it into the third-party credential {PASSPHRASE}, "
        f"or into the environment as {PASSPHRASE} or {PASSPHRASE}_FILE"
    )
