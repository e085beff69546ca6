"""What a stream of echo requests says of what happened to it."""

from __future__ import annotations

import math

import pytest

from proactive_tasks.lab.traffic import UNDER_WAY_S, Stream


def stream(numbers: list[int], sent: int) -> Stream:
    return Stream(tuple((100 + 0.1 * number, number) for number in numbers), 0.1, sent)


@pytest.mark.parametrize(
    ("numbers", "sent", "lost", "gap_ms"),
    [
        ([1, 2, 3, 4], 4, 0, 0),
        ([3, 4, 5], 5, 0, 0),  # before the first answer there was no stream yet
        ([1, 2, 5, 6], 6, 2, 200),
        ([1, 2, 2, 3], 3, 0, 0),  # a duplicate makes up for nothing
        ([1, 2, 3], 5, 0, 0),  # two are under way
        ([1, 2, 3], 3 + int(UNDER_WAY_S / 0.1) + 1, 11, math.inf),
        ([], 50, 50, math.inf),
    ],
)
def test_a_stream_counts_what_was_lost_and_its_longest_silence(numbers, sent, lost, gap_ms) -> None:
    seen = stream(numbers, sent)
    assert seen.lost == lost
    assert seen.longest_gap_ms == pytest.approx(gap_ms, abs=1e-6)
