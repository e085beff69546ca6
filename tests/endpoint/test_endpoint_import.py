"""The whole package comes into the embedded engine's catalog in a few seconds, once, and runs from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.console import import_catalog
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.scheduler.package import importing, packaging
from tests.commands import call
from tests.endpoints import Served

PACKAGE = packaging.load(Path(__file__).parents[2])

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the script against the endpoint; answers its exit code, its answer and what it told."""

    def _run(*arguments: str) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setenv("PROACTIVE_PASSWORD", served.password)
        words = ["--url", served.url, "--user", served.user, "--output", "json", *arguments]
        main = partial(import_catalog.script.main, import_catalog.app, import_catalog.NAME)
        said = call(capsys, import_catalog.NAME, main, *words)
        return said.code, json.loads(said.out) if said.out else {}, said.err

    return _run


def states(answer: dict[str, Any]) -> set[str]:
    return {each["state"] for each in answer["objects"]}


@pytest.fixture
def client(served: Served) -> Scheduler:
    return Scheduler(served.url, user=served.user, password=lambda: served.password)


def test_all_objects_are_there_and_once(run: Run, client: Scheduler) -> None:
    bucket = ("--bucket", "whole-package")
    code, answer, told = run(*bucket)
    assert (code, states(answer)) == (0, {"added"}), told
    assert len(answer["objects"]) == len(PACKAGE.objects) + 1
    with client:
        before = {each.name: each.revision for each in client.catalog.objects("whole-package")}
        assert set(before) == {each.name for each in PACKAGE.objects}
        code, answer, _ = run(*bucket)
        assert (code, states(answer)) == (0, {"there already"})
        assert {each.name: each.revision for each in client.catalog.objects("whole-package")} == before
        [(name, content)] = PACKAGE.files.items()
        assert client.download_file("global", f"network-overlay/{name}") == content
    code, answer, _ = run(*bucket, "--verify")
    assert (code, states(answer)) == (0, {"as packaged"})


def test_what_somebody_changed_there_is_named_and_put_right(run: Run, client: Scheduler) -> None:
    bucket = ("--bucket", "changed-package")
    chosen = [word for name in ("Measure_Overlay", "Script_Measure_Link") for word in ("--only", name)]
    assert run(*bucket, *chosen)[0] == 0
    with client:
        content = client.catalog.raw("changed-package", "Measure_Overlay")
        changed = content.replace(b'value="20"', b'value="21"')
        assert changed != content
        client.catalog.revise("changed-package", "Measure_Overlay", changed, "application/xml", "mine")
        code, answer, _ = run(*bucket, *chosen, "--verify")
        details = {each["name"]: each["detail"] for each in answer["objects"]}
        assert code == 3
        assert details["Measure_Overlay"].endswith("variable SAMPLES: value is '21', and should be '20'")
        assert not details["Script_Measure_Link"]
        code, answer, _ = run(*bucket, *chosen)
        assert [each["state"] for each in answer["objects"]] == ["revised", "there already"]
        assert len(client.catalog.revisions("changed-package", "Measure_Overlay")) == 3
    assert run(*bucket, *chosen, "--verify")[0] == 0


def test_a_task_of_the_package_runs_from_the_catalog(run: Run, client: Scheduler) -> None:
    """Where no overlay is: the task runs, and says just that."""
    assert run("--only", "Task_Report_Overlay", "--no-wheel")[0] == 0
    with client:
        job = client.submit_from_catalog("network-overlay", "Task_Report_Overlay", {"OVERLAY": "nowhere"})
        info = client.wait(job, deadline_s=60)
        assert (info.name, info.status) == ("Task_Report_Overlay", "CANCELED")
        assert "Report_Overlay: overlay 'nowhere' is not in the store" in client.log(job)


def test_a_script_of_the_package_is_fetched_as_it_is(run: Run, client: Scheduler) -> None:
    assert run("--only", "Script_Report_Overlay", "--no-wheel")[0] == 0
    [wanted] = [each for each in PACKAGE.objects if each.name == "Script_Report_Overlay"]
    with client:
        found = client.catalog.object("network-overlay", wanted.name)
        assert client.catalog.raw("network-overlay", wanted.name) == wanted.content
        assert (found.kind, found.content_type, found.extension) == ("Script/task", "text/x-python", "py")
        assert found.project == "Network Overlay Tasks"


def test_a_bucket_may_belong_to_a_group_so_that_not_everybody_writes_it(client: Scheduler) -> None:
    package = replace(PACKAGE, bucket="of-a-group", user_group="scheduleradmins")
    with client:
        assert [each.state for each in importing.bring(client, package, package.objects[:1])] == ["added"]
        [owner] = [each.owner for each in client.catalog.buckets() if each.name == "of-a-group"]
    assert owner == "GROUP:scheduleradmins"
