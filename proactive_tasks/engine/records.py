"""Writes what a job does into the store, in batches and beside the job."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from proactive_tasks.overlay.errors import StoreError
from proactive_tasks.store.base import now
from proactive_tasks.store.jobs import HEARTBEAT, LogLine, TaskRecord

from .job import Job, Task, text_map

if TYPE_CHECKING:
    from proactive_tasks.store.jobs import Jobs

DELAY_S = 0.25
"""How long news may wait for more news."""


class Recorder(threading.Thread):
    """Takes snapshots in the engine's thread, writes them in its own; a dead store does not stop a job."""

    def __init__(self, jobs: Jobs, number: int) -> None:
        super().__init__(name=f"records of job {number}", daemon=True)
        self._jobs, self._number = jobs, number
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._end = threading.Event()
        self._tasks: dict[int, TaskRecord] = {}
        self._lines: list[LogLine] = []
        self._known: set[int] = set()
        self._changes: dict[str, Any] = {}

    def snapshot(self, job: Job) -> None:
        """Take down every task that changed."""
        records = [_record(task) for task in job.tasks if task.changed]
        for task in job.tasks:
            task.changed = False
        if records or self._changes.get("status") != job.status:
            with self._lock:
                self._tasks.update((record.number, record) for record in records)
                self._changes["status"] = str(job.status)
            self._news.set()

    def log(self, task: Task, stream: str, line: str) -> None:
        """Take down a line."""
        with self._lock:
            self._lines.append(LogLine(now(), task.name, stream, line))
        self._news.set()

    def run(self) -> None:
        """Write whenever there is news, and a sign of life otherwise."""
        while not self._end.is_set():
            self._news.wait(HEARTBEAT.total_seconds())
            self._news.clear()
            self._end.wait(DELAY_S)
            if not self._end.is_set():
                try:
                    self._write()
                except StoreError:
                    continue  # what was not written is kept; the end tries once more and says so

    def close(self, job: Job) -> None:
        """Write the rest and the job's end.

        Raises:
            StoreError: the store does not take it.
        """
        self._end.set()
        self._news.set()
        self.join()
        self.snapshot(job)
        with self._lock:
            self._changes |= {"finished": now(), "result_map": dict(job.result_map)}
        self._write()

    def _write(self) -> None:
        with self._lock:
            tasks, lines, changes = dict(self._tasks), list(self._lines), dict(self._changes)
        new = [task for number, task in tasks.items() if number not in self._known]
        changed = [task for number, task in tasks.items() if number in self._known]
        self._jobs.write(self._number, changes, new, changed, lines)
        self._known.update(tasks)
        with self._lock:
            del self._lines[: len(lines)]
            self._tasks = {number: task for number, task in self._tasks.items() if tasks.get(number) is not task}


def _record(task: Task) -> TaskRecord:
    return TaskRecord(
        number=task.number,
        name=task.name,
        status=str(task.status),
        executions=task.executions,
        progress=task.progress,
        started=task.started,
        finished=task.finished,
        result=None if task.value is None else json.dumps(task.value),
        result_metadata=text_map(task.metadata),
        error=task.error,
    )
