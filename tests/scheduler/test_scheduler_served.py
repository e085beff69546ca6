"""The client and its scripts against the embedded engine's endpoint, as processes and over real HTTP."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from proactive_tasks.console import credentials, submit
from proactive_tasks.console.script import main
from proactive_tasks.overlay.errors import SchedulerInputError, SchedulerVersionError
from proactive_tasks.scheduler.client import Scheduler
from tests.commands import Said, call
from tests.endpoints import Served, serving
from tests.engine.conftest import held
from tests.ports import free_port
from tests.scheduler.conftest import Connect

PAGE = (Path(__file__).parents[2] / "docs" / "submission.md").read_text()
JOB = """<?xml version="1.0" encoding="UTF-8"?>
<job xmlns="urn:proactive:jobdescriptor:3.13" name="{}"><variables>{}</variables><taskFlow>{}</taskFlow></job>"""
VARIABLES = '<variable name="N" value="2" model="PA:INTEGER[0,10]"/><variable name="TEXT" value=""/>'


def script_of(text: str) -> str:
    return f'<script><code language="cpython"><![CDATA[\n{text}\n]]></code></script>'


def task(name: str, text: str, *, after: str = "", flow: str = "", attributes: str = "") -> str:
    depends = f'<depends><task ref="{after}"/></depends>' if after else ""
    return (
        f'<task name="{name}" {attributes}>{depends}<scriptExecutable>{script_of(text)}</scriptExecutable>{flow}</task>'
    )


PLAN = """
print("planned", variables.get("TEXT"))
resultMap.put("n", 2)
result = "planned"
"""
PAGE_TASK = """
resultMetadata.put("content.type", "text/html")
resultMetadata.put("file.name", "page.html")
result = b"<b>hi</b>"
"""
RUNS = 'runs = int(variables.get("N"))'
REPLICATE = f"<controlFlow><replicate>{script_of(RUNS)}</replicate></controlFlow>"
FLOW = JOB.format(
    "Client_Flow",
    VARIABLES,
    task("Plan", PLAN, flow=REPLICATE)
    + task("Work", 'print("replica", variables.get("PA_TASK_REPLICATION"))', after="Plan")
    + task("Page", PAGE_TASK, after="Work", attributes='preciousResult="true"'),
).encode()
FAULTY = JOB.format("Client_Faulty", VARIABLES, task("Work", 'raise ValueError("no room")')).encode()
LONG = JOB.format("Client_Long", VARIABLES, task("Work", "import time\ntime.sleep(600)")).encode()
BUCKET = "client-tests"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


@pytest.fixture
def scheduler(served: Served, connect: Connect) -> Scheduler:
    return connect(served.url, user=served.user, password=lambda: served.password, patience_s=20)


Script = Callable[..., Said]


@pytest.fixture
def script(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Script:
    """Runs a script in this process."""
    monkeypatch.chdir(tmp_path)
    for name, value in surroundings(served).items():
        monkeypatch.setenv(name, value)

    def run(module: ModuleType, *words: object, typed: str = "") -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return call(capsys, module.NAME, partial(main, module.app, module.NAME), *words)

    return run


def surroundings(served: Served) -> dict[str, str]:
    return {
        "PROACTIVE_URL": served.url,
        "PROACTIVE_USER": served.user,
        "PROACTIVE_PASSWORD": served.password,
    }


def test_a_workflow_is_submitted_followed_and_its_results_are_kept(script: Script, tmp_path: Path) -> None:
    (tmp_path / "flow.xml").write_bytes(FLOW)
    (tmp_path / "text").write_text("Zürich; 東京\n")
    done = script(submit, "flow.xml", "-v", "N=3", "-v", "TEXT=@text", "--wait", "--results", "out")
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "page.html").read_bytes() == b"<b>hi</b>"
    assert json.loads((tmp_path / "out" / "result_map.json").read_text()) == {"n": "2"}
    assert re.search(r"Work\*2: FINISHED after [\d.]+ s", done.err)
    job = re.search(r"job (\d+) Client_Flow", done.err)
    assert job
    assert script(submit, "--logs", job[1], "--task", "Work*2").out.endswith("] replica 2\n")
    assert "planned Zürich; 東京" in script(submit, "--logs", job[1]).out


def test_a_faulty_job_names_task_and_cause(script: Script, tmp_path: Path) -> None:
    (tmp_path / "faulty.xml").write_bytes(FAULTY)
    done = script(submit, "faulty.xml", "--wait", "-o", "json")
    found = json.loads(done.out)
    assert (done.code, found["status"], found["succeeded"]) == (1, "FINISHED", False)
    assert done.err.splitlines()[-1] == "submit: Work: FAULTY: ValueError: no room"


def test_an_interrupt_leaves_the_job_which_can_then_be_killed(served: Served, script: Script, tmp_path: Path) -> None:
    (tmp_path / "long.xml").write_bytes(LONG)
    command = [sys.executable, "-m", "proactive_tasks.console.submit", "long.xml", "--wait"]
    with subprocess.Popen(
        command, env=os.environ | surroundings(served), text=True, stderr=subprocess.PIPE, cwd=tmp_path
    ) as waiting:
        assert waiting.stderr
        while "Work: RUNNING" not in (line := waiting.stderr.readline()):
            assert line, "it ended"
        waiting.send_signal(signal.SIGINT)
        said = waiting.stderr.read()
        assert waiting.wait(60) == 130
    told = re.fullmatch(r"submit: job (\d+) goes on; follow it: .* kill it: scripts/submit --kill \1\n", said)
    assert told, said
    assert script(submit, "--kill", told[1]).out == f"job {told[1]}: killed\n"
    ended = script(submit, "--status", told[1])
    assert ended.code == 1
    assert "KILLED" in ended.out


def test_a_job_is_followed_over_a_restart_of_the_endpoint(tmp_path: Path, connect: Connect) -> None:
    port = free_port()
    statuses: list[str] = []
    seen = threading.Event()

    def watch(job: Any, _tasks: Any) -> None:
        statuses.append(job.status)
        seen.set()

    with serving(tmp_path, port=port) as first:
        scheduler = connect(first.url, user=first.user, password=lambda: first.password, patience_s=0.5)
        flag = tmp_path / "go"
        job = scheduler.submit(LONG.replace(b"import time\ntime.sleep(600)", held(flag).encode()))
        waiting = threading.Thread(
            target=lambda: statuses.append(scheduler.wait(job, deadline_s=600, on_change=watch).status)
        )
        waiting.start()
        assert seen.wait(60)
        first.end(signal.SIGKILL)
    flag.touch()
    with serving(tmp_path, port=port):
        waiting.join(60)
        assert not waiting.is_alive()
        assert statuses[-1] == "FINISHED"


def test_a_workflow_of_the_catalog_is_submitted_by_its_name(script: Script, scheduler: Scheduler) -> None:
    catalog = scheduler.catalog
    catalog.create_bucket(BUCKET)
    made = catalog.add(BUCKET, "My flow #1", "Workflow/standard", FLOW, "application/xml", "first", "Client tests")
    assert (made.name, made.bucket, made.project) == ("My flow #1", BUCKET, "Client tests")
    with pytest.raises(SchedulerInputError) as error:
        catalog.add(BUCKET, "My flow #1", "Workflow/standard", FLOW, "application/xml", "first")
    assert error.value.status == 409
    catalog.revise(BUCKET, "My flow #1", FLOW, "application/xml", "second")
    assert [each.message for each in catalog.revisions(BUCKET, "My flow #1")] == ["second", "first"]
    assert [each.name for each in catalog.objects(BUCKET, "workflow")] == ["My flow #1"]
    done = script(submit, "My flow #1", "--bucket", BUCKET, "-v", "N=1", "--wait", "-o", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["name"], found["variables"]["N"], len(found["tasks"])) == ("My flow #1", "1", 3)
    refused = script(submit, "My flow #1", "--bucket", BUCKET, "-v", "N=11")
    assert (refused.code, refused.out) == (2, "")
    assert "Expected value should be in range [0‥10], received 11" in refused.err
    assert script(submit, "Nope", "--bucket", BUCKET).code == 2
    with pytest.raises(SchedulerInputError):
        catalog.add(BUCKET, "Broken", "Workflow/standard", b"<job/>", "application/xml", "first")
    catalog.remove(BUCKET, "My flow #1")
    catalog.remove_bucket(BUCKET)


def test_validation_agrees_in_the_path_and_in_the_document(scheduler: Scheduler) -> None:
    for text in ("plain", "a/b;c\nd"):
        found = scheduler.validate(FLOW, {"TEXT": text, "N": "4"})
        assert (found.valid, found.variables) == (True, {"N": "4", "TEXT": text})
        refused = scheduler.validate(FLOW, {"TEXT": text, "N": "11"})
        assert not refused.valid
        assert refused.message.endswith("Expected value should be in range [0‥10], received 11")


def test_credentials_are_kept_and_never_told(script: Script, scheduler: Scheduler) -> None:
    secret = "größe & co"
    assert script(credentials, "set", "CLIENT_TEST", typed=f"{secret}\n").code == 0
    shown = script(credentials, "list")
    assert "CLIENT_TEST" in shown.out
    assert secret not in shown.out
    source = JOB.format("Client_Secret", VARIABLES, task("T", 'result = credentials.get("CLIENT_TEST")[::-1]'))
    job = scheduler.submit(source.encode())
    assert scheduler.wait(job, deadline_s=60).succeeded
    assert scheduler.value(job, "T") == secret[::-1]
    assert script(credentials, "remove", "CLIENT_TEST").code == 0
    assert script(credentials, "remove", "CLIENT_TEST").code == 2


def test_files_go_into_the_data_spaces_and_come_back(scheduler: Scheduler) -> None:
    scheduler.upload("user", "clients/a b/ü.bin", b"\0\x1f\x8b\xff")
    assert scheduler.download_file("user", "clients/a b/ü.bin") == b"\0\x1f\x8b\xff"
    assert scheduler.list_files("user", "clients/a b") == ["ü.bin"]
    scheduler.remove_file("user", "clients/a b/ü.bin")
    with pytest.raises(SchedulerInputError, match="is not there"):
        scheduler.download_file("user", "clients/a b/ü.bin")


def test_what_the_server_lacks_or_refuses_is_told_apart(script: Script, scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerVersionError, match=r"/rest/scheduler/nothing.*13\.0\.3"):
        scheduler._rest.call("GET", "/rest/scheduler/nothing")
    unknown = script(submit, "--status", 999999)
    assert (unknown.code, unknown.out) == (2, "")
    assert "The job represented by this ID '999999' is unknown" in unknown.err


def test_the_resource_manager_tells_its_nodes(scheduler: Scheduler) -> None:
    full = scheduler.resources.monitoring_full()
    assert full["nodesEvents"]
    found = scheduler.resources.monitoring(-1)
    assert scheduler.resources.monitoring(found["latestCounter"])["nodesEvents"] == []
    url = full["nodesEvents"][0]["nodeUrl"]
    scheduler.resources.add_token(url, "client-tests")
    assert scheduler.resources.tokens() == ["client-tests"]
    scheduler.resources.remove_token(url, "client-tests")
    assert scheduler.resources.tokens() == []
    assert scheduler.resources.node_sources()
    assert scheduler.resources.topology()["hosts"]


def test_the_documented_curl_lines_work(served: Served, tmp_path: Path, scheduler: Scheduler) -> None:
    """As they stand in the page, but for the URL, the user and the job's number."""
    scheduler.catalog.create_bucket("network-overlay")
    spec = FLOW.replace(b'name="TEXT"', b'name="SPEC"')
    scheduler.catalog.add("network-overlay", "Deploy_Overlay", "Workflow/standard", spec, "application/xml", "first")
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "Measure_Overlay.xml").write_bytes(FLOW)
    (tmp_path / "overlay.yaml").write_text("version: 1\n")
    (tmp_path / "passphrase.txt").write_text("pass phrase")
    (tmp_path / ".proactive-password").write_text(served.password)
    job = scheduler.submit(FLOW.replace(b'"Work"', b'"Provision_Gateway"').replace(b'"Page"', b'"Report_Overlay"'))
    scheduler.wait(job, deadline_s=60)
    block = next(part for part in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) if "/rest/scheduler/login" in part)
    lines = re.sub(r"^URL=.*", f"URL={served.url}", block, flags=re.MULTILINE).replace(
        "username=ada", f"username={served.user}"
    )
    lines = lines.replace("jobs/7/", f"jobs/{job}/").replace("curl -sS ", "curl -sS --fail-with-body ")
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        env=environment,
        text=True,
        capture_output=True,
        timeout=180,
        cwd=tmp_path,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert (tmp_path / "report.html").read_bytes() == b"<b>hi</b>"
    assert scheduler.credentials() == ["OVERLAY_PASSPHRASE"]
    assert scheduler.download_file("user", "overlay.yaml") == b"version: 1\n"
    of_catalog, of_file = sorted(scheduler.jobs(2), key=lambda each: each.id)
    assert (of_catalog.name, of_catalog.variables["SPEC"]) == ("Deploy_Overlay", "version: 1\n")
    assert (of_file.variables["OVERLAY"], of_file.generic["NODE_SOURCE"]) == ("demo", "campus")
    for each in (of_catalog, of_file):
        scheduler.kill(each.id)
