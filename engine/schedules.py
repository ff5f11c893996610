"""Schedules of training runs that end by the clock, as plain numbers."""

import math


def warmed_cosine(first: float, last: float, *, warm_up: int, step: int, progress: float) -> float:
    """Half a cosine from `first` to `last` over `progress` in [0, 1], times a linear warm-up over
    the first `warm_up` steps."""
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
    return (last + (first - last) * cosine) * min(1.0, (step + 1) / max(warm_up, 1))


def ramped_decay(final: float, step: int) -> float:
    """Decay of a running mean: (1 + n) / (10 + n), up to its final value."""
    return min(final, (1.0 + step) / (10.0 + step))
