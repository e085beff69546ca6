"""The embedded engine's endpoint: how soon a job begins, a hundred at once, and the import of the whole catalog."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

OVERLAYCTL = str(Path(sys.executable).parent / "overlayctl")
DEADLINE_S = 120
CODE = "import time; result = time.time()"
TASK = (
    '<task name="{}">{}<scriptExecutable><script><code language="cpython">'
    f"{CODE}</code></script></scriptExecutable></task>"
)
JOB = (
    '<job xmlns="urn:proactive:jobdescriptor:3.13" name="Two_Tasks"><taskFlow>'
    + TASK.format("A", "")
    + TASK.format("B", '<depends><task ref="A"/></depends>')
    + "</taskFlow></job>"
)


class Client:
    """A session with an endpoint."""

    def __init__(self, url: str, password: str) -> None:
        self.server, self.url, self.session = url, f"{url}/rest/scheduler", requests.Session()
        answer = self.session.post(f"{self.url}/login", data={"username": "admin", "password": password}, timeout=30)
        self.session.headers["sessionid"] = answer.text

    def submit(self) -> int:
        """Submit the job; its number."""
        files = {"file": ("job.xml", JOB, "application/xml")}
        return int(self.session.post(f"{self.url}/submit", files=files, timeout=60).json()["id"])

    def value(self, job: int, task: str) -> float:
        """What a task answered."""
        return float(self.session.get(f"{self.url}/jobs/{job}/tasks/{task}/result/value", timeout=60).text)

    def ended(self, job: int) -> dict[str, Any]:
        """Wait for a job's end; its information."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            info: dict[str, Any] = self.session.get(f"{self.url}/jobs/{job}/info", timeout=60).json()
            if info["finishedTime"] > 0:
                return info
            time.sleep(0.05)
        raise SystemExit(f"job {job} did not end within {DEADLINE_S} s")


@contextmanager
def serving(folder: Path, password: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """An endpoint with its state in a folder."""
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(folder),
        "OVERLAY_STORE": f"sqlite:///{folder}/store.db",
        "OVERLAY_ENDPOINT_PASSWORD": password,
    }
    command = [OVERLAYCTL, "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield process, Client(line.removeprefix("serving ").strip(), password)
        finally:
            process.terminate()


def endpoint(runs: int | None) -> Iterator[tuple[Any, ...]]:
    """From a submission to its first task; a hundred at once; the same with a kill of the endpoint in the middle."""
    first, all_ended, lost = [], [], []
    password = secrets.token_urlsafe(16)
    for _ in range(runs or 3):
        with tempfile.TemporaryDirectory() as name:
            with serving(Path(name), password) as (_, client):
                client.ended(client.submit())
                for _ in range(10):
                    sent = time.time()
                    job = client.submit()
                    client.ended(job)
                    first.append(client.value(job, "A") - sent)
                started = time.monotonic()
                jobs = _submit(client, 100)
                for job in jobs:
                    client.ended(job)
                all_ended.append(time.monotonic() - started)
            with serving(Path(name), password) as (process, client):
                jobs = _submit(client, 100)
                process.send_signal(signal.SIGKILL)
                process.wait()
            with serving(Path(name), password) as (_, client):
                infos = [client.ended(job) for job in jobs]
                lost.append(sum(info["status"] != "FINISHED" or info["numberOfFinishedTasks"] != 2 for info in infos))
    yield "submission to the endpoint to the first line of its first task", "s", first, 0.5
    yield "100 jobs of two tasks submitted at once, to the end of all", "s", all_ended, None
    yield "of 100 jobs, lost by a kill of the endpoint in the middle", "jobs", lost, 0, True


def catalog_import(runs: int | None) -> Iterator[tuple[Any, ...]]:
    """The package into an empty catalog, object by object, and once more."""
    first, again = [], []
    password = secrets.token_urlsafe(16)
    command = [sys.executable, "-m", "proactive_tasks.console.import_catalog", "--output", "json"]
    for _ in range(runs or 3):
        with tempfile.TemporaryDirectory() as name, serving(Path(name), password) as (_, client):
            environment = {**os.environ, "PROACTIVE_URL": client.server, "PROACTIVE_PASSWORD": password}
            for seconds in (first, again):
                started = time.monotonic()
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=DEADLINE_S, check=True)
                seconds.append(time.monotonic() - started)
    objects = len(json.loads(done.stdout)["objects"])
    yield f"import of the whole catalog ({objects} objects), the command", "s", first, 5
    yield "the same again, nothing to send", "s", again, None


def _submit(client: Client, number: int) -> list[int]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: client.submit(), range(number)))
