"""What the embedded engine refuses, by name and line, although a scheduler would run it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from .task.bindings import UNSUPPORTED
from .workflow import NotSupportedError, Script, Workflow, line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from lxml import etree

ELEMENTS = (
    "inputSpace",
    "outputSpace",
    "globalSpace",
    "userSpace",
    "topology",
    "selection",
    "javaExecutable",
)
ATTRIBUTES = {"runAsMe": ("false", "0", ""), "numberOfNodes": ("1", ""), "preciousLogs": ("false", "0", "")}


NODE_ENVIRONMENT = "overlay_environment.groovy"


@functools.cache
def _node_environment() -> str | None:
    """The script that brings this package to a scheduler's node; None where it was not installed."""
    for folder in (Path(__file__).parents[2] / "catalog", Path(__file__).parents[1] / "catalog"):
        if (folder / NODE_ENVIRONMENT).is_file():
            return (folder / NODE_ENVIRONMENT).read_text("utf-8").strip()
    return None


def is_ours(script: etree._Element) -> bool:
    """Whether a script is the one, to the letter, that brings this package to a node: the engine's tasks have it."""
    code = script.find("{*}code")
    return code is not None and (code.text or "").strip() == _node_environment()


def check_support(job: etree._Element, prefix: str, resolve: Callable[[str], str]) -> None:
    """Refuse elements and attributes that would change what a task does and are not supported.

    What only concerns the Java machine around a task (jvmArgs, javaHome, additionalClasspath, fork) has no counterpart
    here and is left aside.

    Raises:
        NotSupportedError: with the name and the line of the first one.
    """
    for element in job.iter(f"{prefix}*"):
        name = str(element.tag).removeprefix(prefix)
        if name in ELEMENTS:
            raise NotSupportedError(f"element <{name}>", line_of(element))
        for attribute, accepted in ATTRIBUTES.items():
            value = resolve(element.get(attribute, ""))
            if value not in accepted:
                raise NotSupportedError(f'attribute {attribute}="{value}"', line_of(element))


def check_names(workflow: Workflow, services: Collection[str] = ()) -> None:
    """Refuse cpython scripts that use a service of the scheduler which is not among those that are there.

    Raises:
        NotSupportedError: with the name and the line of the first use.
    """
    missing = [name for name in UNSUPPORTED if name not in services]
    for script in _scripts(workflow):
        if script.language != "cpython" or not any(name in (script.text or "") for name in missing):
            continue
        try:
            tree = ast.parse(script.text or "")
        except (SyntaxError, ValueError):
            continue  # the task fails with Python's own message, as it does under a scheduler
        assigned = {
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in missing and node.id not in assigned:
                raise NotSupportedError(f"{node.id} in a script", script.line + node.lineno - 1)


def _scripts(workflow: Workflow) -> Iterator[Script]:
    for task in workflow.tasks.values():
        yield from task.scripts.values()
        if isinstance(task.executable, Script):
            yield task.executable
        if task.flow:
            yield task.flow.script
