"""Records of jobs that an endpoint keeps: whose they are, and what it takes to carry them on."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import undefer

from proactive_tasks.store.base import now
from proactive_tasks.store.jobs import (
    ID_LIMIT,
    REMOVED,
    JobRecord,
    JobRow,
    Jobs,
    LogRow,
    TaskRecord,
    TaskRow,
    is_alive,
    this_process,
)

_RECORD = tuple(JobRecord.__dataclass_fields__)
_LIGHT = tuple(name for name in TaskRecord.__dataclass_fields__ if name not in ("result", "sealed"))


class EndpointJobs(Jobs):
    """The jobs of endpoints, as far as they are not removed."""

    def find(self, number: int) -> JobRecord | None:
        """A job, if there is one of this number."""
        with self._database.read() as session:
            row = session.get(JobRow, number) if 0 < number < ID_LIMIT else None
            return None if row is None or row.user is None or row.status == REMOVED else _record(row)

    def page(self, index: int = 0, limit: int = -1) -> tuple[int, list[JobRecord]]:
        """How many jobs there are, and some of them: those that have not ended first, then the newest."""
        listed = (JobRow.user.is_not(None), JobRow.status != REMOVED)
        query = select(JobRow).where(*listed).order_by(JobRow.finished.is_not(None), JobRow.id.desc())
        query = query.offset(max(index, 0)) if limit < 0 else query.offset(max(index, 0)).limit(limit)
        with self._database.read() as session:
            total = session.scalar(select(func.count()).select_from(JobRow).where(*listed)) or 0
            return total, [_record(row) for row in session.scalars(query)]

    def counts(self, jobs: Sequence[int]) -> dict[int, dict[str, int]]:
        """How many tasks of each status each job has."""
        query = (
            select(TaskRow.job_id, TaskRow.status, func.count())
            .where(TaskRow.job_id.in_(jobs))
            .group_by(TaskRow.job_id, TaskRow.status)
        )
        found: dict[int, dict[str, int]] = {job: {} for job in jobs}
        with self._database.read() as session:
            for job, status, number in session.execute(query):
                found[job][status] = number
        return found

    def states(self, job: int) -> list[TaskRecord]:
        """The tasks of a job without their results."""
        query = select(*(getattr(TaskRow, name) for name in _LIGHT)).where(TaskRow.job_id == job)
        with self._database.read() as session:
            return [
                TaskRecord(**dict(zip(_LIGHT, row, strict=True)))
                for row in session.execute(query.order_by(TaskRow.number))
            ]

    def result(self, job: int, task: str) -> tuple[TaskRecord, bytes | None] | None:
        """A task with its result, and what is sealed of it; None if the job has none of this name."""
        query = select(TaskRow).where(TaskRow.job_id == job, TaskRow.name == task).options(undefer(TaskRow.sealed))
        with self._database.read() as session:
            row = session.scalar(query)
            return None if row is None else (_task(row), row.sealed)

    def results(self, job: int) -> list[tuple[TaskRecord, bytes | None]]:
        """All tasks with their results, and what is sealed of them."""
        query = select(TaskRow).where(TaskRow.job_id == job).order_by(TaskRow.number).options(undefer(TaskRow.sealed))
        with self._database.read() as session:
            return [(_task(row), row.sealed) for row in session.scalars(query)]

    def sealed(self, job: int) -> bytes:
        """What is sealed of a job: its descriptor and what was submitted with it."""
        with self._database.read() as session:
            return session.scalar(select(JobRow.sealed).where(JobRow.id == job)) or b""

    def adopt(self) -> list[JobRecord]:
        """Take over the jobs that have not ended and whose process is dead; the oldest first."""
        query = select(JobRow).where(JobRow.user.is_not(None), JobRow.finished.is_(None), JobRow.status != REMOVED)
        with self._database.write("jobs") as session:
            rows = [row for row in session.scalars(query.order_by(JobRow.id)) if not is_alive(row.owner, row.beat)]
            for row in rows:
                row.owner, row.beat = this_process(), now()
            return [JobRecord(**{name: getattr(row, name) for name in _RECORD}) for row in rows]

    def set_priority(self, job: int, shown: dict[str, object]) -> None:
        """Write down what is shown of a job."""
        with self._database.write("jobs") as session:
            session.execute(update(JobRow).where(JobRow.id == job).values(shown=shown))

    def remove(self, job: int) -> None:
        """Forget a job, but for its number."""
        with self._database.write(f"job {job}") as session:
            for table in (TaskRow, LogRow):
                session.execute(delete(table).where(table.job_id == job))
            blank = update(JobRow).where(JobRow.id == job).values(variables={}, result_map={}, status=REMOVED)
            session.execute(blank.values(shown=None, sealed=None, typed_result_map=None))


def _record(row: JobRow) -> JobRecord:
    return JobRecord(**{name: getattr(row, name) for name in _RECORD})


def _task(row: TaskRow) -> TaskRecord:
    return TaskRecord(**{name: getattr(row, name) for name in TaskRecord.__dataclass_fields__ if name != "sealed"})
