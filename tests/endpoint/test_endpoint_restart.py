"""No job is lost when the endpoint ends, however it ends."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.endpoints import Served, serving
from tests.engine.conftest import held, task, workflow

SECRET = "hush hush secret"
DONE = {"result": True, "errorMessage": "", "stackTrace": ""}
FORM = {
    "infrastructureType": "org.ow2.proactive.resourcemanager.nodesource.infrastructure.LocalInfrastructure",
    "infrastructureParameters": ["2", "30000", ""],
    "policyType": "org.ow2.proactive.resourcemanager.nodesource.policy.StaticPolicy",
    "policyParameters": ["ALL", "ME"],
}


def _mark(file: Path, word: str) -> str:
    return f"open({str(file)!r}, 'a').write({word!r} + '\\n')"


def _wait_for(file: Path, word: str) -> None:
    deadline = time.monotonic() + 60
    while not file.exists() or word not in file.read_text():
        assert time.monotonic() < deadline, f"{word} was not written in time"
        time.sleep(0.01)


def test_a_hundred_jobs_all_end_although_the_endpoint_is_killed_in_the_middle(tmp_path: Path) -> None:
    done = tmp_path / "done"
    source = workflow(
        task("A", 'variables.put("X", variables.get("PA_JOB_ID")); result = 1'),
        task("B", f'{_mark(done, "end")}; result = variables.get("X")', after="A"),
    )
    with serving(tmp_path) as first:
        with ThreadPoolExecutor(8) as pool:
            jobs = list(pool.map(lambda _: first.submit(source), range(100)))
        _wait_for(done, "end\n" * 10)
        first.end(signal.SIGKILL)
    assert len(set(jobs)) == 100
    with serving(tmp_path) as second:
        for job in jobs:
            info = second.until(job, "FINISHED", seconds=120)
            assert (info["numberOfFinishedTasks"], info["numberOfFaultyTasks"], info["jobOwner"]) == (2, 0, "admin")
            assert second.get(f"/jobs/{job}/tasks/B/result/value") == str(job)
        assert second.get("/jobs")["size"] == 100


def test_node_sources_come_back_as_they_were_with_new_nodes(tmp_path: Path, store_url: str) -> None:
    def source(served: Served, what: str, name: str) -> None:
        verb = "PUT" if what == "undeploy" else "POST"
        form = {"name": name, "nodeSourceName": name, **FORM}
        assert served.ask(verb, f"/rest/rm/nodesource/{what}", data=form).json() in (True, DONE)

    with serving(tmp_path, OVERLAY_STORE=store_url) as first:
        for name in ("stays", "rests", "goes"):
            source(first, "create", name)
        source(first, "undeploy", "rests")
        source(first, "remove", "goes")
        first.end(signal.SIGKILL)
    with serving(tmp_path, OVERLAY_STORE=store_url) as second:
        found = {each["sourceName"]: each for each in second.ask("GET", "/rest/rm/nodesource").json()}
        nodes = second.ask("GET", "/rest/rm/monitoring/full").json()["nodesEvents"]
    told = {name: (each["nodeSourceStatus"], each["nodeSourceAdmin"]) for name, each in found.items()}
    assert told == {"LocalNodes": ("deployed", "rm"), "rests": ("undeployed", "admin"), "stays": ("deployed", "admin")}
    assert "[ALL], provider access type [ME]" in found["stays"]["nodeSourceDescription"]
    assert [each["nodeSource"] for each in nodes if each["nodeSource"] != "LocalNodes"] == ["stays"] * 2


def test_what_had_finished_stays_and_what_was_running_runs_anew(tmp_path: Path, store_url: str) -> None:
    trace, go = tmp_path / "trace", tmp_path / "go"
    wait = f"{_mark(trace, 'B begins')}\n{held(go)}"
    source = workflow(
        task("A", f"{_mark(trace, 'A')}\nvariables.put('V', 7)\nresult = {{'runs': 3}}", flow="replicate: runs = 3"),
        task("B", f"{wait}result = variables.get('PA_TASK_REPLICATION')", after="A"),
        task("C", "result = [each.value() for each in results] + [variables.get('V')]", after="B"),
    )
    with serving(tmp_path, OVERLAY_STORE=store_url) as first:
        job = first.submit(source)
        _wait_for(trace, "B begins\n" * 3)
        before = first.until(job, "RUNNING")
        first.end(signal.SIGKILL)
    go.touch()
    with serving(tmp_path, OVERLAY_STORE=store_url) as second:
        info = second.until(job, "FINISHED")
        assert info["startTime"] == before["startTime"]
        assert second.get(f"/jobs/{job}/tasks")["list"] == ["A", "B", "C", "B*1", "B*2"]
        assert second.get(f"/jobs/{job}/tasks/C/result/value") == "[0, 1, 2, 7]"
        assert [
            state["taskInfo"]["numberOfExecutionLeft"] for state in second.get(f"/jobs/{job}/taskstates")["list"]
        ] == ([1] * 5)
    assert trace.read_text().split("\n").count("A") == 1
    assert trace.read_text().count("B begins") == 6


def test_a_clean_end_waits_for_no_task_exits_with_zero_and_loses_nothing(tmp_path: Path) -> None:
    trace, go = tmp_path / "trace", tmp_path / "go"
    source = workflow(task("A", f"{_mark(trace, 'A')}\n{held(go)}"))
    with serving(tmp_path) as first:
        job = first.submit(source)
        _wait_for(trace, "A")
        assert first.end(signal.SIGINT) == 0
    go.touch()
    with serving(tmp_path) as second:
        assert second.until(job)["status"] == "FINISHED"
    assert trace.read_text() == "A\nA\n"


def test_paused_and_suspended_jobs_wait_over_a_restart(tmp_path: Path) -> None:
    go = tmp_path / "go"
    flaky = f"import os\nassert os.path.exists({str(go)!r})"
    with serving(tmp_path) as first:
        suspended = first.submit(workflow(task("A", flaky, onTaskError="suspendTask"), task("B", after="A")))
        first.until(suspended, "IN_ERROR")
        first.end(signal.SIGKILL)
    go.touch()
    with serving(tmp_path) as second:
        assert second.until(suspended, "IN_ERROR")["numberOfInErrorTasks"] == 1
        assert second.ask("PUT", f"/rest/scheduler/jobs/{suspended}/tasks/A/restartInErrorTask").json() is True
        assert second.until(suspended)["status"] == "FINISHED"


def test_numbers_go_on_after_a_restart_even_where_the_last_job_was_removed(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        job = first.submit(workflow(task("A")))
        first.until(job)
        assert first.ask("DELETE", f"/rest/scheduler/jobs/{job}").json() is True
    with serving(tmp_path) as second:
        assert second.submit(workflow(task("A"))) == job + 1
        assert second.ask("GET", f"/rest/scheduler/jobs/{job}").status_code == 404


def test_nothing_secret_is_in_clear_in_the_store(tmp_path: Path) -> None:
    head = f'<variables><variable name="H" value="{SECRET}" model="PA:HIDDEN"/></variables>'
    with serving(tmp_path) as first:
        _credential(first, "KEY", SECRET + "!")
        job = first.submit(workflow(task("A", 'result = len(variables.get("H"))'), head=head))
        first.until(job)
        assert first.get(f"/jobs/{job}/tasks/A/result/value") == str(len(SECRET))
        assert first.get(f"/jobs/{job}")["jobInfo"]["variables"]["H"].startswith("ENC(")
        result = first.get(f"/jobs/{job}/tasks/A/result")
        assert result["propagatedVariables"]["H"].startswith("ENC(")
        assert SECRET not in json.dumps(result)
        first.end(signal.SIGKILL)
    with sqlite3.connect(tmp_path / "store.db") as database:
        dump = "\n".join(database.iterdump())
    database.close()
    assert "endpoint_credential" in dump
    for file in (*tmp_path.glob("store.db*"), *(tmp_path / "state").rglob("*")):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in dump
    assert SECRET.encode().hex().upper() not in dump.upper()
    key = tmp_path / "state" / "overlay" / "endpoint-key"
    assert key.stat().st_mode & 0o777 == 0o600


def _credential(served: Served, key: str, value: str) -> None:
    answer = served.ask("POST", f"/rest/scheduler/credentials/{key}", data={"value": value})
    assert answer.status_code == 204


def test_a_job_whose_key_is_lost_is_told_of_and_does_not_stop_the_others(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        lost = first.submit(workflow(task("A", "import time; time.sleep(600)")))
        first.until(lost, "RUNNING")
        first.end(signal.SIGKILL)
    (tmp_path / "state" / "overlay" / "endpoint-key").write_text("00" * 32)
    with serving(tmp_path) as second:
        assert second.until(lost)["status"] == "KILLED"
        assert second.until(second.submit(workflow(task("A"))))["status"] == "FINISHED"
    assert f"job {lost} cannot be carried on" in (tmp_path / "serve.err").read_text()


def test_an_endpoint_whose_process_for_tasks_was_killed_makes_another(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        assert first.until(first.submit(workflow(task("A"))))["numberOfFaultyTasks"] == 0
        children = Path(f"/proc/{first.process.pid}/task/{first.process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
            deadline = time.monotonic() + 60
            while (
                Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            ):  # its sockets are closed
                assert time.monotonic() < deadline
        assert children
        info = first.until(first.submit(workflow(task("A"), task("B", after="A"))))
        assert (info["status"], info["numberOfFaultyTasks"]) == ("FINISHED", 0)
