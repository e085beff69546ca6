"""The arithmetic of samples."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proactive_tasks.probes.figures import loss, median_rtt

samples = st.lists(st.none() | st.floats(0, 1000), max_size=50)


@given(samples)
def test_loss_is_a_share(values):
    assert 0 <= loss(values) <= 1
    assert (loss(values) == 1) == (median_rtt(values) is None)


def test_figures_of_a_small_sample():
    assert loss([1.0, None, 3.0, None]) == 0.5
    assert median_rtt([1.0, None, 4.0]) == 2.5
