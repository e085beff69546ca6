"""The engine's side of the processes that run tasks."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .task import frames

if TYPE_CHECKING:
    from .job import Task

START = (
    "import sys; descriptor = int(sys.argv[1]); sys.path[:] = sys.argv[2:]; "
    "from proactive_tasks.engine.task.server import main; main(descriptor)"
)
CHUNK = 1 << 18
STOP_DEADLINE_S = 5.0


class ForkServer:
    """The process that forks runners; it starts beside the engine and ends with it, however the engine ends."""

    def __init__(self, preload: Sequence[str] = (), later: Sequence[str] = ()) -> None:
        self._modules = [list(preload), list(later)]
        self._begin()

    def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", START, str(theirs.fileno()), *(path for path in sys.path if path)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        self._control = ours
        frames.send(ours, self._modules)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, specification: dict[str, Any]) -> socket.socket:
        """Start one task execution; answers the socket that brings its log and its outcome."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"t"], [theirs.fileno()])
            except OSError:  # something killed the server, for want of memory say: the tasks to come get another
                self.close()
                self._begin()
                socket.send_fds(self._control, [b"t"], [theirs.fileno()])
        frames.send(ours, specification)
        ours.setblocking(False)
        return ours

    def close(self) -> None:
        """End the server."""
        self._control.close()
        self._process.terminate()  # it may be importing still
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(eq=False, slots=True)
class Execution:
    """One execution of a task, while it runs."""

    task: Task
    connection: socket.socket
    progress_file: Path
    node: str
    verdict: str = ""  # why somebody had it killed: kill, restart or preempt
    inbox: frames.Inbox = field(default_factory=frames.Inbox)
    outcome: dict[str, Any] | None = None
    killed_at: float | None = None

    def fileno(self) -> int:
        """For selectors."""
        return self.connection.fileno()

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that are there; None when the processes are gone."""
        try:
            data = self.connection.recv(CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self.inbox.feed(data) if data else None

    def kill(self) -> None:
        """Have everything that the task started killed."""
        self.killed_at = time.monotonic()
        with contextlib.suppress(OSError):
            self.connection.setblocking(True)
            frames.send(self.connection, {"kill": True})
            self.connection.setblocking(False)

    def progress(self) -> int | None:
        """The percentage that the task reported; None if it did not, or wrote no number."""
        try:
            text = self.progress_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return int(text) if text.isdecimal() and int(text) <= 100 else None


def interpreter(command: str) -> str | None:
    """The program of a PYTHON_COMMAND; None where it means the engine's own interpreter."""
    if command in ("", "python", "python3") or os.path.realpath(command) == os.path.realpath(sys.executable):
        return None
    return command
