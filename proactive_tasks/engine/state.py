"""A job's state beyond its records: what another process needs to carry it on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .job import ENDED, Job, JobStatus, Task, TaskStatus

if TYPE_CHECKING:
    from proactive_tasks.store.jobs import JobRecord, TaskRecord

    from .workflow import Workflow


def pack(task: Task) -> bytes:
    """What a task's record does not say."""
    return json.dumps(
        {
            "spec": task.spec.name,
            "parents": [parent.number for parent in task.parents],
            "peers": {name: peer.number for name, peer in task.peers.items()},
            "undecided": task.undecided,
            "not_before": task.not_before.isoformat() if task.not_before else None,
            "metadata": task.metadata,
            "scope": task.scope,
            "variables": task.variables,
        }
    ).encode()


def variables(packed: bytes) -> Any:
    """The variables, encoded, that a task left to its children; None if it has not run."""
    return json.loads(packed)["variables"]


def restore(
    workflow: Workflow,
    record: JobRecord,
    tasks: Sequence[tuple[TaskRecord, bytes]],
    system: dict[str, str],
) -> Job:
    """The job as it was last written down; tasks that were running are as if they had not been started."""
    job = Job(workflow, str(record.id), record.user or "", system)
    shown = record.shown or {}
    job.status, job.priority = JobStatus(record.status), shown.get("priority", workflow.priority)
    job.started = record.started
    job.result_map, job.typed_result_map = dict(record.result_map), dict(record.typed_result_map or {})
    if not tasks:
        return job
    states = [json.loads(packed) for _, packed in tasks]
    job.tasks = [
        Task(found.number, workflow.tasks[state["spec"]]) for (found, _), state in zip(tasks, states, strict=True)
    ]
    for task, (found, _), state in zip(job.tasks, tasks, states, strict=True):
        _fill(task, found, state, job.tasks)
    if job.status == JobStatus.IN_ERROR or job.status == JobStatus.PAUSED:
        job.suspended = next((task.suspended for task in job.tasks if task.suspended), None)
    if job.status not in ENDED and all(task.status in ENDED_TASKS for task in job.tasks):
        job.status = JobStatus.FINISHED
    return job


ENDED_TASKS = {TaskStatus.FINISHED, TaskStatus.FAULTY, TaskStatus.SKIPPED}


def _fill(task: Task, found: TaskRecord, state: dict[str, Any], tasks: Sequence[Task]) -> None:
    shown = found.shown or {}
    task.replication, task.iteration = shown["replication"], shown["iteration"]
    task.parents = [tasks[number] for number in state["parents"]]
    task.peers = {name: tasks[number] for name, number in state["peers"].items()}
    task.undecided = state["undecided"]
    task.not_before = datetime.fromisoformat(state["not_before"]) if state["not_before"] else None
    task.status, task.executions = TaskStatus(found.status), found.executions
    task.started, task.finished = found.started, found.finished
    task.scheduled, task.suspended = _moment(shown["scheduled"]), _moment(shown["suspended"])
    task.node, task.progress, task.error = shown["node"], found.progress, found.error
    task.value = None if found.result is None else json.loads(found.result)
    task.metadata, task.scope, task.variables = state["metadata"], state["scope"], state["variables"]
    task.changed = False
    if task.status == TaskStatus.RUNNING:
        task.executions -= 1
        task.status, task.progress, task.started, task.changed = TaskStatus.PENDING, 0, None, True


def _moment(milliseconds: int) -> datetime | None:
    return None if milliseconds < 0 else datetime.fromtimestamp(milliseconds / 1000).astimezone()
