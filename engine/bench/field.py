"""A hash-grid field's whole query: density, colour and analytic normal, forward and backward.

The field is `threestudio_if`'s, whose geometry module is the comparison: all its 16 levels of 2
features and 2^19 rows, softplus and a network of 64 units, at 2^20 random points; but without its
blob, beyond which there is no density to speak of, nor a normal. A level's noise falls with its
cells, so that every level is as steep as the others. The reference is timed beside the kernels, in
float32. Without a GPU both are the reference, held in float32 against float64.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from engine import kernels, recipes
from engine.bench.comparing import Op, forward, values_and_gradients
from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.configs.fields import HashGridConfig
from engine.fields import HashGrid

_TINY = HashGridConfig(num_levels=2, features=2, log2_size=6, finest_resolution=24, hidden=16)
_PARAMETERS = ("tables", "w0", "b0", "w1", "b1")
_NOISE = 0.1
"""Standard deviation of what the table of the coarsest level holds, and of the last weights."""
_FLAT = 0.25
"""Share of the points, the flattest, whose normals the gate's gradients leave out."""


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """Values, normals and gradients of two scenes, against float32 (float64 if tiny).

    A normal's gradient grows as density gets flat, and with it the rounding of half precision: of
    all points it would be .14 of the tables', as much in plain torch, and a few points' alone.
    """
    field = _field(is_tiny)
    inputs = _inputs(field, 2, 70 if is_tiny else 2**16 + 1, device)
    cotangents = [torch.randn_like(v) for v in _query(inputs, field=field).values()]
    cotangents[-1] *= _is_steep(inputs, field)
    exact = {name: v.double() if is_tiny else v for name, v in inputs.items()}
    actual = values_and_gradients(partial(_query, field=field), inputs, _PARAMETERS, cotangents)
    wanted = values_and_gradients(partial(_reference, field=field), exact, _PARAMETERS, cotangents)
    errors = {}
    for name, value in actual.items():
        tolerance = 1e-3 if is_tiny or name in ("sigma", "albedo") else 0.1
        errors |= hold({name: value}, {name: wanted[name]}, tolerance)
    return errors


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Forward alone, and forward with backward, of one scene and of eight."""
    points = 40 if is_tiny else 2**20
    field = _field(is_tiny)
    for scenes in (1, 8):
        inputs = _inputs(field, scenes, points // scenes, device)
        parameters = sum(inputs[name].numel() for name in _PARAMETERS)
        for name, op in (("", _query), (" in torch", _reference)):
            own = partial(op, field=field)
            # A point's place, density, colour and normal; back, cotangents and gradients as well.
            for part, run, floats in (
                ("forward", forward(own, inputs), 10 * points + parameters),
                ("both ways", _both_ways(own, inputs), 17 * points + 2 * parameters),
            ):
                yield Case(
                    part=part + name,
                    setting=f"S={scenes} P={points // scenes} random",
                    num_samples=points,
                    num_bytes=4 * floats,
                    run=run,
                )


def _field(is_tiny: bool) -> HashGrid:
    config = _TINY if is_tiny else recipes.get("threestudio_if").field
    assert isinstance(config, HashGridConfig)
    return HashGrid(replace(config, blob_density=0.0))


def _inputs(
    field: HashGrid, num_scenes: int, num_points: int, device: torch.device
) -> dict[str, Tensor]:
    found = field.initial(torch.arange(num_scenes, device=device))
    resolutions = torch.tensor(field.resolutions(), device=device)
    fall = (resolutions[0] / resolutions)[:, None, None]
    found["tables"] = _NOISE * fall * torch.randn_like(found["tables"])
    found["w1"] = _NOISE * torch.randn_like(found["w1"])
    x = 2.0 * torch.rand(num_scenes, num_points, 3, device=device) - 1.0
    return found | {"x": field.bound * x}


def _query(inputs: Mapping[str, Tensor], field: HashGrid) -> dict[str, Tensor]:
    x = inputs["x"]
    part = torch.ones(len(x), device=x.device, dtype=x.dtype)
    samples = field.query({n: inputs[n] for n in _PARAMETERS}, x, part, with_normal=True)
    assert samples.normal is not None
    return {"sigma": samples.sigma, "albedo": samples.albedo, "normal": samples.normal}


def _reference(inputs: Mapping[str, Tensor], field: HashGrid) -> dict[str, Tensor]:
    with kernels.held_off():
        return _query(inputs, field)


def _is_steep(inputs: Mapping[str, Tensor], field: HashGrid) -> Tensor:
    """1 where density is steep enough for a normal (S P 1), 0 elsewhere."""
    x = inputs["x"].detach().requires_grad_()
    with kernels.held_off():
        sigma = field.density({n: inputs[n] for n in _PARAMETERS}, x, torch.ones_like(x[:, 0, 0]))
        (slope,) = torch.autograd.grad(sigma.sum(), x)
    steepness = slope.norm(dim=-1, keepdim=True)
    return (steepness > steepness.quantile(_FLAT, dim=1, keepdim=True)).to(x)


def _both_ways(op: Op, inputs: Mapping[str, Tensor]) -> partial[dict[str, Tensor]]:
    cotangents = [torch.randn_like(v) for v in op(inputs).values()]
    return partial(values_and_gradients, op, inputs, _PARAMETERS, cotangents)
