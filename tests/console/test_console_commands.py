"""Every command helps by an example, answers in JSON, and starts fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import typer

from proactive_tasks.cli import app
from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.console import status
from proactive_tasks.console.server import fork_server
from proactive_tasks.lab.network import Conditions
from proactive_tasks.overlay.errors import OverlayError
from proactive_tasks.overlay.model import SiteState
from proactive_tasks.store import Store
from proactive_tasks.store.location import default_store_url
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


@pytest.mark.parametrize("command", [each for each in commands() if each[-1] != "exec"], ids=" ".join)
def test_every_answer_can_be_had_as_json(cli: Cli, command: tuple[str, ...]) -> None:
    assert "--output" in cli(*command, "--help").out


def test_backup_and_restore_answer_in_json(
    cli: Cli, overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.backup"
    written = cli("backup", file, "--output", "json")
    monkeypatch.setenv("OVERLAY_STORE", f"sqlite:///{tmp_path}/other.db")
    read = cli("restore", file, "--output", "json")
    for answer, store in ((written, "store.db"), (read, "other.db")):
        assert (answer.code, answer.err) == (0, "")
        told = json.loads(answer.out)
        assert (told["file"], told["overlays"]) == (str(file), [overlay])
        assert told["store"].endswith(store)


def test_a_store_named_from_here_is_the_same_for_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run in directories of their own."""
    monkeypatch.chdir(tmp_path)
    for given, meant in (
        ("sqlite:///store.db", f"sqlite:///{tmp_path}/store.db"),
        ("sqlite:////var/store.db", "sqlite:////var/store.db"),
        ("sqlite:///file:store.db?mode=ro&uri=true", "sqlite:///file:store.db?mode=ro&uri=true"),
        ("postgresql://host/overlay", "postgresql://host/overlay"),
    ):
        monkeypatch.setenv("OVERLAY_STORE", given)
        with fork_server(preload=()):
            assert os.environ["OVERLAY_STORE"] == meant


class BrokenLab:
    """A lab that is broken in every way, without machines."""

    overlay = "clitest"

    def link(self, *_: str, **changes: object) -> Conditions:
        return Conditions(**changes)  # type: ignore[arg-type]

    def cuts(self) -> list[tuple[str, str]]:
        return [("paris", "rome")]

    def cut(self, *_: str) -> None: ...

    heal = cut

    def kill(self, machine: str, *, disk: bool) -> None: ...

    def boot(self, machine: str) -> None: ...

    def destroy(self, progress: Callable[[str], None]) -> list[str]:
        progress("removing site paris")
        return ["machine clitest.paris"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("link", "paris", "--down"), {"site": "paris", "leg": {**asdict(Conditions()), "down": True}}),
        (("cut", "paris", "rome"), {"cuts": [["paris", "rome"]]}),
        (("heal", "paris", "oslo"), {"cuts": [["paris", "rome"]]}),
        (("kill", "paris/gateway"), {"machine": "paris/gateway", "state": "off"}),
        (("boot", "paris/gateway"), {"machine": "paris/gateway", "state": "running"}),
        (("destroy", "--yes"), {"removed": ["machine clitest.paris"]}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_was_done_to_a_lab_is_told_as_json(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], told: dict[str, object]
) -> None:
    monkeypatch.setattr("proactive_tasks.console.lab._lab", lambda _overlay: BrokenLab())
    answer = cli("lab", *command, "--output", "json")
    assert answer.code == 0
    assert json.loads(answer.out) == {"overlay": "clitest", **told}


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


def test_the_table_of_events_tells_the_time_of_here(cli: Cli, overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-9")
    time.tzset()
    try:
        told = json.loads(cli("events", "--limit", "1", "--output", "json").out)[0]["at"]
        here = datetime.fromisoformat(told) + timedelta(hours=9)
        assert f"{here:%Y-%m-%d %H:%M:%S}" in cli("events", "--limit", "1").out
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_site_whose_gateway_does_not_answer_is_in_error(
    cli: Cli, overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(default_store_url()) as store:
        fields = {"machine": "m", "public_address": IPv4Address("198.18.0.2"), "host_key": "k", "request": "r"}
        store.update_site(overlay, "paris", "test", **fields, host_key_seeded=False, state=SiteState.CONNECTED)
    monkeypatch.setattr(LabProvider, "check", lambda _self: None)
    monkeypatch.setattr(status, "_ask", lambda *_: OverlayError("gateway 198.18.0.2: no SSH answer"))
    told = json.loads(cli("status", "--output", "json").out)
    sites = {site["name"]: (site["state"], site["error"]) for site in told["sites"]}
    assert sites["paris"] == ("error", "no answer (gateway 198.18.0.2: no SSH answer)")
    assert "paris: no answer" in cli("status").out


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
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "[]", ended.stderr


def test_usage_errors_end_with_2(cli: Cli) -> None:
    bad = ("no-such", "plan --no-such", "measure --samples 0", "logs many", f"logs {'9' * 20}")
    for arguments in map(str.split, bad):
        assert cli(*arguments).code == 2
