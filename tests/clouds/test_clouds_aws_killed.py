"""A process that is killed at any call to AWS, before it is carried out or after: the next run completes its work."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proactive_tasks.clouds.aws.driver import AwsProvider
from proactive_tasks.overlay.model import Origin
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.store import Store
from tests.clouds.emulated_aws import (
    REGION,
    Place,
    action,
    deploy,
    emulated_aws,
    fresh,
    left,
    lines,
    provider,
    site,
    writes,
)
from tests.clouds.emulated_aws import order as order_of
from tests.clouds.trouble import RESET, Request, Verdict

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

Work = Callable[[AwsProvider, Store], None]
SITE = site(hosts=1)
ORDER = order_of(SITE)
LIMIT = 120
"""More runs than any of this needs: who does not come further does not end."""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with emulated_aws() as made:
        yield made


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store in a file: what is written there outlives the process."""
    found = f"sqlite:///{tmp_path}/store.db"
    with Store.open(found) as store:
        file = tmp_path / "overlay.yaml"
        file.write_text(
            "version: 1\noverlay: presto\nsites:\n  - {name: frankfurt, provider: aws, region: eu-central-1}\n"
        )
        spec = load_spec(file)
        store.save_spec(spec, "test")
        store.bring_in("presto", spec.sites, Origin.FILE, "test")
    return found


class Killer:
    """Kills the child at its n-th writing call, when the API has not seen it yet or when it has carried it out."""

    def __init__(self, at: Callable[[Request], bool], *, after: bool) -> None:
        self.at, self.after = at, after
        self.child, self.ready, self.lock = 0, threading.Event(), threading.Lock()
        self.struck: list[str] = []

    def judge(self, request: Request) -> Verdict:
        return RESET if not self.after and self.strikes(request) else None

    def done(self, request: Request) -> None:
        if self.after:
            self.strikes(request)

    def strikes(self, request: Request) -> bool:
        with self.lock:
            if self.struck or not self.at(request):
                return False
            self.struck.append(action(request))
        self.ready.wait(20)
        os.kill(self.child, signal.SIGKILL)
        return True


def run(
    place: Place, url: str, driver: AwsProvider, work: Callable[[AwsProvider, Store], None], killer: Killer
) -> bool:
    """Do the work in a child; whether it ended by itself."""
    place.trouble.judge, place.trouble.after = killer.judge, killer.done
    child = os.fork()
    if child == 0:
        try:
            with Store.open(url) as store:
                work(driver, store)
            os._exit(0)
        finally:  # whatever it was, the child does not go on as a second pytest
            os.write(2, f"{sys.exc_info()[1]!r}\n".encode())
            os._exit(1)
    killer.child = child
    killer.ready.set()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    place.trouble.judge, place.trouble.after = lambda _request: None, lambda _request: None
    assert status in {0, -signal.SIGKILL}
    return status == 0


def provision(driver: AwsProvider, store: Store) -> None:
    journal = store.journal("presto", SITE.name, "test")
    deploy(ORDER, driver, journal)
    driver.attach(ORDER, journal, lambda _line: None)


def release(driver: AwsProvider, store: Store) -> None:
    driver.release("presto", SITE, store.journal("presto", SITE.name, "test"), lambda _line: None)


def unborn() -> AwsProvider:
    """A driver whose clients are made but have no connection yet: a child can have them."""
    driver = fresh(settle_s=0.1)
    driver._api(SITE)
    return driver


def once_each(place: Place) -> None:
    found = [(each.kind, each.name) for each in provider().leftovers("", [REGION])]
    assert len(found) == len(set(found)), found


def in_turn(place: Place, url: str, work: Work) -> list[str]:
    """Kill each run at its first writing call, before and after it is carried out, until one has none left."""
    driver, struck = unborn(), []
    for turn in range(LIMIT):
        killer = Killer(writes, after=bool(turn % 2))
        ended = run(place, url, driver, work, killer)
        struck += killer.struck
        if ended:
            return struck
    raise AssertionError(f"after {LIMIT} runs there is still something to do: {struck[-6:]}")


def test_killed_at_every_call_of_provision_and_of_release(place: Place, url: str) -> None:
    struck = in_turn(place, url, provision)
    assert struck[::2] == struck[1::2]  # each call twice: before it was carried out, and when it was
    assert len(struck) // 2 == 23
    once_each(place)
    assert lines(ORDER) == []
    with Store.open(url) as store:
        assert all(entry.identifier for entry in store.resources("presto"))
    place.trouble.calls.clear()
    struck = in_turn(place, url, release)
    assert struck[::2] == struck[1::2]
    assert len(struck) // 2 == 17
    assert left(place) == []
    assert provider().leftovers("", [REGION]) == []
    with Store.open(url) as store:
        assert store.resources("presto") == []


MOMENTS = ["CreateVpc", "AllocateAddress", "RunInstances"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_next_run_completes_what_a_killed_one_began(place: Place, url: str, moment: str, after: bool) -> None:
    driver = unborn()
    killer = Killer(lambda request: action(request) == moment, after=after)
    assert not run(place, url, driver, provision, killer)
    never = Killer(lambda _request: False, after=False)
    assert run(place, url, driver, provision, never)
    once_each(place)
    assert lines(ORDER) == []
    assert run(place, url, driver, release, never)
    assert left(place) == []
    with Store.open(url) as store:
        assert store.resources("presto") == []
