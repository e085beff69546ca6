"""Azure: calls that fail at random, and a driver that is killed at every one of them, leave nothing lost or double."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from proactive_tasks.clouds.provider import NoJournal
from proactive_tasks.lab.cloud.azure.emulator import environment
from proactive_tasks.overlay.model import Origin
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.store import Store
from tests.clouds.emulated_azure import SITE, Azure, azure, order, polls, site, work
from tests.clouds.trouble import LOST, RESET, Answer, Request, Verdict

WHOLE = 9  # group, network, table, two groups of rules, address, interface, machine, disk

SPEC = """
version: 1
overlay: presto
sites:
  - {name: paris, provider: azure, region: westeurope}
"""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.clouds.emulated_azure", "proactive_tasks.store"])


@contextmanager
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    with azure() as made:
        for name, value in environment(made.trouble.url).items():
            monkeypatch.setenv(name, value)
        yield made


def failing(seed: int, share: float = 0.2) -> Callable[[Request], Verdict]:
    """One call in five fails, in one of the ways in which calls fail."""
    dice = random.Random(seed)

    def judge(_request: Request) -> Verdict:
        if dice.random() >= share:
            return None
        status = dice.choice([429, 500, 503, RESET, LOST])
        if isinstance(status, str):
            return status
        body = json.dumps({"error": {"code": "TooManyRequests" if status == 429 else "InternalServerError"}})
        headers = {"Content-Type": "application/json", **({"Retry-After": "0"} if status == 429 else {})}
        return Answer(status, headers, body.encode())

    return judge


@pytest.mark.parametrize("seed", range(20))
def test_with_one_call_in_five_failing_a_site_is_made_once_and_removed_whole(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(monkeypatch) as cloud:
        cloud.trouble.judge = failing(seed)
        wanted = order(site(hosts=1))
        gateway = cloud.deploy(wanted)
        cloud.driver.attach(wanted, NoJournal(), lambda _line: None)
        assert gateway.public_address is not None
        cloud.trouble.judge = lambda _request: None
        assert cloud.plan(wanted) == []
        assert len(cloud.names()) == WHOLE + 3
        cloud.trouble.judge = failing(seed + 1000)
        cloud.release()
        cloud.trouble.judge = lambda _request: None
        assert cloud.names() == []
        assert cloud.driver.leftovers("", []) == []


def killed(cloud: Azure, what: str, store: str, number: int, *, after: bool) -> bool:
    """Run it in a child, which is killed at its call of that number, polls apart; False if it makes fewer calls."""
    child = FORKS.Process(target=work, args=(what, cloud.trouble.url, store))
    seen: dict[int, int] = {}

    def kill() -> None:
        if child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)

    def judge(request: Request) -> Verdict:
        if polls(request):
            return None
        seen[request.number] = len(seen)
        if seen[request.number] == number and not after:
            kill()
            return RESET
        return None

    def answered(request: Request) -> None:
        if seen.get(request.number) == number and after:
            kill()

    cloud.trouble.judge, cloud.trouble.after = judge, answered
    child.start()
    child.join(60)
    assert child.exitcode in {0, -signal.SIGKILL}
    cloud.trouble.judge, cloud.trouble.after = (lambda _request: None), (lambda _request: None)
    return child.exitcode == -signal.SIGKILL


def a_store(folder: Path) -> str:
    url = f"sqlite:///{folder}/store.db"
    store, spec = Store.open(url), load_spec(SPEC)
    store.save_spec(spec, "test")
    store.bring_in("presto", spec.sites, Origin.FILE, "test")
    return url


CALLS = {"provision": 16, "release": 4}


@pytest.mark.parametrize("after", [False, True], ids=["before it is carried out", "after it is"])
@pytest.mark.parametrize(("what", "number"), [(what, n) for what, count in CALLS.items() for n in range(count)])
def test_killed_at_any_call_it_goes_on(
    what: str, number: int, after: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = a_store(tmp_path)
    store = Store.open(url)
    journal = store.journal("presto", "paris", "test")
    with emulated(monkeypatch) as cloud:
        if what == "release":
            cloud.deploy(journal=journal)
        assert killed(cloud, what, url, number, after=after)
        if what == "provision":
            cloud.deploy(journal=journal)
            assert cloud.plan() == []
            assert len(cloud.names()) == WHOLE
            assert len(cloud.app.cloud().servers) == 1
            assert all(resource.identifier for resource in store.resources("presto"))
        cloud.release(journal=journal)
        assert cloud.names() == []
        assert store.resources("presto") == []


@pytest.mark.parametrize("what", CALLS)
def test_these_are_all_calls(what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with emulated(monkeypatch) as cloud:
        if what == "release":
            cloud.deploy()
        cloud.calls()
        (cloud.deploy if what == "provision" else cloud.release)()
        assert len(cloud.calls()) == CALLS[what]


def test_a_release_that_was_killed_goes_on_without_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulated(monkeypatch) as cloud:
        cloud.deploy(order(site(hosts=0)))
        guest = replace(SITE, hosts=0)
        assert cloud.driver.facts("presto", guest).gateway is not None
        cloud.release(guest, NoJournal())
        assert cloud.names() == []
