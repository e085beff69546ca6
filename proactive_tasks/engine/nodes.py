"""Where tasks run: what a job asks before it starts one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol


class Nodes(Protocol):
    """Nodes that jobs share; called by several jobs' threads."""

    def take(
        self, generic: Mapping[str, str], user: str | None = None, usage: Mapping[str, str] | None = None
    ) -> str | None:
        """A free node for a task with this generic information, which is the task's until it is given back.

        `user` and `usage` are what the node shows of the task meanwhile.
        """

    def give_back(self, node: str) -> None:
        """A task has left its node."""

    def source_of(self, node: str) -> str:
        """The node source that a node is of."""

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have it told when a node may have become free; answers how to end that."""


class Slots:
    """A number of nodes without names, places or tokens: what one machine is."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []

    def take(
        self,
        generic: Mapping[str, str],  # noqa: ARG002 - a Nodes' signature
        user: str | None = None,  # noqa: ARG002
        usage: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> str | None:
        """A slot, if one is free."""
        with self._lock:
            if not self._free:
                return None
            self._free -= 1
        return "embedded"

    def give_back(self, node: str) -> None:  # noqa: ARG002
        """Free a slot."""
        with self._lock:
            self._free += 1
            watchers = list(self._watchers)
        for changed in watchers:
            changed()

    def source_of(self, node: str) -> str:
        """The one there is: a slot's name."""
        return node

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Tell of slots that become free."""
        with self._lock:
            self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)
