"""Events of jobs and tasks, for whoever listens: told when the store has what they tell of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proactive_tasks.engine.endpoint.jobs import answers as shapes
from proactive_tasks.engine.job import JobStatus, TaskStatus
from proactive_tasks.engine.observer import Silent

if TYPE_CHECKING:
    from proactive_tasks.engine.job import Job, Task
    from proactive_tasks.engine.records import Recorder
    from proactive_tasks.store.endpoint_jobs import EndpointJobs

TASK_EVENTS = {
    TaskStatus.IN_ERROR: "TASK_IN_ERROR",
    TaskStatus.WAITING_ON_ERROR: "TASK_WAITING_FOR_RESTART",
    TaskStatus.PENDING: "TASK_WAITING_FOR_RESTART",
}


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody who hears of a user's jobs; of all kinds of events, or of some. `tell` must return at once."""

    user: str
    kinds: frozenset[str]
    tell: Callable[[dict[str, Any]], None]

    def wants(self, user: str, kind: str) -> bool:
        """Whether an event is for it."""
        return user == self.user and (not self.kinds or kind in self.kinds)


class Events(Silent):
    """Observes all jobs of an endpoint, in the engine's thread, and tells listeners in that of the records."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._records: EndpointJobs | None = None
        self._recorder: Recorder | None = None

    def follow(self, records: EndpointJobs, recorder: Recorder) -> None:
        """Where events are read from, and who says when they are written."""
        self._records, self._recorder = records, recorder

    def add(self, listener: Listener) -> Callable[[], None]:
        """Let somebody hear; answers how to end that."""
        with self._lock:
            self._listeners.append(listener)

        def remove() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return remove

    # What is observed

    def job_submitted(self, job: Job) -> None:
        """A job came in."""
        self._later(job, "JOB_SUBMITTED")

    def job_started(self, job: Job) -> None:
        """The first task of a job begins."""
        self._later(job, "JOB_PENDING_TO_RUNNING")

    def task_started(self, job: Job, task: Task) -> None:
        """An execution of a task begins."""
        self._later(job, "TASK_PENDING_TO_RUNNING", task)

    def task_progress(self, job: Job, task: Task) -> None:
        """A task reported another percentage."""
        self._later(job, "TASK_PROGRESS", task)

    def task_finished(self, job: Job, task: Task) -> None:
        """An execution of a task has ended."""
        self._later(job, TASK_EVENTS.get(task.status, "TASK_RUNNING_TO_FINISHED"), task)
        if task.status == TaskStatus.IN_ERROR:
            self._later(job, "JOB_PAUSED" if job.status == JobStatus.PAUSED else "JOB_IN_ERROR")

    def job_changed(self, job: Job, kind: str) -> None:
        """Somebody paused a job, or the like."""
        self._later(job, kind)

    def job_finished(self, job: Job) -> None:
        """A job has ended, and that is written."""
        self._tell(job, "JOB_RUNNING_TO_FINISHED" if job.started else "JOB_PENDING_TO_FINISHED", None)

    # How it is told

    def _later(self, job: Job, kind: str, task: Task | None = None) -> None:
        if self._recorder and any(each.wants(job.user, kind) for each in self._listeners):
            self._recorder.when_written(job, lambda: self._tell(job, kind, task))

    def _tell(self, job: Job, kind: str, task: Task | None) -> None:
        with self._lock:
            wanting = [each for each in self._listeners if each.wants(job.user, kind)]
        if not wanting or self._records is None:
            return
        record = self._records.find(int(job.number))
        if record is None:
            return
        tasks = self._records.states(record.id)
        if task is not None:
            found = next((each for each in tasks if each.number == task.number), None)
            if found is None:
                return
            action, data = "TASK_STATE_UPDATED", shapes.task_state(record, found)["taskInfo"]
        elif kind == "JOB_SUBMITTED":
            action, data = kind, shapes.state(record, tasks)
        else:
            action, data = "JOB_STATE_UPDATED", shapes.full_info(record, tasks)
        for listener in wanting:
            listener.tell({"action": action, "schedulerEvent": kind, "data": data})
