"""Jobs are submitted, run, tell what they left, and do what is asked of them."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints import Served
from tests.engine.conftest import held, task, variables, workflow

SLEEP = "import time; print('begin', flush=True); time.sleep(600)"


def put(served: Served, path: str) -> Any:
    answer = served.ask("PUT", f"/rest/scheduler/jobs/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def until_task(served: Served, job: int, name: str, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        info: dict[str, Any] = served.get(f"/jobs/{job}/tasks/{name}")["taskInfo"]
        if info["taskStatus"] == status:
            return info
        assert time.monotonic() < deadline, info
        time.sleep(0.02)


# What a job leaves


def test_a_job_is_submitted_runs_and_answers(served: Served) -> None:
    plan = task("Plan", 'print("planned"); result = {"links": [1, 2]}; resultMap.put("n", 2)')
    page = 'result = b"<b>hi</b>"; resultMetadata.put("content.type", "text/html")'
    job = served.submit(workflow(plan, task("Page", page, after="Plan", preciousResult="true")))
    info = served.until(job)
    assert (info["status"], info["numberOfFinishedTasks"], info["numberOfFaultyTasks"]) == ("FINISHED", 2, 0)
    assert (info["preciousTasks"], info["resultMapPresent"], info["jobOwner"]) == (["Page"], True, "admin")
    assert info["submittedTime"] <= info["startTime"] <= info["finishedTime"]
    assert served.get(f"/jobs/{job}/tasks/Plan/result/value") == "{links=[1, 2]}"
    assert served.get(f"/jobs/{job}/tasks/Plan/result/log/all").startswith(f"[{job}t0@localhost;")
    assert served.get(f"/jobs/{job}/resultmap") == {"n": "2"}
    result = served.get(f"/jobs/{job}/result")
    assert result["allResults"]["Plan"]["output"] == {"stdoutLogs": "planned\n", "stderrLogs": ""}
    assert base64.b64decode(result["allResults"]["Page"]["serializedValue"]) == b"<b>hi</b>"
    assert list(result["preciousResults"]) == ["Page"]
    page_file = served.ask("GET", f"/rest/scheduler/jobs/{job}/tasks/Page/result/download")
    assert (page_file.headers["content-type"], page_file.content) == ("text/html", b"<b>hi</b>")
    text = served.ask("GET", f"/rest/scheduler/jobs/{job}/tasks/Plan/result/download")
    assert (text.headers["content-type"].split(";")[0], text.text) == ("text/plain", "{links=[1, 2]}")


def test_of_a_faulty_task_the_value_says_why_and_java_finds_an_exception(served: Served) -> None:
    job = served.submit(workflow(task("T", 'raise ValueError("boom")'), task("U", "result = results[0].hadException()",
                                                                              after="T")))  # fmt: skip
    info = served.until(job)
    assert (info["status"], info["numberOfFinishedTasks"], info["numberOfFaultyTasks"]) == ("FINISHED", 2, 1)
    value = served.get(f"/jobs/{job}/tasks/T/result/value")
    assert value == "Failed to execute task: Python process execution has failed with exit code 1"
    result = served.get(f"/jobs/{job}/result")
    assert list(result["exceptionResults"]) == ["T"]
    assert b"java.lang.Exception" in base64.b64decode(result["exceptionResults"]["T"]["serializedException"])
    assert "ValueError: boom" in served.get(f"/jobs/{job}/tasks/T/result/log/err")
    assert served.get(f"/jobs/{job}/tasks/T/result/log/out") == "\n"


def test_names_of_replicas_and_iterations_are_found_in_the_path(served: Served) -> None:
    loop = task("L", "result = variables.get('PA_TASK_ITERATION')", flow='loop target="L": loop = result < 1')
    job = served.submit(
        workflow(task("A", flow="replicate: runs = 2"), task("B", after="A"), task("C", after="B"), loop)
    )
    served.until(job)
    assert served.get(f"/jobs/{job}/tasks/B%2A1")["replicationIndex"] == 1
    assert served.get(f"/jobs/{job}/tasks/B*1")["name"] == "B*1"
    assert served.get(f"/jobs/{job}/tasks/L%231/result/value") == "1"
    assert served.get(f"/jobs/{job}/taskstates")["size"] == 6


def test_tasks_reach_the_endpoint_that_runs_them_with_a_session_of_the_jobs_owner(served: Served) -> None:
    code = (
        "import requests\nschedulerapi.connect()\n"
        "url, session = variables.get('PA_SCHEDULER_REST_URL'), schedulerapi.getSession()\n"
        "answer = requests.get(url + '/scheduler/logins/sessionid/' + session, headers={'sessionid': session})\n"
        "catalog = variables.get('PA_CATALOG_REST_URL')\n"
        "result = answer.text, schedulerapi.isConnected(), variables.get('PA_USER'), catalog"
    )
    job = served.submit(workflow(task("T", code), task("U", "schedulerapi.connect(); schedulerapi.getJobs()")))
    served.until(job)
    assert served.get(f"/jobs/{job}/tasks/T/result/value") == f"[admin, true, admin, {served.url}/catalog]"
    assert "schedulerapi.getJobs" in served.get(f"/jobs/{job}/tasks/U/result/log/err")


def test_what_runs_has_no_result_yet_and_its_lines_come_live(served: Served) -> None:
    job = served.submit(workflow(task("T", SLEEP)))
    assert served.get(f"/jobs/{job}/livelog/available") == -1
    assert served.get(f"/jobs/{job}/livelog") == ""
    deadline = time.monotonic() + 60
    while "begin" not in (live := served.get(f"/jobs/{job}/livelog", params={"allLogs": "true"})):
        assert time.monotonic() < deadline, live
    for path in ("result", "tasks/T/result"):
        assert served.get(f"/jobs/{job}/{path}/log/all") == ""
    for path in ("result", "result/value", "tasks/T/result", "tasks/T/result/value"):
        assert served.ask("GET", f"/rest/scheduler/jobs/{job}/{path}").status_code == 204
    assert served.ask("DELETE", f"/rest/scheduler/jobs/{job}/livelog").json() is True
    put(served, f"{job}/kill")


# What is asked of it


def test_a_job_that_is_killed_takes_its_processes_down(served: Served, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    job = served.submit(workflow(task("T", f"import os; open({str(pid)!r}, 'w').write(str(os.getpid())); {SLEEP}"),
                                 task("U", after="T")))  # fmt: skip
    until_task(served, job, "T", "RUNNING")
    deadline = time.monotonic() + 60
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < deadline
    assert put(served, f"{job}/kill") is True
    info = served.until(job, "KILLED")
    assert (info["numberOfRunningTasks"], info["numberOfFinishedTasks"]) == (0, 0)
    assert served.get(f"/jobs/{job}/tasks/U")["taskInfo"]["taskStatus"] == "NOT_STARTED"
    served.until(job)
    assert not Path(f"/proc/{pid.read_text()}").exists()
    assert put(served, f"{job}/kill") is False
    assert "TaskAbortedException" in served.get(f"/jobs/{job}/tasks/T/result/value")
    assert "TaskCouldNotStartException" in served.get(f"/jobs/{job}/tasks/U/result/value")


def test_a_task_that_is_killed_is_faulty_and_its_job_goes_on(served: Served) -> None:
    job = served.submit(workflow(task("T", SLEEP, maxNumberOfExecution=3), task("U", after="T")))
    until_task(served, job, "T", "RUNNING")
    assert put(served, f"{job}/tasks/T/kill") is True
    assert served.until(job)["numberOfFaultyTasks"] == 1
    assert served.get(f"/jobs/{job}/tasks/T/result/value").startswith(
        "TaskAbortedException: The task has been manually"
    )
    assert put(served, f"{job}/tasks/U/kill") is False


@pytest.mark.parametrize(("verdict", "executions", "runs"), [("restart", 2, 2), ("preempt", 1, 2), ("restart", 1, 1)])
def test_a_running_task_is_run_once_more(
    served: Served, tmp_path: Path, verdict: str, executions: int, runs: int
) -> None:
    trace = tmp_path / "trace"
    code = (
        f"import os, time\nopen({str(trace)!r}, 'a').write('x')\n"
        f"if os.path.getsize({str(trace)!r}) < 2: time.sleep(600)"
    )
    job = served.submit(workflow(task("T", code, maxNumberOfExecution=executions, taskRetryDelay=1)))
    deadline = time.monotonic() + 60
    while not trace.exists() or not trace.read_text():
        assert time.monotonic() < deadline
    assert put(served, f"{job}/tasks/T/{verdict}") is True
    assert served.until(job)["numberOfFaultyTasks"] == (0 if runs == 2 else 1)
    assert trace.read_text() == "x" * runs
    if runs == 1:
        assert served.get(f"/jobs/{job}/tasks/T/result/value") == "TaskRestartedException: Aborted by user"


def test_a_paused_job_starts_no_further_task_until_it_is_resumed(served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job = served.submit(workflow(task("A", held(go)), task("B", after="A")))
    until_task(served, job, "A", "RUNNING")
    assert put(served, f"{job}/pause") is True
    go.touch()
    until_task(served, job, "A", "FINISHED")
    info = served.get(f"/jobs/{job}/info")
    assert (info["status"], served.get(f"/jobs/{job}/tasks/B")["taskInfo"]["taskStatus"]) == ("PAUSED", "PAUSED")
    assert put(served, f"{job}/resume") is True
    assert served.until(job)["status"] == "FINISHED"


def test_tasks_in_error_are_restarted_or_taken_for_done(served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    flaky = f"import os\nassert os.path.exists({str(go)!r})"
    job = served.submit(workflow(task("A", flaky, onTaskError="suspendTask"), task("B", after="A"),
                                 task("C", "1/0", onTaskError="suspendTask"), task("D", after="C")))  # fmt: skip
    for name in "AC":
        assert until_task(served, job, name, "IN_ERROR")["inErrorTime"] > 0
    assert served.get(f"/jobs/{job}/info")["status"] == "IN_ERROR"
    assert put(served, f"{job}/tasks/C/finishInErrorTask") is True
    until_task(served, job, "D", "FINISHED")
    assert served.get(f"/jobs/{job}/info")["status"] == "IN_ERROR"
    go.touch()
    assert put(served, f"{job}/restartAllInErrorTasks") is True
    info = served.until(job)
    assert (info["status"], info["numberOfFaultyTasks"], info["numberOfInErrorTasks"]) == ("FINISHED", 0, 0)
    assert put(served, f"{job}/restartAllInErrorTasks") is False


def test_a_job_paused_by_an_error_reruns_the_task_and_stays_paused_until_it_is_resumed(
    served: Served, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    job = served.submit(workflow(task("A", f"import os\nassert os.path.exists({str(go)!r})", onTaskError="pauseJob"),
                                 task("B", after="A")))  # fmt: skip
    served.until(job, "PAUSED")
    go.touch()
    assert put(served, f"{job}/restartAllInErrorTasks") is True
    until_task(served, job, "A", "FINISHED")
    assert served.get(f"/jobs/{job}/info")["status"] == "PAUSED"
    assert put(served, f"{job}/resume") is True
    assert served.until(job)["status"] == "FINISHED"


def test_no_job_is_ever_ready_for_a_signal(served: Served) -> None:
    job = served.submit(workflow(task("A")))
    answer = served.ask("POST", f"/rest/scheduler/job/{job}/signals?signal=go")
    assert (answer.status_code, "is not ready to receive the signal" in answer.json()["errorMessage"]) == (500, True)


def test_jobs_that_have_not_ended_are_listed_first_then_the_newest(served: Served) -> None:
    running = served.submit(workflow(task("A", SLEEP)))
    ended = [served.submit(workflow(task("A"))) for _ in range(2)]
    for job in ended:
        served.until(job)
    until_task(served, running, "A", "RUNNING")
    listed = served.get("/jobs", params={"index": 0, "range": 3})["list"]
    assert listed == [str(running), *map(str, reversed(ended))]
    assert [each["jobid"] for each in served.get("/jobsinfo", params={"index": 1, "range": 2})["list"]] == listed[1:]
    put(served, f"{running}/kill")


# Which goes first


def test_higher_priorities_go_first_and_a_job_that_waits_for_a_token_or_a_moment_holds_nobody_up(
    served: Served, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    code = f"open({str(trace)!r}, 'a').write(variables.get('WHO') + ' ')"
    waiting = '<genericInformation><info name="{}" value="{}"/></genericInformation>'
    token = served.submit(workflow(task("A"), head=waiting.format("NODE_ACCESS_TOKEN", "nowhere")))
    later = served.submit(workflow(task("A"), head=waiting.format("START_AT", "2999-01-01T00:00:00+00:00")))
    go, one = tmp_path / "go", tmp_path / "one"
    blockers = [served.submit(workflow(task("A", held(file)))) for file in (one, *[go] * 7)]
    for job in blockers:
        served.until(job, "RUNNING")
    jobs = [
        served.submit(workflow(task("A", code), head=variables(WHO=who), priority=who))
        for who in ("lowest", "normal", "highest")
    ]
    assert {served.get(f"/jobs/{job}/info")["status"] for job in jobs} == {"PENDING"}
    one.touch()  # on one node, one after the other
    for job in jobs:
        served.until(job)
    assert trace.read_text().split() == ["highest", "normal", "lowest"]
    go.touch()
    for job in (token, later):
        assert served.get(f"/jobs/{job}/info")["status"] == "PENDING"
        assert put(served, f"{job}/kill") is True
        assert served.until(job)["status"] == "KILLED"
