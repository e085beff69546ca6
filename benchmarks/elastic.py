"""Benchmarks of what is elastic: events digested by the watcher, and a node source that brings a site of a lab."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from proactive_tasks.lab import image
from proactive_tasks.lab.lab import Lab
from proactive_tasks.overlay.model import SiteState
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.scheduler.elastic.digest import Feed
from proactive_tasks.store import Store

OVERLAYCTL = str(Path(sys.executable).parent / "overlayctl")
WORKFLOWS = Path(__file__).parents[1] / "workflows"
OVERLAY, SOURCE = "bench", "attic-1"
SPECIFICATION = """
version: 1
overlay: bench
bfd: {interval_ms: 18, multiplier: 10}
sites: [{name: site-1, provider: lab, hosts: 1}, {name: site-2, provider: lab, hosts: 1}]
elastic: {grace_s: 1, sources: [{source: "attic-*", provider: lab, hosts: 1}]}
"""
LOCAL = "org.ow2.proactive.resourcemanager.nodesource.infrastructure.LocalInfrastructure"
STATIC = "org.ow2.proactive.resourcemanager.nodesource.policy.StaticPolicy"
ANSWER_S = 60.0

Figure = tuple[Any, ...]


def elastic_events(runs: int | None) -> Iterator[Figure]:
    """10,000 events of a feed, 100 an answer: nodes of 50 sources that come and go."""
    times, growth = [], []
    for _ in range(runs or 5):
        answers = [json.dumps(_answer(turn)) for turn in range(100)]
        feed = Feed(lambda source: source)
        started = time.monotonic()
        for text in answers:
            feed.digest(json.loads(text), full=False)
        times.append(time.monotonic() - started)
        feed = Feed(lambda source: source)
        tracemalloc.start()
        for text in answers[:50]:
            feed.digest(json.loads(text), full=False)
        half = tracemalloc.get_traced_memory()[0]
        for text in answers[50:]:
            feed.digest(json.loads(text), full=False)
        growth.append((tracemalloc.get_traced_memory()[0] - half) / 1e6)
        tracemalloc.stop()
    yield "10,000 events of a resource manager digested", "s", times, 5
    yield "memory that the second half of them leaves behind", "MB", growth, 0.1, True


def elastic_site(runs: int | None) -> Iterator[Figure]:
    """A node source is created at the embedded engine's endpoint, and its site connected in the lab; then both go."""
    image.ensure(lambda line: print(line, file=sys.stderr))
    came, went = [], []
    with tempfile.TemporaryDirectory() as name, _serving(Path(name)) as (scheduler, store):
        for _ in range(runs or 3):
            started = time.monotonic()
            scheduler.resources.create_node_source(
                SOURCE,
                LOCAL,
                STATIC,
                infrastructure_parameters=["1", "30000", ""],
                infrastructure_files=["none"],
                policy_parameters=["ALL", "ME"],
            )
            came.append(_until(store, started, there=True))
            _idle(scheduler)
            started = time.monotonic()
            scheduler.resources.remove_node_source(SOURCE, preempt=True)
            went.append(_until(store, started, there=False))
            _idle(scheduler)
    yield "node source created to its lab site connected to all others", "s", came, 15
    yield "node source removed to its site gone (grace 1 s)", "s", went, None


def _answer(turn: int) -> dict[str, Any]:
    """Fifty nodes come, or those of the turn before go, each told of twice."""
    kind = "NODE_REMOVED" if turn % 2 else "NODE_STATE_CHANGED"
    events = [
        {
            "nodeUrl": f"pnp://10.0.0.1:64738/n{turn // 2}-{number}",
            "nodeSource": f"source-{number}",
            "nodeState": "FREE",
            "eventType": kind,
            "counter": turn * 100 + 2 * number + again + 1,
            "firstCounter": turn * 100 + 1,
        }
        for number in range(50)
        for again in range(2)
    ]
    return {"latestCounter": turn * 100 + 100, "nodeSource": [], "nodesEvents": events}


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[Scheduler, Store]]:
    """A deployed overlay, an endpoint with the workflows, and a watcher."""
    passphrase, password, url = secrets.token_urlsafe(16), secrets.token_urlsafe(16), f"sqlite:///{folder}/store.db"
    surroundings = {
        **os.environ,
        "OVERLAY_STORE": url,
        "OVERLAY_PASSPHRASE": passphrase,
        "XDG_STATE_HOME": str(folder / "state"),
        "OVERLAY_ENDPOINT_PASSWORD": password,
        "PROACTIVE_PASSWORD": password,
    }
    file = folder / "overlay.yaml"
    file.write_text(SPECIFICATION, encoding="utf-8")
    with ExitStack() as stack:
        stack.callback(Lab(OVERLAY).destroy)
        subprocess.run([OVERLAYCTL, "deploy", str(file), "--yes"], env=surroundings, check=True, capture_output=True)
        server = subprocess.Popen(
            [OVERLAYCTL, "serve", "--port", "0"],
            env=surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        stack.callback(_end, server)
        assert server.stdout
        where = server.stdout.readline().removeprefix("serving ").strip()
        scheduler = stack.enter_context(Scheduler(where, user="admin", password=lambda: password))
        scheduler.put_credential("OVERLAY_PASSPHRASE", passphrase)
        words = ["--url", where, "--overlay", OVERLAY, "--workflows", str(WORKFLOWS), "--output", "json"]
        argv = [sys.executable, "-m", "proactive_tasks.console.watch_elastic", *words]
        watcher = subprocess.Popen(argv, env=surroundings, stdout=subprocess.PIPE, text=True)
        stack.callback(_end, watcher)
        assert watcher.stdout
        watcher.stdout.readline()
        yield scheduler, stack.enter_context(Store.open(url))


def _until(store: Store, started: float, *, there: bool) -> float:
    """Seconds until the source's site is connected, or gone."""
    while time.monotonic() - started < ANSWER_S:
        sites = {site.name: site.state for site in store.sites(OVERLAY)}
        if sites.get(SOURCE) is (SiteState.CONNECTED if there else None):
            return time.monotonic() - started
        time.sleep(0.05)
    raise SystemExit(f"site {SOURCE}: neither came nor went within {ANSWER_S:.0f} s")


def _idle(scheduler: Scheduler) -> None:
    end = time.monotonic() + ANSWER_S
    while not all(job.over for job in scheduler.jobs()):
        if time.monotonic() > end:
            raise SystemExit("a job is not over")
        time.sleep(0.1)
    time.sleep(2.5)  # the watcher has seen it


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.communicate(timeout=30)
