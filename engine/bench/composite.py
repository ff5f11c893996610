"""Compositing: gate and cases, at the samples a ray of the recipes.

Colours alone, as the renderer asks for them; lengths are one a ray. As a peer's measure the
reference in plain torch is timed beside the kernels.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from engine.bench.comparing import backward, forward, values_and_gradients
from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.kernels.composite import fused, reference

SHAPES = ((8, 16384, 48), (32, 16384, 48), (8, 4096, 128))
"""Scenes, rays and samples."""
_TRAINED = ("sigma", "colour")


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """Weights, opacity, colour and gradients against the reference in float64."""
    inputs = _inputs((2, 5, 13) if is_tiny else (2, 4097, 48), device)
    cotangents = [torch.randn_like(v) for v in _fused(inputs).values()]
    exact = {name: v.double() for name, v in inputs.items()}
    return hold(
        values_and_gradients(_fused, inputs, _TRAINED, cotangents),
        values_and_gradients(_reference, exact, _TRAINED, cotangents),
        1e-5,
    )


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Forward and backward of kernels and reference."""
    for shape in ((1, 4, 6),) if is_tiny else SHAPES:
        inputs = _inputs(shape, device)
        samples = inputs["sigma"].numel()
        setting = f"S={shape[0]} R={shape[1]} N={shape[2]}"
        for name, op in (("", _fused), (" in torch", _reference)):
            # Density, colour and weights; then those of the first two and their gradients.
            for part, run, floats in (
                ("forward", forward(op, inputs), 5),
                ("backward", backward(_colour_of(op), inputs, _TRAINED), 8),
            ):
                yield Case(
                    part=part + name,
                    setting=setting,
                    num_samples=samples,
                    num_bytes=4 * floats * samples,
                    run=run,
                )


def _inputs(shape: tuple[int, int, int], device: torch.device) -> dict[str, Tensor]:
    return {
        "sigma": 20 * torch.rand(shape, device=device),
        "delta": (0.1 * torch.rand(*shape[:2], 1, device=device)).expand(shape),
        "colour": torch.rand(*shape, 3, device=device),
    }


def _fused(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = fused.composite(inputs["sigma"], inputs["delta"], inputs["colour"])
    return {"weights": found.weights, "opacity": found.opacity, "colour": found.sums[0]}


def _reference(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = reference.composite(inputs["sigma"], inputs["delta"], inputs["colour"])
    return {"weights": found.weights, "opacity": found.opacity, "colour": found.sums[0]}


def _colour_of(op):
    """Without the weights, which few recipes look at."""

    def seen(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = op(inputs)
        return {"opacity": found["opacity"], "colour": found["colour"]}

    return seen
