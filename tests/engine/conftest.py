"""Small workflows, and an engine to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.engine.job import Job, Task
from proactive_tasks.engine.observer import Silent
from proactive_tasks.engine.process import ForkServer
from proactive_tasks.engine.run import run
from proactive_tasks.store.database import Database


def held(file: Path) -> str:
    """Lines of a script that wait until a file is there."""
    return f"import os, time\nwhile not os.path.exists({str(file)!r}): time.sleep(0.02)\n"


def script(text: str, language: str = "cpython") -> str:
    return f'<script><code language="{language}"><![CDATA[\n{text}\n]]></code></script>'


def task(
    name: str,
    text: str = "pass",
    *,
    after: str = "",
    before: str = "",
    flow: str = "",
    block: str = "",
    **attributes: Any,
) -> str:
    """A cpython task; `before` is XML in front of the executable, `flow` is `kind[attributes]: script`."""
    words = "".join(f' {key}="{value}"' for key, value in attributes.items())
    depends = "".join(f'<task ref="{parent}"/>' for parent in after.split())
    depends = f"<depends>{depends}</depends>" if depends else ""
    control = ""
    if flow or block:
        action = ""
        if flow:
            head, _, code = flow.partition(": ")
            action = f"<{head}>{script(code)}</{head.split()[0]}>"
        control = f"<controlFlow{f' block={chr(34)}{block}{chr(34)}' if block else ''}>{action}</controlFlow>"
    executable = f"<scriptExecutable>{script(text)}</scriptExecutable>"
    return f'<task name="{name}"{words}>{depends}{before}{executable}{control}</task>'


def workflow(*tasks: str, head: str = "", **attributes: Any) -> bytes:
    words = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return (
        f'<job xmlns="urn:proactive:jobdescriptor:3.13" name="Test_Job"{words}>{head}'
        f"<taskFlow>{''.join(tasks)}</taskFlow></job>"
    ).encode()


def variables(**values: str) -> str:
    return "<variables>" + "".join(f'<variable name="{k}" value="{v}"/>' for k, v in values.items()) + "</variables>"


class Log(Silent):
    """Keeps what tasks print and report."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self.progress: list[int] = []

    def log(self, job: Job, task: Task, stream: str, line: str) -> None:  # noqa: ARG002
        self.lines.setdefault(task.name, []).append(line)

    def task_progress(self, job: Job, task: Task) -> None:  # noqa: ARG002
        self.progress.append(task.progress)


class Telling(Log):
    """Makes a file for what it has been told, such as `T FINISHED` or `T 30`: scripts can wait for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def task_progress(self, job: Job, task: Task) -> None:
        super().task_progress(job, task)
        (self.folder / f"{task.name} {task.progress}").touch()

    def task_finished(self, job: Job, task: Task) -> None:  # noqa: ARG002
        (self.folder / f"{task.name} {task.status}").touch()


class Ended:
    """A job that ran, in words that tests can compare."""

    def __init__(self, job: Job, log: Log) -> None:
        self.job, self.log = job, log
        self.status = str(job.status)
        self.tasks = {task.name: str(task.status) for task in job.tasks}
        self.values = {task.name: task.text() for task in job.tasks}
        self.errors = {task.name: task.error for task in job.tasks if task.error}

    def printed(self, name: str) -> list[str]:
        return [line for line in self.log.lines.get(name, []) if line.strip()]


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("OVERLAY_STORE", raising=False)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database.open(f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}") as opened:
        yield opened


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where the files lie of what the engine told."""
    folder = tmp_path / "told"
    folder.mkdir()
    return folder


@pytest.fixture
def ran(database: Database, forks: ForkServer, told: Path) -> Callable[..., Ended]:
    """Run tasks to their end."""

    def _ran(
        *tasks: str, head: str = "", values: dict[str, str] | None = None, attributes: Any = (), **kw: Any
    ) -> Ended:
        log = Telling(told)
        source = workflow(*tasks, head=head, **dict(attributes))
        return Ended(run(source, values, store=database, observer=log, server=forks, **kw), log)

    return _ran
