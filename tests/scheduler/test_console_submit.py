"""`scripts/submit` in this process, against a server that answers as a scheduler does."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.console import submit
from proactive_tasks.console.script import main
from proactive_tasks.scheduler.client import scheduler as client
from tests.commands import Said, call
from tests.scheduler.servers import PASSWORD, Answer, FakeServer, job_info, listed, refusal, task_state

XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<job xmlns="urn:proactive:jobdescriptor:3.13" name="Deploy_Overlay">
<variables><variable name="SPEC" value="a"/><variable name="STORE" value=""/><variable name="DRY_RUN" value="false"/>
<variable name="KEY" value="" model="PA:CREDENTIAL"/></variables>
<taskFlow><task name="T"><scriptExecutable><script><code language="cpython"><![CDATA[
from proactive_tasks.scheduler.binding import call
]]></code></script></scriptExecutable></task></taskFlow></job>"""
RAW = "/catalog/buckets/network-overlay/resources/Deploy_Overlay/raw"
JOBS = "/rest/scheduler/jobs"

Submit = Callable[..., Said]


@pytest.fixture
def scheduler(server: FakeServer) -> FakeServer:
    """A server whose catalog holds a workflow, which becomes job 7 and runs well."""
    server.on("GET", RAW, Answer(200, XML, "application/xml"))
    server.on("GET", "/rest/scheduler/credentials/", ["OVERLAY_PASSPHRASE", "OVERLAY_STORE_PASSWORD"])
    server.on("POST", f"{JOBS}/body", {"id": 7, "readableName": "Deploy_Overlay"})
    server.on("POST", "/rest/scheduler/submit", {"id": 7, "readableName": "Deploy_Overlay"})
    ends(server, "FINISHED", [task_state(0, "Plan", "FINISHED"), task_state(1, "Page", "FINISHED")],
         numberOfFinishedTasks=2, resultMapPresent=True, preciousTasks=["Page"])  # fmt: skip
    server.on("GET", f"{JOBS}/7/result/value", {"Plan": "{links=[1, 2]}", "Page": "[B@5c5ef9e9"})
    server.on("GET", f"{JOBS}/7/resultmap", {"links": "2"})
    server.on("GET", f"{JOBS}/7/tasks/Page/result/download", Answer(200, b"<b>hi</b>", "text/html"))
    server.on("GET", f"{JOBS}/7/tasks/Page/result/metadata", {"file.name": "page.html"})
    return server


def ends(server: FakeServer, status: str, tasks: list[dict[str, Any]], **values: Any) -> None:
    server.on("GET", f"{JOBS}/7/info", job_info(7, status, **values))
    server.on("GET", f"{JOBS}/7/taskstates", listed(*tasks))


