"""Drives jobs: one thread starts their tasks, by priority and age, and hears what they say."""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from proactive_tasks.store.jobs import is_alive

from .execution import FOLDER, OWNER, JobRun
from .process import CHUNK

if TYPE_CHECKING:
    from .execution import Surroundings
    from .job import Job

T = TypeVar("T")


class Driver:
    """The jobs of an engine. `call` and `wake` may be used from any thread or signal handler, the rest in one."""

    def __init__(self, surroundings: Surroundings) -> None:
        self.runs: dict[int, JobRun] = {}
        self._with = surroundings
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._commands: deque[Callable[[], None]] = deque()
        self._unwatch = surroundings.nodes.watch(self.wake)
        _remove_abandoned()

    def wake(self) -> None:
        """Have the thread look anew."""
        with suppress(OSError):  # full: it is awake already; closed: nobody waits
            self._waker.send(b"w")

    def call(self, command: Callable[[], T]) -> Future[T]:
        """Have a command carried out in the driver's thread."""
        answer: Future[T] = Future()

        def carry_out() -> None:
            try:
                answer.set_result(command())
            except Exception as error:  # noqa: BLE001 - it is whose who waits for the answer
                answer.set_exception(error)

        self._commands.append(carry_out)
        self.wake()
        return answer

    def enter(self, job: Job) -> JobRun:
        """Take a job on."""
        run = self.runs[int(job.number)] = JobRun(job, self._with, self._selector)
        self.sort()
        return run

    def sort(self) -> None:
        """Put the jobs into the order in which they get nodes."""
        self.runs = dict(sorted(self.runs.items(), key=lambda item: item[1].rank))

    def leave(self, run: JobRun) -> None:
        """Let go of a job."""
        self.runs.pop(int(run.job.number), None)
        run.close()

    def step(self) -> None:
        """Start what is due, wait for news, take them."""
        while self._commands:
            self._commands.popleft()()
        waits = [wait for run in list(self.runs.values()) if (wait := run.start_due()) is not None]
        if any(run.over for run in self.runs.values()):
            waits.append(0)  # it is for the caller to let go of it
        for key, _ in self._selector.select(min(waits) if waits else None):
            if key.fileobj is self._wake:
                with suppress(BlockingIOError):
                    self._wake.recv(CHUNK)
            else:
                run, execution = key.data
                run.hear(execution)
        for run in list(self.runs.values()):
            run.look()

    def close(self) -> None:
        """Let go of everything; jobs stay as they are."""
        self._unwatch()
        for run in list(self.runs.values()):
            self.leave(run)
        self._selector.close()
        self._wake.close()
        self._waker.close()


def _remove_abandoned() -> None:
    """Remove the folders of jobs whose engine was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):
            mine = folder.stat(follow_symlinks=False).st_uid == os.geteuid()
            owner = (folder / OWNER).read_text("utf-8")  # empty: another engine is just writing it
            if mine and owner and not is_alive(owner, datetime.now(UTC)):
                shutil.rmtree(folder, ignore_errors=True)
