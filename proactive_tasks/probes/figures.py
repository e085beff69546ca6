"""What samples of a link say: pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

Samples = Sequence[float | None]
"""Round-trip times in milliseconds; None for each echo that was lost."""


def answered(samples: Samples) -> list[float]:
    """The samples that came back."""
    return [sample for sample in samples if sample is not None]


def loss(samples: Samples) -> float:
    """The share of echoes that were lost, 0 to 1; 1 when none was sent."""
    return 1 - len(answered(samples)) / len(samples) if samples else 1.0


def median_rtt(samples: Samples) -> float | None:
    """The median round-trip time in milliseconds; None when nothing came back."""
    times = answered(samples)
    return median(times) if times else None
