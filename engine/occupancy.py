"""Occupancy: which cells a ray need not visit, and where its samples go instead.

The grid holds, for each of G^3 cells of [-bound, bound]^3, an estimate of the density in it. A cell
is occupied if it or a neighbour exceeds a floor. A ray always gets N samples, spread over the
occupied part of its way through the region (the ball |x| <= bound, or the cube), so that budgets
never overflow and shapes never change.

Axes: S scenes, G cells a side (flattened in order z y x), R rays, M bins, N samples.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.configs.march import MarchConfig
from engine.fields.field import Field, Parameters
from engine.kernels import march as kernel
from engine.philox import Purpose, uniform

_DECAY = 0.8
"""What is left of a cell's old estimate when a lower one is measured."""


@dataclass(frozen=True)
class March:
    """Samples along rays."""

    distance: Float[Tensor, "S R N"]
    """From the ray's origin."""
    delta: Float[Tensor, "S R N"]
    """Length each sample stands for; 0 on rays that miss the region."""


def measure(
    field: Field,
    parameters: Parameters,
    part: Float[Tensor, "S"],
    cells: Int[Tensor, "S C"],
    offset: Float[Tensor, "S C 3"],
    grid_size: int,
) -> Float[Tensor, "S C"]:
    """Density at one point of each cell, `offset` in [0, 1)^3 within it."""
    corner = torch.stack(
        [cells % grid_size, cells // grid_size % grid_size, cells // grid_size**2], dim=-1
    )
    x = (corner + offset) * (2.0 * field.bound / grid_size) - field.bound
    with torch.no_grad():
        return field.density(parameters, x, part)


def initial(field: Field, parameters: Parameters, grid_size: int) -> Float[Tensor, "S cells"]:
    """Density at the centre of every cell when nothing of the run is done."""
    first = next(iter(parameters.values()))
    cells = torch.arange(grid_size**3, device=first.device).expand(first.shape[0], -1)
    centre = torch.full((*cells.shape, 3), 0.5, device=first.device)
    nothing = torch.zeros(first.shape[0], device=first.device)
    return measure(field, parameters, nothing, cells, centre, grid_size)


def refresh(
    density: Float[Tensor, "S cells"],
    field: Field,
    parameters: Parameters,
    seed: Int[Tensor, "S"],
    step: Int[Tensor, "S"],
    part: Float[Tensor, "S"],
    config: MarchConfig,
) -> Float[Tensor, "S cells"]:
    """Measures one in `config.refresh` cells again: max(decay old, new) there.

    Which ones depends on the scene's step alone; after `config.refresh` steps all had their turn.
    """
    count = config.grid_size**3 // config.refresh
    turn = (step % config.refresh)[:, None]
    cells = torch.arange(count, device=step.device) * config.refresh + turn
    offset = uniform(seed, step, Purpose.OCCUPANCY, (count, 3))
    new = measure(field, parameters, part, cells, offset, config.grid_size)
    old = density.gather(1, cells)
    return density.scatter(1, cells, torch.maximum(_DECAY * old, new))


def occupied(density: Float[Tensor, "S cells"], config: MarchConfig) -> Bool[Tensor, "S cells"]:
    """Cells that, or whose neighbours, exceed the floor."""
    g = config.grid_size
    dilated = F.max_pool3d(density.view(-1, 1, g, g, g), kernel_size=3, stride=1, padding=1)
    return dilated.view(-1, g**3) > config.density_floor


def sphere_span(
    origins: Float[Tensor, "*r 3"], directions: Float[Tensor, "*r 3"], radius: float
) -> tuple[Float[Tensor, "*r"], Float[Tensor, "*r"]]:
    """Distances at which unit-direction rays enter and leave the ball; equal on a miss."""
    middle = -(origins * directions).sum(-1)
    closest = origins + middle[..., None] * directions
    half = torch.sqrt((radius**2 - closest.square().sum(-1)).clamp(min=0.0))
    return (middle - half).clamp(min=0.0), (middle + half).clamp(min=0.0)


def cube_span(
    origins: Float[Tensor, "*r 3"], directions: Float[Tensor, "*r 3"], half: float
) -> tuple[Float[Tensor, "*r"], Float[Tensor, "*r"]]:
    """Distances at which rays enter and leave the cube [-half, half]^3; both 0 on a miss."""
    # A ray along a face would divide 0 by 0.
    slope = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    one, other = (-half - origins) / slope, (half - origins) / slope
    near = torch.minimum(one, other).amax(dim=-1).clamp(min=0.0)
    far = torch.maximum(one, other).amin(dim=-1)
    is_hit = far > near
    return torch.where(is_hit, near, 0.0), torch.where(is_hit, far, 0.0)


def march(
    is_occupied: Bool[Tensor, "S cells"],
    origins: Float[Tensor, "S R 3"],
    directions: Float[Tensor, "S R 3"],
    u: Float[Tensor, "S R N"],
    config: MarchConfig,
    bound: float,
) -> March:
    """Stratified samples over the occupied part of each ray.

    With L the occupied length, sample k lies where L (k + u_k) / N of it is passed, and
    delta = L / N. A ray that meets no occupied cell is sampled all along, so that density can
    appear there.
    """
    span = sphere_span if config.region == "sphere" else cube_span
    near, far = span(origins, directions, bound)
    distance, delta = kernel.march(
        is_occupied,
        origins,
        directions,
        near,
        far,
        u,
        num_bins=config.num_bins,
        grid_size=config.grid_size,
        bound=bound,
    )
    return March(distance, delta)
