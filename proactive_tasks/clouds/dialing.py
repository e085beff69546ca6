"""The controller's way to gateways in the Internet: directly, or through a proxy where there is no other way out."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address
from urllib.parse import urlsplit

from proactive_tasks.overlay.errors import InputError

PROXY = "OVERLAY_SSH_PROXY"
"""Environment variable: `http://HOST:PORT` of a proxy that carries SSH by HTTP's CONNECT (RFC 9110, 9.3.6)."""

MAX_ANSWER = 4096


def dial(address: IPv4Address, port: int, timeout: float) -> socket.socket:
    """A TCP connection to an address, through the proxy if one is named.

    Raises:
        InputError: the proxy's URL is not one.
        OSError: no connection; the caller may try again.
    """
    proxy = os.environ.get(PROXY, "")
    if not proxy:
        return socket.create_connection((str(address), port), timeout)
    connection = socket.create_connection(_place(proxy), timeout)
    try:
        connection.sendall(f"CONNECT {address}:{port} HTTP/1.1\r\nHost: {address}:{port}\r\n\r\n".encode())
        _await_tunnel(connection, proxy)
    except BaseException:
        connection.close()
        raise
    return connection


def _place(proxy: str) -> tuple[str, int]:
    try:
        parts = urlsplit(proxy)
        if parts.scheme == "http" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise InputError(f"{PROXY}={proxy!r}: not a proxy; write http://HOST:PORT")


def _await_tunnel(connection: socket.socket, proxy: str) -> None:
    status = _head(connection).split(b"\r\n", 1)[0].decode(errors="replace")
    if status.split()[1:2] != ["200"]:
        raise ConnectionRefusedError(f"proxy {proxy}: {status or 'no answer'}")


def _head(connection: socket.socket) -> bytes:
    """The proxy's answer up to its blank line, and not a byte further: what follows is SSH's."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte or len(head) > MAX_ANSWER:
            break
        head += byte
    return head
