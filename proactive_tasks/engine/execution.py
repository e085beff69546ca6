"""One job on its way: starts its tasks, follows them, decides what comes next."""

from __future__ import annotations

import itertools
import selectors
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proactive_tasks.overlay.errors import OverlayError
from proactive_tasks.store.jobs import this_process

from . import actions, descriptor
from .job import ENDED, PRIORITIES, Action, Job, JobStatus, Task, TaskStatus, text_map
from .process import Execution, ForkServer
from .specification import specify
from .task.java import decode, encode, text

if TYPE_CHECKING:
    from .nodes import Nodes
    from .observer import Observer
    from .records import Recorder

POLL_S = 0.2
"""How often progress is looked at."""

KILL_DEADLINE_S = 20.0
"""How long the end of a killed task's processes is waited for."""

FOLDER, OWNER = "overlay-job-", "owner"
"""What the names of jobs' folders begin with, and the file in them that names the engine."""

RETRY_S = (1.0, 60.0)
"""The wait before a retry grows with each execution from the first to at most the second."""

KILLED = "TaskAbortedException: The task has been manually killed."
RESTARTED = "TaskRestartedException: Aborted by user"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the jobs of one engine share. `credentials` and `service` answer for a job, at the start of a task."""

    server: ForkServer
    nodes: Nodes
    recorder: Recorder
    observer: Observer
    credentials: Callable[[Job], Mapping[str, str]]
    service: Callable[[Job], Mapping[str, str] | None] = lambda _job: None


class JobRun:
    """One job on its way. All methods are called in the engine's one thread."""

    def __init__(self, job: Job, surroundings: Surroundings, selector: selectors.BaseSelector) -> None:
        self.job = job
        self._with, self._selector = surroundings, selector
        self.executions: list[Execution] = []
        self._root: Path | None = None
        self._folders = itertools.count()
        self._ready: list[Task] | None = None
        self._told = job.started is not None
        for task in job.tasks:
            if task.not_before is None and not task.executions:
                task.not_before = descriptor.start_at({**job.workflow.generic, **task.spec.generic})

    @property
    def rank(self) -> tuple[int, int]:
        """The order in which jobs get nodes: by priority, then by age."""
        priority = self.job.priority if self.job.priority in PRIORITIES else "normal"
        return PRIORITIES.index(priority), int(self.job.number)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do: the job ended, and so did every process of it."""
        return self.job.status in ENDED and not self.executions

    @property
    def still(self) -> bool:
        """Whether nothing moves any more, and nothing will by itself."""
        return not self.executions and self.job.settled()

    def touch(self) -> None:
        """The job changed: write that down, and look anew what may start."""
        self._ready = None
        self._with.recorder.snapshot(self.job)

    def start_due(self) -> float | None:
        """Start what is due and has a node; answers when to look again, in seconds."""
        now = datetime.now(UTC)
        wait = POLL_S if self.executions else None
        if self._ready is None:
            self._ready = [] if self.job.status in ENDED else self.job.ready()
        for task in list(self._ready):
            if task.not_before is not None and task.not_before > now:
                later = (task.not_before - now).total_seconds()
                wait = later if wait is None else min(wait, later)
                continue
            if task.scheduled is None:
                task.scheduled, task.changed = now, True
            node = self._node_for(task)
            if node is not None:
                self._try_to_start(task, node)
                wait = POLL_S
            elif task.status == TaskStatus.SUBMITTED:
                self.job.mark(task, TaskStatus.PENDING)
                self._with.recorder.snapshot(self.job)
        return wait

    def _node_for(self, task: Task) -> str | None:
        generic = {**self.job.workflow.generic, **task.spec.generic}
        job = self.job
        names = {"JOB_NAME": job.workflow.name, "TASK_NAME": task.name}
        usage = {"JOB_ID": job.number, "TASK_ID": str(task.number), **names}
        return self._with.nodes.take(generic, self.job.user, usage)

    def _try_to_start(self, task: Task, node: str) -> None:
        try:
            self._start(task, node)
        except (OSError, OverlayError) as error:  # no room for its folder, say: no other job's misfortune
            self._with.nodes.give_back(node)
            task.finished = datetime.now(UTC)
            task.error = f"The task could not be started: {error}"
            self._log(task, "err", task.error)
            self._failed(task, Action(), final=False)
            self.touch()

    def _start(self, task: Task, node: str) -> None:
        task.executions += 1
        task.not_before = None
        task.progress = 0
        task.started, task.finished = datetime.now(UTC), None
        task.node, task.node_source = node, self._with.nodes.source_of(node)
        root = self._folder() / f"{task.number}-{next(self._folders)}"
        root.mkdir()
        (root / "nodes").write_text(f"{node}\n", "utf-8")
        around = self._with
        specification = specify(self.job, task, root, around.credentials(self.job), around.service(self.job))
        # a task that is killed leaves the variables that it came with
        task.variables = self.job.propagated(task, specification["state"]["variables"])
        execution = Execution(task, around.server.start(specification), root / "progress", node)
        self.executions.append(execution)
        self._selector.register(execution, selectors.EVENT_READ, (self, execution))
        self.job.mark(task, TaskStatus.RUNNING)
        if self.job.started is None:
            self.job.started = task.started
        if self.job.status == JobStatus.PENDING:
            self.job.status = JobStatus.RUNNING
        if not self._told:
            self._told = True
            around.observer.job_started(self.job)
        self.touch()
        around.observer.task_started(self.job, task)

    def _folder(self) -> Path:
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{self.job.number}-"))
            (self._root / OWNER).write_text(this_process(), "utf-8")
        return self._root

    def hear(self, execution: Execution) -> None:
        """Take what an execution says."""
        messages = execution.receive()
        for message in messages or ():
            for stream, line in message.get("log", ()):
                self._log(execution.task, stream, line)
            if "fault" in message:
                self._log(execution.task, "err", message["fault"])
            if "outcome" in message:
                execution.outcome = message["outcome"]
                self._end(execution, message["outcome"])
        if messages is None:
            self._gone(execution)

    def _gone(self, execution: Execution) -> None:
        """The processes of an execution have ended."""
        self._selector.unregister(execution)
        execution.connection.close()
        self.executions.remove(execution)
        self._with.nodes.give_back(execution.node)
        if execution.outcome is None:
            self._end(execution, {"ended": "lost"})

    def look(self) -> None:
        """Read what running tasks report of their progress; give up on killed ones that do not end."""
        for execution in list(self.executions):
            task, percent = execution.task, execution.progress()
            if percent is not None and percent != task.progress and task.status == TaskStatus.RUNNING:
                task.progress, task.changed = percent, True
                self._with.recorder.snapshot(self.job)
                self._with.observer.task_progress(self.job, task)
            if execution.killed_at is not None and time.monotonic() - execution.killed_at > KILL_DEADLINE_S:
                self._log(task, "err", "the processes of this task could not be ended")
                self._gone(execution)

    def close(self) -> None:
        """Let go of everything; tasks that still run are killed, the job stays as it is."""
        for execution in self.executions:
            self._selector.unregister(execution)
            execution.connection.close()
            self._with.nodes.give_back(execution.node)
        self.executions = []
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)

    def _log(self, task: Task, stream: str, line: str) -> None:
        self._with.recorder.log(self.job, task, stream, line)
        self._with.observer.log(self.job, task, stream, line)

    # What somebody may ask for

    def kill(self) -> bool:
        """End the job and everything that its tasks started; whether it had not ended."""
        if self.job.status in ENDED:
            return False
        self._stop(JobStatus.KILLED)
        self.touch()
        return True

    def end_execution(self, task: Task, verdict: str) -> bool:
        """Kill a running task: for good (`kill`), to run once more (`restart`), or as if it had not run (`preempt`)."""
        for execution in self.executions:
            if execution.task is task and task.status == TaskStatus.RUNNING and not execution.verdict:
                execution.verdict = verdict
                execution.kill()
                return True
        return False

    # The end of an execution

    def _end(self, execution: Execution, outcome: dict[str, Any]) -> None:
        task = execution.task
        if task.status != TaskStatus.RUNNING:
            return  # killed with its job
        task.finished = datetime.now(UTC)
        if execution.verdict == "preempt" and "ended" in outcome:
            task.executions -= 1
            self.job.mark(task, TaskStatus.PENDING)
        else:
            self._judge(task, outcome, execution.verdict)
        self.touch()
        self._with.observer.task_finished(self.job, task)

    def _judge(self, task: Task, outcome: dict[str, Any], verdict: str) -> None:
        action = self._take(task, outcome, verdict)
        if task.error is None:
            task.progress = 100
            self.job.mark(task, TaskStatus.FINISHED)
            self.job.end_task(task, action)
        else:
            self._failed(task, action, final=verdict == "kill")

    def _take(self, task: Task, outcome: dict[str, Any], verdict: str) -> Action:
        """Take over what an execution left, and its decision; `task.error` says whether it failed."""
        if "ended" in outcome:
            task.error, task.value = _reason(task, outcome["ended"], verdict), None
            self._log(task, "err", task.error)
            return Action()
        task.error, task.value = outcome["error"], outcome["value"]
        task.variables, task.metadata = self.job.propagated(task, outcome["variables"]), outcome["resultMetadata"]
        self.job.result_map.update(text_map(outcome["resultMap"]))
        self.job.typed_result_map.update({text(k): encode(v) for k, v in decode(outcome["resultMap"]).items()})
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

    def _failed(self, task: Task, action: Action, *, final: bool) -> None:
        """A task failed: once more, or as its onTaskError says."""
        if task.executions < task.spec.executions and not final:
            low, high = RETRY_S
            delay = min(low * task.executions, high) if task.spec.retry_delay is None else task.spec.retry_delay
            task.not_before = datetime.now(UTC) + timedelta(seconds=delay)
            paused = self.job.status == JobStatus.PAUSED
            self.job.mark(task, TaskStatus.PAUSED if paused else TaskStatus.WAITING_ON_ERROR)
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
        now = datetime.now(UTC)
        running = self.job.stop(status)
        for task in running:
            task.finished = now
        self._with.recorder.snapshot(self.job)
        for execution in self.executions:
            if execution.task in running:
                execution.kill()
                self._with.observer.task_finished(self.job, execution.task)


def _reason(task: Task, ended: str, verdict: str) -> str:
    if verdict:
        return KILLED if verdict == "kill" else RESTARTED
    if ended == "walltime":
        return f"Walltime of {int((task.spec.walltime or 0) * 1000)} ms reached on task {task.name}"
    if ended == "lost":
        return f"The process of task {task.name} was lost: something outside the engine killed it"
    return f"Task {task.name} was killed"
