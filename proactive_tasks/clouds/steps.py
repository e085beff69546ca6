"""One sequence of steps for plan and deed: a driver says each step once, and these carry it out or only note it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from proactive_tasks.clouds.provider import Change, Journal, Progress

T = TypeVar("T")

SECRET = "..."  # noqa: S105 - stands where a value is not shown


class Steps(Protocol):
    """How a driver's steps are taken."""

    changes: list[Change]

    def take(self, line: str, call: str, do: Callable[[], T], *, instead: T, makes: tuple[str, str] | None = None) -> T:
        """Take one step.

        Args:
            line: what it does, for people: "subnet presto-paris-gateway: make (10.1.0.240/28)".
            call: the API call and its arguments, without secrets; see `shown`.
            do: makes the call.
            instead: the answer when steps are only noted, e.g. an object with a made-up identifier.
            makes: kind and deterministic name of what the call makes, which the journal then keeps.
        """


@dataclass
class Noted:
    """Nothing is done: what would be is in `changes`."""

    changes: list[Change] = field(default_factory=list)

    def take(
        self,
        line: str,
        call: str,
        do: Callable[[], T],  # noqa: ARG002
        *,
        instead: T,
        makes: tuple[str, str] | None = None,  # noqa: ARG002
    ) -> T:
        """Note the step."""
        self.changes.append(Change(line, call))
        return instead


@dataclass
class Taken:
    """Each step is done, and written down before. Threads may share it."""

    journal: Journal
    progress: Progress
    identifier: Callable[[Any], str] = lambda made: str(getattr(made, "id", made) or "")
    changes: list[Change] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(
        self,
        line: str,
        call: str,
        do: Callable[[], T],
        *,
        instead: T,  # noqa: ARG002
        makes: tuple[str, str] | None = None,
    ) -> T:
        """Do the step."""
        with self._lock:
            self.progress(line)
            if makes:
                self.journal.intend(*makes)
        answer = do()
        with self._lock:
            if makes:
                self.journal.made(*makes, self.identifier(answer))
            self.changes.append(Change(line, call))
        return answer


def shown(action: str, /, **arguments: Any) -> str:
    """An API call as one reads it; an argument that is a secret is given as `SECRET`."""
    inner = ", ".join(f"{name}={SECRET if value is SECRET else repr(value)}" for name, value in arguments.items())
    return f"{action}({inner})"
