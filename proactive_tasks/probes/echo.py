"""ICMP echo over raw sockets: who answers when, round-trip times, path MTU.

Standard library only, and no import from the package: the controller sends this very file to the gateways, where the
agent runs it. On the controller the same functions probe from the lab's hosts, with sockets made in their namespaces.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

SocketFactory = Callable[[int, int, int], socket.socket]
"""Makes a socket of (family, type, protocol), as `socket.socket` does."""

IP_HEADER = 20
ICMP_HEADER = 8
_ECHO_REQUEST = 8
_ECHO_REPLY = 0
_IP_MTU_DISCOVER = 10  # <linux/in.h>; the socket module does not name them
_IP_PMTUDISC_PROBE = 3
_BUFFER = 65535


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(identifier: int, sequence: int, payload: bytes) -> bytes:
    """An ICMP echo request (RFC 792)."""
    head = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, sequence)
    return struct.pack("!BBHHH", _ECHO_REQUEST, 0, checksum(head + payload), identifier, sequence) + payload


def echo_reply(packet: bytes) -> tuple[str, int, int, int] | None:
    """(source, identifier, sequence, length in bytes) of an IPv4 packet that is an echo reply, else None."""
    start = (packet[0] & 0x0F) * 4 if packet else 0
    if start < IP_HEADER or len(packet) < start + ICMP_HEADER:
        return None
    kind, _, _, identifier, sequence = struct.unpack_from("!BBHHH", packet, start)
    if kind != _ECHO_REPLY:
        return None
    return socket.inet_ntoa(packet[12:16]), identifier, sequence, len(packet)


def open_echo(source: str = "", make: SocketFactory = socket.socket) -> socket.socket:
    """A raw ICMP socket that sends from `source`, without blocking."""
    sock = make(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.setblocking(False)
    if source:
        sock.bind((source, 0))
    return sock


def first_answers(
    sock: socket.socket, targets: Iterable[str], deadline_s: float, interval_s: float = 0.025
) -> dict[str, float | None]:
    """Milliseconds until each target first answers, asked again every `interval_s`; None past the deadline."""
    identifier = _identifier()
    started = time.monotonic()
    answers: dict[str, float | None] = dict.fromkeys(targets)
    waiting = set(answers)
    sequence = 0
    while waiting and (now := time.monotonic()) < started + deadline_s:
        sequence = (sequence + 1) & 0xFFFF
        for target in sorted(waiting):
            _send(sock, echo_request(identifier, sequence, b"overlay"), target)
        for source, ident, _, _ in _replies(sock, min(now + interval_s, started + deadline_s)):
            if ident == identifier and source in waiting:
                waiting.discard(source)
                answers[source] = (time.monotonic() - started) * 1000
                if not waiting:
                    break
    return answers


def round_trips(
    sock: socket.socket, target: str, count: int, interval_s: float = 0.02, timeout_s: float = 1.0
) -> list[float | None]:
    """Round-trip times in milliseconds of `count` echoes sent `interval_s` apart; None for each that was lost."""
    identifier = _identifier()
    sent: list[float] = []
    samples: list[float | None] = [None] * count
    begun = time.perf_counter()
    end = begun + count * interval_s + timeout_s
    missing = count
    while missing and (now := time.perf_counter()) < end:
        if len(sent) < count and now >= begun + len(sent) * interval_s:
            sent.append(time.perf_counter())
            _send(sock, echo_request(identifier, len(sent) - 1, b"overlay round trip time probe..."), target)
        until = begun + len(sent) * interval_s if len(sent) < count else end
        for source, ident, sequence, _ in _replies(sock, time.monotonic() + until - time.perf_counter()):
            at = time.perf_counter()
            if source == target and ident == identifier and sequence < len(sent) and samples[sequence] is None:
                samples[sequence] = (at - sent[sequence]) * 1000
                missing -= 1
                if not missing:
                    break
    return samples


def path_mtu(
    sock: socket.socket, target: str, *, low: int = 576, high: int = 1500, timeout_s: float = 0.5, tries: int = 3
) -> int | None:
    """The largest IPv4 packet, in bytes, that gets an answer without fragmentation; None when `low` gets none.

    A size is too big when `tries` packets of it stay without answer, so that mere loss does not lower the figure.
    The kernel's own path MTU cache is not believed (IP_PMTUDISC_PROBE).
    """
    sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
    if not _passes(sock, target, low, timeout_s, tries):
        return None
    if _passes(sock, target, high, timeout_s, tries):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if _passes(sock, target, middle, timeout_s, tries):
            low = middle
        else:
            high = middle
    return low


def reach_from(
    make: SocketFactory, targets: Sequence[str], deadline_s: float, *, source: str = ""
) -> dict[str, float | None]:
    """`first_answers` with a socket of its own, e.g. one made in the namespace of a lab host."""
    with open_echo(source, make) as sock:
        return first_answers(sock, targets, deadline_s)


def _passes(sock: socket.socket, target: str, size: int, timeout_s: float, tries: int) -> bool:
    identifier = _identifier()
    payload = bytes(size - IP_HEADER - ICMP_HEADER)
    for sequence in range(tries):
        if not _send(sock, echo_request(identifier, sequence, payload), target):
            return False
        for source, ident, _, length in _replies(sock, time.monotonic() + timeout_s):
            if source == target and ident == identifier and length == size:
                return True
    return False


def _send(sock: socket.socket, packet: bytes, target: str) -> bool:
    """Whether the packet fits the way; one that finds no route yet, or a full queue, is simply lost."""
    try:
        sock.sendto(packet, (target, 0))
    except OSError as error:
        return error.errno != errno.EMSGSIZE
    return True


def _replies(sock: socket.socket, until: float) -> Iterator[tuple[str, int, int, int]]:
    """Echo replies as they arrive, until the monotonic time `until`."""
    while (left := until - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            return
        try:
            reply = echo_reply(sock.recv(_BUFFER))
        except OSError:  # an ICMP error that the kernel hands to the socket
            continue
        if reply is not None:
            yield reply


def _identifier() -> int:
    return int.from_bytes(os.urandom(2))
