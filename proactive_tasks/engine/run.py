"""Runs a job: starts its tasks, follows them, decides what comes next."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proactive_tasks.store.jobs import Jobs, is_alive, this_process

from . import actions, descriptor
from .job import Action, Job, JobStatus, Task, TaskStatus, text_map
from .observer import Observer, Silent
from .process import CHUNK, Execution, ForkServer
from .records import Recorder
from .specification import specify

if TYPE_CHECKING:
    from proactive_tasks.store.database import Database

    from .workflow import Workflow

NODES = 8
"""How many tasks run at once."""

POLL_S = 0.2
"""How often progress is looked at."""

KILL_DEADLINE_S = 20.0
"""How long the end of a killed task's processes is waited for."""

FOLDER, OWNER = "overlay-job-", "owner"
"""What the names of jobs' folders begin with, and the file in them that names the engine."""

RETRY_S = (1.0, 60.0)
"""The wait before a retry grows with each execution from the first to at most the second."""


def run(
    source: Path | str | bytes,
    variables: Mapping[str, str] | None = None,
    *,
    store: Database,
    credentials: Mapping[str, str] | None = None,
    observer: Observer | None = None,
    nodes: int = NODES,
    preload: Sequence[str] = (),
    server: ForkServer | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Job:
    """Run a job descriptor to its end; SIGINT and SIGTERM kill the job.

    Args:
        source: the file, or the descriptor's own bytes.
        variables: values for the job's variables; one that is not declared is added, with a warning.
        store: where the job is recorded.
        credentials: what tasks find in `credentials`; handed over a socket, never by environment or argument.
        observer: who is told.
        nodes: how many tasks run at once.
        preload: modules that the tasks' processes have imported already.
        server: a fork server that was started earlier, with its own modules; it stays open.
        on_warning: takes warnings about the descriptor.

    Raises:
        RefusedError: the job descriptor is not accepted; nothing was run.
        StoreError: the store does not take the records.
    """
    with nullcontext(server) if server else ForkServer(preload) as forks:
        path = source if isinstance(source, bytes) else Path(source)
        workflow = descriptor.load(path, variables, credentials or {})
        for warning in workflow.warnings:
            if on_warning:
                on_warning(warning)
        name = "(bytes)" if isinstance(source, bytes) else str(Path(source).absolute())
        return JobRun(workflow, name, store, forks, credentials or {}, observer or Silent(), nodes).run()


class JobRun:
    """One job on its way. `cancel` may be called from any thread or signal handler."""

    def __init__(
        self,
        workflow: Workflow,
        source: str,
        store: Database,
        server: ForkServer,
        credentials: Mapping[str, str],
        observer: Observer,
        nodes: int,
    ) -> None:
        jobs = Jobs(store)
        shown = {name: each.shown for name, each in workflow.variables.items()}
        number = jobs.create(workflow.name, source, shown)
        self.job = Job(workflow, str(number))
        self._recorder = Recorder(jobs, number)
        self._server, self._credentials, self._observer, self._nodes = server, credentials, observer, nodes
        self._executions: list[Execution] = []
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._canceled = False
        _remove_abandoned()
        self._root = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{number}-"))
        (self._root / OWNER).write_text(this_process(), "utf-8")

    def cancel(self) -> None:
        """Kill the job: its tasks, and everything they started."""
        self._canceled = True
        self._waker.send(b"c")

    def run(self) -> Job:
        """Run to the end."""
        self._prepare()
        self._recorder.start()
        self._observer.job_started(self.job)
        try:
            with _signals(self.cancel):
                self._loop()
        finally:
            for execution in self._executions:
                execution.connection.close()
            self._selector.close()
            self._wake.close()
            self._waker.close()
            shutil.rmtree(self._root, ignore_errors=True)
            self._recorder.close(self.job)
        self._observer.job_finished(self.job)
        return self.job

    def _prepare(self) -> None:
        for task in self.job.tasks:
            task.not_before = descriptor.start_at({**self.job.workflow.generic, **task.spec.generic})
        self._selector.register(self._wake, selectors.EVENT_READ)

    def _loop(self) -> None:
        while True:
            due = self._start_due()
            self._recorder.snapshot(self.job)
            if not self._executions and self.job.settled():
                return
            for key, _ in self._selector.select(due):
                if key.fileobj is self._wake:
                    self._wake.recv(CHUNK)
                else:
                    self._hear(key.data)
            if self._canceled and self.job.status not in (JobStatus.KILLED, JobStatus.CANCELED):
                self._stop(JobStatus.KILLED)
            self._look()

    def _start_due(self) -> float | None:
        """Start what is due and has room; answers when to look again, in seconds."""
        now = datetime.now(UTC)
        wait = POLL_S if self._executions else None
        for task in self.job.ready():
            if task.status == TaskStatus.PAUSED or self.job.status in (JobStatus.KILLED, JobStatus.CANCELED):
                continue
            if task.not_before is not None and task.not_before > now:
                later = (task.not_before - now).total_seconds()
                wait = later if wait is None else min(wait, later)
            elif len(self._executions) < self._nodes:
                self._start(task)
                wait = POLL_S
            elif task.status == TaskStatus.SUBMITTED:
                self.job.mark(task, TaskStatus.PENDING)
        return wait

    def _start(self, task: Task) -> None:
        task.executions += 1
        task.not_before = None
        task.progress = 0
        task.started, task.finished = datetime.now(UTC), None
        root = self._root / f"{task.number}-{task.executions}"
        root.mkdir()
        specification = specify(self.job, task, root, self._credentials)
        # a task that is killed leaves the variables that it came with
        task.variables = self.job.propagated(task, specification["state"]["variables"])
        execution = Execution(task, self._server.start(specification), root / "progress")
        self._executions.append(execution)
        self._selector.register(execution, selectors.EVENT_READ, execution)
        self.job.mark(task, TaskStatus.RUNNING)
        self._observer.task_started(self.job, task)

    def _hear(self, execution: Execution) -> None:
        messages = execution.receive()
        for message in messages or ():
            for stream, line in message.get("log", ()):
                self._log(execution.task, stream, line)
            if "fault" in message:
                self._log(execution.task, "err", message["fault"])
            if "outcome" in message:
                execution.outcome = message["outcome"]
                self._end(execution.task, message["outcome"])
        if messages is None:
            self._gone(execution)

    def _gone(self, execution: Execution) -> None:
        """The processes of an execution have ended."""
        self._selector.unregister(execution)
        execution.connection.close()
        self._executions.remove(execution)
        if execution.outcome is None:
            self._end(execution.task, {"ended": "lost"})

    def _look(self) -> None:
        """Read what running tasks report of their progress; give up on killed ones that do not end."""
        for execution in list(self._executions):
            task, percent = execution.task, execution.progress()
            if percent is not None and percent != task.progress and task.status == TaskStatus.RUNNING:
                task.progress, task.changed = percent, True
                self._observer.task_progress(self.job, task)
            if execution.killed_at is not None and time.monotonic() - execution.killed_at > KILL_DEADLINE_S:
                self._log(task, "err", "the processes of this task could not be ended")
                self._gone(execution)

    def _log(self, task: Task, stream: str, line: str) -> None:
        self._recorder.log(task, stream, line)
        self._observer.log(self.job, task, stream, line)

    # The end of an execution

    def _end(self, task: Task, outcome: dict[str, Any]) -> None:
        if task.status != TaskStatus.RUNNING:
            return  # killed with its job
        task.finished = datetime.now(UTC)
        action = self._take(task, outcome)
        if task.error is None:
            task.progress = 100
            self.job.mark(task, TaskStatus.FINISHED)
            self.job.end_task(task, action)
        else:
            self._failed(task, action)
        self._observer.task_finished(self.job, task)

    def _take(self, task: Task, outcome: dict[str, Any]) -> Action:
        """Take over what an execution left, and its decision; `task.error` says whether it failed."""
        if "ended" in outcome:
            task.error, task.value = _reason(task, outcome["ended"]), None
            self._log(task, "err", task.error)
            return Action()
        task.error, task.value = outcome["error"], outcome["value"]
        task.variables, task.metadata = self.job.propagated(task, outcome["variables"]), outcome["resultMetadata"]
        self.job.result_map.update(text_map(outcome["resultMap"]))
        action = Action()
        if task.spec.flow and "flow" in outcome:
            try:
                action = actions.read(task.spec.flow, outcome["flow"], outcome["flow_error"], datetime.now(UTC))
            except actions.ActionError as error:
                self._log(task, "err", str(error))
                task.error = task.error or str(error)
        if task.error is not None:
            task.value = None
        return action

    def _failed(self, task: Task, action: Action) -> None:
        """A task failed: once more, or as its onTaskError says."""
        if task.executions < task.spec.executions:
            low, high = RETRY_S
            delay = min(low * task.executions, high) if task.spec.retry_delay is None else task.spec.retry_delay
            task.not_before = datetime.now(UTC) + timedelta(seconds=delay)
            self.job.mark(task, TaskStatus.WAITING_ON_ERROR)
        elif task.spec.on_error == "cancelJob":
            self.job.mark(task, TaskStatus.FAULTY)
            self._stop(JobStatus.CANCELED)
        elif task.spec.on_error in ("suspendTask", "pauseJob"):
            status = JobStatus.PAUSED if task.spec.on_error == "pauseJob" else JobStatus.IN_ERROR
            self.job.suspend(task, status)
        else:
            self.job.mark(task, TaskStatus.FAULTY)
            self.job.end_task(task, action)

    def _stop(self, status: JobStatus) -> None:
        running = self.job.stop(status)
        for execution in self._executions:
            if execution.task in running:
                execution.kill()
                self._observer.task_finished(self.job, execution.task)


def _reason(task: Task, ended: str) -> str:
    if ended == "walltime":
        return f"Walltime of {int((task.spec.walltime or 0) * 1000)} ms reached on task {task.name}"
    if ended == "lost":
        return f"The process of task {task.name} was lost: something outside the engine killed it"
    return f"Task {task.name} was killed"


def _remove_abandoned() -> None:
    """Remove the folders of jobs whose engine was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):
            mine = folder.stat(follow_symlinks=False).st_uid == os.geteuid()
            if mine and not is_alive((folder / OWNER).read_text("utf-8"), datetime.now(UTC)):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _signals(handler: Callable[[], None]) -> Iterator[None]:
    """Call the handler on SIGINT and SIGTERM; only the main thread can ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: handler()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


__all__ = ["JobRun", "Observer", "Silent", "run"]
