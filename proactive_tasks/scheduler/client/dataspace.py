"""The data spaces of a scheduler by REST: the `user` space is one's own, the `global` space is everyone's."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from proactive_tasks.overlay.errors import SchedulerInputError
from proactive_tasks.scheduler.client.rest import Rest

SPACES = ("user", "global")

NAMED = re.compile(r"(user|global):([^\s:][^\n]*)")


def named(text: str) -> tuple[str, str] | None:
    """Space and path, where a text names a file of a data space: user:PATH or global:PATH."""
    found = NAMED.fullmatch(text.strip())
    return (found[1], found[2]) if found else None


class DataSpaces:
    """Files in the data spaces of one server."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def upload(self, space: str, path: str, content: bytes) -> None:
        """Put a file there; folders are made, a file of that name is replaced."""
        headers = {"Content-Type": "application/octet-stream"}
        self._rest.call("PUT", _path(space, path), headers=headers, content=content, repeatable=True)

    def download(self, space: str, path: str) -> bytes:
        """Fetch a file.

        Raises:
            SchedulerInputError: it is not there.
        """
        return bytes(self._found("GET", space, path).content)

    def list(self, space: str, path: str = "") -> list[str]:
        """The files and folders of a folder."""
        answer = self._found("GET", space, path, params={"comp": "list"})
        try:
            return sorted(str(each) for each in answer.json()["fullListing"])
        except (ValueError, LookupError, TypeError):
            raise SchedulerInputError(f"{space} space: {path or '/'} is no folder; name one") from None

    def remove(self, space: str, path: str) -> None:
        """Remove a file."""
        self._found("DELETE", space, path)

    def _found(self, method: str, space: str, path: str, **options: Any) -> Any:
        try:
            return self._rest.call(method, _path(space, path), **options)
        except SchedulerInputError as error:
            if error.status != 404 or type(error) is not SchedulerInputError:
                raise
            raise SchedulerInputError(f"{space} space: {path or '/'} is not there; upload it first", 404) from error


def _path(space: str, path: str) -> str:
    if space not in SPACES:
        raise SchedulerInputError(f"data space {space!r}: there is none; there are {' and '.join(SPACES)}")
    parts = path.strip("/").split("/")
    if any(part in {".", ".."} for part in parts) or "" in parts[:-1]:
        raise SchedulerInputError(f"data space path {path!r}: leaves the space; write it from the space's root")
    return f"/rest/data/{space}/{quote(path.strip('/'), safe='/')}"  # the root of a space ends with the slash
