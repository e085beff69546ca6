"""A job while it runs: its tasks with their replicas and iterations, and what a task's end sets in motion.

Nothing here starts a process, writes a file or reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from .flow import Graph
from .task.java import JavaMap, decode, encode, text
from .task.substitution import substitute

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from .workflow import TaskSpec, Workflow


class JobStatus(StrEnum):
    """What a job is at; FINISHED does not say that every task succeeded."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    CANCELED = "CANCELED"
    KILLED = "KILLED"
    PAUSED = "PAUSED"
    IN_ERROR = "IN_ERROR"


class TaskStatus(StrEnum):
    """What a task is at."""

    SUBMITTED = "SUBMITTED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    WAITING_ON_ERROR = "WAITING_ON_ERROR"
    FINISHED = "FINISHED"
    FAULTY = "FAULTY"
    SKIPPED = "SKIPPED"
    ABORTED = "ABORTED"
    NOT_STARTED = "NOT_STARTED"
    NOT_RESTARTED = "NOT_RESTARTED"
    IN_ERROR = "IN_ERROR"
    PAUSED = "PAUSED"


OVER = {TaskStatus.FINISHED, TaskStatus.FAULTY, TaskStatus.SKIPPED}
WAITING = {TaskStatus.SUBMITTED, TaskStatus.PENDING}
ENDED = {JobStatus.FINISHED, JobStatus.CANCELED, JobStatus.KILLED}
PRIORITIES = ("highest", "high", "normal", "low", "lowest")


@dataclass(eq=False, slots=True)
class Task:
    """One task of a running job: the task as written, a replica, or an iteration of it."""

    number: int
    spec: TaskSpec
    replication: int = 0
    iteration: int = 0
    parents: list[Task] = field(default_factory=list)
    peers: dict[str, Task] = field(default_factory=dict)  # by written name: the tasks of its own copy of the flow
    undecided: bool = False  # waits for an if
    status: TaskStatus = TaskStatus.SUBMITTED
    executions: int = 0
    not_before: datetime | None = None
    scheduled: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    suspended: datetime | None = None  # since when it waits for somebody
    node: str = ""  # where it runs or ran last
    node_source: str = ""
    progress: int = 0
    error: str | None = None
    value: Any = None  # encoded
    metadata: Any = field(default_factory=lambda: ["m"])
    scope: dict[str, str] = field(default_factory=dict)  # the task's own variables, which children do not inherit
    variables: Any = None  # encoded: what children inherit
    changed: bool = True  # since it was last written down

    @property
    def name(self) -> str:
        """The name with iteration and replication: `Work#1*2`."""
        iteration = f"#{self.iteration}" if self.iteration else ""
        return self.spec.name + iteration + (f"*{self.replication}" if self.replication else "")

    def text(self) -> str | None:
        """The result as the scheduler's text; None for none."""
        return None if self.value is None else text(decode(self.value))


@dataclass(slots=True)
class Action:
    """What a flow script decided."""

    runs: int = 1
    branch: str = "if"
    loop: bool = False
    not_before: datetime | None = None


