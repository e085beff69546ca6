"""What tasks printed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from proactive_tasks.engine.endpoint.calls import Call, route
from proactive_tasks.engine.endpoint.jobs.known import job_of, unknown_task

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint
    from proactive_tasks.store.jobs import JobRecord, LogLine, TaskRecord

LISTENERS = 1000


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes of logs."""
    job, task = "/scheduler/jobs/{job}", "/scheduler/jobs/{job}/tasks/{task}"
    live = LiveLogs()
    gets = {
        f"{job}/result/log/all": job_log,
        f"{job}/log/full": job_log,
        f"{job}/log/server": server_log,
        f"{job}/livelog": live.read,
        f"{job}/livelog/available": live.available,
        f"{task}/result/log/all": lambda call: task_log(call, "out", "err"),
        f"{task}/result/log/full": lambda call: task_log(call, "out", "err"),
        f"{task}/result/log/out": lambda call: task_log(call, "out"),
        f"{task}/result/log/err": lambda call: task_log(call, "err"),
        f"{task}/log/server": server_log,
    }
    return [
        *(route(endpoint, "GET", path, handler) for path, handler in gets.items()),
        route(endpoint, "DELETE", f"{job}/livelog", live.end),
    ]


def _plain(text: str) -> Response:
    return Response(text, media_type="text/plain")


def _written(job: JobRecord, numbers: dict[str, int], lines: Iterable[LogLine]) -> str:
    """Lines as the server writes them: `[415t0@localhost;03:23:08] text`."""
    return "".join(
        f"[{job.id}t{numbers.get(line.task, 0)}@localhost;{line.moment.astimezone():%H:%M:%S}] {line.line}\n"
        for line in lines
    )


def _numbers(tasks: Iterable[TaskRecord]) -> dict[str, int]:
    return {task.name: task.number for task in tasks}


def job_log(call: Call) -> Response:
    """What all tasks of a job printed; nothing before it is over, as the server does."""
    job, records = job_of(call, "get the logs of"), call.endpoint.scheduling.records
    if job.finished is None:
        return _plain("")
    return _plain(_written(job, _numbers(records.states(job.id)), records.log(job.id)))


def task_log(call: Call, *streams: str) -> Response:
    """What one task printed; nothing while it runs, as the server does."""
    job, records = job_of(call, "get the logs of"), call.endpoint.scheduling.records
    tasks = records.states(job.id)
    task = next((task for task in tasks if task.name == call.path["task"]), None)
    if task is None:
        raise unknown_task(call.path["task"], job)
    if task.status in ("RUNNING", "PENDING", "SUBMITTED"):
        return _plain("")
    lines = [line for line in records.log(job.id, task.name) if line.stream in streams]
    return _plain(_written(job, _numbers(tasks), lines) or "\n")


def server_log(call: Call) -> Response:
    """What the engine itself had to say: how each task stands."""
    job, records = job_of(call, "get the logs of"), call.endpoint.scheduling.records
    tasks = [task for task in records.states(job.id) if call.path.get("task", task.name) == task.name]
    if not tasks and "task" in call.path:
        raise unknown_task(call.path["task"], job)
    lines = [f"{job.submitted:%Y-%m-%d %H:%M:%S} job {job.id} submitted by {job.user}, {job.status}"]
    for task in tasks:
        began = f"{task.started:%Y-%m-%d %H:%M:%S}" if task.started else "-"
        lines.append(f"{began} task {job.id}t{task.number} ({task.name}) {task.status}")
    return _plain("\n".join(lines) + "\n")


class LiveLogs:
    """What was printed since a session asked last; the first time it asks begins that."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], int] = {}

    def read(self, call: Call) -> Response:
        """What is new, or everything with `allLogs=true`."""
        job, new = self._new(call)
        everything = call.query.get("allLogs", "false").lower() == "true"
        lines = call.endpoint.scheduling.records.log(job.id)
        first = (call.session.identifier, job.id) not in self._seen
        while len(self._seen) >= LISTENERS:
            self._seen.pop(next(iter(self._seen)))
        self._seen[call.session.identifier, job.id] = len(lines)
        shown = lines if everything or (first and job.finished is not None) else [] if first else lines[new:]
        numbers = _numbers(call.endpoint.scheduling.records.states(job.id))
        return _plain(_written(job, numbers, shown))

    def available(self, call: Call) -> Any:
        """How many characters are new; -1 before the first reading."""
        job, new = self._new(call)
        if (call.session.identifier, job.id) not in self._seen:
            return -1
        numbers = _numbers(call.endpoint.scheduling.records.states(job.id))
        return len(_written(job, numbers, call.endpoint.scheduling.records.log(job.id)[new:]))

    def end(self, call: Call) -> bool:
        """Listen no more."""
        job = job_of(call, "get the logs of")
        self._seen.pop((call.session.identifier, job.id), None)
        return True

    def _new(self, call: Call) -> tuple[JobRecord, int]:
        job = job_of(call, "get the logs of")
        return job, self._seen.get((call.session.identifier, job.id), 0)
