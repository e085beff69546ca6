"""Nodes are asked for once their site stands, get the overlay's token if that is wanted, and lose it with the site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks import acquire_nodes as nodes
from proactive_tasks.engine.endpoint.resources.manager import Resources
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store
from tests.endpoint.parts import Server, serve_parts

LOCAL = "org.ow2.proactive.resourcemanager.nodesource.infrastructure.LocalInfrastructure"
STATIC = "org.ow2.proactive.resourcemanager.nodesource.policy.StaticPolicy"
TOKEN = "overlay-presto"


class Trial:
    """A context whose scheduler is the endpoint's resource manager, with a node source of two nodes."""

    def __init__(self, server: Server, store: Store) -> None:
        self.server, self.store = server, store
        self.context = Context(store=store, scheduler=self.scheduler)
        with self.scheduler() as scheduler:
            scheduler.resources.create_node_source(
                "campus",
                LOCAL,
                STATIC,
                infrastructure_parameters=["2", "30000", ""],
                infrastructure_files=["none"],
                policy_parameters=["ALL", "ME"],
            )

    def scheduler(self) -> Scheduler:
        return Scheduler(self.server.url, session=self.server.endpoint.sessions.open("admin").identifier)

    def get(self, **asked: Any) -> Any:
        return nodes.acquire_nodes(self.context, overlay="presto", site="campus", node_source="campus", **asked)

    def bearing(self) -> list[bool]:
        with self.scheduler() as scheduler:
            return [TOKEN in each["tokens"] for each in nodes._nodes(scheduler.resources, "campus")]


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    monkeypatch.setattr(nodes, "POLL_S", 0.02)
    monkeypatch.setattr(nodes, "FULL_S", 0.3)
    resources = Resources(1, deploying_s=0.2)
    with Store.open(f"sqlite:///{tmp_path}/overlay.db") as store, serve_parts(tmp_path, resources) as server:
        spec = load_spec("version: 1\noverlay: presto\nsites: [{name: campus, provider: lab}]\n")
        store.save_spec(spec, "test")
        store.bring_in("presto", spec.sites, Origin.FILE, "test")
        store.update_site("presto", "campus", "test", state=SiteState.CONNECTED)
        yield Trial(server, store)
    resources.close()


def test_with_nothing_asked_no_scheduler_is_needed(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/overlay.db") as store:
        for asked in ({}, {"node_source": "campus"}, {"nodes": 3}, {"node_token": True}):
            assert not nodes.acquire_nodes(Context(store=store), **asked).changed


def test_all_nodes_of_a_source_get_the_token_once_and_lose_it_with_their_site(trial: Trial) -> None:
    first = trial.get(node_token=True)
    assert len(first.difference) == 2
    assert first.facts["token"] == TOKEN
    assert trial.bearing() == [True, True]
    assert not trial.get(node_token=True).changed
    assert trial.store.tokens("presto") == {"campus": "campus"}
    assert nodes.take_tokens_off(trial.context, "presto", ["another"]) == ([], [])
    done, warnings = nodes.take_tokens_off(trial.context, "presto", ["campus"])
    assert (done, warnings) == ([f"node source campus: token {TOKEN} taken off 2 nodes"], [])
    assert (trial.bearing(), trial.store.tokens("presto")) == ([False, False], {})


def test_a_full_source_gives_nothing_and_that_is_said(trial: Trial) -> None:
    found = trial.get(nodes=3)
    assert not found.changed
    assert "has 2 of 3 nodes, and gave 0 of the 1" in found.warnings[0]
    assert trial.get(nodes=2).warnings == []


def test_a_site_that_does_not_stand_and_a_source_that_is_not_there_get_nothing(trial: Trial) -> None:
    trial.store.update_site("presto", "campus", "test", state=SiteState.ERROR)
    with pytest.raises(InputError, match="site campus: does not stand"):
        trial.get(nodes=2)
    with pytest.raises(InputError, match="'elsewhere': not there; the scheduler has: LocalNodes, campus"):
        nodes.acquire_nodes(trial.context, overlay="presto", node_source="elsewhere", nodes=1)


def test_a_scheduler_that_does_not_answer_does_not_keep_a_site(trial: Trial) -> None:
    trial.store.save_token("presto", "campus", "campus")
    trial.context.scheduler = lambda: Scheduler("http://127.0.0.1:1", session="x", patience_s=0.1)
    done, [warning] = nodes.take_tokens_off(trial.context, "presto", ["campus"])
    assert done == []
    assert "may keep the token" in warning
