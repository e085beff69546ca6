"""A node source that comes up at the embedded engine's endpoint brings a site of emulated machines into the overlay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proactive_tasks.lab.requirements import missing
from proactive_tasks.overlay.model import SiteState
from proactive_tasks.scheduler.client import Scheduler
from tests.endpoints import PASSWORD, USER, serving
from tests.overlays import Overlay, until

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no lab here: {', '.join(missing())}")

TOP = Path(__file__).parents[2]
BUCKET = "network-overlay"
LOCAL = "org.ow2.proactive.resourcemanager.nodesource.infrastructure.LocalInfrastructure"
STATIC = "org.ow2.proactive.resourcemanager.nodesource.policy.StaticPolicy"
TABLE = "elastic:\n  grace_s: 1\n  sources: [{source: 'attic-*', provider: lab, hosts: 1}]\n"


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Overlay]:
    made = Overlay("elastic", tmp_path, ["paris"], TABLE)
    try:
        yield made
    finally:
        made.end()


def test_a_node_source_brings_its_site_and_takes_it_along_again(overlay: Overlay, tmp_path: Path) -> None:
    assert overlay.deploy()["succeeded"]
    surroundings = {"OVERLAY_STORE": overlay.url, "OVERLAY_PASSPHRASE": "a passphrase for a test"}
    with (
        serving(tmp_path, **surroundings) as served,
        Scheduler(served.url, user=USER, password=lambda: PASSWORD) as scheduler,
    ):
        scheduler.put_credential("OVERLAY_PASSPHRASE", "a passphrase for a test")
        scheduler.catalog.create_bucket(BUCKET)
        for name in ("Scale_Out_Overlay", "Scale_In_Overlay"):
            content = (TOP / "workflows" / f"{name}.xml").read_bytes()
            scheduler.catalog.add(BUCKET, name, "Workflow/standard", content, "application/xml", "for a test")
        watcher = subprocess.Popen(
            [sys.executable, "-m", "proactive_tasks.console.watch_elastic", "--interval", "0.5", "--output", "json"],
            env={
                **os.environ,
                **surroundings,
                "PROACTIVE_URL": served.url,
                "PROACTIVE_USER": USER,
                "PROACTIVE_PASSWORD": PASSWORD,
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert watcher.stdout
            assert json.loads(watcher.stdout.readline())["event"] == "watching"
            scheduler.resources.create_node_source(
                "attic-1",
                LOCAL,
                STATIC,
                infrastructure_parameters=["2", "30000", ""],
                infrastructure_files=["a credential"],
                policy_parameters=["ALL", "ME"],
            )
            until(lambda: connected(overlay, "attic-1"), 60, "the site stands")
            until(lambda: all(job.over for job in scheduler.jobs()), 60, "its job is over")
            assert overlay.exec("paris/host1", "ping", "-c1", "-W9", overlay.host("attic-1"))
            [job] = [job.id for job in scheduler.jobs() if job.name == "Scale_Out_Overlay"]
            networks = scheduler.result_map(job)
            assert networks["SUBNET_ID_attic-1"] == overlay.host("attic-1").rpartition(".")[0] + ".0/24"
            scheduler.resources.remove_node_source("attic-1", preempt=True)
            until(lambda: standing(overlay) == {"paris"}, 60, "the site is gone")
        finally:
            for job in scheduler.jobs():
                print(job.id, job.name, job.status, scheduler.log(job.id))  # shown where the test fails
            watcher.send_signal(signal.SIGTERM)
            told, _ = watcher.communicate(timeout=30)
            print(told)
    events = [json.loads(line)["event"] for line in told.splitlines()]
    assert [event for event in events if event in {"extend", "shrink", "failed"}] == ["extend", "shrink"]


def connected(overlay: Overlay, site: str) -> bool:
    with overlay.store() as store:
        return any(
            each.name == site
            and each.state is SiteState.CONNECTED
            and all(link.since for link in store.links(overlay.name))
            for each in store.sites(overlay.name)
        )


def standing(overlay: Overlay) -> set[str]:
    with overlay.store() as store:
        return {each.name for each in store.sites(overlay.name)}
