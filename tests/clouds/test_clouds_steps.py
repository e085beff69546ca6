"""One sequence of steps serves plan and deed; what is busy is tried again, what is unclear is looked for first."""

from __future__ import annotations

import pytest

from proactive_tasks.clouds.provider import Change, NoJournal
from proactive_tasks.clouds.steps import SECRET, BusyError, Noted, Taken, UnclearError, insist, shown, until
from proactive_tasks.overlay.errors import ProviderError


def test_noted_steps_do_nothing_and_go_on_with_a_made_up_answer() -> None:
    steps = Noted()
    assert steps.take("vpc: make", "CreateVpc()", lambda: pytest.fail("done"), instead="vpc-?") == "vpc-?"
    assert steps.changes == [Change("vpc: make", "CreateVpc()")]


def test_a_step_that_makes_something_is_written_down_before_and_after() -> None:
    journal, seen = NoJournal(), []

    def make() -> str:
        seen.append(dict(journal.entries))
        return "vpc-1"

    steps = Taken(journal, seen.append)
    assert steps.take("vpc: make", "CreateVpc()", make, instead="", makes=("vpc", "a--b")) == "vpc-1"
    assert seen == ["vpc: make", {("vpc", "a--b"): ""}]
    assert journal.entries == {("vpc", "a--b"): "vpc-1"}


@pytest.mark.parametrize(
    ("error", "left"),
    [(ProviderError("no"), {}), (UnclearError("reset"), {("vpc", "a--b"): ""})],
    ids=["refused", "lost"],
)
def test_what_was_refused_is_not_there_and_what_is_unclear_stays_intended(error: Exception, left: object) -> None:
    journal = NoJournal()

    def fail() -> str:
        raise error

    with pytest.raises(type(error)):
        Taken(journal, lambda _line: None, patience_s=0.1).take("x", "X()", fail, instead="", makes=("vpc", "a--b"))
    assert journal.entries == left


class Calls:
    """Raises what it was given, one after the other, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.count = list(errors), 0

    def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "made"


def test_a_busy_provider_is_asked_again() -> None:
    calls = Calls(BusyError("slow down"), BusyError("slow down"))
    assert insist(calls, 20) == "made"
    assert calls.count == 3


def test_where_the_outcome_is_unclear_nothing_is_made_twice() -> None:
    calls, looks = Calls(UnclearError("reset")), []
    assert insist(calls, 20, find=lambda: looks.append("look") or "found") == "found"
    assert (calls.count, looks) == (1, ["look"])


def test_what_is_not_found_after_an_unclear_outcome_is_made() -> None:
    calls = Calls(UnclearError("reset"))
    assert insist(calls, 20, find=lambda: None) == "made"
    assert calls.count == 2


def test_a_refusal_is_not_asked_again() -> None:
    calls = Calls(ProviderError("never"))
    with pytest.raises(ProviderError, match="never"):
        insist(calls, 20)
    assert calls.count == 1


def test_patience_ends_with_the_last_error() -> None:
    with pytest.raises(BusyError, match="slow down"):
        insist(Calls(*[BusyError("slow down")] * 50), 0.3)


def test_waiting_ends_with_what_was_waited_for() -> None:
    with pytest.raises(ProviderError, match="instance i-1 to run: not within 0 s"):
        until(lambda: None, 0.05, "instance i-1 to run", poll_s=0.01)
    answers = iter([None, None, "running"])
    assert until(lambda: next(answers), 5, "it", poll_s=0.01) == "running"


def test_a_call_is_shown_without_its_secrets() -> None:
    assert shown("RunInstances", ImageId="ami-1", UserData=SECRET) == "RunInstances(ImageId='ami-1', UserData=...)"
