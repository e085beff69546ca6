"""The binding hands tasks typed arguments, whatever the scheduler's maps are, and their results back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from proactive_tasks.clouds.edge.ssh import KEY
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.result import Result
from proactive_tasks.scheduler import EMBEDDED
from proactive_tasks.scheduler.binding import arguments, call
from proactive_tasks.scheduler.context import Context


class JavaMap(dict[str, Any]):
    """A map as py4j shows it: `get` knows no default."""

    def get(self, key: str, _default: object = None) -> Any:
        return dict.get(self, key)

    def put(self, key: str, value: Any) -> None:
        self[key] = value


class Parent:
    """A parent's result."""

    def __init__(self, value: Any, failed: bool = False) -> None:
        self._value, self._failed = value, failed

    def value(self) -> Any:
        if self._failed:
            raise RuntimeError("the parent failed")
        return self._value

    def hadException(self) -> bool:  # noqa: N802 - the scheduler's name
        return self._failed


def bindings(variables: dict[str, Any], *parents: Parent) -> dict[str, Any]:
    return {
        "variables": JavaMap(variables),
        "results": list(parents),
        "credentials": JavaMap(),
        "resultMetadata": JavaMap(),
        "resultMap": JavaMap(),
    }


def task(
    context: Context,
    *,
    overlay: str = "",
    site: str,
    hosts: int = 1,
    dry_run: bool = False,
    sites: list[str] | None = None,
) -> Result:
    return Result("task", facts={"overlay": overlay, "site": site, "hosts": hosts, "dry_run": dry_run, "sites": sites})


REPLICAS = json.dumps({"replicas": [{"overlay": "presto", "site": "a"}, {"overlay": "presto", "site": "b"}]})


@pytest.mark.parametrize(
    ("variables", "parents", "expected"),
    [
        ({"SITE": "a"}, [], {"site": "a"}),
        ({"SITE": "a", "HOSTS": "3", "DRY_RUN": "True"}, [], {"site": "a", "hosts": 3, "dry_run": True}),
        ({"SITE": "a", "DRY_RUN": "1"}, [], {"site": "a", "dry_run": True}),
        ({"SITE": "a", "SITES": '["x", "y"]'}, [], {"site": "a", "sites": ["x", "y"]}),
        ({"SITE": "a", "OVERLAY": ""}, [], {"site": "a"}),
        ({"PA_TASK_REPLICATION": 1}, [Parent(REPLICAS)], {"overlay": "presto", "site": "b"}),
        ({"PA_TASK_REPLICATION": "0", "SITE": "z"}, [Parent(REPLICAS)], {"overlay": "presto", "site": "a"}),
        ({"PA_TASK_REPLICATION": 0, "SITE": "z"}, [Parent(REPLICAS, failed=True)], {"site": "z"}),
        ({"PA_TASK_REPLICATION": 0, "SITE": "z"}, [Parent("no JSON")], {"site": "z"}),
        ({"PA_TASK_REPLICATION": 0, "SITE": "z"}, [Parent(b"bytes")], {"site": "z"}),
        ({"PA_TASK_REPLICATION": 0, "SITE": "z"}, [Parent(REPLICAS), Parent(REPLICAS)], {"site": "z"}),
    ],
)
def test_arguments_come_from_the_replication_first_then_from_variables(
    variables: dict[str, Any], parents: list[Parent], expected: dict[str, Any]
) -> None:
    assert arguments(task, bindings(variables, *parents)) == expected


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "SITE is missing"),
        ({"SITE": "a", "HOSTS": "many"}, "HOSTS"),
        ({"SITE": "a", "DRY_RUN": "perhaps"}, "DRY_RUN"),
        ({"SITE": "a", "SITES": "{"}, "SITES"),
    ],
)
def test_a_value_that_does_not_fit_is_named(variables: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        arguments(task, bindings(variables))


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv(EMBEDDED, "true")
    monkeypatch.setenv("OVERLAY_STORE", f"sqlite:///{tmp_path}/store.db")


def run(work: Callable[..., Result], given: dict[str, Any]) -> Any:
    return call(work, given)


@pytest.mark.usefixtures("embedded")
def test_the_result_is_one_json_string() -> None:
    assert json.loads(run(task, bindings({"SITE": "a"})))["facts"]["site"] == "a"


@pytest.mark.usefixtures("embedded")
def test_variables_of_a_result_reach_the_tasks_that_follow() -> None:
    given = bindings({})
    run(lambda _context: Result("t", variables={"OVERLAY": "presto"}), given)
    assert given["variables"]["OVERLAY"] == "presto"


@pytest.mark.usefixtures("embedded")
def test_a_preview_is_handed_back_as_bytes_with_its_type_and_the_result_stands_in_the_result_map() -> None:
    given = bindings({})
    assert run(lambda _context: Result("report", preview=("text/html", b"<p>")), given) == b"<p>"
    assert given["resultMetadata"]["content.type"] == "text/html"
    assert given["resultMetadata"]["file.name"] == "report.html"
    assert json.loads(given["resultMap"]["report"])["task"] == "report"


@pytest.mark.usefixtures("embedded")
def test_an_error_ends_the_task_with_exit_code_1_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(_context: Context) -> Result:
        raise InputError("site a:\nno room left")

    with pytest.raises(SystemExit) as ended:
        run(fails, bindings({"PA_TASK_NAME": "Allocate_Subnet"}))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "Allocate_Subnet: site a: no room left\n"


def test_under_a_scheduler_sqlite_is_refused_unless_there_is_one_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(EMBEDDED, raising=False)
    url = f"sqlite:///{tmp_path}/store.db"
    with pytest.raises(SystemExit):
        run(task, bindings({"SITE": "a", "STORE": url}))
    assert "PostgreSQL" in capsys.readouterr().err
    assert run(task, bindings({"SITE": "a", "STORE": url, "SINGLE_NODE": "true"}))


def test_locks_of_a_scheduler_s_job_are_not_those_of_the_embedded_engine_s_of_the_same_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def owner(context: Context) -> Result:
        return Result("owner", facts={"job": context.job})

    store = f"sqlite:///{tmp_path}/store.db"
    given = {"PA_JOB_ID": "12", "STORE": store, "SINGLE_NODE": "true", "PA_SCHEDULER_REST_URL": "http://pro:8080/rest"}
    monkeypatch.setenv("OVERLAY_STORE", store)
    owners = []
    for embedded in ("true", ""):
        monkeypatch.setenv(EMBEDDED, embedded)
        owners.append(json.loads(run(owner, bindings(given)))["facts"]["job"])
    assert owners == ["job 12", "scheduler job 12 of http://pro:8080/rest"]


@pytest.mark.usefixtures("embedded")
def test_progress_is_written_where_the_scheduler_reads_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("PA_TASK_PROGRESS_FILE", str(tmp_path / "percent"))

    def works(context: Context) -> Result:
        context.progress(40, "half way")
        return Result("t")

    run(works, bindings({}))
    assert (tmp_path / "percent").read_text() == "40"


def test_a_driver_finds_its_credential_where_it_looks_for_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERLAY_STORE", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv(EMBEDDED, "1")
    monkeypatch.setenv(KEY, "of the environment")
    seen = []

    def look(_context: Context) -> Result:
        seen.append(os.environ[KEY])
        return Result("look")

    given = bindings({})
    call(look, given)
    given["credentials"][KEY] = "of the scheduler"
    call(look, given)
    assert seen == ["of the environment", "of the scheduler"]
