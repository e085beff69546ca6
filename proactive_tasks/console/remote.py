"""What a scheduler's job did, for a terminal, as JSON and as files."""

from __future__ import annotations

import json
import mimetypes
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from proactive_tasks.overlay.errors import InputError, SchedulerInputError
from proactive_tasks.reports.tables import render, table
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.scheduler.client.records import Download, JobInfo, TaskInfo

SHOWN = 80
PREFIX = re.compile(r"^\[\d+t\d+@[^;\]]*;\d\d:\d\d:\d\d\] ?")
"""What the server puts before each line of a log."""

JAVA = re.compile(r"\s+at |Caused by: |\s*\.\.\. \d+ more|Failed to execute task|(?:[a-z]\w*\.){2,}")
"""Lines of a log that are the server's own about a task that failed."""

INNOCENT = {"NOT_STARTED", "ABORTED", "NOT_RESTARTED"}
"""Tasks that did not do what they should since another failed, or somebody killed the job."""


@dataclass(frozen=True)
class RemoteOutcome:
    """A job, its tasks, and what they answered as far as it was asked for."""

    job: JobInfo
    tasks: Sequence[TaskInfo]
    url: str
    values: Mapping[str, str | None] = field(default_factory=dict)
    result_map: Mapping[str, str] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Path] = ()

    @property
    def succeeded(self) -> bool:
        """FINISHED is not success: no task may have failed either."""
        return self.job.succeeded and all(task.fine for task in self.tasks)

    @property
    def failed(self) -> list[TaskInfo]:
        """The tasks that did not do what they should, but for those that only followed others."""
        found = [task for task in self.tasks if self._stopped(task) and not task.fine]
        return [task for task in found if task.status not in INNOCENT] or found

    def _stopped(self, task: TaskInfo) -> bool:
        return self.job.over or task.status in {"IN_ERROR", "FAULTY", "FAILED"}

    def causes(self) -> list[str]:
        """Why it did not succeed: the job's end, then a line for each task that failed."""
        return [f"job {self.job.id} {self.job.name}: {self._end()}"] + [
            f"{task.name}: {task.status}: {self.why.get(task.name, 'no cause was told')}" for task in self.failed
        ]

    def _end(self) -> str:
        counted = len([task for task in self.failed if task.status not in INNOCENT])
        tail = f", {counted} of {self.job.total} tasks failed" if counted else ""
        if self.job.stuck:
            tail += "; it waits for somebody to resume, repair or kill it"
        return f"{self.job.status}{tail}; scripts/submit --logs {self.job.id} shows all"

    def as_json(self) -> dict[str, Any]:
        """Job, tasks with their times (s since the epoch) and results as text, result map, files."""
        return {
            "job": self.job.id,
            "name": self.job.name,
            "status": self.job.status,
            "over": self.job.over,
            "succeeded": self.succeeded,
            "causes": self.causes() if self._bad() else [],
            "url": self.url,
            "variables": dict(self.job.variables),
            "tasks": {
                task.name: {
                    "status": task.status,
                    "progress": task.progress,
                    "started": _epoch(task.started),
                    "finished": _epoch(task.finished),
                    "host": task.host,
                    "value": self.values.get(task.name),
                }
                for task in self.tasks
            },
            "result_map": dict(self.result_map),
            "files": [str(file) for file in self.files],
        }

    def _bad(self) -> bool:
        return not self.succeeded and (self.job.over or self.job.stuck or bool(self.failed))

    def table(self) -> str:
        """The tasks, then the result map and the files."""
        rows = [(t.name, t.status, _seconds(t), t.host or "-", _short(self._answer(t))) for t in self.tasks]
        shown = [
            table(
                f"Job {self.job.id} {self.job.name}: {self.job.status}",
                ("task", "status", "time, s", "host", "result"),
                rows,
            )
        ]
        if self.result_map:
            rows_of_map = [(name, _short(value)) for name, value in sorted(self.result_map.items())]
            shown.append(table("Results", ("name", "value"), rows_of_map))
        return render(*shown) + "".join(f"written: {file}\n" for file in self.files)

    def _answer(self, task: TaskInfo) -> str:
        return _plain(self.values.get(task.name) or "") if task.fine else self.why.get(task.name, "")


def outcome(scheduler: Scheduler, job: int, results: Path | None = None) -> RemoteOutcome:
    """Ask for a job and all that it answered so far.

    Args:
        scheduler: whose.
        job: its number.
        results: a folder for the results that are to be kept, which are then written there.
    """
    info, tasks = scheduler.job(job), scheduler.tasks(job)
    found = RemoteOutcome(info, tasks, job_url(scheduler, job))
    done = [task.name for task in tasks if task.status == "FINISHED"]
    values = scheduler.values(job) if info.over else {name: scheduler.value(job, name) for name in done}
    return RemoteOutcome(
        job=info,
        tasks=tasks,
        url=found.url,
        values={name: values.get(name) for name in done},
        result_map=scheduler.result_map(job) if info.result_map_present else {},
        why={task.name: why(scheduler, job, task) for task in found.failed if task.status not in INNOCENT},
        files=save(scheduler, info, tasks, results) if results else (),
    )


