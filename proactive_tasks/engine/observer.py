"""Who watches a job: progress, logs and records are observers, never calls inside a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .job import Job, Task


class Observer(Protocol):
    """What an engine tells; every method is called in the engine's own thread and must return at once."""

    def job_started(self, job: Job) -> None:
        """The job has a number and begins."""

    def task_started(self, job: Job, task: Task) -> None:
        """An execution of a task begins."""

    def task_progress(self, job: Job, task: Task) -> None:
        """A task reported another percentage."""

    def task_finished(self, job: Job, task: Task) -> None:
        """An execution of a task has ended; the task's status says how."""

    def log(self, job: Job, task: Task, stream: str, line: str) -> None:
        """A task printed a line, on `out` or `err`."""

    def job_finished(self, job: Job) -> None:
        """Nothing moves any more."""


class Silent:
    """An observer that does nothing: a base for those who want to know only some things."""

    def job_started(self, job: Job) -> None:
        """Nothing."""

    def task_started(self, job: Job, task: Task) -> None:
        """Nothing."""

    def task_progress(self, job: Job, task: Task) -> None:
        """Nothing."""

    def task_finished(self, job: Job, task: Task) -> None:
        """Nothing."""

    def log(self, job: Job, task: Task, stream: str, line: str) -> None:
        """Nothing."""

    def job_finished(self, job: Job) -> None:
        """Nothing."""
