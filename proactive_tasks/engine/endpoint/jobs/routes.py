"""What is asked about jobs and tasks, and what is asked of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from proactive_tasks.engine.endpoint.answers import COMMON, REST, RefusedRequestError
from proactive_tasks.engine.endpoint.calls import Call, route
from proactive_tasks.engine.endpoint.jobs import answers as shapes
from proactive_tasks.engine.endpoint.jobs.known import job_by, job_of, task_of, unknown_task
from proactive_tasks.engine.job import PRIORITIES, JobStatus, Task, TaskStatus

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint
    from proactive_tasks.engine.execution import JobRun
    from proactive_tasks.store.jobs import JobRecord, TaskRecord

NAMESPACE = re.compile(rb"urn:proactive:jobdescriptor:3\.\d+")
"""The server answers a workflow in the namespace of its newest schema."""

FILTERS = {
    "pending": ("SUBMITTED", "PENDING", "PAUSED"),
    "running": ("RUNNING", "WAITING_ON_ERROR", "IN_ERROR"),
    "finished": ("FINISHED", "FAULTY", "SKIPPED", "ABORTED", "NOT_STARTED", "NOT_RESTARTED", "FAILED"),
}


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes of jobs."""
    job = "/scheduler/jobs/{job}"
    gets = {
        "/scheduler/jobs": list_jobs,
        "/scheduler/jobsinfo": list_infos,
        "/scheduler/jobsinfolist": listed_infos,
        "/scheduler/revisionjobsinfo": revision_and_infos,
        "/scheduler/state/revision": lambda _call: 0,
        job: job_state,
        f"{job}/info": job_info,
        f"{job}/xml": job_xml,
        f"{job}/tasks": task_names,
        f"{job}/tasks/paginated": task_names,
        f"{job}/taskstates": task_states,
        f"{job}/taskstates/paginated": task_states,
        f"{job}/taskstates/filtered/paginated": task_states,
        f"{job}/tasks/{{task}}": one_task,
    }
    puts = {
        f"{job}/kill": kill,
        f"{job}/pause": pause,
        f"{job}/resume": resume,
        f"{job}/restartAllInErrorTasks": restart_all,
        f"{job}/priority/byname/{{priority}}": set_priority,
        f"{job}/tasks/{{task}}/kill": lambda call: end_task(call, "kill"),
        f"{job}/tasks/{{task}}/restart": lambda call: end_task(call, "restart"),
        f"{job}/tasks/{{task}}/preempt": lambda call: end_task(call, "preempt"),
        f"{job}/tasks/{{task}}/restartInErrorTask": lambda call: of_suspended(call, finish=False),
        f"{job}/tasks/{{task}}/finishInErrorTask": lambda call: of_suspended(call, finish=True),
        "/scheduler/jobs/kill": kill_several,
    }
    return [
        *(route(endpoint, "PUT", path, handler) for path, handler in reversed(puts.items())),
        *(route(endpoint, "GET", path, handler) for path, handler in gets.items()),
        route(endpoint, "DELETE", job, remove),
        route(endpoint, "DELETE", "/scheduler/jobs", remove_several),
        route(endpoint, "POST", "/scheduler/job/{job}/signals", signal),
        route(endpoint, "POST", "/scheduler/job/{job}/signals/validate", signal),
    ]


# Lists


def _page(call: Call) -> tuple[int, list[JobRecord]]:
    limit = _whole(call, "range", _whole(call, "limit", -1))
    return call.endpoint.scheduling.records.page(max(_whole(call, "index", 0), 0), limit)