def job_url(scheduler: Scheduler, job: int) -> str:
    """Where the job is told of by REST."""
    return f"{scheduler.url}/rest/scheduler/jobs/{job}"


def why(scheduler: Scheduler, job: int, task: TaskInfo) -> str:
    """What a failed task had to say: the package's own line if there is one, else a script's exception, else Java's."""
    base = re.escape(re.split(r"[*#]", task.name)[0])
    said = [PREFIX.sub("", line).rstrip() for line in scheduler.log(job, task.name).splitlines()]
    if own := [line for line in said if re.match(rf"{base}\S*: ", line)]:
        return own[-1].split(": ", 1)[1]
    if raised := _raised(said):
        return raised
    server = (scheduler.value(job, task.name) or "").strip().splitlines()
    printed = [line.strip() for line in said if line.strip() and not JAVA.match(line)]
    if printed and (not server or "exit code" in server[0]):  # which says nothing: the script's own last line may
        return printed[-1]
    return server[0] if server else "no cause was told"


def _raised(said: Sequence[str]) -> str:
    """The exception that the last traceback in a log ends with."""
    begins = [number for number, line in enumerate(said) if line.startswith("Traceback (most recent call last)")]
    ends = [line for line in said[begins[-1] + 1 :] if line and not line[0].isspace()] if begins else []
    return ends[0] if ends else ""


def save(scheduler: Scheduler, job: JobInfo, tasks: Sequence[TaskInfo], folder: Path) -> list[Path]:
    """Write the results that are to be kept into a folder, and the result map; never outside it.

    Raises:
        InputError: the folder cannot be written.
    """
    names = set(job.precious_tasks)
    taken: set[str] = set()
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            if task.name in names and task.fine:
                document = scheduler.download(job.id, task.name)
                name = _file_name(document.file_name or task.name + _extension(document), task.name, taken)
                written.append(_write(folder / name, document.content))
        if job.result_map_present:
            text = json.dumps(scheduler.result_map(job.id), indent=2, ensure_ascii=False)
            written.append(_write(folder / _file_name("result_map.json", "result_map", taken), text.encode()))
    except OSError as error:
        raise InputError(f"folder {folder}: {error.strerror}; name one that can be written (--results)") from None
    return written


def _extension(document: Download) -> str:
    """How the file of a result ends of which the task said no name."""
    if not document.content_type.startswith("text/plain"):
        return mimetypes.guess_extension(document.content_type.partition(";")[0].strip()) or ""
    try:
        json.loads(document.content)
    except ValueError:
        return ".txt"
    return ".json"


def _file_name(said: str, task: str, taken: set[str]) -> str:
    """A name of one file in one folder: a task's word for it is not trusted, and two tasks may say the same."""
    own = re.sub(r"[^\w.-]", "_", task)
    last = re.split(r"[/\\]", said)[-1]
    name = re.sub(r"[^\w.,+@ -]", "_", last).strip(". ")[:120] or own
    if name in taken:
        name = f"{own}-{name}"
    taken.add(name)
    return name


def _write(file: Path, content: bytes) -> Path:
    """Write by way of another name: what stands there is replaced, and not followed if it is a link."""
    handle, beside = tempfile.mkstemp(dir=file.parent, prefix=".result-")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
        Path(beside).chmod(0o644)
        return Path(beside).replace(file)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def jobs_table(found: Sequence[JobInfo]) -> str:
    """The last jobs."""
    rows = [
        (j.id, j.name, j.status, j.owner, f"{j.finished} of {j.total}", j.failed + j.faulty, _at(j.submitted))
        for j in found
    ]
    return render(table("Jobs", ("job", "name", "status", "owner", "tasks done", "failed", "submitted"), rows))


def jobs_json(found: Sequence[JobInfo]) -> list[dict[str, Any]]:
    """The same as JSON."""
    return [
        {
            "job": job.id,
            "name": job.name,
            "status": job.status,
            "owner": job.owner,
            "tasks": job.total,
            "done": job.finished,
            "failed": job.failed + job.faulty,
            "succeeded": job.succeeded,
            "submitted": _epoch(job.submitted),
        }
        for job in found
    ]


def known_task(tasks: Sequence[TaskInfo], job: int, name: str) -> str:
    """The name, if the job has such a task.

    Raises:
        SchedulerInputError: it has not; the message says which it has.
    """
    if name not in (names := [task.name for task in tasks]):
        raise SchedulerInputError(f"task {name!r}: job {job} has none of this name; it has: {', '.join(names)}")
    return name


def _plain(value: str) -> str:
    """A result for people: what a task of this package changed, in its own words."""
    if value.startswith("[B@"):  # Java's word for bytes
        return "a document"
    try:
        found = json.loads(value)
        done = "; ".join(map(str, found["difference"]))
    except (ValueError, LookupError, TypeError):
        return value
    return "; ".join([done or "nothing to change", *(f"warning: {each}" for each in found.get("warnings", ()))])


def _seconds(task: TaskInfo) -> str:
    if task.started is None or task.finished is None:
        return "-"
    return f"{(task.finished - task.started).total_seconds():.2f}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _at(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
