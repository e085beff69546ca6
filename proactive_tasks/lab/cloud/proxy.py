"""A way into a lab's Internet: an HTTP proxy that only knows CONNECT (RFC 9110, 9.3.6), for SSH to emulated servers.

Its connections start in the lab's controller namespace. `python -m proactive_tasks.lab.cloud.proxy --lab=L --port=N`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address

from proactive_tasks.clouds.dialing import PROXY
from proactive_tasks.lab import namespaces
from proactive_tasks.lab.cloud.daemon import Daemon, announce
from proactive_tasks.lab.cloud.model import BLOCKS
from proactive_tasks.lab.names import LabNames
from proactive_tasks.lab.network import OUTSIDE
from proactive_tasks.overlay.errors import OverlayError

STEM = "proxy"
HEAD_S, CONNECT_S = 10.0, 20.0
MAX_HEAD = 8192
CHUNK = 65536
REACHED = (*BLOCKS.values(), OUTSIDE)
"""Where it leads to: the emulated clouds' public addresses and the lab's own."""


class RefusedError(Exception):
    """What the client is told: status code and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")


def daemon(lab: str) -> Daemon:
    """The proxy of a lab, as a program in the background."""
    return Daemon(f"proxy of lab {lab}", "proactive_tasks.lab.cloud.proxy", (), lab, LabNames(lab).folder, STEM)


def environment(lab: str) -> dict[str, str]:
    """The variable that names the lab's proxy; empty while there is none."""
    said = daemon(lab).endpoint()
    return {PROXY: f"http://127.0.0.1:{said['port']}"} if said else {}


def target(head: bytes) -> tuple[IPv4Address, int]:
    """Where a request wants to go.

    Raises:
        RefusedError: it is no CONNECT, or leads elsewhere.
    """
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise RefusedError(400, "not an HTTP request")
    if words[0] != "CONNECT":
        raise RefusedError(405, "this proxy only knows CONNECT")
    host, _, port = words[1].rpartition(":")
    try:
        address = IPv4Address(host)
    except AddressValueError:
        raise RefusedError(403, "the target must be an IPv4 address") from None
    if not any(address in block for block in REACHED):
        raise RefusedError(403, f"{address} is neither an emulated cloud's nor the lab's")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise RefusedError(400, "not a port")
    return address, int(port)


async def serve(lab: str, port: int) -> None:
    """Serve until told to end."""
    loop, told, open_ones = asyncio.get_running_loop(), asyncio.Event(), set[asyncio.Task[None]]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            open_ones.add(task)
            task.add_done_callback(open_ones.discard)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await _answer(lab, reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port, limit=MAX_HEAD)
    announce(LabNames(lab).folder, STEM, port=server.sockets[0].getsockname()[1])
    await told.wait()
    server.close()
    for task in open_ones:
        task.cancel()


async def _answer(lab: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        far_reader, far_writer = await _connect(lab, *target(await _head(reader)))
    except RefusedError as refusal:
        writer.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return
    try:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))
    finally:
        far_writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_S)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise RefusedError(400, "not an HTTP request") from None
    except TimeoutError:
        raise RefusedError(408, "no request") from None


async def _connect(lab: str, address: IPv4Address, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        connection = await asyncio.to_thread(namespaces.socket_in, LabNames(lab).controller)
    except OverlayError as error:
        raise RefusedError(502, f"{error}") from error
    connection.setblocking(False)
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(connection, (str(address), port)), CONNECT_S)
        return await asyncio.open_connection(sock=connection)
    except TimeoutError:
        connection.close()
        raise RefusedError(504, f"{address}:{port} does not answer") from None
    except OSError as error:
        connection.close()
        raise RefusedError(502, f"{address}:{port}: {os.strerror(error.errno or 0)}") from error


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on what comes, and its end."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="proactive_tasks.lab.cloud.proxy", description=__doc__)
    parser.add_argument("--lab", default="clouds")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args(arguments)
    asyncio.run(serve(given.lab, given.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
