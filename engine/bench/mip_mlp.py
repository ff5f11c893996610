"""The paper's network with its slope: gate and cases, of DreamFusion's size, 2^20 points in all.

The reference in plain torch is timed beside the kernels, in float32.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from engine.bench.comparing import backward, forward, values_and_gradients
from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.kernels.mip_mlp import Weights, fused, reference

_PAPER = (8, 5, 128)
"""Frequencies, blocks and units."""
_TINY = (2, 2, 16)
_PASSES = 160
"""Of a layer's values through memory, forward and backward; see the op's README."""
_KEPT = 26
"""Of them what the forward pass writes."""


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """Outputs, slope and all gradients of two scenes, against float32 (float64 if tiny)."""
    # The interpreter has no products of bfloat16.
    precision, tolerance = (torch.float32, 1e-4) if is_tiny else (torch.bfloat16, 0.1)
    inputs = _inputs(2, 70 if is_tiny else 2**16 + 1, device, _TINY if is_tiny else _PAPER)
    run = partial(_fused, precision=precision)
    cotangents = [torch.randn_like(v) for v in run(inputs).values()]
    exact = {name: v.double() if is_tiny else v for name, v in inputs.items()}
    return hold(
        values_and_gradients(run, inputs, Weights._fields, cotangents),
        values_and_gradients(_reference, exact, Weights._fields, cotangents),
        tolerance,
    )


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Forward and backward of one scene."""
    points = 40 if is_tiny else 2**20
    num_levels, num_blocks, width = sizes = _TINY if is_tiny else _PAPER
    inputs = _inputs(1, points, device, sizes)
    flops = 2 * (6 * num_levels + 2 * num_blocks * width + 4) * width
    precision = torch.float32 if is_tiny else torch.bfloat16
    ops = (("", partial(_fused, precision=precision)), (" in torch", _reference))
    layer = points * width * precision.itemsize
    for name, op in ops:
        for part, run, passes, times in (
            ("forward", forward(op, inputs), _KEPT, 2),
            ("backward", backward(op, inputs, Weights._fields), _PASSES - _KEPT, 4),
        ):
            yield Case(
                part=part + name,
                setting=f"S=1 P={points} {precision}".replace("torch.", ""),
                num_samples=points,
                num_bytes=layer * passes,
                num_flops=points * times * flops,
                run=run,
            )


def _inputs(
    num_scenes: int, num_points: int, device: torch.device, sizes: tuple[int, int, int]
) -> dict[str, Tensor]:
    num_levels, num_blocks, width = sizes

    def normal(*shape: int, scale: float) -> Tensor:
        return scale * torch.randn(num_scenes, *shape, device=device)

    weights = Weights(
        w_in=normal(6 * num_levels, width, scale=(6 * num_levels) ** -0.5),
        b_in=normal(1, width, scale=0.1),
        w1=normal(num_blocks, width, width, scale=width**-0.5),
        b1=normal(num_blocks, 1, width, scale=0.1),
        w2=normal(num_blocks, width, width, scale=width**-0.5),
        b2=normal(num_blocks, 1, width, scale=0.1),
        gain=1.0 + normal(num_blocks - 1, 1, width, scale=0.1),
        shift=normal(num_blocks - 1, 1, width, scale=0.1),
        w_out=normal(width, 4, scale=width**-0.5),
        b_out=normal(1, 4, scale=0.1),
    )
    x = 2.0 * torch.rand(num_scenes, num_points, 3, device=device) - 1.0
    return weights._asdict() | {
        "x": x,
        "kept": torch.rand(num_scenes, num_levels, device=device),
    }


def _arguments(inputs: Mapping[str, Tensor]) -> tuple[Weights, Tensor, Tensor]:
    return Weights(*(inputs[name] for name in Weights._fields)), inputs["x"], inputs["kept"]


def _fused(inputs: Mapping[str, Tensor], *, precision: torch.dtype) -> dict[str, Tensor]:
    return dict(zip(("raw", "slope"), fused.mip_mlp(*_arguments(inputs), precision), strict=True))


def _reference(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return dict(zip(("raw", "slope"), reference.mip_mlp(*_arguments(inputs)), strict=True))
