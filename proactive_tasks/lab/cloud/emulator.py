"""What every emulated cloud does; one file a provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from proactive_tasks.lab.cloud.model import Cloud

Carry = Callable[[Cloud], None]
"""Takes what a cloud has been told and makes it so: `Fabric.apply`, or nothing where only the API is wanted."""


class Emulator(Protocol):
    """An emulated cloud: processes that serve a provider's API on the loopback interface."""

    @property
    def name(self) -> str:
        """The provider's."""

    def up(self, progress: Callable[[str], None]) -> Mapping[str, str]:
        """Start what does not run yet; the environment variables by which the provider's SDK finds it."""

    def environment(self) -> Mapping[str, str]:
        """The same variables of a cloud that runs; empty when it does not."""

    def down(self) -> list[str]:
        """Stop it and remove everything of it; a line for each thing removed."""
