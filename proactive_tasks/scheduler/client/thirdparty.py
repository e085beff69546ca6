"""The third-party credentials of a scheduler's user by REST: tasks find them by their keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proactive_tasks.overlay.errors import SchedulerInputError, SchedulerVersionError
from proactive_tasks.scheduler.client.rest import Rest, segment

PATH = "/rest/scheduler/credentials/"


class ThirdPartyCredentials:
    """Those of one user at one server, in the form of its version.

    Setting and removing may be done twice: both are sent again when their answer is lost.
    """

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def keys(self) -> list[str]:
        """The keys that are set."""
        return self._rest.read(sorted, "GET", PATH)

    def put(self, key: str, value: str) -> None:
        """Set one."""
        self._either(
            lambda: self._rest.call("POST", f"{PATH}{_segment(key)}", form={"value": value}, repeatable=True),
            lambda: self._rest.call("POST", PATH, form={"key": key, "value": value}, repeatable=True),
        )

    def remove(self, key: str) -> None:
        """Remove one."""
        self._either(
            lambda: self._rest.call("DELETE", f"{PATH}{_segment(key)}", repeatable=True),
            lambda: self._rest.call("DELETE", PATH, params={"key": key}, repeatable=True),
        )

    def _either(self, old: Callable[[], Any], new: Callable[[], Any]) -> None:
        """13.0 takes the key in the path, newer servers as a parameter; what a server lacks it says before any deed."""
        first, second = (old, new) if self._rest.version().get("rest", "").startswith("13.0") else (new, old)
        try:
            first()
        except SchedulerVersionError:
            second()


def _segment(key: str) -> str:
    if not key.strip() or any(ord(letter) < ord(" ") for letter in key):
        raise SchedulerInputError(f"credential key {key!r}: is none; use letters, digits and _")
    return segment(key)
