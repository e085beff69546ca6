"""`overlayctl run`, `jobs` and `logs`: any job descriptor on the embedded engine, and the records of jobs.

Started for every small job, hence little is imported before it is needed.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from proactive_tasks.console.progress import Progress
from proactive_tasks.console.server import fork_server
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.store.location import default_store_url

if TYPE_CHECKING:
    from datetime import datetime

    from proactive_tasks.engine.job import Job, Task
    from proactive_tasks.store.database import Database
    from proactive_tasks.store.jobs import JobRecord, LogLine, TaskRecord


def run(workflow: Path, assignments: Sequence[str], *, nodes: int, shown: bool) -> tuple[Job, dict[str, list[str]]]:
    """Run a job descriptor to its end; answers the job, and the lines that each task printed.

    Args:
        workflow: the file.
        assignments: values of variables, each as NAME=VALUE.
        nodes: how many tasks run at once.
        shown: tell the progress on standard error.

    Raises:
        InputError: the descriptor is refused; nothing was run.
    """
    variables = dict(_assignment(word) for word in assignments)
    with (
        fork_server(preload=()) as server,
        Progress(workflow.stem, shown=shown) as progress,
    ):  # gets ready while this does
        gc.disable()  # imports make objects that stay: looking for garbage among them costs a tenth of the start
        from proactive_tasks.engine.run import run as run_workflow
        from proactive_tasks.store.database import Database

        gc.enable()
        with Database.open(default_store_url()) as database:
            job = run_workflow(
                workflow,
                variables,
                store=database,
                observer=progress,
                nodes=nodes,
                server=server,
                on_warning=lambda message: typer.echo(f"warning: {message}", err=True),
            )
    return job, progress.lines


def print_line(values: dict[str, Any]) -> None:
    """One JSON object on one line, as other programs read it."""
    print(json.dumps(values, ensure_ascii=False))


def job_json(job: Job, lines: dict[str, list[str]]) -> dict[str, Any]:
    """A job as one JSON object; results are the scheduler's texts of them."""
    tasks = {}
    for task in job.tasks:
        tasks[task.name] = {"status": str(task.status), "value": task.text(), "log": lines.get(task.name, [])}
        if task.error is not None:
            tasks[task.name]["error"] = task.error
    return {"id": int(job.number), "status": str(job.status), "tasks": tasks, "result_map": job.result_map}


def causes(job: Job, lines: Mapping[str, list[str]]) -> list[str]:
    """Why a job is no success, a line each: FINISHED alone does not say that every task did what it should."""
    failed = [task for task in job.tasks if task.error is not None]
    if job.status == "FINISHED" and not failed:
        return []
    head = f"job {job.number} {job.status}; overlayctl logs {job.number} shows all"
    return [head, *(cause(task, lines) for task in failed)]


def cause(task: Task, lines: Mapping[str, list[str]]) -> str:
    """Why a task failed: what it said last in its own name, else the engine's word."""
    own = [line for line in lines.get(task.name, []) if line.startswith(f"{task.name}: ")]
    return own[-1] if own else f"{task.name}: {' '.join((task.error or 'no cause was told').split())}"


def job_table(job: Job) -> str:
    """A job's tasks and what they answered."""
    rows = [(task.name, task.status, (task.error or task.text() or "")[:80]) for task in job.tasks]
    return _table(f"Job {job.number} {job.workflow.name}: {job.status}", ("task", "status", "result"), rows)


def jobs_json(found: Sequence[JobRecord]) -> dict[str, Any]:
    """Records of jobs as one JSON object."""
    return {
        "jobs": [
            {
                "id": job.id,
                "name": job.name,
                "status": job.status,
                "variables": job.variables,
                "submitted": _moment(job.submitted),
                "finished": _moment(job.finished),
            }
            for job in found
        ]
    }


def jobs_table(found: Sequence[JobRecord]) -> str:
    """Records of jobs as a table."""
    rows = [(job.id, job.name, job.status, _moment(job.submitted), _moment(job.finished)) for job in found]
    return _table("Jobs, the newest first", ("id", "name", "status", "submitted", "finished"), rows)


def log_json(job: JobRecord, tasks: Sequence[TaskRecord], lines: Sequence[LogLine]) -> dict[str, Any]:
    """What the tasks of a job printed, and how they stand."""
    return {
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "tasks": {
            task.name: {"status": task.status, "executions": task.executions, "error": task.error} for task in tasks
        },
        "log": [
            {"at": _moment(line.moment), "task": line.task, "stream": line.stream, "line": line.line} for line in lines
        ],
    }


def log_table(job: JobRecord, tasks: Sequence[TaskRecord], lines: Sequence[LogLine]) -> str:
    """The lines as a scheduler shows them, then the tasks."""
    log = "".join(f"[{line.task};{line.moment.astimezone():%H:%M:%S}] {line.line}\n" for line in lines)
    rows = [(task.name, task.status, task.executions, task.error or "") for task in tasks]
    return log + _table(f"Job {job.id} {job.name}: {job.status}", ("task", "status", "executions", "error"), rows)


def open_database() -> Database:
    """The store, as far as records of jobs go."""
    from proactive_tasks.store.database import Database

    return Database.open(default_store_url())


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise InputError(f"-v {word!r} is no assignment; write -v NAME=VALUE")
    return name, value


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone().isoformat(" ", "seconds")


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    from proactive_tasks.reports.tables import render, table

    return render(table(title, columns, rows))
