"""The controller dies by SIGKILL at many moments of a deployment and a scale-out; the next run carries on at once."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import update

from proactive_tasks.lab.processes import arguments
from proactive_tasks.store.jobs import INTERRUPTED, Jobs
from proactive_tasks.store.tables import LeaseRow
from tests.overlays import Overlay, until

Moment = tuple[str, int]
"""A line of the command's progress, and how often it is to be seen before the kill."""

DEPLOY: Sequence[Moment] = (
    (r"job \d+ Deploy_Overlay", 1),
    (r"Allocate_Subnet: FINISHED", 1),
    (r"making the gateway's disk", 1),
    (r"booting the gateway", 2),
    (r"the gateway answers", 1),
    (r"Provision_Gateway\S*: FINISHED", 2),
    (r"Issue_Certs: FINISHED", 1),
    (r": \d+ changes", 1),
    (r"Configure_Tunnel\S*: FINISHED", 2),
    (r"Verify_Overlay: FINISHED", 1),
    (r"Measure_Link: FINISHED", 1),
)
SCALE_OUT: Sequence[Moment] = (
    (r"job \d+ Scale_Out_Overlay", 1),
    (r"booting the gateway", 1),
    (r"Provision_Gateway: FINISHED", 1),
    (r": \d+ changes", 2),
    (r"Configure_Tunnel\S*: FINISHED", 3),
    (r"Verify_Overlay: FINISHED", 1),
    (r"Measure_Link\S*: FINISHED", 2),
)


@pytest.fixture(scope="module")
def overlay(make_overlay: Callable[..., Overlay]) -> Overlay:
    return make_overlay(["paris", "lyon"])


def pythons_below(pid: int) -> dict[int, list[str]]:
    """The controller's processes and those of its tasks, not the machines that tasks have started."""
    found = {pid: arguments(pid)}
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found |= pythons_below(int(child))
    return {each: words for each, words in found.items() if words[:1] == [sys.executable]}


def kill_at(overlay: Overlay, moment: Moment, words: Sequence[str]) -> None:
    """Run a command and kill it when it has told this; the processes of its tasks end with it."""
    pattern, count = moment
    with overlay.start(*words) as process:
        told = until_told(process, pattern, count)
        theirs = pythons_below(process.pid)
        assert len(theirs) > 1, told
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        until(lambda: all(arguments(pid) != was for pid, was in theirs.items()), 60, f"{theirs} end")
    with overlay.store() as store, store.write() as session:  # whoever waits for a lock of the dead, waits in vain
        session.execute(update(LeaseRow).values(expires_at=LeaseRow.expires_at + 86_400))


def until_told(process: subprocess.Popen[str], pattern: str, count: int) -> str:
    told = ""
    assert process.stderr
    for line in process.stderr:
        told += line
        count -= bool(re.search(pattern, line))
        if not count:
            return told
    raise AssertionError(f"{pattern!r} was not told:\n{told}")


def machines(overlay: Overlay) -> list[str]:
    """The sites of the machines that run, once for each supervisor."""
    mark = f"--directory=/run/overlay-lab/{overlay.name}/"
    lines = [arguments(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    supervisors = [words for words in lines if words[:1] == ["systemd-nspawn"]]
    return sorted(word.removeprefix(mark).partition("/")[0] for line in supervisors for word in line if mark in word)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("words", "moments", "sites"),
    [
        (["deploy"], DEPLOY, ["lyon", "paris"]),
        (["scale-out", "nice", "--provider", "lab"], SCALE_OUT, ["lyon", "nice", "paris"]),
    ],
    ids=["deploy", "scale-out"],
)
def test_killed_at_any_moment_the_next_run_carries_on_at_once(
    overlay: Overlay, words: list[str], moments: Sequence[Moment], sites: list[str]
) -> None:
    words = [*words, *([str(overlay.file)] if words == ["deploy"] else []), "--yes"]
    before = overlay.last_job()
    for moment in moments:
        kill_at(overlay, moment, words)
    assert overlay.ctl(*words)["succeeded"]
    told = [job["status"] for job in overlay.ctl("jobs")["jobs"] if job["id"] > before]
    assert told == ["FINISHED", *[INTERRUPTED] * len(moments)]
    assert machines(overlay) == sites
    with overlay.store() as store:
        there = store.sites(overlay.name)
        valid = [leaf.site for leaf in store.certificates(overlay.name) if leaf.revoked_at is None]
        promised = [entry.prefix for entry in store.allocations(overlay.name)]
        indices = [link.index for link in store.links(overlay.name)]
        assert Jobs(store).jobs(1)[0].finished
    assert sorted(valid) == sorted(site.name for site in there) == sites
    assert sorted(promised) == sorted(site.subnet for site in there)
    assert sorted(indices) == list(range(len(sites) * (len(sites) - 1) // 2))
