"""What a job did, for a terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proactive_tasks.console.jobs import cause
from proactive_tasks.engine.job import Job, JobStatus, Task, TaskStatus
from proactive_tasks.reports.overview import Overview, overview
from proactive_tasks.reports.tables import render, table, text
from proactive_tasks.store import Store

FINE = {TaskStatus.FINISHED, TaskStatus.SKIPPED}


@dataclass(frozen=True)
class Outcome:
    """A job that ended, what its tasks printed, and the overlay as it stands after it."""

    job: Job
    lines: Mapping[str, list[str]]
    view: Overview | None

    @classmethod
    def of(cls, job: Job, lines: Mapping[str, list[str]], store: Store, overlay: str) -> Outcome:
        """Read what there is to tell."""
        return cls(job, lines, overview(store, overlay) if overlay in store.overlays() else None)

    @property
    def succeeded(self) -> bool:
        """FINISHED is not success: no task may have failed either."""
        return self.job.status is JobStatus.FINISHED and not self._failed()

    def causes(self) -> list[str]:
        """Why it did not succeed: the last line that each failed task had to say."""
        heads = [f"job {self.job.number} {self.job.status}; overlayctl logs {self.job.number} shows all"]
        return heads + [cause(task, self.lines) for task in self._failed() if task.status is TaskStatus.FAULTY]

    def as_json(self) -> dict[str, Any]:
        """Job, tasks with their times (s since the epoch) and results, and the overlay."""
        return {
            "job": int(self.job.number),
            "status": str(self.job.status),
            "succeeded": self.succeeded,
            "causes": [] if self.succeeded else self.causes(),
            "tasks": {
                task.name: {
                    "status": str(task.status),
                    "started": _epoch(task.started),
                    "finished": _epoch(task.finished),
                    "result": _result(task),
                }
                for task in self.job.tasks
            },
            "overlay": self.view.as_json() if self.view else None,
        }

    def table(self) -> str:
        """The changes of every task, then the overlay's tables."""
        rows = [(task.name, line) for task in self.job.tasks for line in _result(task).get("difference", [])]
        changes = render(table("Done", ("task", "change"), rows)) if rows else "nothing to change\n"
        return changes + (text(self.view) if self.view else "")

    def _failed(self) -> list[Task]:
        return [task for task in self.job.tasks if task.status not in FINE]


def _result(task: Task) -> dict[str, Any]:
    try:
        found = json.loads(task.text() or "null")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
