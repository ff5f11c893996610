"""Group norms and their SiLU: gate and cases, at the sizes of Stable Diffusion's image encoder.

The reference in plain torch, of pictures with their channels side by side, is timed beside the
kernels.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from engine.bench.comparing import Op, backward, forward, values_and_gradients
from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.kernels.group_norm import fused, reference

SHAPES = ((128, 512), (128, 256), (256, 256), (256, 128), (512, 128), (512, 64))
"""Channels, and pixels of a side."""
_PICTURES = 8
_SETTING = {"num_groups": 32, "eps": 1e-6, "has_silu": True}
_ROUNDING = {torch.float16: 1e-3, torch.bfloat16: 6e-3}


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """y and the gradient to x, against float64 on the same rounded numbers."""
    errors = {}
    for dtype in (torch.float16, torch.bfloat16):
        inputs = _inputs((2, 64, 9, 7) if is_tiny else (2, 256, 129, 127), dtype, device)
        cotangents = [torch.randn_like(inputs["x"])]
        exact = {name: v.double() for name, v in inputs.items()}
        found = hold(
            values_and_gradients(_fused, inputs, ["x"], cotangents),
            values_and_gradients(_reference, exact, ["x"], cotangents),
            _ROUNDING[dtype],
        )
        errors |= {f"{name} {dtype}": error for name, error in found.items()}
    return errors


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Forward and backward of kernels and reference."""
    for channels, side in ((32, 5),) if is_tiny else SHAPES:
        pictures = 2 if is_tiny else _PICTURES
        inputs = _inputs((pictures, channels, side, side), torch.bfloat16, device)
        numbers = inputs["x"].numel()
        for name, op in (("", _fused), (" in torch", _reference)):
            # Read and written; then read together with a cotangent, for another. What does not fit
            # into the cache is read twice.
            for part, run, times in (
                ("forward", forward(op, inputs), 2),
                ("backward", backward(op, inputs, ["x"]), 3),
            ):
                yield Case(
                    part=part + name,
                    setting=f"N={pictures} C={channels} {side}x{side}",
                    num_samples=pictures * side * side,
                    num_bytes=times * inputs["x"].element_size() * numbers,
                    run=run,
                )


def _inputs(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    x = 2.0 * torch.randn(shape, device=device) + 1.0
    found = {"x": x.to(dtype, memory_format=torch.channels_last)}
    for name in ("weight", "bias", "offset"):
        found[name] = torch.randn(shape[1], device=device).to(dtype)
    return found


def _of(op) -> Op:
    return lambda inputs: {"y": op(**inputs, **_SETTING)}


_fused = _of(fused.group_norm)
_reference = _of(reference.group_norm)
