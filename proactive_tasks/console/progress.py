"""Progress of a job on standard error: plain lines as they come, and what is running now where there is a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.status import Status

    from proactive_tasks.engine.job import Job, Task


class Lines:
    """Lines on standard error as they come, each with its time, and one below them that says what is running.

    Nothing of it is shown unless `shown`, and the last only on a terminal.
    """

    def __init__(self, title: str, *, shown: bool = True) -> None:
        self._title, self._shown = title, shown
        self._status = _status_line(title) if shown and sys.stderr.isatty() else None
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status:
            self._status.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        timed = f"{time.monotonic() - self._begun:6.2f}  {line}"
        if self._status:
            self._status.console.print(timed)
        elif self._shown:
            print(timed, file=sys.stderr, flush=True)

    def show(self, running: str) -> None:
        """What is running now; the title where nothing is."""
        if self._status:
            self._status.update(running or self._title)


class Progress(Lines):
    """Observes an engine's job, and keeps what its tasks print.

    Lines that a task indents are its details, shown only with `details`.
    """

    def __init__(self, title: str, *, shown: bool = True, details: bool = True) -> None:
        super().__init__(title, shown=shown)
        self.lines: dict[str, list[str]] = {}
        self._details = details
        self._running: dict[str, str] = {}

    def job_started(self, job: Job) -> None:
        """The job has a number."""
        self.say(f"job {job.number} {job.workflow.name}")

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
        self.say(f"{task.name}: {task.status} after {seconds:.2f} s")
        self._show()

    def log(self, job: Job, task: Task, stream: str, line: str) -> None:  # noqa: ARG002
        """A task printed a line."""
        self.lines.setdefault(task.name, []).append(line)
        if line.strip() and (self._details or not line.startswith(" ")):
            self.say(f"    {line}")

    def job_finished(self, job: Job) -> None:
        """The job ended."""
        self.say(f"job {job.number} {job.workflow.name}: {job.status}")

    def _show(self) -> None:
        self.show(", ".join(self._running.values()))


def _status_line(title: str) -> Status:
    """A line that says what is running, below those that scroll by."""
    from rich.console import Console
    from rich.status import Status

    return Status(title, console=Console(file=sys.stderr, highlight=False, markup=False, soft_wrap=True))
