"""Trying again what a store refuses now and may accept in a moment."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

_T = TypeVar("_T")


def persist(action: Callable[[], _T], delays: Sequence[float]) -> _T:
    """Does it until it succeeds, once more than there are delays (in seconds); the last error is
    raised."""
    for delay in delays:
        try:
            return action()
        except Exception:  # storage clients have no common family of errors
            time.sleep(delay)
    return action()
