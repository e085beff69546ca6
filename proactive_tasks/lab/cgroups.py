"""A control group for each machine, or the init systems of all machines would manage one and the same."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

LEAVE_S = 2.0
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit; shift; done; shift; exec "$@"'


def command(machine: str, argv: list[str]) -> list[str]:
    """The command that starts `argv` inside the machine's groups, which are made for it."""
    folders = _folders(machine)
    for folder in folders:
        folder.mkdir(exist_ok=True)
    return ["sh", "-c", _JOIN, "join", *(str(folder / "cgroup.procs") for folder in folders), "--", *argv]


def remove(machine: str) -> None:
    """Remove the groups of a machine that is off; its last processes may take a moment to leave them."""
    deadline = time.monotonic() + LEAVE_S
    while _remove(machine) and time.monotonic() < deadline:
        time.sleep(0.01)


def _remove(machine: str) -> bool:
    """Whether anything is left."""
    tops = [folder for folder in _folders(machine) if folder.is_dir()]
    for top in tops:
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):  # somebody is still in it
                Path(folder).rmdir()
    return any(top.is_dir() for top in tops)


def existing(prefix: str) -> list[str]:
    """The machines whose names start so and that have groups."""
    there = {path.name for top in _hierarchies() for path in top.glob(f"overlay-lab.{prefix}*")}
    return sorted(name.removeprefix("overlay-lab.") for name in there)


def _folders(machine: str) -> list[Path]:
    return [top / f"overlay-lab.{machine}" for top in _hierarchies()]


def _hierarchies() -> list[Path]:
    """Where systemd keeps its units: the unified hierarchy, and its own of version 1 where there is one."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(folder))
    return found