def _whole(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise RefusedRequestError(404, f"query parameter {name}={text}: no number",
                                  "javax.ws.rs.NotFoundException") from None  # fmt: skip


def list_jobs(call: Call) -> Any:
    """The numbers of all jobs, whose ever they are."""
    total, found = _page(call)
    return {"size": total, "list": [str(job.id) for job in found]}


def list_infos(call: Call) -> Any:
    """How all jobs stand."""
    total, found = _page(call)
    return {"size": total, "list": _infos(call, found)}


def listed_infos(call: Call) -> Any:
    """How some jobs stand."""
    found = [job_by(call, text) for text in call.query.getlist("jobsid")]
    return _infos(call, found)


def revision_and_infos(call: Call) -> Any:
    """How all jobs stand, as a portal asks for them: always the revision 0, so that nothing is taken for unchanged."""
    total, found = _page(call)
    wanted = [job for job in found if _is_wanted(call, job)]
    return {"size": total, "map": {"0": _infos(call, wanted)}}


def _is_wanted(call: Call, job: JobRecord) -> bool:
    kind = "pending" if job.started is None else "running"
    kind = "finished" if job.finished is not None else kind
    mine = call.query.get("myjobs", "false") != "true" or job.user == call.user
    return mine and call.query.get(kind, "true") == "true"


def _infos(call: Call, jobs: list[JobRecord]) -> list[dict[str, Any]]:
    records = call.endpoint.scheduling.records
    found = []
    for job in jobs:
        tasks = records.states(job.id)
        found.append({"jobInfo": shapes.full_info(job, tasks), "jobid": str(job.id), "jobOwner": job.user})
    return found


# One job


def _tasks(call: Call, job: JobRecord) -> list[TaskRecord]:
    return call.endpoint.scheduling.records.states(job.id)


def job_state(call: Call) -> Any:
    """A job with its tasks."""
    job = job_of(call)
    return shapes.state(job, _tasks(call, job))


def job_info(call: Call) -> Any:
    """How a job stands."""
    job = job_of(call)
    return shapes.full_info(job, _tasks(call, job))


def job_xml(call: Call) -> Response:
    """The workflow as it was submitted."""
    job = job_of(call, "get the content of")
    source = call.endpoint.scheduling.kept(job.id).source
    return Response(NAMESPACE.sub(b"urn:proactive:jobdescriptor:dev", source), media_type="application/xml")


def task_names(call: Call) -> Any:
    """The names of a job's tasks."""
    job = job_of(call)
    tasks = _tasks(call, job)
    return {"size": len(tasks), "list": [task.name for task in _slice(call, tasks, -1)]}


def task_states(call: Call) -> Any:
    """How a job's tasks stand."""
    job = job_of(call)
    tasks = _tasks(call, job)
    wanted = [word.lower() for word in call.query.get("statusFilter", "").split(";") if word]
    if wanted:
        tasks = [task for task in tasks if any(task.status in FILTERS.get(word, (word.upper(),)) for word in wanted)]
    limit = 50 if call.request.url.path.endswith("paginated") else -1
    return {"size": len(tasks), "list": [shapes.task_state(job, task) for task in _slice(call, tasks, limit)]}


def _slice(call: Call, tasks: list[TaskRecord], limit: int) -> list[TaskRecord]:
    start, limit = max(_whole(call, "offset", 0), 0), _whole(call, "limit", limit)
    return tasks[start : start + limit] if limit >= 0 else tasks[start:]


def one_task(call: Call) -> Any:
    """How one task stands."""
    job = job_of(call)
    return shapes.task_state(job, task_of(call, _tasks(call, job)))


# What is asked of jobs


def kill(call: Call) -> bool:
    """End a job."""
    return call.endpoint.scheduling.command(job_of(call, "kill").id, lambda run: run.kill())


def kill_several(call: Call) -> bool:
    """End several jobs."""
    jobs = [job_by(call, text, "kill") for text in call.query.getlist("jobsid")]
    killed = [call.endpoint.scheduling.command(job.id, lambda run: run.kill()) for job in jobs]
    return all(killed)


def pause(call: Call) -> bool:
    """Let no further task of a job start."""
    return call.endpoint.scheduling.command(job_of(call, "pause").id, lambda run: run.job.pause(), "JOB_PAUSED")


def resume(call: Call) -> bool:
    """Let a paused job go on."""
    return call.endpoint.scheduling.command(job_of(call, "resume").id, lambda run: run.job.resume(), "JOB_RESUMED")


def restart_all(call: Call) -> bool:
    """Run the tasks that are in error once more."""

    def restart(run: JobRun) -> bool:
        found = [task for task in run.job.tasks if task.status == TaskStatus.IN_ERROR]
        for task in found:
            run.job.restart(task)
            if run.job.status == JobStatus.PAUSED:  # they alone go on
                run.job.mark(task, TaskStatus.PENDING)
        return bool(found)

    return call.endpoint.scheduling.command(
        job_of(call, "restart in-error tasks of").id, restart, "JOB_RESTARTED_FROM_ERROR"
    )


def set_priority(call: Call) -> None:
    """Put a job before or behind others."""
    job, name = job_of(call, "change the priority of"), call.path["priority"].lower()
    if name not in PRIORITIES:
        message = f"No enum constant JobPriority.{name.upper()}"
        raise RefusedRequestError(500, message, "java.lang.IllegalArgumentException")
    call.endpoint.scheduling.set_priority(job, name)


def _task_in(run: JobRun, name: str) -> Task | None:
    return next((task for task in run.job.tasks if task.name == name), None)


def _with_task(call: Call, doing: str) -> JobRecord:
    job = job_of(call, doing)
    if not any(task.name == call.path["task"] for task in _tasks(call, job)):
        raise unknown_task(call.path["task"], job)
    return job


def end_task(call: Call, verdict: str) -> bool:
    """Kill a running task, or have it run once more."""

    def end(run: JobRun) -> bool:
        task = _task_in(run, call.path["task"])
        return task is not None and run.end_execution(task, verdict)

    return call.endpoint.scheduling.command(_with_task(call, f"{verdict} a task of").id, end)


def of_suspended(call: Call, *, finish: bool) -> bool:
    """Run a task that is in error once more, or take it for done."""

    def go_on(run: JobRun) -> bool:
        task = _task_in(run, call.path["task"])
        if task is None or task.status != TaskStatus.IN_ERROR:
            return False
        (run.job.finish if finish else run.job.restart)(task)
        return True

    return call.endpoint.scheduling.command(_with_task(call, "restart a task of").id, go_on)


def remove(call: Call) -> bool:
    """Forget a job; one that runs is killed first."""
    return call.endpoint.scheduling.remove(job_of(call, "remove").id)


def remove_several(call: Call) -> bool:
    """Forget several jobs."""
    jobs = [job_by(call, text, "remove") for text in call.query.getlist("jobsid")]
    removed = [call.endpoint.scheduling.remove(job.id) for job in jobs]
    return all(removed)


def signal(call: Call) -> Any:
    """A signal; no job of the embedded engine is ever ready for one."""
    job, name = job_of(call, "send a signal to"), call.query.get("signal", "")
    message = f"{COMMON}SignalApiException: Job {job.id} is not ready to receive the signal {name}"
    raise RefusedRequestError(500, message, f"{REST}SchedulerRestException")
