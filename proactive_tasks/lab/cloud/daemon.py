"""Programs of this package that serve on the loopback interface in the background, for a lab."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proactive_tasks.lab import files, processes
from proactive_tasks.overlay.errors import InputError, ProviderError

START_S = 60.0
STOP_S = 30.0
LAST_LINES = 5
PACKAGE = "proactive_tasks.lab.cloud."


@dataclass(frozen=True, slots=True)
class Daemon:
    """A module that is run with `WORD... --lab=LAB --port=N ...` and calls `announce` once it listens."""

    what: str  # in messages, e.g. "API of aws"
    module: str
    words: tuple[str, ...]
    lab: str
    folder: Path  # where its record and its log are
    stem: str

    def pid(self) -> int | None:
        """Its process, if it runs."""
        pid = processes.recorded(self.folder / f"{self.stem}.pid")
        if pid and self._is_it(processes.arguments(pid)):
            return pid
        return next(iter(processes.having(self._is_it)), None)

    def endpoint(self) -> dict[str, Any] | None:
        """What it announced, if it runs: its port, and how it was started."""
        said = files.read(self.folder / f"{self.stem}.json")
        return said if said and said.get("pid") == self.pid() else None

    def start(self, port: int, *more: str, seconds: float = START_S) -> dict[str, Any]:
        """Start it and wait until it listens; what it announced.

        Raises:
            InputError: the port is taken.
            ProviderError: it ended, or did not listen in time; with the last lines that it wrote.
        """
        self.stop()  # one that never came to listen, or whose record is lost
        _require_free(self.what, port)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = self.folder / f"{self.stem}.log"
        log.unlink(missing_ok=True)
        argv = [sys.executable, "-m", self.module, *self.words, f"--lab={self.lab}", f"--port={port}", *more]
        pid = processes.start(argv, record=self.folder / f"{self.stem}.pid", log=log)
        try:
            settled = lambda: self.endpoint() is not None or self.pid() is None  # noqa: E731
            processes.wait(settled, seconds, f"lab: {self.what}: does not listen")
        except ProviderError as error:
            self.stop()
            raise ProviderError(f"{error}; {_tail(log)}") from error
        said = self.endpoint()
        if said is None:
            raise ProviderError(f"lab: {self.what}: process {pid} ended; {_tail(log)}")
        return said

    def stop(self) -> list[str]:
        """Have it end what it is about and go; a line if it was there."""
        removed = []
        while pid := self.pid():
            processes.terminate(pid, self._is_it, STOP_S)
            removed.append(f"process {pid} ({self.what})")
        for suffix in ("pid", "json", "log"):
            (self.folder / f"{self.stem}.{suffix}").unlink(missing_ok=True)
        return removed

    def _is_it(self, argv: Sequence[str]) -> bool:
        return {self.module, f"--lab={self.lab}", *self.words} <= set(argv)


def announce(folder: Path, stem: str, **values: Any) -> None:
    """Say that this process listens."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.write(folder / f"{stem}.json", {"pid": os.getpid(), **values})


def is_of(lab: str) -> Callable[[Sequence[str]], bool]:
    """Tells by its arguments whether a process is such a program of a lab."""
    return lambda argv: f"--lab={lab}" in argv and any(word.startswith(PACKAGE) for word in argv)


def _require_free(what: str, port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise InputError(f"lab: {what}: port {port} cannot be had ({error}); name another one") from error


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
    except OSError:
        lines = []
    return f"it said last: {' | '.join(lines)}" if lines else "it said nothing"
