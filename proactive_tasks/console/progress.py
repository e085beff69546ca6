"""Progress of a job on standard error: plain lines as they come, and what is running now where there is a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.status import Status

    from proactive_tasks.engine.job import Job, Task


class Progress:
    """Observes an engine's job, and keeps what its tasks print.

    It shows nothing of it unless `shown`; lines that a task indents are its details, shown only with `details`.
    """

    def __init__(self, title: str, *, shown: bool = True, details: bool = True) -> None:
        self.lines: dict[str, list[str]] = {}
        self._details = details
        self._shown = shown
        self._status = status_line(title) if shown and sys.stderr.isatty() else None
        self._title = title
        self._running: dict[str, str] = {}
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status:
            self._status.stop()

    def job_started(self, job: Job) -> None:
        """The job has a number."""
        self._say(f"job {job.number} {job.workflow.name}")

    def task_started(self, job: Job, task: Task) -> None:  # noqa: ARG002 - an Observer's signature
        """A task process runs."""
        self._running[task.name] = task.name
        self._show()

    def task_progress(self, job: Job, task: Task) -> None:  # noqa: ARG002
        """A task tells how far it is."""
        self._running[task.name] = f"{task.name} {task.progress} %"
        self._show()

    def task_finished(self, job: Job, task: Task) -> None:  # noqa: ARG002
        """A task ended, in whatever way."""
        self._running.pop(task.name, None)
        seconds = (task.finished - task.started).total_seconds() if task.finished and task.started else 0.0
        self._say(f"{task.name}: {task.status} after {seconds:.2f} s")
        self._show()

    def log(self, job: Job, task: Task, stream: str, line: str) -> None:  # noqa: ARG002
        """A task printed a line."""
        self.lines.setdefault(task.name, []).append(line)
        if line.strip() and (self._details or not line.startswith(" ")):
            self._say(f"    {line}")

    def job_finished(self, job: Job) -> None:
        """The job ended."""
        self._say(f"job {job.number} {job.workflow.name}: {job.status}")

    def _say(self, line: str) -> None:
        timed = f"{time.monotonic() - self._begun:6.2f}  {line}"
        if self._status:
            self._status.console.print(timed)
        elif self._shown:
            print(timed, file=sys.stderr, flush=True)

    def _show(self) -> None:
        if self._status:
            self._status.update(", ".join(self._running.values()) or self._title)


def status_line(title: str) -> Status:
    """A line that says what is running, below those that scroll by."""
    from rich.console import Console
    from rich.status import Status

    return Status(title, console=Console(file=sys.stderr, highlight=False, markup=False, soft_wrap=True))
