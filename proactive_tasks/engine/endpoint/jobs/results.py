"""Results of jobs and tasks: as text, as bytes, as Java's objects."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from proactive_tasks.engine import state
from proactive_tasks.engine.endpoint.answers import COMMON, REST, RefusedRequestError
from proactive_tasks.engine.endpoint.calls import Call, route
from proactive_tasks.engine.endpoint.jobs import answers as shapes
from proactive_tasks.engine.endpoint.jobs.known import job_by, job_of, unknown_task
from proactive_tasks.engine.endpoint.jobs.serialised import exception, serialised
from proactive_tasks.engine.task.java import decode, text

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint
    from proactive_tasks.store.jobs import JobRecord, TaskRecord

NOT_STARTED = "TaskCouldNotStartException: The task could not start due to dependency failure"
SKIPPED = "TaskSkippedException: The task was skipped in the workflow"
ABORTED = "TaskAbortedException: The task was aborted"
ABSENT = {
    f"PA_{service}_REST_{kind}": None
    for service in ("CLOUD_AUTOMATION", "JOB_PLANNER", "NOTIFICATION_SERVICE")
    for kind in ("URL", "PUBLIC_URL")
}
"""Services that are not there: a server without them has these variables without a value."""

RUNNING = ("SUBMITTED", "PENDING", "RUNNING", "WAITING_ON_ERROR", "PAUSED")


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes of results."""
    job, task = "/scheduler/jobs/{job}", "/scheduler/jobs/{job}/tasks/{task}"
    gets = {
        "/scheduler/jobs/resultmap": result_maps,
        "/scheduler/jobs/result/precious/metadata": precious_of_several,
        f"{job}/result": job_result,
        f"{job}/result/value": job_values,
        f"{job}/resultmap": result_map,
        f"{job}/tasks/results/precious/metadata": precious,
        f"{task}/result": task_result,
        f"{task}/result/value": task_value,
        f"{task}/result/metadata": task_metadata,
        f"{task}/result/serializedvalue": serialized_value,
        f"{task}/result/download": download,
    }
    return [route(endpoint, "GET", path, handler) for path, handler in gets.items()]


def _task(call: Call) -> tuple[JobRecord, TaskRecord, bytes | None]:
    """A task with its result, and what is sealed of it."""
    job = job_of(call, "get the result of a task of")
    found = call.endpoint.scheduling.records.result(job.id, call.path["task"])
    if found is None:
        raise unknown_task(call.path["task"], job)
    return job, *found


def _decoded(task: TaskRecord) -> Any:
    return None if task.result is None else decode(json.loads(task.result))


def failure(task: TaskRecord) -> str | None:
    """Why a task has no result, in the server's words; None if it has one, or may have one yet."""
    if task.error is not None:
        return task.error
    return {
        "SKIPPED": COMMON + SKIPPED,
        "NOT_STARTED": COMMON + NOT_STARTED,
        "NOT_RESTARTED": COMMON + NOT_STARTED,
        "ABORTED": COMMON + ABORTED,
    }.get(task.status)


def job_values(call: Call) -> Any:
    """The results of all tasks as texts; an empty answer while the job has not ended."""
    job = job_of(call, "get the result of")
    if job.finished is None:
        return None
    return {task.name: _value(task) for task, _ in call.endpoint.scheduling.records.results(job.id)}


def _value(task: TaskRecord) -> str | None:
    value = _decoded(task)
    return failure(task) if value is None else text(value)


def result_map(call: Call) -> Any:
    """What tasks put into the job's result map."""
    return job_of(call, "get the result map of").result_map


def result_maps(call: Call) -> Any:
    """The result maps of several jobs."""
    jobs = [job_by(call, each) for each in call.query.getlist("jobsid")]
    return {str(job.id): job.result_map for job in jobs}


def precious(call: Call) -> Any:
    """The names of the tasks whose results the job's owner looks for."""
    return shapes.precious_tasks(call.endpoint.scheduling.records.states(job_of(call).id))


def precious_of_several(call: Call) -> Any:
    """The same of several jobs."""
    records = call.endpoint.scheduling.records
    jobs = [job_by(call, each) for each in call.query.getlist("jobsid")]
    return {str(job.id): shapes.precious_tasks(records.states(job.id)) for job in jobs}


