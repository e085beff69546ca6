"""The arithmetic of samples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proactive_tasks.probes.figures import loss, median_rtt, quantile, summary

samples = st.lists(st.none() | st.floats(0, 1000), max_size=50)


@given(samples)
def test_a_summary_is_ordered_and_counts_every_sample(values):
    made = summary(values)
    assert made.sent == len(values)
    assert made.lost == values.count(None)
    if made.lost < made.sent:
        assert made.least <= made.median <= made.most
        assert made.least <= made.p95 <= made.most
    else:
        assert made.median is made.p95 is None


@given(samples)
def test_loss_is_a_share(values):
    assert 0 <= loss(values) <= 1
    assert (loss(values) == 1) == (median_rtt(values) is None)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.95, 4), (1.0, 4)])
def test_a_quantile_is_the_nearest_rank(share, expected):
    assert quantile([1, 2, 3, 4], share) == expected


def test_figures_of_a_small_sample():
    assert loss([1.0, None, 3.0, None]) == 0.5
    assert median_rtt([1.0, None, 4.0]) == 2.5
