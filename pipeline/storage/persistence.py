"""Trying again what a store refuses now and may accept in a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
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


async def persist_awaiting(action: Callable[[], Awaitable[_T]], delays: Sequence[float]) -> _T:
    """As `persist`, in a coroutine."""
    for delay in delays:
        try:
            return await action()
        except Exception:  # as above, and those of Ray
            await asyncio.sleep(delay)
    return await action()
