"""Fused kernels in Triton, each beside a plain-torch reference of the same signature.

<op>/reference.py  the formula in plain torch, on any device, differentiable as often as one likes
<op>/fused.py      the kernels and their autograd; a large op has its kernels in files beside it
<op>/__init__.py   the public functions, which choose between the two
<op>/README.md     the mathematics, and what bounds the speed
tiles.py           what all kernels that multiply matrices need

All run over a leading axis of scenes, or of pictures. Triton is imported by `fused.py` and files of
kernels alone, so that importing an op needs none.

The environment's DREAMBATCH_KERNELS=0 switches them off, to compare.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


@cache
def has_triton() -> bool:
    """Whether kernels can be compiled here; torch's CUDA builds for Linux bring Triton."""
    return find_spec("triton") is not None


@cache
def is_wanted() -> bool:
    """Whether the environment allows kernels."""
    return os.environ.get("DREAMBATCH_KERNELS") != "0"


_IS_HELD_OFF = ContextVar("is_held_off", default=False)


@contextmanager
def held_off() -> Iterator[None]:
    """Within it, on this thread, ops run their references: what kernels are compared with."""
    token = _IS_HELD_OFF.set(True)
    try:
        yield
    finally:
        _IS_HELD_OFF.reset(token)


def is_fused_on(device: torch.device) -> bool:
    """Whether ops on this device run their kernels."""
    is_asked = is_wanted() and not _IS_HELD_OFF.get()
    return device.type == "cuda" and is_asked and has_triton()


def is_fused(x: Tensor) -> bool:
    """Whether an op on this tensor runs its kernels, and not its reference."""
    return is_fused_on(x.device)


def network_dtype(x: Tensor) -> torch.dtype:
    """Precision in which small networks multiply what comes from this tensor.

    Parameters, sums and gradients of parameters stay in that of the tensor. bfloat16 rather than
    float16: the gradients of a distillation would fall below what that can hold.
    """
    return torch.bfloat16 if x.is_cuda and is_fused(x) else x.dtype
