"""Every command helps by an example, answers in JSON, and starts fast."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from proactive_tasks.cli import app
from tests.console.conftest import SPEC, Cli


def commands(group: typer.Typer = app, *before: str) -> Iterator[tuple[str, ...]]:
    """All commands, groups resolved."""
    for command in group.registered_commands:
        assert command.callback
        yield (*before, command.name or command.callback.__name__.replace("_", "-"))
    for inner in group.registered_groups:
        assert inner.typer_instance
        assert inner.name
        yield from commands(inner.typer_instance, *before, inner.name)


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_the_help_of_a_command_has_an_example(cli: Cli, command: tuple[str, ...]) -> None:
    answer = cli(*command, "--help")
    assert answer.code == 0
    assert f"Example: overlayctl {' '.join(command)}" in " ".join(
        answer.out.replace("--store sqlite:////var/lib/overlay/store.db ", "").split()
    )


@pytest.mark.parametrize(
    "command",
    [("plan",), ("status",), ("overlays",), ("events",), ("jobs",), ("lab", "ls")],
    ids=" ".join,
)
def test_what_is_read_is_told_as_json_and_as_a_table(
    cli: Cli, overlay: str, content: Callable[[], list[str]], command: tuple[str, ...]
) -> None:
    before = content()
    answer = cli(*command, "--output", "json")
    assert (answer.code, answer.err) == (0, "")
    json.loads(answer.out)
    assert cli(*command).code == 0
    assert content() == before


def test_the_log_of_a_job_is_told_as_json(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "job.xml"
    file.write_text(
        '<job xmlns="urn:proactive:jobdescriptor:3.13" name="Job"><taskFlow>'
        '<task name="Task"><scriptExecutable><script>'
        '<code language="cpython">print("hello [b]")</code></script></scriptExecutable></task></taskFlow></job>'
    )
    ran = json.loads(cli("run", file, "--output", "json").out)
    told = json.loads(cli("logs", ran["id"], "--output", "json").out)
    assert (ran["status"], ran["tasks"]["Task"]["log"]) == ("FINISHED", ["hello [b]"])
    assert [line["line"] for line in told["log"]] == ["hello [b]"]
    assert "hello [b]" in cli("logs", ran["id"]).out
    assert json.loads(cli("jobs", "--output", "json").out)["jobs"][0]["status"] == "FINISHED"


def test_a_plan_tells_by_its_exit_code_whether_anything_would_change(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "overlay.yaml"
    file.write_text("version: 1\noverlay: clitest\n")
    assert cli("plan", file).code == 0
    file.write_text(SPEC)
    assert cli("plan", file).code == 0
    assert cli("plan", file, "--detailed-exitcode").code == 3
    assert "none" in cli("overlays").out


def test_a_plan_of_what_is_known_keeps_its_subnets(cli: Cli, overlay: str) -> None:
    objects = json.loads(cli("plan", "--output", "json").out)["objects"]
    assert {entry["action"] for entry in objects if entry["kind"] == "subnet"} == {"keep"}


def test_a_command_imports_only_what_it_needs() -> None:
    """The command line answers at once: libraries that take long are imported by who needs them."""
    heavy = ("sqlalchemy", "pydantic", "paramiko", "cryptography", "lxml", "jinja2", "rich", "proactive_tasks.engine")
    program = f"import sys, proactive_tasks.cli; print([m for m in {heavy!r} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert ended.stdout.strip() == "[]", ended.stderr


def test_usage_errors_end_with_2(cli: Cli) -> None:
    bad = ("no-such", "plan --no-such", "measure --samples 0", "logs many", f"logs {'9' * 20}")
    for arguments in map(str.split, bad):
        assert cli(*arguments).code == 2
