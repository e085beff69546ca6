"""Ports for what is to be started."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that is free, and that the kernel gives to no connection until it is used."""
    end = int(RANGE.read_text().split()[0])
    for port in random.sample(range(end - 10_000, end), 100):
        with suppress(OSError), socket.create_server(("", port)):
            return port
    raise OSError(f"none of 100 ports below {end} is free")
