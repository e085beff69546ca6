"""What the drivers ask of emulated APIs: calls, reruns, sites side by side. Without machines: the APIs alone count."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Network
from multiprocessing import get_context
from typing import Any

from proactive_tasks.clouds import driver
from proactive_tasks.clouds.provider import GatewayOrder, NoJournal
from proactive_tasks.lab.cloud import serve
from proactive_tasks.overlay.model import Origin, Site

REGIONS = {"aws": "eu-central-1", "azure": "westeurope"}
REACH = {"aws": 30, "azure": 25}
ANSWER_S = 0.15
"""What each answer of the emulated API takes, as over the Internet."""

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwz3LVrMX8y1EwaLGUYzBCaz2Uv8A3ZFlG7vGLZ0qVw"


def _silent(_: object) -> None:
    """Nobody is told."""


@contextmanager
def emulated(name: str) -> Iterator[None]:
    """The API of a cloud on a free port, and the environment in which it is found."""
    emulator = serve.module_of(name)
    inner = emulator.make_app(_silent)

    def app(environ: Any, start: Any) -> Any:
        time.sleep(ANSWER_S)
        return inner(environ, start)

    before = dict(os.environ)
    with serve.serving(app, 0) as server:
        os.environ.update(emulator.environment(f"http://127.0.0.1:{server.port}"))
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def order(provider: str, number: int) -> GatewayOrder:
    """A site as a deployment would order it."""
    index = {"aws": 1, "azure": 2}[provider] << 8 | number
    site = Site(
        name=f"site-{number}",
        provider=provider,
        region=REGIONS[provider],
        origin=Origin.FILE,
        deployment=number,
        index=index,
        subnet=IPv4Network((0x0A000000 | index << 8, 24)),
        asn=4_200_000_000 + index,
    )
    routes = (IPv4Network("10.0.0.0/8"),)
    return GatewayOrder("bench", site, b"#cloud-config\n", routes, (IPv4Network("203.0.113.7/32"),), KEY)


def provisioned(of: GatewayOrder) -> tuple[float, int]:
    """Provision a site with a driver of its own, as a task does; seconds and calls."""
    made, started = driver(of.site.provider), time.monotonic()
    made.apply(of, made.facts(of.overlay, of.site), NoJournal(), _silent)
    return time.monotonic() - started, made.calls


@contextmanager
def processes(provider: str) -> Iterator[ProcessPoolExecutor]:
    """Four processes with the SDK loaded: tasks have one each, and none shares the emulated API's."""
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        list(pool.map(warm, [provider] * 8))
        yield pool


def warm(provider: str) -> None:
    """Load the driver; long enough that every process gets its turn."""
    made, of = driver(provider), order(provider, 9)
    made.facts(of.overlay, of.site)


def clouds(runs: int | None) -> Iterator[tuple[Any, ...]]:
    """Calls that a site takes, writing calls of a rerun, four sites against the slowest one."""
    for provider in REGIONS:
        calls, again, ratio = [], [], []
        for _ in range(runs or 3):
            with emulated(provider), processes(provider) as pool:
                alone = [pool.submit(provisioned, order(provider, number)).result() for number in range(4)]
                made, first = driver(provider), order(provider, 0)
                again.append(len(made.difference(first, made.facts(first.overlay, first.site))))
            with emulated(provider), processes(provider) as pool:
                started = time.monotonic()
                list(pool.map(provisioned, [order(provider, number) for number in range(4)]))
                together = time.monotonic() - started
            calls += [count for _, count in alone]
            ratio.append(together / max(seconds for seconds, _ in alone))
        yield f"{provider}: API calls to provision a site, polls included", "calls", calls, REACH[provider]
        yield f"{provider}: writing calls of a rerun", "calls", again, 0
        yield f"{provider}: four sites at once, against the slowest one alone", "ratio", ratio, 1.2
