"""Control flow as it is written: blocks, and the rules that the scheduler checks when a job is submitted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn

from .task.java import JavaSet
from .workflow import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .workflow import Flow, TaskSpec, Workflow


@dataclass(slots=True)
class Block:
    """The tasks from a block's start to its end; a task that starts no block is one of its own."""

    start: str
    end: str
    members: dict[str, None]  # an ordered set
    leaks: list[str] = field(default_factory=list)  # tasks inside after which nothing leads to the end


class Graph:
    """The tasks of a workflow and what follows what."""

    def __init__(self, workflow: Workflow) -> None:
        self.tasks = workflow.tasks
        self.children: dict[str, list[str]] = {name: [] for name in self.tasks}
        for task in self.tasks.values():
            for parent in dict.fromkeys(task.depends):
                self.children[parent].append(task.name)
        self._blocks: dict[str, Block] = {}

    def branch(self, task: TaskSpec) -> Flow | None:
        """The task's if action."""
        return task.flow if task.flow and task.flow.kind == "if" else None

    def followers(self, name: str) -> list[str]:
        """What can run after a task: its children and, after an if, branches and continuation."""
        branch = self.branch(self.tasks[name])
        targets = (branch.target, branch.otherwise, branch.continuation) if branch else ()
        return [*self.children[name], *(target for target in targets if target in self.tasks)]

    def block(self, start: str) -> Block:
        """The block that a task starts; `end` is empty if it has none."""
        if start not in self._blocks:
            single = self.tasks[start].block != "start"
            self._blocks[start] = Block(start, start, {start: None}) if single else self._walk(start)
        return self._blocks[start]

    def _walk(self, start: str) -> Block:
        block = Block(start, "", {})
        queue = [(start, 0)]
        while queue:
            name, depth = queue.pop(0)
            if name in block.members:
                continue
            block.members[name] = None
            task = self.tasks[name]
            depth += {"start": 1, "end": -1}.get(task.block, 0)
            if depth == 0:
                block.end = block.end or name
                continue
            following = self._steps(task, block)
            if not following:
                block.leaks.append(name)
            queue += [(each, depth) for each in following]
        return block

    def _steps(self, task: TaskSpec, block: Block) -> list[str]:
        """The next tasks at the same level; the branches of an if with a continuation are stepped over."""
        branch = self.branch(task)
        if branch is None or branch.continuation not in self.tasks:
            return self.followers(task.name)
        for target in (branch.target, branch.otherwise):
            block.members.update(self.block(target).members)
        return [*self.children[task.name], branch.continuation]

    def downstream(self, name: str) -> dict[str, None]:
        """A task and everything that can run only after it."""
        found: dict[str, None] = {}
        queue = [name]
        while queue:
            each = queue.pop(0)
            if each not in found:
                found[each] = None
                queue += self.followers(each)
        return found


def check(workflow: Workflow) -> None:
    """Check a workflow's control flow.

    Raises:
        RefusedError: with the scheduler's text.
    """
    if not workflow.tasks:
        raise RefusedError("At [tag:job] : Uncompleted job: At least one task must be defined.")
    # in the order of the scheduler's hash table: of several faults it names the one that it meets first
    graph = Graph(replace(workflow, tasks={name: workflow.tasks[name] for name in JavaSet(workflow.tasks)}))
    _check_order(graph)
    _check_branches(graph)
    _check_blocks(graph)
    for task in graph.tasks.values():
        if task.flow and task.flow.kind == "replicate":
            _check_replicate(graph, task)
        elif task.flow and task.flow.kind == "loop":
            _check_loop(graph, task)


def _refuse(message: str, context: str) -> NoReturn:
    raise RefusedError(f"Invalid taskflow: {message}; context: {context}", "JobCreationException")


def _check_order(graph: Graph) -> None:
    reached: dict[str, None] = {}
    for name, task in graph.tasks.items():
        if not task.depends:
            reached.update(graph.downstream(name))
    for name in graph.tasks:
        if name not in reached:
            _refuse("Unreachable task", name)
    for name in _in_circles(graph):
        _refuse("Infinite recursion detected", name)


