"""A CUDA device that nobody may wait for."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def forbidden() -> Iterator[None]:
    """Whatever waits for the device within raises RuntimeError."""
    with warnings.catch_warnings():
        # That some waits are not seen is told once a process.
        warnings.filterwarnings("ignore", "Synchronization debug mode", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
