"""A lock whose owner is known to be dead goes to whoever waits for it; nothing else is freed for that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from proactive_tasks.overlay.errors import (
    LeaseError,
    SchedulerInputError,
    SchedulerUnreachableError,
    SchedulerVersionError,
)
from proactive_tasks.scheduler import EMBEDDED, owners
from proactive_tasks.store import Store
from proactive_tasks.store.base import now
from proactive_tasks.store.jobs import Jobs

HERE, THERE = "http://pro:8080/rest", "http://other:8080/rest"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proactive_tasks.store.leases.ASK_S", (0.2, 600.0))


@contextmanager
def left_by(store: Store, owner: str, name: str = "gateway/presto/a") -> Iterator[Any]:
    """A lock that a killed task holds: nobody renews it, and it would last for ten minutes."""
    held = store._acquire(name, owner, 600, 0)
    yield held


def test_the_lock_of_a_job_that_is_over_is_taken_over_with_a_new_fence(store: Store) -> None:
    asked = []
    store.is_over = lambda owner: asked.append(owner) or True  # type: ignore[func-returns-value]
    with left_by(store, "job 7") as dead, store.lease("gateway/presto/a", "job 8", wait_s=60) as held:
        assert held.fence == dead.fence + 1
        assert asked == ["job 7"]
        with pytest.raises(LeaseError, match="job 7 lost it"):
            store.check_lease(dead)


def test_the_lock_of_a_living_job_is_waited_for_and_its_job_asked_after_seldom(store: Store) -> None:
    asked = []
    store.is_over = lambda owner: bool(asked.append(owner))  # type: ignore[func-returns-value]
    with (
        left_by(store, "job 7"),
        pytest.raises(LeaseError, match="held by job 7"),
        store.lease("gateway/presto/a", "job 8", wait_s=1.5),
    ):
        pytest.fail("two holders at once")
    assert asked == ["job 7"]


def test_who_cannot_say_whether_a_job_is_over_frees_nothing(store: Store) -> None:
    def unknown(_owner: str) -> bool:
        raise SchedulerUnreachableError("no answer")

    store.is_over = unknown
    with (
        left_by(store, "job 7"),
        pytest.raises(LeaseError, match="held by job 7"),
        store.lease("gateway/presto/a", "job 8", wait_s=1),
    ):
        pytest.fail("two holders at once")


def test_a_lock_that_changed_hands_meanwhile_is_left_to_its_new_holder(
    store: Store, open_store: Callable[[], Store]
) -> None:
    with open_store() as other, left_by(store, "job 7"):

        def slow(_owner: str) -> bool:  # while the answer is on its way, another job of this number begins
            other.free_leases("job 7")
            other._acquire("gateway/presto/a", "job 7", 600, 0)
            return True

        store.is_over = slow
        with pytest.raises(LeaseError, match="held by job 7"), store.lease("gateway/presto/a", "job 8", wait_s=1):
            pytest.fail("two holders at once")


def answering(answer: object) -> Callable[[], Any]:
    def job(number: int) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(over=answer, id=number)

    return lambda: SimpleNamespace(job=job)


def refusal(status: int, kind: type[SchedulerInputError] = SchedulerInputError) -> SchedulerInputError:
    error = kind("refused")
    error.status = status
    return error


@pytest.mark.parametrize(
    ("answer", "over"),
    [(True, True), (False, False), (refusal(404), True)],
    ids=["over", "alive", "removed"],
)
def test_under_a_scheduler_the_scheduler_says_whether_a_job_is_over(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch, answer: object, over: bool
) -> None:
    monkeypatch.delenv(EMBEDDED, raising=False)
    variables = {"PA_JOB_ID": "12", "PA_SCHEDULER_REST_URL": HERE}
    assert owners.owner(variables, store_url) == f"scheduler job 12 of {HERE}"
    ask = owners.is_over(variables, store, store_url, answering(answer))
    assert ask(f"scheduler job 11 of {HERE}") is over


@pytest.mark.parametrize("error", [refusal(403), refusal(404, SchedulerVersionError)])
def test_a_refused_question_is_no_answer(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch, error: SchedulerInputError
) -> None:
    monkeypatch.delenv(EMBEDDED, raising=False)
    ask = owners.is_over({"PA_SCHEDULER_REST_URL": HERE}, store, store_url, answering(error))
    with pytest.raises(SchedulerInputError):
        ask(f"scheduler job 11 of {HERE}")


@pytest.mark.parametrize("other", [f"scheduler job 11 of {THERE}", "scheduler job 11", "job 11", "overlayctl"])
def test_jobs_of_others_are_not_asked_after(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.delenv(EMBEDDED, raising=False)
    assert not owners.is_over({"PA_SCHEDULER_REST_URL": HERE}, store, store_url, answering(True))(other)
    assert not owners.is_over({}, store, store_url, answering(True))(other)


def test_the_embedded_engines_own_records_say_whether_its_job_is_over(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMBEDDED, "true")
    monkeypatch.setenv("OVERLAY_STORE", store_url)
    jobs = Jobs(store)
    alive, ended = (jobs.create("Deploy_Overlay", "", {}) for _ in range(2))
    jobs.write(ended, {"status": "KILLED", "finished": now()})
    monkeypatch.setattr("proactive_tasks.store.jobs.this_process", lambda: f"{os.uname().nodename} - - 1 1")
    assert owners.owner({"PA_JOB_ID": str(alive)}, store_url) == f"job {alive}"
    ask = owners.is_over({"PA_JOB_ID": str(alive)}, store, store_url, answering(True))
    assert [ask(f"job {number}") for number in (alive, ended, 99)] == [False, True, False]
    assert not ask(f"scheduler job {ended} of {HERE}")


def test_two_engines_that_share_a_store_do_not_free_each_others_locks(
    store: Store, store_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMBEDDED, "true")
    names = set()
    for machine in ("one", "two"):
        records = f"sqlite:///{tmp_path}/{machine}.db"
        monkeypatch.setenv("OVERLAY_STORE", records)
        with Store.open(records) as own:
            number = Jobs(own).create("Deploy_Overlay", "", {})
            Jobs(own).write(number, {"status": "KILLED", "finished": now()})
        names.add(owners.owner({"PA_JOB_ID": "1"}, store_url))
    ask = owners.is_over({}, store, store_url, answering(True))
    assert len(names) == 2
    assert sorted(map(ask, names)) == [False, True]