@pytest.fixture
def run(scheduler: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Submit:
    monkeypatch.setenv("PROACTIVE_URL", scheduler.url)
    monkeypatch.setenv("PROACTIVE_PASSWORD", PASSWORD)
    for name in ("PROACTIVE_USER", "PROACTIVE_CREDENTIALS_FILE", "PROACTIVE_CA_FILE", "PROACTIVE_CATALOG_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Said:
        said = call(capsys, submit.NAME, partial(main, submit.app, submit.NAME), *arguments)
        assert PASSWORD not in said.out + said.err
        return said

    return run


refused = Said.refused


# Submitting


def test_a_name_is_submitted_from_the_catalog_and_its_number_told(run: Submit, scheduler: FakeServer) -> None:
    said = run("Deploy_Overlay", "-v", "DRY_RUN=true", "-g", "NODE_SOURCE=campus")
    assert (said.code, said.err) == (0, "")
    assert f"job 7 Deploy_Overlay: submitted, {scheduler.url}/rest/scheduler/jobs/7" in said.out
    assert "scripts/submit --follow 7" in said.out
    (asked,) = scheduler.requests("POST", f"{JOBS}/body")
    assert asked.headers["link"] == f"{scheduler.url}{RAW}"
    assert (asked.json, asked.query) == ({"DRY_RUN": "true"}, {"NODE_SOURCE": "campus"})
    assert json.loads(run("Deploy_Overlay", "-o", "json").out) == {
        "job": 7, "workflow": "Deploy_Overlay", "url": f"{scheduler.url}/rest/scheduler/jobs/7",
    }  # fmt: skip


def test_a_file_is_submitted_as_it_is(run: Submit, scheduler: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "mine.xml"
    file.write_bytes(XML)
    assert run(file).code == 0
    assert scheduler.requests("POST", "/rest/scheduler/submit")[0].parts[0][3] == XML


def test_a_value_comes_from_a_file_or_begins_with_an_at(run: Submit, scheduler: FakeServer, tmp_path: Path) -> None:
    spec = tmp_path / "overlay.yaml"
    spec.write_text("version: 1\noverlay: zürich\n")
    assert run("Deploy_Overlay", "-v", f"SPEC=@{spec}", "-v", "STORE=@@here", "-v", "DRY_RUN=a=@b").code == 0
    assert scheduler.requests("POST", f"{JOBS}/body")[0].json == {
        "SPEC": "version: 1\noverlay: zürich\n", "STORE": "@here", "DRY_RUN": "a=@b",
    }  # fmt: skip


def test_a_file_goes_into_a_data_space_first(run: Submit, scheduler: FakeServer, tmp_path: Path) -> None:
    spec = tmp_path / "big.yaml"
    spec.write_text("version: 1\n")
    scheduler.on("PUT", "/rest/data/user/specs/big.yaml", Answer(201))
    said = run("Deploy_Overlay", "--upload", f"{spec}=user:specs/big.yaml", "-v", "SPEC=user:specs/big.yaml")
    assert said.code == 0
    assert [each.method for each in scheduler.asked if "data" in each.path or "body" in each.path] == ["PUT", "POST"]
    assert run("--upload", f"{spec}=user:specs/big.yaml").code == 0


# Following


def test_waiting_shows_tasks_results_and_files(run: Submit, scheduler: FakeServer, tmp_path: Path) -> None:
    running = job_info(7, "RUNNING", numberOfRunningTasks=1)
    done = job_info(7, "FINISHED", numberOfFinishedTasks=2, resultMapPresent=True, preciousTasks=["Page"])
    scheduler.on("GET", f"{JOBS}/7/info", running, done)
    ended = listed(task_state(0, "Plan", "FINISHED"), task_state(1, "Page", "FINISHED"))
    scheduler.on(
        "GET",
        f"{JOBS}/7/taskstates",
        listed(task_state(0, "Plan", "RUNNING"), task_state(1, "Page", "SUBMITTED")),
        ended,
    )
    said = run("Deploy_Overlay", "--wait", "--results", tmp_path / "results")
    assert said.code == 0
    assert [line.split(maxsplit=1)[1] for line in said.err.splitlines()] == [
        "job 7 Deploy_Overlay: RUNNING",
        "Plan: RUNNING on 127.0.0.1 (local-0)",
        "Plan: FINISHED after 2.85 s",
        "Page: FINISHED after 2.85 s",
        "job 7 Deploy_Overlay: FINISHED",
    ]
    for word in ("Plan", "FINISHED", "{links=[1, 2]}", "links", "written: "):
        assert word in said.out
    assert (tmp_path / "results" / "page.html").read_bytes() == b"<b>hi</b>"
    assert json.loads((tmp_path / "results" / "result_map.json").read_text()) == {"links": "2"}


def test_a_terminal_shows_what_runs_now(scheduler: FakeServer) -> None:
    shown = threading.Event()
    running = job_info(7, "RUNNING", numberOfRunningTasks=1, numberOfFinishedTasks=1)
    halfway = listed(task_state(0, "Plan", "FINISHED"), task_state(1, "Page", "RUNNING", progress=30))
    done = job_info(7, "FINISHED", numberOfFinishedTasks=2)
    ended = listed(task_state(0, "Plan", "FINISHED"), task_state(1, "Page", "FINISHED"))
    scheduler.on("GET", f"{JOBS}/7/info", lambda _: done if shown.is_set() else running)
    scheduler.on("GET", f"{JOBS}/7/taskstates", lambda _: ended if shown.is_set() else halfway)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "proactive_tasks.console.submit", "--follow", "7"]
    environment = {**os.environ, "PROACTIVE_URL": scheduler.url, "PROACTIVE_PASSWORD": PASSWORD, "TERM": "xterm"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=slave) as following:
        os.close(slave)
        seen = b""
        while b"1 of 2 tasks: Page 30 %" not in seen:
            seen += os.read(master, 4096)
        shown.set()
        assert following.wait(60) == 0
    os.close(master)
    assert b"Plan: FINISHED after 2.85 s" in seen


def test_a_job_is_followed_by_its_number_and_told_as_json(run: Submit) -> None:
    said = run("--follow", 7, "--output", "json")
    found = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert (found["job"], found["succeeded"], found["causes"]) == (7, True, [])
    assert found["tasks"]["Plan"]["value"] == "{links=[1, 2]}"
    assert found["result_map"] == {"links": "2"}


def test_finished_with_a_faulty_task_is_no_success_and_names_it(run: Submit, scheduler: FakeServer) -> None:
    ends(scheduler, "FINISHED", [task_state(0, "Plan", "FINISHED"), task_state(1, "Provision_Gateway*1", "FAULTY")],
         numberOfFinishedTasks=1, numberOfFaultyTasks=1)  # fmt: skip
    log = "[7t1@localhost;03:23:08] connecting\n[7t1@localhost;03:23:09] Provision_Gateway: site rome: no answer\n"
    scheduler.on("GET", f"{JOBS}/7/tasks/Provision_Gateway%2A1/result/log/all", Answer(200, log, "text/plain"))
    java = "Failed to execute task: Python process execution has failed with exit code 1\n at org"
    scheduler.on("GET", f"{JOBS}/7/tasks/Provision_Gateway%2A1/result/value", Answer(200, java, "text/plain"))
    for asked in (("Deploy_Overlay", "--wait"), ("--status", 7)):
        said = run(*asked)
        assert said.code == 1
        first, second = [line for line in said.err.splitlines() if line.startswith("submit: ")]
        assert first == "submit: job 7 Deploy_Overlay: FINISHED, 1 of 2 tasks failed; scripts/submit --logs 7 shows all"
        assert second == "submit: Provision_Gateway*1: FAULTY: site rome: no answer"


def test_a_canceled_job_names_the_task_that_failed_and_not_those_that_followed(
    run: Submit, scheduler: FakeServer
) -> None:
    ends(
        scheduler,
        "CANCELED",
        [task_state(0, "Plan", "FAULTY"), task_state(1, "Page", "NOT_STARTED")],
        numberOfFaultyTasks=1,
    )
    scheduler.on(
        "GET",
        f"{JOBS}/7/tasks/Plan/result/log/all",
        Answer(200, "[7t0@h;03:23:08] Traceback\nValueError: boom\n", "text/plain"),
    )
    scheduler.on("GET", f"{JOBS}/7/tasks/Plan/result/value", Answer(200, "Failed: exit code 1", "text/plain"))
    said = run("--follow", 7, "-o", "json")
    assert said.code == 1
    assert json.loads(said.out)["causes"][1:] == ["Plan: FAULTY: ValueError: boom"]


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("Traceback (most recent call last):\n  File x\n    raise\nKeyError: 1\nFailed to execute: x\n", "KeyError: 1"),
        ("giving up\nFailed to execute task: code 3\n\tat org.ow2.x(Y.java:1)\norg.ow2.proactive.X: y\n", "giving up"),
        ("Plan: first\nPlan: second\nTraceback (most recent call last):\n  x\nKeyError\n", "second"),
        ("", "Failed to execute task: Python process execution has failed with exit code 1"),
    ],
)  # fmt: skip
def test_the_cause_is_the_most_telling_line(log: str, cause: str, run: Submit, scheduler: FakeServer) -> None:
    ends(scheduler, "CANCELED", [task_state(0, "Plan", "FAULTY")], numberOfFaultyTasks=1)
    scheduler.on("GET", f"{JOBS}/7/tasks/Plan/result/log/all", Answer(200, log, "text/plain"))
    java = "Failed to execute task: Python process execution has failed with exit code 1\n at org"
    scheduler.on("GET", f"{JOBS}/7/tasks/Plan/result/value", Answer(200, java, "text/plain"))
    assert run("--follow", 7).err.splitlines()[-1] == f"submit: Plan: FAULTY: {cause}"