class Job:
    """A job and its tasks."""

    def __init__(
        self, workflow: Workflow, number: str, user: str = "embedded", system: dict[str, str] | None = None
    ) -> None:
        self.workflow = workflow
        self.number = number
        self.user = user
        self.system = system or {}  # further variables that every task gets
        self.graph = Graph(workflow)
        self.status = JobStatus.PENDING
        self.priority = workflow.priority
        self.started: datetime | None = None
        self.suspended: datetime | None = None
        self.tasks: list[Task] = []
        self.result_map: dict[str, str] = {}
        self.typed_result_map: dict[str, Any] = {}  # encoded
        peers: dict[str, Task] = {}
        for spec in workflow.tasks.values():
            peers[spec.name] = self._add(Task(len(self.tasks), spec, peers=peers))
        for task in self.tasks:
            task.parents = [peers[name] for name in dict.fromkeys(task.spec.depends)]
            for target in self._targets(task):
                target.undecided = True

    def _add(self, task: Task) -> Task:
        self.tasks.append(task)
        return task

    def _targets(self, task: Task) -> list[Task]:
        branch = self.graph.branch(task.spec)
        names = (branch.target, branch.otherwise, branch.continuation) if branch else ()
        return [task.peers[name] for name in names if name in task.peers]

    # What a task gets

    def sources(self, task: Task) -> list[Task]:
        """The tasks whose results a task sees: its parents, or whoever stands behind a skipped one."""
        found: dict[int, Task] = {}
        for parent in task.parents:
            for source in self.sources(parent) if parent.status == TaskStatus.SKIPPED else [parent]:
                found[source.number] = source
        return list(found.values())

    def inherited(self, task: Task) -> dict[Any, Any]:
        """The variables that a task gets from the job and its parents: of several parents, the last one wins."""
        values: dict[Any, Any] = {}
        sources = [source for source in self.sources(task) if source.variables is not None]
        if not sources:
            values.update(self.workflow.values())
        for source in sources:
            values.update(decode(source.variables).items())
        return values

    def initial_variables(self, task: Task, system: dict[str, Any]) -> JavaMap:
        """All variables of a task at its start."""
        values = self.inherited(task)
        known = {str(key): text(value) for key, value in {**values, **system}.items()}
        task.scope = {
            name: substitute(variable.value, known)
            for name, variable in task.spec.variables.items()
            if not (variable.inherited and name in values)
        }
        return JavaMap({**values, **task.scope, **system})

    def propagated(self, task: Task, variables: Any) -> Any:
        """Of the variables that a task leaves, those for its children: its own only where a script changed them."""
        if not task.scope:
            return variables
        left, inherited = decode(variables), self.inherited(task)
        for name, value in task.scope.items():
            if left.get(name) == value:
                left.remove(name)
                if name in inherited:
                    left.put(name, inherited[name])
        return encode(left)

    # What may start

    def ready(self) -> list[Task]:
        """The tasks that nothing but time and room keeps from starting."""
        return [task for task in self.tasks if self._is_ready(task)]

    def _is_ready(self, task: Task) -> bool:
        waiting = task.status in WAITING or task.status == TaskStatus.WAITING_ON_ERROR
        return waiting and not task.undecided and all(parent.status in OVER for parent in task.parents)

    def settled(self) -> bool:
        """Whether nothing moves any more, and nothing will by itself."""
        return not any(task.status == TaskStatus.RUNNING for task in self.tasks) and not self.ready()

    # What a task's end sets in motion

    def end_task(self, task: Task, action: Action) -> None:
        """A task is FINISHED or FAULTY for good: do what its control flow says."""
        kind = task.spec.flow.kind if task.spec.flow else ""
        if kind == "replicate":
            self._replicate(task, action.runs)
        elif kind == "if":
            self._decide(task, action.branch)
        elif kind == "loop" and action.loop and task.spec.flow and task.spec.flow.target:
            self._loop(task, action)
        if self.status not in ENDED and all(each.status in OVER for each in self.tasks):
            self.status = JobStatus.FINISHED

    def suspend(self, task: Task, status: JobStatus) -> None:
        """A task failed that must wait for somebody: it alone, or the whole job."""
        self.mark(task, TaskStatus.IN_ERROR)
        task.suspended = self.suspended = task.finished
        if self.status != JobStatus.PAUSED:
            self.status = status
        if status == JobStatus.PAUSED:
            self.pause()

    # What somebody may ask for

    def pause(self) -> bool:
        """Let no further task start; whether there was one to hold back."""
        held = [each for each in self.tasks if each.status in WAITING or each.status == TaskStatus.WAITING_ON_ERROR]
        for task in held:
            self.mark(task, TaskStatus.PAUSED)
        if held:
            self.status = JobStatus.PAUSED
        return bool(held)

    def resume(self) -> bool:
        """Let the tasks of a paused job go on; whether it was one."""
        if self.status != JobStatus.PAUSED:
            return False
        for task in self.tasks:
            if task.status == TaskStatus.PAUSED:
                self.mark(task, TaskStatus.SUBMITTED)
        self.status = JobStatus.RUNNING if self.started else JobStatus.PENDING
        self._in_error()
        return True

    def restart(self, task: Task) -> None:
        """Let a task that waits for somebody run once more."""
        task.error, task.suspended = None, None
        self.mark(task, TaskStatus.PAUSED if self.status == JobStatus.PAUSED else TaskStatus.PENDING)
        self._in_error()

    def finish(self, task: Task) -> None:
        """Take a task that waits for somebody for done."""
        task.error, task.suspended = None, None
        self.mark(task, TaskStatus.FINISHED)
        self._in_error()
        self.end_task(task, Action())

    def _in_error(self) -> None:
        """IN_ERROR is a job as long as a task of it is, unless it is paused."""
        waiting = any(each.status == TaskStatus.IN_ERROR for each in self.tasks)
        if self.status != JobStatus.PAUSED:
            self.status = JobStatus.IN_ERROR if waiting else JobStatus.RUNNING
        if not waiting:
            self.suspended = None

    def stop(self, status: JobStatus) -> list[Task]:
        """End the job now; answers the tasks that are running, which have to be killed."""
        self.status = status
        running = [task for task in self.tasks if task.status == TaskStatus.RUNNING]
        for task in self.tasks:
            if task.status == TaskStatus.RUNNING:
                self.mark(task, TaskStatus.ABORTED)
            elif task.status == TaskStatus.WAITING_ON_ERROR:
                self.mark(task, TaskStatus.NOT_RESTARTED)
            elif task.status not in OVER:
                self.mark(task, TaskStatus.NOT_STARTED)
        return running

    def mark(self, task: Task, status: TaskStatus) -> None:
        """Change a task's status."""
        task.status = status
        task.changed = True

    def _replicate(self, task: Task, runs: int) -> None:
        targets = [child for child in self.tasks if task in child.parents]
        if runs == 0:
            for target in targets:
                for name in self.graph.block(target.spec.name).members:
                    self.mark(target.peers[name], TaskStatus.SKIPPED)
        for target in targets if runs > 1 else ():
            block = self.graph.block(target.spec.name)
            end = target.peers[block.end]
            after = [each for each in self.tasks if end in each.parents]
            for _ in range(runs - 1):
                copies = self._copy(block.members, target, task, replicate=True)
                for follower in after:
                    follower.parents.append(copies[block.end])
                    follower.changed = True

    def _loop(self, task: Task, action: Action) -> None:
        flow = task.spec.flow
        target = task.peers[flow.target if flow else task.spec.name]
        block = self.graph.block(target.spec.name)
        after = [each for each in self.tasks if task in each.parents]
        copies = self._copy(block.members, target, task, replicate=False)
        copies[target.spec.name].not_before = action.not_before
        for follower in after:
            follower.parents.remove(task)
            follower.parents.append(copies[task.spec.name])
            follower.changed = True

    def _copy(self, names: Iterable[str], target: Task, initiator: Task, *, replicate: bool) -> dict[str, Task]:
        """Another copy of the tasks of a block, to run after the initiator: a replica, or the next iteration."""
        peers = dict(target.peers if replicate else initiator.peers)
        copies: dict[str, Task] = {}
        for name in names:
            task = Task(len(self.tasks), self.workflow.tasks[name], peers=peers)
            if replicate:
                task.iteration = target.peers[name].iteration
                task.replication = self._next_replication(name, task.iteration)
            else:
                task.replication, task.iteration = initiator.replication, initiator.iteration + 1
                taken = {each.name for each in self.tasks}
                while task.name in taken:
                    task.iteration += 1
            copies[name] = self._add(task)
        peers.update(copies)
        for task in copies.values():
            task.parents = [copies[parent] for parent in dict.fromkeys(task.spec.depends) if parent in copies]
            for branch in self._targets(task):
                branch.undecided = True
        copies[target.spec.name].parents = [initiator]
        return copies

    def _next_replication(self, name: str, iteration: int) -> int:
        return 1 + max(each.replication for each in self.tasks if (each.spec.name, each.iteration) == (name, iteration))

    def _decide(self, task: Task, branch: str) -> None:
        flow = task.spec.flow
        if flow is None:
            return
        names = (flow.target, flow.otherwise)
        taken, left = (task.peers[name] for name in (names if branch == "if" else reversed(names)))
        for target in (taken, left):
            target.parents = [task]
            target.undecided, target.changed = False, True
        join = task.peers.get(flow.continuation)
        if join is not None:
            join.parents = [task.peers[self.graph.block(taken.spec.name).end]]
            join.undecided, join.changed = False, True
        self._skip(left, join)

    def _skip(self, task: Task, join: Task | None) -> None:
        """Skip a task and everything that can only run after it, up to where the branches join."""
        queue = [task]
        while queue:
            each = queue.pop()
            if each is join or each.status == TaskStatus.SKIPPED:
                continue
            self.mark(each, TaskStatus.SKIPPED)
            for target in self._targets(each):
                target.parents = target.parents or [each]
                target.undecided, target.changed = False, True
                queue.append(target)
            queue += [child for child in self.tasks if each in child.parents]


def text_map(values: Any) -> dict[str, str]:
    """An encoded map as texts."""
    return {text(key): text(value) for key, value in decode(values).items()}


def system_variables(job: Job, task: Task) -> dict[str, Any]:
    """The variables that the scheduler sets for every task."""
    return {
        "PA_JOB_ID": job.number,
        "PA_JOB_NAME": job.workflow.name,
        "PA_PROJECT_NAME": job.workflow.project,
        "PA_TASK_ID": str(task.number),
        "PA_TASK_NAME": task.name,
        "PA_TASK_ITERATION": task.iteration,
        "PA_TASK_REPLICATION": task.replication,
        "PA_NODESNUMBER": 1,
        "PA_NODE_NAME": task.node.rpartition("/")[2],
        "PA_NODE_URL": task.node,
        "PA_NODE_HOST": "localhost",
        "PA_NODE_SOURCE": task.node_source,
        "PA_USER": job.user,
        **job.system,
    }
