"""Jobs and tasks in the server's shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proactive_tasks.store.jobs import JobRecord, TaskRecord

OVER = ("FINISHED", "FAULTY", "SKIPPED")
WAITING = ("SUBMITTED", "PENDING", "PAUSED")
FAILURES_ON_NODES = 2
"""How often the server tries again when a node fails: told, and without effect here, where none does."""


def job_id(job: JobRecord) -> dict[str, Any]:
    """Number and name."""
    return {"id": job.id, "readableName": job.name}


def full_info(job: JobRecord, tasks: Sequence[TaskRecord]) -> dict[str, Any]:
    """How a job stands, by its tasks."""
    shown = job.shown or {}
    counts = Counter(task.status for task in tasks)
    over = sum(counts[status] for status in OVER)
    waiting = sum(counts[status] for status in WAITING) if job.started and job.finished is None else 0
    variables = shown.get("variables", {})
    return {
        "startTime": moment(job.started),
        "inErrorTime": max([(task.shown or {}).get("suspended", -1) for task in tasks], default=-1),
        "finishedTime": moment(job.finished),
        "submittedTime": moment(job.submitted),
        "removedTime": -1,
        "status": job.status,
        "jobId": job_id(job),
        "totalNumberOfTasks": len(tasks) or shown.get("tasks", 0),
        "numberOfPendingTasks": waiting,
        "numberOfRunningTasks": counts["RUNNING"],
        "numberOfFinishedTasks": over,
        "numberOfFailedTasks": 0,
        "numberOfFaultyTasks": counts["FAULTY"],
        "numberOfInErrorTasks": counts["IN_ERROR"],
        "priority": _priority(shown).upper(),
        "jobOwner": job.user,
        "tenant": None,
        "projectName": shown.get("project", ""),
        "toBeRemoved": False,
        "genericInformation": shown.get("generic", {}),
        "variables": {name: each["value"] for name, each in variables.items()},
        "detailedVariables": variables,
        "signals": [],
        "detailedSignals": {},
        "visualizationConnectionStrings": {},
        "visualizationIcons": {},
        "attachedServices": {},
        "externalEndpointUrls": {},
        "resultMapPresent": bool(job.result_map),
        "preciousTasks": precious_tasks(tasks),
        "parentId": None,
        "childrenCount": 0,
    }


def precious_tasks(tasks: Sequence[TaskRecord]) -> list[str]:
    """The names of the tasks whose results the job's owner looks for."""
    return [task.name for task in tasks if (task.shown or {}).get("precious") and task.status == "FINISHED"]


def state(job: JobRecord, tasks: Sequence[TaskRecord]) -> dict[str, Any]:
    """A job with its tasks."""
    shown = job.shown or {}
    return {
        "name": job.name,
        "priority": _priority(shown).capitalize(),
        "owner": job.user,
        "tenant": None,
        "jobInfo": full_info(job, tasks),
        "projectName": shown.get("project", ""),
        "tasks": {str(task.number): task_state(job, task) for task in tasks},
        "genericInformation": shown.get("generic", {}),
        "id": job.id,
    }


def task_state(job: JobRecord, task: TaskRecord) -> dict[str, Any]:
    """How a task stands."""
    shown = task.shown or {}
    over = task.status in (*OVER, "ABORTED", "NOT_STARTED", "NOT_RESTARTED")
    duration = -1
    if task.started and task.finished:
        duration = int((task.finished - task.started).total_seconds() * 1000)
    return {
        "name": task.name,
        "description": shown.get("description"),
        "tag": None,
        "iterationIndex": shown.get("iteration", 0),
        "replicationIndex": shown.get("replication", 0),
        "maxNumberOfExecution": shown.get("executions", 1),
        "maxNumberOfExecutionOnFailure": FAILURES_ON_NODES,
        "taskInfo": {
            "jobId": job_id(job),
            "taskId": {"id": task.number, "readableName": task.name},
            "startTime": moment(task.started),
            "finishedTime": moment(task.finished),
            "inErrorTime": shown.get("suspended", -1),
            "scheduledTime": shown.get("scheduled", -1),
            "executionDuration": duration,
            "taskStatus": task.status,
            "executionHostName": host_of(shown.get("node", "")),
            "numberOfExecutionLeft": shown.get("left", 1),
            "numberOfExecutionOnFailureLeft": FAILURES_ON_NODES,
            "visualizationActivated": False,
            "visualizationConnectionString": None,
            "progress": 100 if over else task.progress,
        },
        "parallelEnvironment": None,
        "genericInformation": shown.get("generic", {}),
        "numberOfNodesNeeded": 1,
    }


def host_of(node: str) -> str | None:
    """`HOST (NODE)` of a node's URL; None before a task ran."""
    if not node:
        return None
    scheme, _, rest = node.rpartition("://")
    host = rest.partition("/")[0].partition(":")[0] if scheme else "127.0.0.1"
    return f"{host} ({node.rpartition('/')[2]})"


def moment(at: datetime | None) -> int:
    """Milliseconds since the epoch; -1 for never."""
    return -1 if at is None else int(at.timestamp() * 1000)


def _priority(shown: Mapping[str, Any]) -> str:
    return str(shown.get("priority", "normal"))