def test_a_task_that_never_got_as_far_as_its_script_has_the_servers_word(run: Submit, scheduler: FakeServer) -> None:
    ends(scheduler, "CANCELED", [task_state(0, "Plan", "FAULTY")], numberOfFaultyTasks=1)
    scheduler.on("GET", f"{JOBS}/7/tasks/Plan/result/log/all", Answer(200, "", "text/plain"))
    scheduler.on("GET", f"{JOBS}/7/tasks/Plan/result/value", Answer(200, "No Script Engine Found\n at x", "text/plain"))
    assert "submit: Plan: FAULTY: No Script Engine Found\n" in run("--follow", 7).err


def test_a_killed_job_names_what_was_aborted(run: Submit, scheduler: FakeServer) -> None:
    ends(scheduler, "KILLED", [task_state(0, "Plan", "ABORTED")])
    said = run("--status", 7)
    assert said.code == 1
    assert "Plan: ABORTED" in said.err


def test_a_job_in_error_says_that_it_waits(run: Submit, scheduler: FakeServer) -> None:
    ends(scheduler, "IN_ERROR", [task_state(0, "Plan", "IN_ERROR")], numberOfInErrorTasks=1)
    scheduler.on("GET", f"{JOBS}/7/tasks/Plan/result/log/all", Answer(200, "Plan: no room\n", "text/plain"))
    scheduler.on("GET", f"{JOBS}/7/tasks/Plan/result/value", Answer(204))
    said = run("--follow", 7)
    assert said.code == 1
    assert "it waits for somebody to resume, repair or kill it" in said.err
    assert "Plan: IN_ERROR: no room" in said.err


