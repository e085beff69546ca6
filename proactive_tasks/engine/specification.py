"""What a runner has to know to execute a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from proactive_tasks.store.location import space, state_directory

from .job import system_variables
from .process import interpreter
from .task.java import JavaMap, encode, text
from .task.substitution import substitute
from .workflow import Command, Files, Script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .job import Job, Task

SPACES = {
    "cachespace": "cache",
    "userspace": "user",
    "globalspace": "global",
    "inputspace": "user",
    "outputspace": "user",
}
SHOWN_SPACES = ("localspace", "cachespace", "userspace", "globalspace")
"""Spaces that are variables as well."""


def specify(
    job: Job, task: Task, root: Path, credentials: Mapping[str, str], service: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The specification of one execution, which works in a folder of its own below `root`.

    `service` is what the task's `schedulerapi` answers: the user and a session of the job's owner.
    """
    spec = task.spec
    local = root / "local"
    progress = root / "progress"
    places = {"localspace": str(local), **{name: str(space(folder)) for name, folder in SPACES.items()}}
    system = {
        **system_variables(job, task),
        "PA_TASK_PROGRESS_FILE": str(progress),
        "PA_NODESFILE": str(root / "nodes"),
        "PA_SCHEDULER_HOME": str(state_directory()),
    }
    variables = job.initial_variables(task, {**system, **{name: places[name] for name in SHOWN_SPACES}})
    known = {**{str(key): text(value) for key, value in variables.items()}, "LOCALSPACE": str(local)}
    generic = {**job.workflow.generic, **spec.generic}
    generic = {substitute(key, known): substitute(value, known) for key, value in generic.items()}
    cwd = substitute(spec.working_directory, known) or str(local)
    return {
        "root": str(root),
        "cwd": cwd,
        "walltime": spec.walltime,
        "keep_processes": generic.get("DISABLE_PTK", "").lower() == "true",
        "python": interpreter(generic.get("PYTHON_COMMAND", "")),
        "environment": {
            **{name: text(value) for name, value in system.items()},
            **{name: substitute(value, known) for name, value in spec.environment.items()},
        },
        "phases": _phases(task, known),
        "files": {"inputs": _files(spec.inputs, known), "outputs": _files(spec.outputs, known)},
        "state": {
            "variables": encode(variables),
            "genericInformation": encode(JavaMap(generic)),
            "credentials": encode(JavaMap(credentials)),
            "resultMap": ["m"],
            "resultMetadata": ["m"],
            "results": [_result(source) for source in job.sources(task)],
            "progress": str(progress),
            "service": dict(service) if service else None,
            "node": task.node,
            "spaces": places,
        },
    }


def _files(chosen: tuple[Files, ...], known: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "mode": files.mode,
            "includes": substitute(files.includes, known),
            "excludes": [] if files.excludes is None else [substitute(files.excludes, known)],
        }
        for files in chosen
    ]


def _phases(task: Task, known: Mapping[str, str]) -> dict[str, Any]:
    scripts: dict[str, Script | Command] = {**task.spec.scripts, "task": task.spec.executable}
    if task.spec.flow:
        scripts["flow"] = task.spec.flow.script
    return {name: _phase(script, known) for name, script in scripts.items()}


def _phase(script: Script | Command, known: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(script, Command):
        return {"language": "native", "command": list(script.words)}
    return {
        "language": script.language,
        "text": script.text,
        "file": script.file,
        "arguments": [substitute(argument, known) for argument in script.arguments],
    }


def _result(source: Task) -> dict[str, Any]:
    return {
        "id": str(source.number),
        "name": source.name,
        "error": source.error,
        "value": source.value,
        "metadata": source.metadata,
    }
