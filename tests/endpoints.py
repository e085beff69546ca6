"""An endpoint of its own for a test: a process, its state directory and its store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

USER, PASSWORD = "admin", "pass word"


@dataclass
class Served:
    """A running endpoint, and a session with it."""

    url: str
    user: str
    password: str
    process: subprocess.Popen[str]
    folder: Path
    session: requests.Session = field(default_factory=requests.Session)

    def log_in(self) -> None:
        answer = self.session.post(
            f"{self.url}/rest/scheduler/login", data={"username": self.user, "password": self.password}, timeout=30
        )
        answer.raise_for_status()
        self.session.headers["sessionid"] = answer.text

    def ask(self, method: str, path: str, **kw: Any) -> requests.Response:
        """A request below the endpoint's URL, with the session."""
        return self.session.request(method, self.url + path, timeout=60, **kw)

    def get(self, path: str, **kw: Any) -> Any:
        """What a route below /rest/scheduler answers, JSON or text."""
        answer = self.ask("GET", f"/rest/scheduler{path}", **kw)
        assert answer.status_code in (200, 204), (answer.status_code, answer.text)
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def submit(self, source: bytes, matrix: str = "", **query: str) -> int:
        """Submit a workflow; its number."""
        answer = self.ask(
            "POST",
            f"/rest/scheduler/submit{matrix}",
            files={"file": ("job.xml", source, "application/xml")},
            params=query,
        )
        assert answer.status_code == 200, answer.text
        return int(answer.json()["id"])

    def until(self, job: int, *statuses: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a job is at one of these; its information."""
        deadline = time.monotonic() + seconds
        while True:
            info: dict[str, Any] = self.get(f"/jobs/{job}/info")
            if info["status"] in (statuses or ("FINISHED", "CANCELED", "KILLED")) and (
                statuses or info["finishedTime"] > 0
            ):
                return info
            assert time.monotonic() < deadline, info
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the process; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def serving(
    folder: Path, *words: str, port: int = 0, user: str = USER, password: str = PASSWORD, **environment: str
) -> Iterator[Served]:
    """An endpoint with its state below a folder; started once more with the same folder, it carries on."""
    surroundings = {
        **os.environ,
        "XDG_STATE_HOME": str(folder / "state"),
        "OVERLAY_STORE": f"sqlite:///{folder / 'store.db'}",
        "OVERLAY_ENDPOINT_PASSWORD": password,
        **environment,
    }
    command = [str(Path(sys.executable).parent / "overlayctl"), "serve", "--port", str(port), "--user", user, *words]
    with (folder / "serve.err").open("a") as errors:
        process = subprocess.Popen(
            command, env=surroundings, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True
        )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("serving http://"), (line, (folder / "serve.err").read_text())
        served = Served(line.removeprefix("serving ").strip(), user, password, process, folder)
        with served.session:
            served.log_in()
            yield served
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()
