"""Small state files, written whole, and locks between processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proactive_tasks.overlay.errors import ProviderError

LOCK_S = 120.0


@contextlib.contextmanager
def locked(path: Path, seconds: float = LOCK_S) -> Iterator[None]:
    """Hold the lock of that name, which the kernel frees when its holder dies.

    Raises:
        ProviderError: another process held it all the time.
    """
    deadline = time.monotonic() + seconds
    handle = _open(path)
    try:
        while not _held(handle, path):
            if time.monotonic() > deadline:
                message = f"lab: lock {path}: another process held it for {seconds:g} s; see 'fuser {path}'"
                raise ProviderError(message)
            time.sleep(0.01)
            if _removed(handle, path):
                os.close(handle)
                handle = _open(path)
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _held(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return not _removed(handle, path)


def _removed(handle: int, path: Path) -> bool:
    """Was the file removed by its last holder? Then the lock on it excludes nobody."""
    try:
        return os.fstat(handle).st_ino != path.stat().st_ino
    except FileNotFoundError:
        return True


def read(path: Path) -> dict[str, Any]:
    """A state file's content; empty when it is not there or not whole (a crash cannot make it so, a full disk can)."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
    return {}


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace a state file."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(json.dumps(content, indent=1, sort_keys=True))
    beside.replace(path)