def test_a_running_job_is_no_failure_to_show_with_what_it_has_so_far(run: Submit, scheduler: FakeServer) -> None:
    ends(scheduler, "RUNNING", [task_state(0, "Plan", "FINISHED"), task_state(1, "Page", "RUNNING")])
    scheduler.on("GET", f"{JOBS}/7/result/value", Answer(204))
    scheduler.on("GET", f"{JOBS}/7/tasks/Plan/result/value", Answer(200, "two links", "text/plain"))
    said = run("--status", 7)
    assert (said.code, said.err) == (0, "")
    assert "RUNNING" in said.out
    assert "two links" in said.out


def test_a_deadline_leaves_the_job_and_says_how_to_go_on(run: Submit, scheduler: FakeServer) -> None:
    ends(scheduler, "RUNNING", [task_state(0, "Plan", "RUNNING")], numberOfRunningTasks=1)
    said = run("Deploy_Overlay", "--wait", "--deadline", "0.3", "-o", "json")
    assert (said.code, said.out) == (1, "")
    assert "it goes on; follow it: scripts/submit --follow 7, kill it: scripts/submit --kill 7" in said.err
    assert not scheduler.requests("PUT", ".*kill")


def test_an_interrupt_leaves_the_job_and_says_how_to_go_on(
    run: Submit, scheduler: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    ends(scheduler, "RUNNING", [task_state(0, "Plan", "RUNNING")], numberOfRunningTasks=1)
    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(client.time, "sleep", interrupted)
    said = run("--follow", 7, "-o", "json")
    assert said.code == 130
    assert said.err == "submit: job 7 goes on; follow it: scripts/submit --follow 7, kill it: scripts/submit --kill 7\n"
    assert not scheduler.requests("PUT", ".*kill")
    assert not scheduler.sessions


# Results as files


@pytest.mark.parametrize("name", ["../../evil.html", "/etc/evil.html", "..\\..\\evil.html", "a/../evil.html"])
def test_no_result_is_written_outside_its_folder(name: str, run: Submit, scheduler: FakeServer, tmp_path: Path) -> None:
    scheduler.on("GET", f"{JOBS}/7/tasks/Page/result/metadata", {"file.name": name})
    folder = tmp_path / "a" / "b" / "results"
    assert run("--follow", 7, "--results", folder).code == 0
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == ["evil.html", "result_map.json"]
    assert (folder / "evil.html").read_bytes() == b"<b>hi</b>"


@pytest.mark.parametrize(
    ("said", "kind", "content", "name"),
    [
        ("", "text/html", b"<b>", "Page.html"), ("", "text/plain", b'{"a": 1}', "Page.json"),
        ("", "text/plain;charset=utf-8", b"{a=1}", "Page.txt"), ("", "application/x-unknown", b"", "Page"),
        ("..", "text/html", b"", "Page"), ("/", "text/html", b"", "Page"), (".", "text/html", b"", "Page"),
        ("\0", "text/html", b"", "_"), (".bashrc", "text/plain", b"", "bashrc"),
    ],
)  # fmt: skip
def test_a_result_without_a_name_gets_its_tasks(
    said: str, kind: str, content: bytes, name: str, run: Submit, scheduler: FakeServer, tmp_path: Path
) -> None:
    scheduler.on("GET", f"{JOBS}/7/tasks/Page/result/metadata", {"file.name": said})
    scheduler.on("GET", f"{JOBS}/7/tasks/Page/result/download", Answer(200, content, kind))
    assert run("--follow", 7, "--results", tmp_path).code == 0
    assert {file.name for file in tmp_path.iterdir()} == {"result_map.json", name}


def test_the_results_of_this_packages_tasks_are_told_in_their_words(run: Submit, scheduler: FakeServer) -> None:
    ours = json.dumps({"task": "x", "difference": ["make a", "make b"], "warnings": ["c is old"]})
    scheduler.on("GET", f"{JOBS}/7/result/value", {"Plan": ours, "Page": "[B@5c5ef9e9"})
    shown = run("--follow", 7).out
    assert "make a; make b; warning: c is old" in shown
    assert "a document" in shown
    scheduler.on("GET", f"{JOBS}/7/result/value", {"Plan": '{"difference": []}', "Page": "[1, 2]"})
    shown = run("--follow", 7).out
    assert "nothing to change" in shown
    assert "[1, 2]" in shown


def test_two_results_of_one_name_are_two_files(run: Submit, scheduler: FakeServer, tmp_path: Path) -> None:
    ends(scheduler, "FINISHED", [task_state(0, "Page", "FINISHED"), task_state(1, "Page*1", "FINISHED")],
         preciousTasks=["Page", "Page*1"])  # fmt: skip
    scheduler.on("GET", f"{JOBS}/7/tasks/Page%2A1/result/download", Answer(200, b"other", "text/html"))
    scheduler.on("GET", f"{JOBS}/7/tasks/Page%2A1/result/metadata", {"file.name": "page.html"})
    assert run("--follow", 7, "--results", tmp_path).code == 0
    assert (tmp_path / "page.html").read_bytes() == b"<b>hi</b>"
    assert (tmp_path / "Page_1-page.html").read_bytes() == b"other"


def test_a_link_in_the_folder_is_replaced_and_not_followed(run: Submit, tmp_path: Path) -> None:
    target, folder = tmp_path / "target", tmp_path / "results"
    target.write_text("mine")
    folder.mkdir()
    (folder / "page.html").symlink_to(target)
    assert run("--follow", 7, "--results", folder).code == 0
    assert target.read_text() == "mine"
    assert stat.S_ISREG((folder / "page.html").lstat().st_mode)


def test_a_folder_that_cannot_be_made_is_refused(run: Submit, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = run("--follow", 7, "--results", tmp_path / "file", "-o", "json")
    refused(said, "--results")


# Looking, and ending


def test_logs_are_of_a_job_or_of_a_task_that_it_has(run: Submit, scheduler: FakeServer) -> None:
    """The server has no log of a job that is not over, as of one in error; its tasks' logs it has."""
    failed, silent, waiting = (
        task_state(n, *each) for n, each in enumerate((("Plan", "IN_ERROR"), ("Page", "FINISHED"), ("X", "SUBMITTED")))
    )
    ends(scheduler, "IN_ERROR", [silent, failed, waiting], numberOfInErrorTasks=1)
    scheduler.on("GET", f"{JOBS}/7/tasks/Plan/result/log/all", Answer(200, "plan\n", "text/plain"))
    scheduler.on("GET", f"{JOBS}/7/tasks/Page/result/log/all", Answer(200, "\n", "text/plain"))
    assert run("--logs", 7).out == "plan\n"
    assert run("--logs", 7, "--task", "Plan").out == "plan\n"
    refused(run("--logs", 7, "--task", "Nope"), "task 'Nope'", "Plan, Page, X")


def test_a_job_is_killed_once(run: Submit, scheduler: FakeServer) -> None:
    scheduler.on("PUT", f"{JOBS}/7/kill", True, False)
    assert run("--kill", 7).out == "job 7: killed\n"
    said = run("--kill", 7)
    assert (said.code, said.out) == (0, "job 7: was over: FINISHED\n")


def test_the_last_jobs_are_listed(run: Submit, scheduler: FakeServer) -> None:
    infos = [{"jobInfo": job_info(n, "FINISHED", numberOfFaultyTasks=n % 2)} for n in (8, 7)]
    scheduler.on("GET", "/rest/scheduler/jobsinfo", {"size": 2, "list": infos})
    assert "Deploy_Overlay" in run("--list").out
    found = json.loads(run("--list", "-o", "json").out)
    assert [(job["job"], job["succeeded"]) for job in found] == [(8, True), (7, False)]


def test_a_workflow_is_validated_and_not_submitted(run: Submit, scheduler: FakeServer) -> None:
    answers = [
        {"valid": True, "updatedVariables": {"SPEC": "b"}},
        {"valid": False, "errorMessage": "At [tag:job] : no"},
    ]
    scheduler.on("POST", "/rest/scheduler/validate.*", *answers)
    assert run("--validate", "Deploy_Overlay", "-v", "SPEC=b").out == "Deploy_Overlay: valid\n  SPEC=b\n"
    refused(run("--validate", "Deploy_Overlay"), "Deploy_Overlay: refused: At [tag:job] : no")
    assert not scheduler.requests("POST", f"{JOBS}/body")


# Credentials that the tasks will look for


def test_a_missing_passphrase_is_told_before_the_submission(run: Submit, scheduler: FakeServer) -> None:
    scheduler.on("GET", "/rest/scheduler/credentials/", [])
    said = run("Deploy_Overlay")
    assert said.code == 0
    assert said.err.startswith("submit: warning: credential OVERLAY_PASSPHRASE is not set")
    assert "scripts/credentials set OVERLAY_PASSPHRASE" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("postgresql://overlay@db/overlay", True), ("postgresql+psycopg://overlay@db/overlay", True),
        ("postgresql://overlay:word@db/overlay", False), ("postgresql://db/overlay", False),
        ("sqlite:////var/lib/overlay/store.db", False), ("", False),
    ],
)  # fmt: skip
def test_a_store_that_needs_a_password_is_told(store: str, told: bool, run: Submit, scheduler: FakeServer) -> None:
    scheduler.on("GET", "/rest/scheduler/credentials/", ["OVERLAY_PASSPHRASE"])
    assert ("OVERLAY_STORE_PASSWORD" in run("Deploy_Overlay", "-v", f"STORE={store}").err) == told


