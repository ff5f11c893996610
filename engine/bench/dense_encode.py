"""Dense lattices: gate and cases, at the sizes of the embedded world's recipe.

Lattices of 16 and 64 points a side with four channels, side by side or (as torch has them by
default) one after the other; 48 samples on each of 16,384 rays of a scene, on chords of the cube,
as the renderer's lie. The native operation of torch is timed beside the kernels.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from engine.bench.comparing import backward, forward, values_and_gradients
from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.kernels.dense_encode import fused, reference

SIDES = (16, 64)
_LAYOUTS = {"channels last": torch.channels_last_3d, "channels first": torch.contiguous_format}


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """Values and gradients to lattices and points, against the native operation in float64.

    Coordinates are multiples of 1/1024, of which any precision finds the same cell.
    """
    sides, points = ((2, 5), (7, 3)) if is_tiny else (SIDES, (4097, 48))
    inputs = _inputs(2, *points, sides, torch.channels_last_3d, device)
    inputs["x"] = (1024 * inputs["x"]).round() / 1024
    cotangents = [torch.randn_like(v) for v in _fused(inputs).values()]
    exact = {name: v.double() for name, v in inputs.items()}
    return hold(
        values_and_gradients(_fused, inputs, tuple(inputs), cotangents),
        values_and_gradients(_reference, exact, tuple(inputs), cotangents),
        1e-5,
    )


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Forward and the gradient to the lattices, of kernels in either layout and of torch."""
    scenes, rays, samples, sides = (1, 2, 4, (2, 3)) if is_tiny else (8, 16384, 48, SIDES)
    for layout, memory_format in _LAYOUTS.items():
        inputs = _inputs(scenes, rays, samples, sides, memory_format, device)
        grids = tuple(name for name in inputs if name != "x")
        parameters = sum(inputs[name].numel() for name in grids)
        points = scenes * rays * samples
        ops = [("", _fused)] + ([(" in torch", _reference)] if layout == "channels first" else [])
        for name, op in ops:
            for part, run, floats in (
                ("forward", forward(op, inputs), parameters),
                # Written as zeros first, then added to.
                ("backward grids", backward(op, inputs, grids), 2 * parameters),
            ):
                yield Case(
                    part=part + name,
                    setting=f"S={scenes} R={rays} N={samples} {layout}",
                    num_samples=points,
                    # Places and values of the points, or their cotangents.
                    num_bytes=4 * (7 * points + floats),
                    run=run,
                )


def _inputs(
    num_scenes: int,
    num_rays: int,
    num_samples: int,
    sides: tuple[int, ...],
    layout: torch.memory_format,
    device: torch.device,
) -> dict[str, Tensor]:
    ends = 2 * torch.rand(2, num_scenes, num_rays, 1, 3, device=device) - 1
    ends[..., 0] = torch.tensor([-1.0, 1.0], device=device)[:, None, None, None]
    steps = ((torch.arange(num_samples, device=device) + 0.5) / num_samples)[:, None]
    found = {"x": torch.lerp(ends[0], ends[1], steps).flatten(1, 2)}
    for n in sides:
        grid = torch.randn(num_scenes, 4, n, n, n, device=device)
        found[f"grid{n}"] = grid.contiguous(memory_format=layout)
    return found


def _fused(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    x, *grids = inputs.values()
    return {"values": fused.dense_encode(grids, x)}


def _reference(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    x, *grids = inputs.values()
    return {"values": reference.dense_encode(grids, x)}
