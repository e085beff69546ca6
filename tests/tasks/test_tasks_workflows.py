"""The job descriptors are what a scheduler's catalog accepts, and fit the tasks that they call."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from lxml import etree

from proactive_tasks.cli import app
from proactive_tasks.engine import descriptor
from proactive_tasks.scheduler.context import PASSPHRASE

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "workflows").glob("*.xml"))
NS = {"p": "urn:proactive:jobdescriptor:3.13"}

each_workflow = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)

CANCELS = {
    "Allocate_Subnet",
    "Issue_Certs",
    "Verify_Overlay",
    "Report_Overlay",
    "Retire_Sites",
    "Leaving_Sites",
    "Replace_Gateway",
    "Maintain_Overlay",
    "Destroy_Overlay",
    "Attach_Hosts",
    "Acquire_Nodes",
    "Read_Plan",
    "Return_Clouds",
}
ICON = "/automation-dashboard/styles/patterns/img/wf-icons/proactive.png"
LOOPS = {"Maintain_Overlay", "Monitor_Overlay"}
CONTINUES = {
    "Watch_Elastic",
    "Provision_Gateway",
    "Configure_Tunnel",
    "Measure_Link",
    "Release_Site",
    "Withdraw_Links",
}
"""What stands for one site or link: its failure leaves the others standing."""


def job(file: Path) -> etree._Element:
    return etree.parse(str(file)).getroot()


def found(element: etree._Element, path: str) -> list[etree._Element]:
    return element.findall(path, NS)


def tasks(file: Path) -> list[etree._Element]:
    return found(job(file), "p:taskFlow/p:task")


def scripts(file: Path) -> Iterator[tuple[str, str, str]]:
    """Name of the task, language and text of each of its scripts."""
    for task in tasks(file):
        for code in found(task, ".//p:code"):
            yield task.get("name", ""), code.get("language", ""), code.text or ""


@each_workflow
def test_a_workflow_is_accepted_with_its_defaults(file: Path) -> None:
    accepted = descriptor.load(file, {}, [PASSPHRASE])
    assert accepted.name == file.stem
    assert not accepted.warnings


def test_a_deployment_has_at_most_seven_stages() -> None:
    parents = {
        task.get("name", ""): [ref.get("ref", "") for ref in found(task, "p:depends/p:task")]
        for task in tasks(ROOT / "workflows" / "Deploy_Overlay.xml")
    }

    def depth(name: str) -> int:
        return 1 + max(map(depth, parents[name]), default=0)

    assert max(map(depth, parents)) <= 7


@each_workflow
def test_names_follow_the_catalog(file: Path) -> None:
    root = job(file)
    assert root.tag == f"{{{NS['p']}}}job"
    names = [root.get("name", ""), *(task.get("name", "") for task in tasks(file))]
    assert [name for name in names if not re.fullmatch(r"[A-Z][a-z]*(_[A-Z][a-z]*)*", name)] == []
    assert [element.tag for element in root.iter("{*}*") if element.get("tags") is not None] == []
    icons = [info.get("value", "") for info in root.iter(f"{{{NS['p']}}}info") if "icon" in info.get("name", "")]
    assert set(icons) == {ICON}, "no other of these is known to be on a server"
    assert found(root, "p:description")
    assert all(found(task, "p:description") for task in tasks(file))


@each_workflow
def test_variables_are_described_grouped_and_typed(file: Path) -> None:
    for variable in found(job(file), "p:variables/p:variable"):
        name = variable.get("name", "")
        assert variable.get("description"), name
        assert variable.get("group"), name
        assert variable.get("model", "").startswith("PA:"), name
        assert name == name.upper()
        if variable.get("value") in {"true", "false"}:
            assert variable.get("model") == "PA:BOOLEAN", name


@each_workflow
def test_every_task_ends_in_time_and_fails_as_its_kind_should(file: Path) -> None:
    for task in tasks(file):
        name = task.get("name", "")
        assert re.fullmatch(r"\d+:\d\d", task.get("walltime", "")), name
        expected = "cancelJob" if name in CANCELS else "continueJobExecution" if name in CONTINUES else None
        if file.stem in LOOPS:  # a job that runs again and again outlives a turn in which something fails
            expected = "continueJobExecution"
        assert task.get("onTaskError") == expected, name


@each_workflow
def test_scripts_are_short_plain_and_end_by_their_result(file: Path) -> None:
    assert file.read_bytes().isascii()
    for name, language, text in scripts(file):
        lines = text.strip().splitlines()
        assert language == "cpython", name
        assert len(lines) <= 5, name
        assert "exit" not in text, name
        compile(text, name, "exec")


@each_workflow
def test_a_script_calls_a_task_whose_arguments_the_job_or_its_parent_has(file: Path) -> None:
    variables = {variable.get("name", "") for variable in found(job(file), "p:variables/p:variable")}
    replicas = {"overlay", "site", "link"}
    for task in tasks(file):
        [code] = found(task, "p:scriptExecutable/p:script/p:code")
        calls = re.search(r"call\((\w+)\.(\w+), globals\(\)\)", code.text or "")
        assert calls, task.get("name")
        assert f"from proactive_tasks import {calls[1]}" in (code.text or "")
        called = getattr(importlib.import_module(f"proactive_tasks.{calls[1]}"), calls[2])
        replicated = bool(_replicating_parent(file, task))
        for name, parameter in inspect.signature(called).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty:
                given = name.upper() in variables or (replicated and name in replicas)
                assert given, f"{task.get('name')} needs {name}"


def _replicating_parent(file: Path, task: etree._Element) -> list[str]:
    names = {ref.get("ref") for ref in found(task, "p:depends/p:task")}
    return [
        parent.get("name", "")
        for parent in tasks(file)
        if parent.get("name") in names and found(parent, "p:controlFlow/p:replicate")
    ]


@each_workflow
def test_a_variable_of_a_job_is_read_by_a_task_or_by_the_job_itself(file: Path) -> None:
    text = file.read_text()
    known = {"STORE", "SINGLE_NODE"}  # the binding's own
    for _, _, script in scripts(file):
        for node in ast.walk(ast.parse(script)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id.islower():
                module = node.value.id
                if (ROOT / "proactive_tasks" / f"{module}.py").exists():
                    called = getattr(importlib.import_module(f"proactive_tasks.{module}"), node.attr)
                    known |= {name.upper() for name in inspect.signature(called).parameters}
    for variable in found(job(file), "p:variables/p:variable"):
        name = variable.get("name", "")
        assert name in known or f"${{{name}}}" in text or f'variables.get("{name}")' in text, name


def _commands(group: typer.Typer) -> set[str]:
    return {inner.name or "" for inner in group.registered_groups} | {
        command.name or (command.callback.__name__.replace("_", "-") if command.callback else "")
        for command in group.registered_commands
    }


PAGES = [*sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("README.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documentation_names_only_commands_that_there_are(page: Path) -> None:
    inner_apps = ((group.name or "", group.typer_instance) for group in app.registered_groups)
    groups = {name: _commands(inner) for name, inner in inner_apps if inner}
    text = page.read_text()
    for command, inner in re.findall(r"(?<![\w/.`-])(?:sudo )?overlayctl ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", text):
        if command in groups:
            assert not inner or inner in groups[command], f"overlayctl {command} {inner}"
    named = re.findall(r"(?:`|^|&& |\| |sudo )overlayctl ([a-z][a-z-]*)", text, re.MULTILINE)
    assert set(named) <= _commands(app) | set(groups), page
