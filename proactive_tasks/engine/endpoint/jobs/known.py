"""Finds the job and the task that a request means, and says in the server's words that there is none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proactive_tasks.engine.endpoint.answers import COMMON, REST, RefusedRequestError

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.calls import Call
    from proactive_tasks.store.jobs import JobRecord, TaskRecord


def number_of(text: str) -> int:
    """A job's number.

    Raises:
        RefusedRequestError: it is none.
    """
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise RefusedRequestError(400, f'For input string: "{text}"', "java.lang.NumberFormatException")
    return int(text)


def job_of(call: Call, doing: str = "get the state of") -> JobRecord:
    """The job that the path names, which must be the user's own.

    Raises:
        RefusedRequestError: there is none, or it is another user's.
    """
    return job_by(call, call.path["job"], doing)


def job_by(call: Call, text: str, doing: str = "get the state of") -> JobRecord:
    """The job of that number, which must be the user's own.

    Raises:
        RefusedRequestError: there is none, or it is another user's.
    """
    number = number_of(text)
    job = call.endpoint.scheduling.records.find(number)
    if job is None:
        message = f"{COMMON}UnknownJobException: The job represented by this ID '{text}' is unknown !"
        raise RefusedRequestError(404, message, f"{REST}UnknownJobRestException")
    if job.user != call.user:
        message = f"{COMMON}PermissionException: {call.user} does not have permission to {doing} job {number}"
        raise RefusedRequestError(403, message, f"{REST}PermissionRestException")
    return job


def task_of(call: Call, tasks: list[TaskRecord]) -> TaskRecord:
    """The task of a job that the path names.

    Raises:
        RefusedRequestError: the job has none of this name.
    """
    name = call.path["task"]
    found = next((task for task in tasks if task.name == name), None)
    if found is None:
        raise RefusedRequestError(500, f"task {name}not found", f"{REST}UnknownTaskRestException")
    return found


def unknown_task(name: str, job: JobRecord) -> RefusedRequestError:
    """A job has no task of this name."""
    message = f"{COMMON}UnknownTaskException: Unknown task {name}, job: {job.id}"
    return RefusedRequestError(500, message, f"{REST}UnknownTaskRestException")
