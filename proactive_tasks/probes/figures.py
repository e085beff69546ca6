"""What samples of a link say: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

Samples = Sequence[float | None]
"""Round-trip times in milliseconds; None for each echo that was lost."""


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """A summary of round-trip times, in milliseconds. The times are None when nothing came back."""

    sent: int
    lost: int
    least: float | None
    median: float | None
    p95: float | None
    most: float | None


def summary(samples: Samples) -> RoundTrips:
    """Count, losses and quantiles."""
    times = sorted(answered(samples))
    if not times:
        return RoundTrips(len(samples), len(samples), None, None, None, None)
    return RoundTrips(
        len(samples), len(samples) - len(times), times[0], median(times), quantile(times, 0.95), times[-1]
    )


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


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of an ordered, non-empty sequence does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
