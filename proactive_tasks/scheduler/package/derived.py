"""Objects for a catalog that are made of the workflows: single tasks, their scripts, actions of a service.

The workflows stay the one source: of each task its text, its attributes, and the words of its variables.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lxml import etree

from proactive_tasks.overlay.errors import WorkflowError
from proactive_tasks.scheduler.package import jobfile

CALL = re.compile(r"^result = call\((\w+)\.(\w+), globals\(\)\)$", re.MULTILINE)
REFERENCE = re.compile(r"\$\{(\w+)\}")
OF_THE_BINDING = ("STORE", "SINGLE_NODE", "PYTHON_COMMAND")
"""Variables that every task reads, whatever its function takes."""

GIVEN = {"overlay", "site", "link"}
"""What a task that is replicated gets from the task before it."""

TELL = """
from proactive_tasks import tell_service
from proactive_tasks.scheduler.binding import call
result = call(tell_service.tell_service, globals())
"""

Attributes = dict[str, str]


@dataclass(frozen=True)
class Parameter:
    """What a function takes from a variable."""

    name: str
    required: bool


@dataclass(frozen=True)
class Step:
    """A task as it stands in a workflow, and the function that it calls."""

    name: str
    job: etree._Element
    task: etree._Element
    module: str
    function: str
    replicated: bool

    @cached_property
    def parameters(self) -> list[Parameter]:
        """What its function takes from variables; read, since running all tasks' modules takes its time."""
        file = Path(__file__).parents[2] / f"{self.module}.py"
        defined = [each for each in ast.parse(file.read_text("utf-8")).body if isinstance(each, ast.FunctionDef)]
        [found] = [each.args for each in defined if each.name == self.function]
        return [
            Parameter(each.arg, default is None)
            for each, default in zip(found.kwonlyargs, found.kw_defaults, strict=True)
        ]

    @property
    def left(self) -> tuple[bool, int]:
        """How little its workflow's own variables say of what it takes: the least is the best to show it by itself."""
        own = jobfile.variables(self.job)
        return self.replicated, sum(each.name.upper() not in own for each in self.parameters)


def steps(jobs: Mapping[str, etree._Element]) -> list[Step]:
    """Every function that a task calls, once: from the workflow that leaves the most of it to its own variables.

    Raises:
        WorkflowError: a task's script does not call a function of this package.
    """
    found: dict[str, Step] = {}
    for job in sorted(jobs):
        for step in _steps(job, jobs[job]):
            if step.name not in found or step.left < found[step.name].left:
                found[step.name] = step
    return [found[name] for name in sorted(found)]


def _steps(name: str, job: etree._Element) -> Iterator[Step]:
    tasks = {task.get("name", ""): task for task in jobfile.tasks(job)}
    for task_name, task in tasks.items():
        code = jobfile.code_of(task)
        calls = CALL.search((code.text or "") if code is not None else "")
        if calls is None:
            raise WorkflowError(f"{name}: task {task_name}: its script does not end by calling a function of a task")
        parents = [tasks[each.get("ref", "")] for each in jobfile.all_of(task, "depends/task")]
        replicated = any(jobfile.one_of(parent, "controlFlow/replicate") is not None for parent in parents)
        title = "_".join(word.capitalize() for word in calls[2].split("_"))
        yield Step(title, job, task, calls[1], calls[2], replicated)


def arguments(step: Step, table: Mapping[str, Mapping[str, str]]) -> dict[str, Attributes]:
    """The variables of a task by itself, with their words.

    They are its workflow's; what another task gives it there, or the workflow does not say, comes from the `table`, or
    from the description of its function where it cannot do without.
    """
    own = jobfile.variables(step.job)
    found: dict[str, Attributes] = {}
    for parameter in step.parameters:
        name, required = parameter.name.upper(), parameter.required
        given = step.replicated and parameter.name in GIVEN and required
        if name in own and not given:
            found[name] = own[name]
        elif name in table:
            found[name] = dict(table[name])
        elif required:
            found[name] = _told(step, parameter.name)
    return found | {name: own[name] for name in OF_THE_BINDING if name in own}


def _told(step: Step, parameter: str) -> Attributes:
    """A variable that has to be given, as the function's own description and types tell it."""
    call = getattr(importlib.import_module(f"proactive_tasks.{step.module}"), step.function)
    told = re.search(rf"^ +{parameter}: (.+?)(?=^ +\w+: |^$|\Z)", inspect.getdoc(call) or "", re.M | re.S)
    words = " ".join(told[1].split()) if told else parameter.replace("_", " ")
    return {
        "value": "",
        "model": _model(get_type_hints(call)[parameter]),
        "description": words[:1].upper() + words[1:],
        "group": "Task",
        "advanced": "false",
    }


