"""Following a scheduler's job: a line on standard error when a task starts or ends, and what runs now on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from proactive_tasks.console.progress import status_line
from proactive_tasks.scheduler.client.records import JobInfo, TaskInfo

NOT_YET = {"SUBMITTED", "PENDING", "PAUSED", "NOT_STARTED"}


class Following:
    """Told of job and tasks whenever something changed; shows nothing of it unless `shown`."""

    def __init__(self, title: str, *, shown: bool = True) -> None:
        self._title, self._shown = title, shown
        self._status = status_line(title) if shown and sys.stderr.isatty() else None
        self._job, self._known = "", dict[str, str]()
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, job: JobInfo, tasks: Sequence[TaskInfo]) -> None:
        """Tell what is new."""
        if not self._job:
            self._say(f"job {job.id} {job.name}: {job.status}")
        for task in tasks:
            if self._known.get(task.name) != task.status:
                self._known[task.name] = task.status
                self._tell(task)
        if self._job and job.status != self._job and (job.over or job.stuck):
            self._say(f"job {job.id} {job.name}: {job.status}")
        self._job = job.status
        self._show(job, tasks)

    def _tell(self, task: TaskInfo) -> None:
        if task.running:
            where = f" on {task.host}" if task.host else ""
            self._say(f"{task.name}: {task.status}{where}")
        elif task.status not in NOT_YET:
            self._say(f"{task.name}: {task.status}{took(task)}")

    def _show(self, job: JobInfo, tasks: Sequence[TaskInfo]) -> None:
        if self._status:
            running = [
                f"{task.name} {task.progress} %" if task.progress else task.name for task in tasks if task.running
            ]
            done = f"{job.finished} of {job.total} tasks"
            self._status.update(f"{done}: {', '.join(running)}" if running else f"{self._title}, {done}")

    def _say(self, line: str) -> None:
        timed = f"{time.monotonic() - self._begun:6.2f}  {line}"
        if self._status:
            self._status.console.print(timed)
        elif self._shown:
            print(timed, file=sys.stderr, flush=True)


def took(task: TaskInfo) -> str:
    """How long it took, its process's start included; nothing for one that never ran."""
    if task.started is None or task.finished is None:
        return ""
    return f" after {(task.finished - task.started).total_seconds():.2f} s"
