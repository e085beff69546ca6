"""Failures, retries, walltimes, kills, and engines that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.engine import descriptor
from proactive_tasks.engine.observer import Silent
from proactive_tasks.engine.process import ForkServer
from proactive_tasks.engine.run import JobRunner
from proactive_tasks.store.database import Database
from proactive_tasks.store.jobs import INTERRUPTED, Jobs
from tests.engine.conftest import held, script, task, workflow

Ran = Callable[..., Any]
SLEEPER = "import subprocess\np = subprocess.Popen(['sleep', '600'])\nopen({!r}, 'w').write(str(p.pid))\np.wait()"


def test_a_job_with_a_faulty_task_is_finished_all_the_same(ran: Ran) -> None:
    ended = ran(task("A", "raise ValueError()"), task("B", "print(results[0].hadException())", after="A"))
    assert (ended.status, ended.tasks["A"], ended.printed("B")) == ("FINISHED", "FAULTY", ["True"])


def test_the_value_of_a_failed_parent_raises(ran: Ran) -> None:
    code = "try:\n    results[0].value()\nexcept Exception as e:\n    print(type(e).__name__)"
    assert ran(task("A", "raise ValueError()"), task("B", code, after="A")).printed("B") == ["Py4JJavaError"]


def test_a_language_that_no_scheduler_has_fails_its_task(ran: Ran) -> None:
    main = f"<scriptExecutable>{script('1', 'python3')}</scriptExecutable>"
    flow = f"<controlFlow><replicate>{script('runs = 2', 'javascript')}</replicate></controlFlow>"
    ended = ran(
        f'<task name="A">{main}</task>',
        task("B").replace("</task>", f"{flow}</task>"),
        task("C", after="B"),
        task("D", "print(len(results))", after="C A"),
    )
    assert ended.errors == {
        "A": "Failed to execute task: No Script Engine Found for name or extension python3",
        "B": "Failed to execute flow script: No Script Engine Found for name or extension javascript",
    }
    assert (ended.status, ended.printed("D")) == ("FINISHED", ["2"])


def test_cancel_job_ends_everything_after_the_last_execution(ran: Ran, told: Path) -> None:
    ended = ran(
        task("F", f"print('try')\n{held(told / 'Done FINISHED')}raise ValueError()", onTaskError="cancelJob",
             maxNumberOfExecution=2, taskRetryDelay=1),
        task("Long", "import time\ntime.sleep(600)"),
        task("Done"),
        task("Next", after="F"),
    )  # fmt: skip
    assert ended.status == "CANCELED"
    assert ended.tasks == {"F": "FAULTY", "Long": "ABORTED", "Done": "FINISHED", "Next": "NOT_STARTED"}
    assert ended.printed("F").count("try") == 2


def test_suspend_stops_the_task_and_lets_the_others_go_on(ran: Ran, told: Path) -> None:
    ended = ran(
        task("F", "raise ValueError()", onTaskError="suspendTask"),
        task("Sibling", held(told / "F IN_ERROR")),
        task("Child", after="F"),
        task("Nephew", after="Sibling"),
    )
    assert ended.status == "IN_ERROR"
    assert ended.tasks == {"F": "IN_ERROR", "Sibling": "FINISHED", "Child": "SUBMITTED", "Nephew": "FINISHED"}


def test_pause_stops_what_has_not_begun(ran: Ran, told: Path) -> None:
    ended = ran(
        task("F", "raise ValueError()", onTaskError="pauseJob"),
        task("Sibling", held(told / "F IN_ERROR")),
        task("Nephew", after="Sibling"),
    )
    assert ended.status == "PAUSED"
    assert ended.tasks == {"F": "IN_ERROR", "Sibling": "FINISHED", "Nephew": "PAUSED"}


def test_a_retry_waits_at_least_its_delay(ran: Ran) -> None:
    code = "import os, time\nprint(time.time())\np = os.path.join(userspace, 'mark')\n"
    code += "if not os.path.exists(p):\n    open(p, 'w').close()\n    raise ValueError()\nresult = 'ok'"
    ended = ran(task("T", code, maxNumberOfExecution=3, taskRetryDelay=1))
    moments = [float(line) for line in ended.printed("T") if line.replace(".", "").isdigit()]
    assert ended.values["T"] == "ok"
    assert len(moments) == 2
    assert moments[1] - moments[0] >= 1


def test_walltime_kills_the_task_and_its_children_and_counts_per_execution(ran: Ran, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import subprocess, os, time\n"
        "p = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"open({str(pids)!r}, 'a').write(f'{{p.pid}} ')\n"
        "variables.put('v', 1)\ntime.sleep(600)"
    )
    ended = ran(task("T", code, walltime=1, maxNumberOfExecution=2, taskRetryDelay=1), task("U", after="T"))
    assert ended.tasks == {"T": "FAULTY", "U": "FINISHED"}
    assert ended.printed("T").count("Walltime of 1000 ms reached on task T") == 2
    started = pids.read_text().split()
    assert len(started) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


def test_a_kill_ends_tasks_and_what_they_started(database: Database, forks: ForkServer, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = SLEEPER.format(str(pid_file))
    source = workflow(task("T", code), task("U", after="T"))
    job_run = JobRunner(descriptor.load(source), "test", database, forks, {}, Silent(), 8)
    thread = threading.Thread(target=job_run.run)
    thread.start()
    _until(lambda: pid_file.exists() and pid_file.read_text() != "")
    job_run.cancel()
    thread.join(60)
    assert not thread.is_alive()
    assert str(job_run.job.status) == "KILLED"
    assert [str(each.status) for each in job_run.job.tasks] == ["ABORTED", "NOT_STARTED"]
    assert not Path(f"/proc/{pid_file.read_text()}").exists()
    record = Jobs(database).job(int(job_run.job.number))
    assert (record.status, record.finished is not None) == ("KILLED", True)


def _engine(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    temporary = tmp_path / "temporary"
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "OVERLAY_STORE": f"sqlite:///{tmp_path / 'killed.db'}", "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "proactive_tasks.cli", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_an_engine_killed_in_mid_job_leaves_a_record_and_no_process_and_a_rerun_completes(tmp_path: Path) -> None:
    pid_file, file = tmp_path / "pid", tmp_path / "job.xml"
    code = (
        f"import os, subprocess\nif os.path.exists({str(pid_file)!r}):\n    result = 'second'\nelse:\n"
        f"    print('begun', flush=True)\n    p = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"    open({str(pid_file)!r}, 'w').write(str(p.pid))\n    p.wait()"
    )
    file.write_bytes(workflow(task("First", "result = 1"), task("Second", code, after="First")))
    with (
        _engine(tmp_path, "run", str(file)) as engine,
        Database.open(f"sqlite:///{tmp_path / 'killed.db'}") as database,
    ):
        jobs = Jobs(database)
        _until(lambda: pid_file.exists() and pid_file.read_text() != "" and len(jobs.log(1)) == 1)
        assert jobs.job(1).status == "RUNNING"
        engine.send_signal(signal.SIGKILL)
        engine.wait(60)
        assert jobs.job(1).status == INTERRUPTED
        assert [(each.name, each.status, each.result) for each in jobs.tasks(1)] == [
            ("First", "FINISHED", "1"),
            ("Second", "RUNNING", None),
        ]
        assert [line.line for line in jobs.log(1)] == ["begun"]
        _until(lambda: not Path(f"/proc/{pid_file.read_text()}").exists())
        with _engine(tmp_path, "run", str(file), "--output", "json") as again:
            out, _ = again.communicate(timeout=60)
        assert not list((tmp_path / "temporary").iterdir())
        assert (again.returncode, '"status": "FINISHED"' in out) == (0, True)
        assert [job.status for job in jobs.jobs()] == ["FINISHED", INTERRUPTED]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_kills_the_job_and_the_command_fails(tmp_path: Path, number: signal.Signals) -> None:
    pid_file, file = tmp_path / "pid", tmp_path / "job.xml"
    code = SLEEPER.format(str(pid_file))
    file.write_bytes(workflow(task("T", code)))
    with _engine(tmp_path, "run", str(file), "--output", "json") as engine:
        _until(lambda: pid_file.exists() and pid_file.read_text() != "")
        engine.send_signal(number)
        out, _ = engine.communicate(timeout=60)
    assert engine.returncode == 1
    assert '"status": "KILLED"' in out
    assert not Path(f"/proc/{pid_file.read_text()}").exists()
