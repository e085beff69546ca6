"""Overlays of emulated sites, each in a store of its own, and gone afterwards whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.lab.lab import Lab
from proactive_tasks.lab.traffic import EchoStream
from proactive_tasks.store import Store
from proactive_tasks.store.jobs import Jobs


class Overlay:
    """An overlay as its user sees it: a specification, the command line, a lab to break."""

    def __init__(self, name: str, folder: Path, sites: list[str], more: str = "") -> None:
        self.name, self.folder, self.sites = name, folder, sites
        self.file = folder / "overlay.yaml"
        lines = [
            "version: 1",
            f"overlay: {name}",
            "bfd: {interval_ms: 18, multiplier: 10}",
            *more.splitlines(),
            "sites:",
        ]
        lines += [f"  - {{name: {site}, provider: lab, hosts: 1}}" for site in sites]
        self.file.write_text("\n".join(lines) + "\n")
        self.url = f"sqlite:///{folder}/store.db"
        self.environment = {**os.environ, "OVERLAY_STORE": self.url, "OVERLAY_PASSPHRASE": "a passphrase for a test"}
        self.lab = Lab(name)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str, store: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "proactive_tasks.cli", *words],
            env={**self.environment, **({"OVERLAY_STORE": store} if store else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Stop what still runs, remove the lab, and prove it gone."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=20)
        self.lab.destroy()
        assert LabProvider().leftovers(self.name, []) == []

    def ctl(self, *words: str, code: int = 0, store: str = "") -> Any:
        """The command's JSON answer; what it told on standard error under "stderr" where that is an object."""
        process = self.start(*words, "--output", "json", store=store)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, f"{words}: exit {process.returncode}\n{err[-4000:]}"
        return json.loads(out)

    def deploy(self, code: int = 0) -> Any:
        return self.ctl("deploy", str(self.file), "--yes", code=code)

    def store(self) -> Store:
        return Store.open(self.url)

    def exec(self, machine: str, *argv: str) -> str:
        done = self.lab.exec(machine, list(argv))
        assert done.returncode == 0, f"{machine}: {argv}: {done.stderr}"
        return done.stdout

    def host(self, site: str) -> str:
        with self.store() as store:
            return str(store.site(self.name, site).subnet.network_address + 1)

    def stream(self, source: str, target: str, interval_s: float = 0.02) -> EchoStream:
        return EchoStream.start(self.lab.namespace(f"{source}/host1"), self.host(target), interval_s)

    def running(self, task: str, not_before: int) -> bool:
        """Whether this task of a job after `not_before` has begun."""
        with self.store() as store:
            jobs = Jobs(store)
            for job in jobs.jobs(3):
                if job.id > not_before:
                    return any(
                        entry.name.partition("*")[0] == task and entry.status not in {"SUBMITTED", "PENDING"}
                        for entry in jobs.tasks(job.id)
                    )
        return False

    def last_job(self) -> int:
        with self.store() as store:
            return max((job.id for job in Jobs(store).jobs(1)), default=0)


def until(condition: Callable[[], bool], deadline_s: float = 60.0, what: str = "the condition") -> None:
    """Wait for a condition."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {deadline_s} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def make_overlay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Overlay]]:
    made: list[Overlay] = []

    def make(sites: list[str], more: str = "") -> Overlay:
        name = f"ft-{os.getpid()}-{len(made)}"
        made.append(Overlay(name, tmp_path_factory.mktemp(name), sites, more))
        return made[-1]

    with ExitStack() as stack:
        yield make
        for overlay in made:
            stack.callback(overlay.end)
