"""The march: gate and cases, at the samples and bins of the recipes, one cell in ten occupied."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.kernels.march import fused, reference
from engine.occupancy import sphere_span

SHAPES = ((8, 16384, 48, 96), (32, 16384, 48, 96), (8, 4096, 128, 512))
"""Scenes, rays, samples and bins."""


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """Distances and lengths against the reference, where the two saw the same bins.

    A bin's middle on a cell's face may fall to either side of it: few rays may have one.
    """
    inputs = _inputs((2, 9, 5, 40) if is_tiny else (2, 8192, 48, 96), device)
    actual, expected = fused.march(**inputs), reference.march(**inputs)
    is_same = (actual[1] - expected[1]).abs()[..., 0] < 1e-6
    is_same &= (actual[0] - expected[0]).abs().amax(dim=-1) < 1e-3
    errors = hold(
        {"distance": actual[0][is_same], "delta": actual[1][is_same]},
        {"distance": expected[0][is_same], "delta": expected[1][is_same]},
        1e-6,
    )
    share = is_same.float().mean()
    return errors | hold({"rays": share[None]}, {"rays": torch.ones_like(share)[None]}, 5e-3)


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Kernels and reference."""
    for shape in ((1, 3, 4, 9),) if is_tiny else SHAPES:
        inputs = _inputs(shape, device)
        rays, samples = shape[0] * shape[1], shape[0] * shape[1] * shape[2]
        for part, op in (("march", fused.march), ("march in torch", reference.march)):
            yield Case(
                part=part,
                setting="S={} R={} N={} M={}".format(*shape),
                num_samples=samples,
                # Strata and distances; origin, direction, span and length of a ray.
                num_bytes=4 * (2 * samples + 9 * rays),
                run=lambda op=op, inputs=inputs: op(**inputs),
            )


def _inputs(shape: tuple[int, int, int, int], device: torch.device) -> dict[str, Any]:
    num_scenes, num_rays, num_samples, num_bins = shape
    origins = 2.5 * F.normalize(torch.randn(num_scenes, num_rays, 3, device=device), dim=-1)
    aim = 0.6 * torch.randn(num_scenes, num_rays, 3, device=device)
    directions = F.normalize(aim - origins, dim=-1)
    near, far = sphere_span(origins, directions, 1.0)
    return {
        "is_occupied": torch.rand(num_scenes, 32**3, device=device) < 0.1,
        "origins": origins,
        "directions": directions,
        "near": near,
        "far": far,
        "u": torch.rand(num_scenes, num_rays, num_samples, device=device),
        "num_bins": num_bins,
        "grid_size": 32,
        "bound": 1.0,
    }
