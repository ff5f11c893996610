"""The small network: gate and cases, 32-64-4 as in the comparison, 2^20 points in all.

The backward is that of weights and features in one. The reference in plain torch is timed beside
the kernels, in float32.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from engine.bench.comparing import backward, forward, values_and_gradients
from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.kernels.mlp import fused, reference

SIZES = (32, 64, 4)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_ROUNDING = {torch.float16: 2e-3, torch.bfloat16: 1.5e-2, torch.float32: 1e-5}
"""Tolerance: hidden units and cotangents are rounded to the precision of the features."""


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """Outputs and all gradients of two scenes, against float64 on the same rounded numbers."""
    errors = {}
    # The interpreter has no products of bfloat16.
    for dtype in (torch.float16, torch.float32) if is_tiny else DTYPES:
        inputs = _inputs(2, 70 if is_tiny else 2**16 + 1, dtype, device)
        cotangents = [torch.randn_like(v) for v in _fused(inputs).values()]
        exact = {
            name: v.to(dtype).double() if name != "b0" else v.double() for name, v in inputs.items()
        }
        found = hold(
            values_and_gradients(_fused, inputs, tuple(inputs), cotangents),
            values_and_gradients(_reference, exact, tuple(inputs), cotangents),
            _ROUNDING[dtype],
        )
        errors |= {f"{name} {dtype}": error for name, error in found.items()}
    return errors


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Forward and backward, of one scene and of eight."""
    num_features, num_units, num_outputs = SIZES
    flops = 2 * (num_features * num_units + num_units * num_outputs)
    for scenes in (1,) if is_tiny else (1, 8):
        points = 40 if is_tiny else 2**20 // scenes
        for dtype in (torch.float16,) if is_tiny else DTYPES:
            inputs = _inputs(scenes, points, dtype, device)
            ops = [("", _fused)] + ([(" in torch", _reference)] if dtype == torch.float32 else [])
            read = num_features * dtype.itemsize + 4 * num_outputs
            for name, op in ops:
                for part, run, num_bytes, times in (
                    ("forward", forward(op, inputs), read, 1),
                    ("backward", backward(op, inputs, tuple(inputs)), 2 * read, 3),
                ):
                    yield Case(
                        part=part + name,
                        setting=f"S={scenes} P={points} {dtype}".replace("torch.", ""),
                        num_samples=scenes * points,
                        num_bytes=scenes * points * num_bytes,
                        num_flops=scenes * points * times * flops,
                        run=run,
                    )


def _inputs(
    num_scenes: int, num_points: int, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    num_features, num_units, num_outputs = SIZES
    return {
        "x": torch.randn(num_scenes, num_points, num_features, device=device).to(dtype),
        "w0": torch.randn(num_scenes, num_features, num_units, device=device) / 6,
        "b0": torch.randn(num_scenes, 1, num_units, device=device),
        "w1": torch.randn(num_scenes, num_units, num_outputs, device=device) / 8,
        "b1": torch.zeros(num_scenes, 1, num_outputs, device=device),
    }


def _fused(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"outputs": fused.mlp(*inputs.values())}


def _reference(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"outputs": reference.mlp(*inputs.values())}