def test_a_credential_that_a_variable_names_is_told(run: Submit) -> None:
    assert "credential TOKEN is not set: variable KEY names it" in run("Deploy_Overlay", "-v", "KEY=TOKEN").err


def test_a_list_of_credentials_that_may_not_be_seen_stops_nothing(run: Submit, scheduler: FakeServer) -> None:
    scheduler.on("GET", "/rest/scheduler/credentials/", refusal(403, "not allowed"))
    said = run("Deploy_Overlay")
    assert said.code == 0
    assert "cannot be listed" in said.err


# Bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Deploy_Overlay", "-v", "SPEC"), ("-v 'SPEC'", "NAME=VALUE")),
        (("Deploy_Overlay", "-v", "=x"), ("NAME=VALUE",)),
        (("Deploy_Overlay", "-g", "a b=x"), ("-g 'a b=x'", "e.g. -g NODE_SOURCE=campus")),
        (("Deploy_Overlay", "-v", "SPEC=@none.yaml"), ("-v SPEC: file none.yaml", "No such file", "@@")),
        (("Deploy_Overlay", "-v", "DRYRUN=true"), ("no variable DRYRUN", "SPEC, STORE, DRY_RUN", "--undeclared")),
        (("Deploy_Overlay", "-v", f"SPEC={'x' * 100_001}"), ("SPEC has 100001 bytes", "data space")),
        (("none.xml",), ("workflow none.xml: No such file",)),
        (("specs/overlay.yaml",), ("hold no /",)),
        (("Deploy_Overlay", "--status", "7"), ("--status and WORKFLOW: one thing at a time",)),
        (("--follow", "7", "--deadline", "inf"), ("--deadline inf",)),
        (("--wait",), ("what shall be submitted?",)),
        (("--upload", "none=user:x"), ("--upload none", "is not there")),
        (("--upload", "x=y"), ("FILE=user:PATH",)),
        (("--list", "--ca-file", "a", "--insecure"), ("choose one",)),
        (("Deploy_Overlay", "--wait", "--results", __file__), ("--results ", "is no folder")),
        (("--list", "--ca-file", "none.pem"), ("CA file none.pem",)),
        (("--list", "--ca-file", __file__), ("holds no PEM certificates", "name a file that does")),
        (("--list", "--url", "nowhere"), ("URL 'nowhere'",)),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_a_line(
    arguments: tuple[str, ...], words: tuple[str, ...], run: Submit, scheduler: FakeServer
) -> None:
    refused(run(*arguments), *words)
    assert not scheduler.requests("POST", f"{JOBS}/.*")