def _in_circles(graph: Graph) -> dict[str, int]:
    """The tasks that wait for themselves."""
    waiting = dict.fromkeys(graph.tasks, 0)
    for name in graph.tasks:
        for follower in graph.followers(name):
            waiting[follower] += 1
    ready = [name for name, count in waiting.items() if not count]
    while ready:
        for follower in graph.followers(name := ready.pop()):
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
        del waiting[name]
    return waiting


def _check_branches(graph: Graph) -> None:
    targets: set[str] = set()
    joins: set[str] = set()
    for task in graph.tasks.values():
        branch = graph.branch(task)
        if branch is None:
            continue
        _check_targets(graph, task.name, branch, targets)
        if branch.continuation in (branch.target, branch.otherwise):
            _refuse("Infinite recursion detected", branch.continuation)
        if branch.continuation in joins:
            _refuse("JOIN task merges multiple IF actions", branch.continuation)
        joins.add(branch.continuation)
        _check_scope(graph, task, branch)
        joins.discard("")


def _check_targets(graph: Graph, name: str, branch: Flow, taken: set[str]) -> None:
    for target, word in ((branch.target, "IF"), (branch.otherwise, "ELSE")):
        if target not in graph.tasks:
            _refuse(f"{word} target is null", name)
    for target in (branch.target, branch.otherwise):
        if target in taken:
            _refuse("Task is target of multiple IF actions", target)
        taken.add(target)
    for target, suffix in ((branch.target, ""), (branch.otherwise, " ELSE")):
        if graph.tasks[target].depends:
            _refuse(f"IF target task{suffix} cannot have dependencies", target)


def _check_scope(graph: Graph, task: TaskSpec, branch: Flow) -> None:
    join = graph.tasks.get(branch.continuation)
    if join and join.depends:
        _refuse("JOIN task cannot have dependencies", join.name)
    for target in (branch.target, branch.otherwise):
        if join:
            if graph.followers(target) and graph.tasks[target].block != "start":
                _refuse("IF action target is not a Task Block", target)
            continue
        inside = graph.downstream(target)
        if any(parent not in inside for name in inside for parent in graph.tasks[name].depends):
            _refuse(f"IF block at {target} has external dependencies", task.name)


def _check_blocks(graph: Graph) -> None:
    ends: set[str] = set()
    for task in graph.tasks.values():
        if task.block != "start":
            continue
        block = graph.block(task.name)
        if not block.end:
            _refuse("Unmatched start block", task.name)
        ends.add(block.end)
        for name in _others(block.members, task.name):
            for parent in graph.tasks[name].depends:
                if parent not in block.members:
                    _refuse(f"Task Block starting at {task.name} has external dependencies", parent)
        for leak in block.leaks:
            _refuse(f"Task Block ending at {block.end} does not join all its flows", leak)
    for task in graph.tasks.values():
        if task.block == "end" and task.name not in ends:
            _refuse("Unmatched end block", task.name)


def _others(names: Iterable[str], name: str) -> list[str]:
    return [each for each in names if each != name]


def _check_replicate(graph: Graph, task: TaskSpec) -> None:
    for name in graph.children[task.name]:
        child = graph.tasks[name]
        if len(child.depends) != 1:
            _refuse("The Target of a REPLICATE must have only one dependency", name)
        if child.block == "end":
            _refuse("The target of a REPLICATE cannot be the end of a task block", name)
        end = graph.tasks[graph.block(name).end]
        if not graph.children[end.name]:
            _refuse("No merge point for REPLICATE block", end.name)
        if end.flow and end.flow.kind != "loop":
            _refuse("Last action of a REPLICATE block cannot perform IF or REPLICATE action", end.name)


def _check_loop(graph: Graph, task: TaskSpec) -> None:
    target = task.flow.target if task.flow else ""
    if target not in graph.tasks:
        _refuse("LOOP action has no target", task.name)
    alone = target == task.name and task.block == "none"
    if not alone and (
        graph.tasks[target].block != "start" or task.name in (target, "") or graph.block(target).end != task.name
    ):
        _refuse("The scope of a LOOP action should be a Task Block", task.name)
    if len(graph.tasks[target].depends) > 1:
        _refuse("The Target of a LOOP must have only one dependency", target)
