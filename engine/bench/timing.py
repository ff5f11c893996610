"""Time on the device: medians of CUDA events, and the rates at which it copies and multiplies."""

import statistics
from collections.abc import Callable

import torch

_WARM_UP = 5
_COPIED = 2**30
"""Bytes of the buffer whose copy is timed: far more than any cache."""
_SIDE = 8192


def median_ms(run: Callable[[], object], *, repeats: int = 50) -> float:
    """Milliseconds on the device, host gaps included where the host is the slower one."""
    for _ in range(_WARM_UP):
        run()
    marks = [
        (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        for _ in range(repeats)
    ]
    torch.cuda.synchronize()
    for start, end in marks:
        start.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in marks)


def copy_rate(device: torch.device) -> float:
    """Bytes a second of a copy within device memory, read and written ones counted."""
    source = torch.randint(0, 255, (_COPIED,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * _COPIED / (1e-3 * median_ms(lambda: target.copy_(source)))


def matmul_rate(device: torch.device) -> float:
    """FLOPs a second of the product of two random bf16 matrices of `_SIDE`."""
    a, b = torch.randn(2, _SIDE, _SIDE, dtype=torch.bfloat16, device=device)
    c = torch.empty_like(a)
    return 2 * _SIDE**3 / (1e-3 * median_ms(lambda: torch.mm(a, b, out=c)))
