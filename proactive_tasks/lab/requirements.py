"""What this machine must have for a lab."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from proactive_tasks.overlay.errors import InputError

PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "cc": "gcc libc6-dev",
    "nsenter": "util-linux",
}
"""Programs that the lab runs, and the Debian packages that bring them."""


def missing() -> list[str]:
    """What is missing, each with the way to get it."""
    lacks = []
    if os.geteuid() != 0:
        lacks.append("root (start it with sudo)")
    tun = Path("/dev/net/tun")
    if not (tun.exists() and stat.S_ISCHR(tun.stat().st_mode)):
        lacks.append("/dev/net/tun (modprobe tun; in a container, pass the device in)")
    packages = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if packages:
        programs = ", ".join(program for program in PROGRAMS if shutil.which(program) is None)
        lacks.append(f"{programs} (apt-get install {' '.join(sorted(packages))})")
    if not any(line.split()[-1] == "overlay" for line in _lines("/proc/filesystems")):
        lacks.append("the overlay file system (modprobe overlay)")
    return lacks


def require(*, machines: bool = True) -> None:
    """Refuse to go on where a lab cannot be.

    Args:
        machines: whether it is to have any; without, only its state is kept here.

    Raises:
        InputError: it names everything that is missing and how to get it.
    """
    lacks = [lack for lack in missing() if machines or lack.startswith("root")]
    if lacks:
        raise InputError(f"a lab cannot run on this machine; it lacks {'; '.join(lacks)}")


def _lines(path: str) -> list[str]:
    return [line for line in Path(path).read_text().splitlines() if line.strip()]
