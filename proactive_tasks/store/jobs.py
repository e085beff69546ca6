"""Records of jobs: what the embedded engine ran, how each task ended, what was printed."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from proactive_tasks.overlay.errors import UnknownObjectError
from proactive_tasks.store.base import Base, Moment, now

if TYPE_CHECKING:
    from proactive_tasks.store.database import Database

HEARTBEAT = timedelta(seconds=2)
"""How often a living engine says so."""

SILENCE = timedelta(seconds=20)
"""After this, an engine of another machine counts as dead."""

INTERRUPTED = "INTERRUPTED"
"""The status of a job whose engine is dead."""

REMOVED = "REMOVED"
"""The status of a job that nobody sees any more; its row stays, so that its number is not given again."""

ID_LIMIT = 2**31


class JobRow(Base):
    """A job."""

    __tablename__ = "job"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    variables: Mapped[dict[str, str]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(20))
    owner: Mapped[str] = mapped_column(Text)
    submitted: Mapped[datetime] = mapped_column(Moment)
    beat: Mapped[datetime] = mapped_column(Moment)
    finished: Mapped[datetime | None] = mapped_column(Moment)
    result_map: Mapped[dict[str, str]] = mapped_column(JSON)
    # of jobs that an endpoint keeps
    user: Mapped[str | None] = mapped_column(String(255))
    started: Mapped[datetime | None] = mapped_column(Moment)
    shown: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    typed_result_map: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)


class TaskRow(Base):
    """A task of a job; a replica or an iteration is one of its own."""

    __tablename__ = "job_task"
    __table_args__ = (UniqueConstraint("job_id", "number"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    executions: Mapped[int] = mapped_column(Integer)
    progress: Mapped[int] = mapped_column(Integer)
    started: Mapped[datetime | None] = mapped_column(Moment)
    finished: Mapped[datetime | None] = mapped_column(Moment)
    result: Mapped[str | None] = mapped_column(Text)
    result_metadata: Mapped[dict[str, str]] = mapped_column(JSON)
    error: Mapped[str | None] = mapped_column(Text)
    shown: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)


class LogRow(Base):
    """A line that a task printed."""

    __tablename__ = "job_log"
    __table_args__ = (Index(None, "job_id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    moment: Mapped[datetime] = mapped_column(Moment)
    task: Mapped[str] = mapped_column(Text)
    stream: Mapped[str] = mapped_column(String(3))
    line: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """How a task stands. `result` is JSON: scalars as they are, everything else as the engine encodes it.

    `shown` is what an endpoint tells besides; `sealed` what it needs to carry the task's job on, under its own key.
    """

    number: int
    name: str
    status: str
    executions: int = 0
    progress: int = 0
    started: datetime | None = None
    finished: datetime | None = None
    result: str | None = None
    result_metadata: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    shown: dict[str, Any] | None = None
    sealed: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a task printed; `stream` is out or err."""

    moment: datetime
    task: str
    stream: str
    line: str


@dataclass(frozen=True, slots=True)
class JobRecord:
    """How a job stands; INTERRUPTED if its engine died."""

    id: int
    name: str
    source: str
    variables: dict[str, str]
    status: str
    owner: str
    submitted: datetime
    finished: datetime | None
    result_map: dict[str, str]
    user: str | None = None
    started: datetime | None = None
    shown: dict[str, Any] | None = None
    typed_result_map: dict[str, Any] | None = None


_TASK_FIELDS = tuple(TaskRecord.__dataclass_fields__)
_LOG_FIELDS = tuple(LogLine.__dataclass_fields__)


