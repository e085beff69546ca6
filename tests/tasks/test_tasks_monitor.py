"""A monitor's turn that finds faults is recorded, and does not end the monitor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proactive_tasks.engine.process import ForkServer
from proactive_tasks.engine.run import run
from proactive_tasks.store.database import Database

FILE = Path(__file__).parents[2] / "workflows" / "Monitor_Overlay.xml"


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(["proactive_tasks.verify_overlay", "proactive_tasks.report_overlay"]) as started:
        yield started


def ran(server: ForkServer, source: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, str]]:
    """Run it where the store knows no overlay, so that every turn has its faults."""
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("OVERLAY_STORE", f"sqlite:///{folder / 'overlay.db'}")
    monkeypatch.setenv("OVERLAY_PASSPHRASE", "a passphrase")
    with Database.open(f"sqlite:///{folder / 'jobs.db'}") as store:
        job = run(source, {"CRON": ""}, store=store, server=server)
    return str(job.status), {task.name: str(task.status) for task in job.tasks}


def test_without_a_cron_it_looks_once(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, tasks = ran(server, FILE.read_bytes(), tmp_path, monkeypatch)
    assert status == "FINISHED"
    assert tasks["Verify_Overlay"] == tasks["Report_Overlay"] == "FAULTY"
    assert not [name for name in tasks if "#" in name]


def test_faults_do_not_end_the_loop(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, twice = b'loop = variables.get("CRON") or False', b'loop = int(variables.get("PA_TASK_ITERATION")) < 1'
    source = FILE.read_bytes()
    assert own in source
    status, tasks = ran(server, source.replace(own, twice), tmp_path, monkeypatch)
    assert status == "FINISHED"
    assert [tasks[f"{name}{turn}"] for name in ("Verify_Overlay", "Report_Overlay") for turn in ("", "#1")] == [
        "FAULTY"
    ] * 4
