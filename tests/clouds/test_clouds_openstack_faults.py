"""The driver of OpenStack where calls fail at random, and where it is killed at any of them.

By default a part of it, so that all tests stay quick; with OVERLAY_TEST_THOROUGH=1 all 20 seeds, and a kill before and
after each writing call.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proactive_tasks.clouds.openstack.driver import OpenStackProvider
from proactive_tasks.clouds.provider import NoJournal
from tests.clouds.openstack_plane import KEY, OVERLAY, READING, USER_DATA, Plane, cloud, deploy, plane, site, watched
from tests.clouds.trouble import LOST, RESET, Answer, Request, Verdict

__all__ = ["cloud", "plane"]
pytestmark = pytest.mark.timeout(3600)  # a first installation is among it

THOROUGH = os.environ.get("OVERLAY_TEST_THOROUGH", "") not in {"", "0"}
SEEDS = range(20) if THOROUGH else range(2)
EVERY = 1 if THOROUGH else 4
"""Every which writing call a process is killed at."""

SHARE = 0.2
TROUBLES: tuple[Verdict, ...] = (
    Answer(429, {"Retry-After": "1"}, b""),
    Answer(503, {}, b""),
    Answer(500, {"Content-Type": "application/json"}, b'{"computeFault": {"message": "trouble", "code": 500}}'),
    RESET,
    LOST,
)


def ours(plane: Plane) -> list[str]:
    return [line for line in plane.holdings() if f" {OVERLAY}--" in line]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_site_is_made_and_removed_though_one_call_in_five_fails(
    cloud: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice, lock = random.Random(seed), threading.Lock()
    failed: Counter[str] = Counter()

    def judge(_request: Request) -> Verdict:
        with lock:
            verdict = dice.choice(TROUBLES) if dice.random() < SHARE else None
        if verdict is not None:
            failed[str(getattr(verdict, "status", verdict))] += 1
        return verdict

    of = site("storm", index=790)
    with watched(cloud, tmp_path, judge) as seen, monkeypatch.context() as patch:
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(seen.cloud))
        provider = OpenStackProvider(settle_s=1.0)
        deploy(provider, of)
        there = ours(cloud)
        assert len(there) == len(set(there)) == 12, there  # everything is there, and once
        provider.release(OVERLAY, of, NoJournal(), lambda _line: None)
    print(f"seed {seed}: {failed.total()} of {len(seen.calls)} calls failed: {dict(failed)}")
    assert ours(cloud) == []


class FileJournal:
    """A journal that a killed process leaves behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _write(self, line: list[str]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def entries(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for action, kind, name, *rest in map(json.loads, lines):
            found.pop((kind, name), None)
            if action != "gone":
                found[kind, name] = [action, *rest]
        return found

    def intend(self, kind: str, name: str) -> None:
        self._write(["intended", kind, name, datetime.now(UTC).isoformat()])

    def made(self, kind: str, name: str, identifier: str) -> None:
        self._write(["made", kind, name, identifier])

    def gone(self, kind: str, name: str) -> None:
        self._write(["gone", kind, name])

    def pending(self, kind: str, name: str) -> datetime | None:
        action, value = self.entries().get((kind, name), ["", ""])
        return datetime.fromisoformat(value) if action == "intended" else None


def work(what: str, journal: Path) -> None:
    """What the process does that gets killed."""
    provider, of, kept = OpenStackProvider(settle_s=0.5), site("doomed", index=791), FileJournal(journal)
    if what == "deploy":
        deploy(provider, of, USER_DATA, kept)
    else:
        provider.release(OVERLAY, of, kept, lambda _line: None)


class Killer:
    """Kills a process at one of its writing calls: before the cloud sees it, or before the process hears of it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.at, self.before, self.seen = 0, False, 0

    def aim(self, process: subprocess.Popen[bytes], at: int, *, before: bool) -> None:
        self.process, self.at, self.before, self.seen = process, at, before, -1

    def judge(self, request: Request) -> Verdict:
        if request.method in READING or request.path.endswith("/auth/tokens"):
            return None
        self.seen += 1
        if self.before and self.seen == self.at:
            self.kill()
            return RESET
        return None

    def after(self, request: Request) -> None:
        writing = request.method not in READING and not request.path.endswith("/auth/tokens")
        if writing and not self.before and self.seen == self.at:
            self.kill()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)


def test_a_process_that_is_killed_at_any_writing_call_is_completed_by_the_next(cloud: Plane, tmp_path: Path) -> None:
    killer, journal = Killer(), tmp_path / "journal"
    with watched(cloud, tmp_path, killer.judge, killer.after) as seen:
        environment = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(seen.cloud)}
        ready = tmp_path / "ready"
        kills: Counter[str] = Counter()
        for what in ("deploy", "release"):
            before, number = True, 0
            while True:
                number += 1
                assert number < 200, "no end"
                command = [sys.executable, "-c", SCRIPT, what, str(journal)]
                with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
                    killer.aim(process, EVERY - 1, before=before)
                    _, errors = process.communicate(timeout=120)
                if process.returncode == 0:
                    break
                assert process.returncode == -signal.SIGKILL, errors.decode()[-2000:]
                kills[what] += 1
                there = ours(cloud)
                assert len(there) == len(set(there)), there
                # A kill before its call leaves all as it was: the next one is after it, so that things go on.
                before = not before
            if what == "deploy":
                there = ours(cloud)
                assert len(there) == len(set(there)) == 12, there
                assert all(action == "made" for action, _ in FileJournal(journal).entries().values())
                assert len(FileJournal(journal).entries()) == 12
        print(f"killed: {dict(kills)}")
        ready.unlink(missing_ok=True)
    assert ours(cloud) == []
    assert FileJournal(journal).entries() == {}


SCRIPT = """
import sys
from pathlib import Path
from tests.clouds.test_clouds_openstack_faults import work
work(sys.argv[1], Path(sys.argv[2]))
"""

assert KEY  # the site's key pair is among what is counted