def _model(kind: Any) -> str:
    """The model of a value of that type, or of none yet."""
    if kind is int:
        return "PA:INTEGER?"
    if kind is float:
        return "PA:DOUBLE?"
    if get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, StrEnum)):
        return f"PA:LIST({','.join(['', *map(str, get_args(kind) or list(kind))])})"
    return "PA:REGEXP(.*)" if kind is str else "PA:JSON?"


def single_task(step: Step, name: str, project: str, declared: Mapping[str, Mapping[str, str]]) -> etree._Element:
    """A job of that task alone. It fails when its task does: nobody comes after it to tell."""
    job, [task] = _job_of(step.job, name, project), [copy.deepcopy(step.task)]
    flow = jobfile.section(job, "taskFlow", jobfile.JOB_ORDER)
    for child in list(flow):
        flow.remove(child)
    jobfile.drop(task, "depends", "controlFlow")
    task.set("name", step.name)
    task.set("onTaskError", "cancelJob")
    flow.append(task)
    jobfile.set_variables(job, declared)
    for name, value in jobfile.info(job).items():
        if (asked := REFERENCE.fullmatch(value)) and asked[1] not in declared:
            jobfile.drop_info(job, name)  # it says what a trigger asked for, and no trigger asks for this job
    told = jobfile.text_of(task, "description")
    jobfile.set_description(job, f"{told} One task by itself, to be tried, or put into a workflow of your own.")
    jobfile.set_info(task, "task.icon", jobfile.info(job)["workflow.icon"])
    return job


def script(step: Step, declared: Mapping[str, Mapping[str, str]]) -> str:
    """The script of that task as a file, with what it reads told on top."""
    code = jobfile.code_of(step.task)
    lines = [f"# {step.name}: {jobfile.text_of(step.task, 'description')}", "# Variables that it reads:"]
    lines += [f"#   {name}: {each.get('description', '')}" for name, each in declared.items()]
    lines += [
        "# Its language is cpython; its interpreter, PYTHON_COMMAND, has the package proactive_tasks. Its result is",
        "# JSON text; what it lists under `replicas` are the shares of the task that it lets replicate.",
    ]
    return "\n".join(lines) + "\n" + (code.text if code is not None and code.text else "").strip() + "\n"


def action(job: etree._Element, name: str, project: str, service: str, states: str) -> etree._Element:
    """A workflow as an action of a service: as it is, and at its end it tells the service its new state.

    A service automation starts it with the number of the service's instance in PCA_INSTANCE_ID; started in another way
    it tells nobody.
    """
    made = _job_of(job, name, project)
    jobfile.set_info(made, "pca.service.id", service)
    jobfile.set_info(made, "pca.states", states)
    told = jobfile.text_of(job, "description")
    jobfile.set_description(made, f"{told} An action of the service {service}, from state to state {states}.")
    flow = jobfile.section(made, "taskFlow", jobfile.JOB_ORDER)
    last = jobfile.tasks(made)[-1].get("name", "")
    attributes = {"name": "Tell_Service", "onTaskError": "cancelJob", "walltime": "5:00"}
    task = jobfile.add(flow, "task", attributes)
    jobfile.set_description(task, "Tells the service automation the state of the service and the overlay's name.")
    state = states.strip("()").split(",")[-1]
    into = jobfile.section(task, "variables", jobfile.TASK_ORDER)
    words = {"inherited": "false", "model": "PA:NOT_EMPTY_STRING", "description": "The new state.", "group": "Service"}
    jobfile.add(into, "variable", {"name": "SERVICE_STATE", "value": state} | words)
    jobfile.set_info(task, "task.icon", jobfile.info(made)["workflow.icon"])
    jobfile.add(jobfile.section(task, "depends", jobfile.TASK_ORDER), "task", {"ref": last})
    jobfile.with_script(jobfile.section(task, "scriptExecutable", jobfile.TASK_ORDER), "cpython", TELL)
    return made


def _job_of(job: etree._Element, name: str, project: str) -> etree._Element:
    made = copy.deepcopy(job)
    made.set("name", name)
    made.set("projectName", project)
    return made
