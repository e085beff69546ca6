"""Messages between engine, runner and scripts: JSON behind its length, over a stream socket."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

HEADER = struct.Struct(">I")


def pack(message: Any) -> bytes:
    """The bytes of a message."""
    body = json.dumps(message).encode("ascii")
    return HEADER.pack(len(body)) + body


def send(connection: socket.socket, message: Any) -> None:
    """Send a message; blocks until it is on its way."""
    connection.sendall(pack(message))


def receive(connection: socket.socket) -> Any:
    """The next message of a blocking socket; None when the other side is gone."""
    header = _exactly(connection, HEADER.size)
    body = _exactly(connection, HEADER.unpack(header)[0]) if header else b""
    return json.loads(body) if body else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class Inbox:
    """Puts the messages of a non-blocking socket together."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that the data completes."""
        self._buffer += data
        messages = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer, start)
            end = start + HEADER.size + size
            if len(self._buffer) < end:
                break
            messages.append(json.loads(bytes(self._buffer[start + HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return messages