def job_result(call: Call) -> Any:
    """Everything that a job left; an empty answer while it has not ended."""
    job = job_of(call, "get the result of")
    if job.finished is None:
        return None
    found = call.endpoint.scheduling.records.results(job.id)
    lines = call.endpoint.scheduling.records.log(job.id)
    results: dict[str, Any] = {}
    for task, sealed in found:
        if task.started is None and task.status != "SKIPPED":
            continue
        output = {name: "".join(f"{each.line}\n" for each in lines if (each.task, each.stream) == (task.name, name))
                  for name in ("out", "err")}  # fmt: skip
        results[task.name] = _result(call, job, task, sealed, output)
    typed = job.typed_result_map or {}
    info = shapes.full_info(job, [task for task, _ in found])
    wanted = info["preciousTasks"]
    return {
        "id": {"id": job.id, "readableName": "NOT SET"},
        "jobInfo": {**info, "jobId": {"id": job.id, "readableName": "NOT SET"}},
        "allResults": results,
        "preciousResults": {name: result for name, result in results.items() if name in wanted},
        "resultMap": job.result_map,
        "serializedResultMap": {name: _base64(serialised(decode(value))) for name, value in typed.items()},
        "exceptionResults": {name: each for name, each in results.items() if each["serializedException"]},
    }


def _result(
    call: Call, job: JobRecord, task: TaskRecord, sealed: bytes | None, output: dict[str, str]
) -> dict[str, Any]:
    value, fault = _decoded(task), failure(task)
    opened = call.endpoint.scheduling.opened(sealed)
    left = state.variables(opened) if opened else None
    variables = {text(name): each for name, each in decode(left).items()} if left is not None else {}
    shown = (job.shown or {}).get("variables", {})
    hidden = {name: each["value"] for name, each in shown.items() if each["value"].startswith("ENC(")}
    variables |= {name: value for name, value in hidden.items() if name in variables}
    return {
        "id": {"id": task.number, "readableName": task.name},
        "serializedValue": None if fault is not None else _base64(serialised(value)),
        "value": fault if value is None and fault is not None else None if value is None else text(value),
        "serializedException": None if fault is None else _base64(exception(fault)),
        "exceptionMessage": fault,
        "metadata": task.result_metadata,
        "propagatedVariables": {name: text(each) for name, each in variables.items()},
        "serializedPropagatedVariables": {
            name: _base64(serialised(each)) for name, each in {**ABSENT, **variables}.items()
        },
        "output": {"stdoutLogs": output["out"], "stderrLogs": output["err"]},
        "raw": isinstance(value, bytes),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def task_result(call: Call) -> Any:
    """Everything that a task left; an empty answer while it has not ended."""
    job, task, sealed = _task(call)
    if task.status in RUNNING:
        return None
    lines = call.endpoint.scheduling.records.log(job.id, task.name)
    output = {name: "".join(f"{each.line}\n" for each in lines if each.stream == name) for name in ("out", "err")}
    return _result(call, job, task, sealed, output)


def task_value(call: Call) -> Response | None:
    """A task's result as text: of a faulty one, what went wrong."""
    _, task, _ = _task(call)
    if task.status in RUNNING or (value := _value(task)) is None:
        return None
    return Response(value, media_type="text/plain")


def task_metadata(call: Call) -> Any:
    """What a task said about its result."""
    return _ended(call).result_metadata


def _ended(call: Call) -> TaskRecord:
    _, task, _ = _task(call)
    if task.status in RUNNING:
        message = f"the result of task {task.name} is not available yet"
        raise RefusedRequestError(404, message, f"{REST}UnknownTaskRestException")
    return task


def serialized_value(call: Call) -> Response:
    """A task's result as Java's object, or its very bytes."""
    task = _ended(call)
    if (fault := failure(task)) is not None:
        return Response(exception(fault), media_type="application/octet-stream")
    return Response(serialised(_decoded(task)), media_type="application/octet-stream")


def download(call: Call) -> Response | None:
    """A task's result as a file: bytes with the media type that the task names, anything else as text."""
    task = _ended(call)
    value = _decoded(task)
    if isinstance(value, bytes):
        generic = (task.shown or {}).get("generic", {})
        kind = task.result_metadata.get("content.type") or generic.get("content.type") or "application/octet-stream"
        return Response(value, headers={"content-type": kind.replace("\r", " ").replace("\n", " ")})
    found = _value(task)
    return None if found is None else Response(found, media_type="text/plain")
