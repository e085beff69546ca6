"""One sequence of steps for plan and deed: a driver says each step once, and these carry it out or only note it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from proactive_tasks.clouds.provider import Change, Journal, Progress
from proactive_tasks.overlay.errors import OverlayError, ProviderError

T = TypeVar("T")

SECRET = "..."  # noqa: S105 - stands where a value is not shown

Makes = tuple[str, str] | list[tuple[str, str]] | None
"""Kind and name of what a call makes; of each, in order, where it makes several and answers with a list."""

PATIENCE_S = 120.0
"""How long a step is tried again while its provider is busy or its answers get lost."""


class BusyError(ProviderError):
    """The provider refused for now and did nothing: throttled, or what the call needs is not ready yet."""


class UnclearError(ProviderError):
    """Nobody knows whether the call was carried out: the connection broke, no answer came, or a 5xx."""


class Steps(Protocol):
    """How a driver's steps are taken."""

    changes: list[Change]

    def take(
        self,
        line: str,
        call: str,
        do: Callable[[], T],
        *,
        instead: T,
        makes: Makes = None,
        find: Callable[[], T | None] | None = None,
    ) -> T:
        """Take one step.

        Args:
            line: what it does, for people: "subnet presto--paris--gateway: make (10.1.0.240/28)".
            call: the API call and its arguments, without secrets; see `shown`.
            do: makes the call; raises `BusyError` and `UnclearError` where trying again is right.
            instead: the answer when steps are only noted, e.g. an object with a made-up identifier.
            makes: kind and deterministic name of what the call makes, which the journal then keeps; a list of them
                where one call makes several and answers with a list.
            find: looks whether a call with an unclear outcome made it; without it, the call can be repeated safely.
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
        makes: Makes = None,  # noqa: ARG002
        find: Callable[[], T | None] | None = None,  # noqa: ARG002
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
    patience_s: float = PATIENCE_S
    changes: list[Change] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(
        self,
        line: str,
        call: str,
        do: Callable[[], T],
        *,
        instead: T,  # noqa: ARG002
        makes: Makes = None,
        find: Callable[[], T | None] | None = None,
    ) -> T:
        """Do the step, again while the provider is busy; where the outcome is unclear, look before it is done again."""
        with self._lock:
            self.progress(line)
            for each in _each(makes):
                self.journal.intend(*each)
        try:
            answer = insist(do, self.patience_s, find=find)
        except UnclearError:
            raise  # it stays intended: the next run looks for it
        except OverlayError:
            with self._lock:
                for each in _each(makes):
                    self.journal.gone(*each)  # a refusal makes nothing
            raise
        with self._lock:
            answers: Any = answer if isinstance(makes, list) else [answer]
            for each, made in zip(_each(makes), answers, strict=bool(makes)):
                self.journal.made(*each, self.identifier(made))
            self.changes.append(Change(line, call))
        return answer


def _each(makes: Makes) -> list[tuple[str, str]]:
    if not makes:
        return []
    return makes if isinstance(makes, list) else [makes]


def insist(do: Callable[[], T], patience_s: float = PATIENCE_S, *, find: Callable[[], T | None] | None = None) -> T:
    """Call, and call again while the provider is busy or its answer was lost.

    Args:
        do: the call.
        patience_s: the deadline for all tries together.
        find: finds what a call with an unclear outcome made; asked before the call is made again.

    Raises:
        ProviderError: what the last try raised.
    """
    unclear = False

    def attempt() -> T:
        nonlocal unclear
        if unclear and find is not None:
            found = find()
            if found is not None:
                return found
            unclear = False
        return do()

    def note(state: RetryCallState) -> None:
        nonlocal unclear
        unclear = unclear or (state.outcome is not None and isinstance(state.outcome.exception(), UnclearError))

    retrying = Retrying(
        retry=retry_if_exception_type((BusyError, UnclearError)),
        wait=wait_random_exponential(0.1, max=5),
        stop=stop_after_delay(patience_s),
        after=note,
        reraise=True,
    )
    return retrying(attempt)


def until(condition: Callable[[], T | None], deadline_s: float, waiting_for: str, poll_s: float = 1.0) -> T:
    """Ask until the answer is not None.

    Raises:
        ProviderError: it was None until the deadline; the message names what was waited for.
    """
    end = time.monotonic() + deadline_s
    while (found := condition()) is None:
        if time.monotonic() + poll_s > end:
            raise ProviderError(f"{waiting_for}: not within {deadline_s:.0f} s; run this again")
        time.sleep(poll_s)
    return found


def shown(action: str, /, **arguments: Any) -> str:
    """An API call as one reads it; an argument that is a secret is given as `SECRET`."""
    inner = ", ".join(f"{name}={SECRET if value is SECRET else repr(value)}" for name, value in arguments.items())
    return f"{action}({inner})"
