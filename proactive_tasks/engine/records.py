"""Writes what jobs do into the store, in batches and beside the jobs."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proactive_tasks.overlay.errors import StoreError
from proactive_tasks.store.base import now
from proactive_tasks.store.jobs import HEARTBEAT, LogLine, TaskRecord

from .job import Job, Task, TaskStatus, text_map

if TYPE_CHECKING:
    from proactive_tasks.store.jobs import Jobs

DELAY_S = 0.25
"""How long news may wait for more news."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Page:
    """What is not written yet of one job."""

    tasks: dict[int, TaskRecord] = field(default_factory=dict)
    lines: list[LogLine] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    changes: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    written: list[Callable[[], None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.tasks or self.lines or self.changes or self.written)


class Recorder(threading.Thread):
    """Takes snapshots in the engine's thread, writes them in its own; a dead store does not stop a job.

    `seal` makes what a job needs, besides its record, to be carried on by another process.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        delay_s: float = DELAY_S,
        seal: Callable[[Task], bytes | None] = lambda _task: None,
    ) -> None:
        super().__init__(name="records of jobs", daemon=True)
        self._jobs, self._delay, self._seal = jobs, delay_s, seal
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._end = threading.Event()
        self._pages: dict[int, _Page] = {}

    def enter(self, job: Job, known: set[int] | None = None) -> None:
        """Begin with a job; `known` are the numbers of the tasks that the store has already."""
        with self._lock:
            self._pages[int(job.number)] = _Page(known=known or set())

    def snapshot(self, job: Job, **changes: Any) -> None:
        """Take down every task that changed, and how the job stands."""
        records = [record(task, self._seal(task)) for task in job.tasks if task.changed]
        for task in job.tasks:
            task.changed = False
        changes |= {"status": str(job.status), "started": job.started}
        if job.result_map:
            changes |= {"result_map": dict(job.result_map), "typed_result_map": dict(job.typed_result_map)}
        with self._lock:
            page = self._pages[int(job.number)]
            page.tasks.update((each.number, each) for each in records)
            news = {name: value for name, value in changes.items() if name not in page.told or page.told[name] != value}
            page.changes |= news
            page.told |= news
        if records or news:
            self._news.set()

    def log(self, job: Job, task: Task, stream: str, line: str) -> None:
        """Take down a line."""
        with self._lock:
            self._pages[int(job.number)].lines.append(LogLine(now(), task.name, stream, line))
        self._news.set()

    def close_job(self, job: Job, written: Callable[[], None] = lambda: None) -> None:
        """Nothing more comes of a job; `written` is called, in this thread, when the store has it all."""
        self.snapshot(job, finished=now())
        with self._lock:
            self._pages[int(job.number)].written.append(written)
        self._news.set()

    def flushed(self, job: Job) -> threading.Event:
        """An event that is set when all that is known of a job now has been written."""
        done = threading.Event()
        self.when_written(job, done.set)
        return done

    def when_written(self, job: Job, then: Callable[[], None]) -> None:
        """Call something, in this thread, when all that is known of a job now has been written."""
        with self._lock:
            page = self._pages.get(int(job.number))
            if page is not None:
                page.written.append(then)
        if page is None:
            then()
        self._news.set()

    def run(self) -> None:
        """Write whenever there is news, and a sign of life otherwise."""
        beaten = time.monotonic()
        while not self._end.is_set():
            self._news.wait(HEARTBEAT.total_seconds())
            self._news.clear()
            self._end.wait(self._delay)
            if self._end.is_set():
                return
            try:
                if time.monotonic() - beaten >= HEARTBEAT.total_seconds():
                    self._jobs.beat()
                    beaten = time.monotonic()
                self._write()
            except StoreError as error:  # what was not written is kept; the end tries once more and says so
                log.warning("records of jobs are not written: %s", error)

    def close(self) -> None:
        """Write the rest.

        Raises:
            StoreError: the store does not take it.
        """
        self._end.set()
        self._news.set()
        self.join()
        self._write()

    def _write(self) -> None:
        with self._lock:
            pages = [(number, page) for number, page in self._pages.items() if page]
        for number, page in pages:
            self._write_page(number, page)

    def _write_page(self, number: int, page: _Page) -> None:
        with self._lock:
            tasks, lines, changes = dict(page.tasks), list(page.lines), dict(page.changes)
            written = list(page.written)
        if tasks or lines or changes:
            new = [task for key, task in tasks.items() if key not in page.known]
            changed = [task for key, task in tasks.items() if key in page.known]
            self._jobs.write(number, changes, new, changed, lines)
        page.known.update(tasks)
        with self._lock:
            del page.lines[: len(lines)]
            del page.written[: len(written)]
            page.tasks = {key: task for key, task in page.tasks.items() if tasks.get(key) is not task}
            page.changes = {
                key: value for key, value in page.changes.items() if key not in changes or changes[key] != value
            }
            if "finished" in changes and not page:
                self._pages.pop(number, None)
        for done in written:
            try:
                done()
            except Exception:
                log.exception("the records of jobs go on after a fault")


def record(task: Task, sealed: bytes | None = None) -> TaskRecord:
    """How a task stands now."""
    failed = task.error is not None or task.status in (TaskStatus.FAULTY, TaskStatus.IN_ERROR)
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
        shown={
            "iteration": task.iteration,
            "replication": task.replication,
            "scheduled": _milliseconds(task.scheduled),
            "suspended": _milliseconds(task.suspended),
            "executions": task.spec.executions,
            "left": max(task.spec.executions - task.executions + (0 if failed else 1 if task.executions else 0), 0),
            "node": task.node,
            "description": task.spec.description,
            "generic": task.spec.generic,
            "precious": task.spec.precious,
        },
        sealed=sealed,
    )


def _milliseconds(moment: Any) -> int:
    return -1 if moment is None else int(moment.timestamp() * 1000)