class Jobs:
    """The records of jobs in a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, source: str, variables: Mapping[str, str], **kept: Any) -> int:
        """Enter a job that this process is going to run; answers its number. Secrets must be masked by the caller.

        `kept` is what an endpoint keeps of it: user, shown, sealed, and the status that it begins with.
        """
        moment = now()
        row = JobRow(
            name=storable(name),
            source=storable(source),
            variables={storable(key): storable(value) for key, value in variables.items()},
            owner=this_process(),
            submitted=moment,
            beat=moment,
            finished=None,
            result_map={},
            **{"status": "RUNNING", **kept},
        )
        with self._database.write("jobs") as session:
            session.add(row)
            session.flush()
            return row.id

    def write(
        self,
        job: int,
        changes: Mapping[str, Any],
        new: Sequence[TaskRecord] = (),
        changed: Sequence[TaskRecord] = (),
        lines: Sequence[LogLine] = (),
    ) -> None:
        """Write down what happened since the last time, in one transaction; it is the engine's sign of life."""
        with self._database.write(f"job {job}") as session:
            session.execute(update(JobRow).where(JobRow.id == job).values(beat=now(), **changes))
            connection = session.connection()
            if new:
                connection.execute(insert(TaskRow), [_task_values(job, task) for task in new])
            if changed:
                table = TaskRow.__table__
                statement = (
                    update(table)  # type: ignore[arg-type]  # a declarative class's __table__ is a Table
                    .where(table.c.job_id == bindparam("of_job"), table.c.number == bindparam("of_number"))
                    .values({name: bindparam(name) for name in _TASK_FIELDS if name != "number"})
                )
                rows = [_task_values(job, task) for task in changed]
                values = [{**row, "of_job": row.pop("job_id"), "of_number": row.pop("number")} for row in rows]
                connection.execute(statement, values)
            if lines:
                rows = [{name: getattr(line, name) for name in _LOG_FIELDS} for line in lines]
                connection.execute(
                    insert(LogRow), [{**row, "job_id": job, "line": storable(row["line"])} for row in rows]
                )

    def beat(self) -> None:
        """Say that this process lives, and so do its jobs."""
        mine = (JobRow.owner == this_process(), JobRow.finished.is_(None))
        with self._database.write("jobs") as session:
            session.execute(update(JobRow).where(*mine).values(beat=now()))

    def jobs(self, limit: int = 50) -> list[JobRecord]:
        """The last jobs, the newest first."""
        query = select(JobRow).where(JobRow.status != REMOVED).order_by(JobRow.id.desc()).limit(limit)
        with self._database.read() as session:
            return [_job(row) for row in session.scalars(query)]

    def job(self, number: int) -> JobRecord:
        """One job.

        Raises:
            UnknownObjectError: there is none of this number.
        """
        with self._database.read() as session:
            row = session.get(JobRow, number) if number < ID_LIMIT else None
            if row is None or row.status == REMOVED:
                raise UnknownObjectError(f"job {number}: there is none of this number; `overlayctl jobs` lists them")
            return _job(row)

    def tasks(self, job: int) -> list[TaskRecord]:
        """The tasks of a job, in the order in which they came to be."""
        with self._database.read() as session:
            rows = session.scalars(select(TaskRow).where(TaskRow.job_id == job).order_by(TaskRow.number))
            return [
                TaskRecord(**{name: getattr(row, name) for name in _TASK_FIELDS if name != "sealed"}) for row in rows
            ]

    def log(self, job: int, task: str | None = None) -> list[LogLine]:
        """What the tasks of a job printed, or one of them."""
        query = select(LogRow).where(LogRow.job_id == job).order_by(LogRow.id)
        if task is not None:
            query = query.where(LogRow.task == task)
        with self._database.read() as session:
            return [LogLine(**{name: getattr(row, name) for name in _LOG_FIELDS}) for row in session.scalars(query)]


def storable(line: str) -> str:
    """A text that every database takes: no NUL, no half of a surrogate pair."""
    return line.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode("utf-8")


def _task_values(job: int, task: TaskRecord) -> dict[str, Any]:
    values = {name: getattr(task, name) for name in _TASK_FIELDS}
    values["error"] = None if task.error is None else storable(task.error)
    return {**values, "job_id": job}


def _job(row: JobRow) -> JobRecord:
    values = {name: getattr(row, name) for name in JobRecord.__dataclass_fields__}
    if row.finished is None and not is_alive(row.owner, row.beat):
        values["status"] = INTERRUPTED
    return JobRecord(**values)


def this_process() -> str:
    """What names this process among all that ever ran: machine, process number and when it started."""
    return " ".join((*_machine(), str(os.getpid()), _started(os.getpid())))


def is_alive(owner: str, beat: datetime) -> bool:
    """Whether a process lives: looked up on this machine, believed for a while on another."""
    *machine, pid, started = owner.split(" ")
    if tuple(machine) == _machine():
        return _started(int(pid)) == started
    return now() - beat < SILENCE


def _machine() -> tuple[str, str, str]:
    """The host, the start of its kernel, and the process numbers' namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return socket.gethostname(), boot, str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return socket.gethostname(), "-", "-"


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty if there is none of this number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    except OSError:
        return ""
