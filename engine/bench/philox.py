"""Random numbers: gate and cases, at a step's strata and at a handful for its cameras."""

from collections.abc import Iterator

import torch

from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.kernels.philox import fused, reference

SHAPES = ((8, 16384 * 48), (32, 16384 * 48), (8, 24))
"""Scenes and draws of each."""


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """The same numbers to the last bit."""
    count = 203 if is_tiny else 2**20 + 3
    seed, step = _scenes(3, device)
    actual = fused.uniform(seed, step, 6, count)
    return hold({"draws": actual}, {"draws": reference.uniform(seed, step, 6, count)}, 0.0)


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Kernel and reference."""
    for num_scenes, count in ((2, 21),) if is_tiny else SHAPES:
        seed, step = _scenes(num_scenes, device)
        for part, op in (("uniform", fused.uniform), ("uniform in torch", reference.uniform)):
            yield Case(
                part=part,
                setting=f"S={num_scenes} draws={count}",
                num_samples=num_scenes * count,
                num_bytes=4 * num_scenes * count,
                run=lambda op=op, seed=seed, step=step, count=count: op(seed, step, 6, count),
            )


def _scenes(num_scenes: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Seeds over all 64 bits, and steps."""
    seed = torch.randint(-(2**63), 2**63 - 1, (num_scenes,), device=device)
    return seed, torch.randint(0, 15_000, (num_scenes,), device=device)