def test_an_undeclared_variable_can_be_meant(run: Submit, scheduler: FakeServer) -> None:
    assert run("Deploy_Overlay", "-v", "EXTRA=1", "--undeclared").code == 0
    assert scheduler.requests("POST", f"{JOBS}/body")[0].json == {"EXTRA": "1"}


def test_a_file_that_is_no_job_is_refused(run: Submit, tmp_path: Path) -> None:
    for text, word in (("<job", "is no XML"), ("<jobs/>", "its root is <jobs>")):
        (tmp_path / "x.xml").write_text(text)
        refused(run(tmp_path / "x.xml"), "x.xml", word)


def test_a_value_that_is_no_text_is_refused(run: Submit, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    refused(run("Deploy_Overlay", "-v", f"SPEC=@{tmp_path / 'x.yaml'}"), "is not UTF-8 text")


def test_a_workflow_that_is_not_in_the_catalog_says_how_it_gets_there(run: Submit, scheduler: FakeServer) -> None:
    said = "Catalog Object is not found in bucket with name: 'network-overlay' for object name: 'Nope'"
    scheduler.on("GET", "/catalog/buckets/network-overlay/resources/Nope/raw", refusal(404, said))
    refused(run("Nope"), "workflow Nope is not in bucket network-overlay", "scripts/import_catalog", "--bucket")


def test_a_value_out_of_its_model_is_bad_input(run: Submit, scheduler: FakeServer) -> None:
    scheduler.on(
        "POST", f"{JOBS}/body", refusal(400, "a.b.JobValidationException: At [tag:job] : Variable 'DRY_RUN': no")
    )
    refused(
        run("Deploy_Overlay", "-v", "DRY_RUN=perhaps"), "Deploy_Overlay: refused: At [tag:job] : Variable 'DRY_RUN'"
    )


def test_an_unknown_job_is_bad_input(run: Submit, scheduler: FakeServer) -> None:
    unknown = refusal(404, "a.b.UnknownJobException: The job represented by this ID '9' is unknown !")
    for method, path in (("GET", "9/info"), ("PUT", "9/kill")):
        scheduler.on(method, f"{JOBS}/{path}", unknown)
    for option in ("--status", "--logs", "--kill", "--follow"):
        refused(run(option, 9), "'9' is unknown")


@pytest.mark.parametrize("words", ["--list", "Deploy_Overlay", "FILE", "--upload FILE=user:x", "--status 7"])
def test_a_wrong_password_is_bad_input(
    words: str, run: Submit, scheduler: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The server's answer is the 404 of an unknown job or object, which it must not be taken for."""
    monkeypatch.setenv("PROACTIVE_PASSWORD", "wrong")
    file = tmp_path / "flow.xml"
    file.write_bytes(XML)
    refused(run(*words.replace("FILE", str(file)).split()), "user admin cannot log in: Authentication failed")
    assert len(scheduler.requests("POST", ".*/login")) == 1


def test_the_password_comes_from_a_file_too(run: Submit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PROACTIVE_PASSWORD")
    file = tmp_path / "password"
    monkeypatch.setenv("PROACTIVE_PASSWORD_FILE", str(file))
    refused(run("--status", 7), f"password file {file}: No such file")
    file.write_text("\n")
    refused(run("--status", 7), "is empty")
    file.write_text(f"{PASSWORD}\n")
    assert run("--status", 7).code == 0


def test_a_password_that_is_nowhere_is_asked_for_only_on_a_terminal(
    run: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROACTIVE_PASSWORD")
    monkeypatch.delenv("PROACTIVE_PASSWORD_FILE", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    refused(run("--list"), "PROACTIVE_PASSWORD_FILE")


def test_a_server_that_is_down_is_one_line_and_no_bad_input(run: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proactive_tasks.scheduler.client.rest.FIRST_PATIENCE_S", 0.2)
    said = run("--list", "--url", "http://127.0.0.1:1")
    assert (said.code, said.out, len(said.err.splitlines())) == (1, "", 1)
    assert "does not answer" in said.err
