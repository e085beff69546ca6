"""Bodies of requests, of which none is larger than is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from proactive_tasks.engine.endpoint.answers import RefusedRequestError

LIMIT = 64_000_000


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request says: its fields, of the URL and of the body alike, and its files."""

    fields: Mapping[str, list[str]]
    files: Mapping[str, tuple[str, bytes]]  # by the part's name: the file's name and content

    def get(self, name: str, default: str = "") -> str:
        """A field, or what to take where it is missing."""
        value = self.find(name)
        return default if value is None else value

    def find(self, name: str) -> str | None:
        """A field, if it is there."""
        values = self.fields.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return list(self.fields.get(name, ()))


async def body(request: Request, limit: int = LIMIT) -> bytes:
    """A request's body.

    Raises:
        RefusedRequestError: 413, it is larger than the limit.
    """
    return await _limited(request, limit).body()


async def sent(request: Request, limit: int = LIMIT) -> Sent:
    """A request's fields and files; the body is read only if it is a form.

    Raises:
        RefusedRequestError: 413, it is larger than the limit; 400, it is no form.
    """
    fields: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        fields.setdefault(name, []).append(value)
    files: dict[str, tuple[str, bytes]] = {}
    for name, part in (await _form(request, limit)).multi_items():
        if isinstance(part, UploadFile):
            files[name] = (part.filename or "", await part.read())
            await part.close()
        else:
            fields.setdefault(name, []).append(part)
    return Sent(fields, files)


def is_multipart(request: Request) -> bool:
    """Whether the body is a form of several parts."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _form(request: Request, limit: int) -> FormData:
    try:
        return await _limited(request, limit).form(max_part_size=limit)
    except (ValueError, KeyError) as error:
        raise RefusedRequestError(400, f"the body cannot be read as a form: {error}") from error


def _limited(request: Request, limit: int) -> Request:
    too_large = RefusedRequestError(413, f"the body is larger than {limit // 1_000_000} MB")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    received = 0

    async def receive() -> Any:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise too_large
        return message

    return Request(request.scope, receive)
