"""The encoding in plain torch: any device, any dtype, differentiable as often as one likes."""

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

_PRIMES = (1, 2654435761, 805459861)

_Corner = tuple[int, int, int]
_Parts = tuple[Tensor, Tensor]
"""Weights of an axis' lower and upper side, each S P 3; or their slopes."""


def encode(
    tables: Float[Tensor, "S L T F"],
    x: Float[Tensor, "S P 3"],
    resolutions: Sequence[int],
    seen: Int[Tensor, "S"] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "S P L*F"]:
    """As `engine.kernels.hash_encode.encode`."""
    entries = tables if dtype is None else tables.to(dtype)
    levels = []
    for level, resolution in enumerate(resolutions):
        value = torch.zeros(*x.shape[:2], tables.shape[-1], device=x.device)
        for corner, parts, entry in _corners(entries[:, level], x, resolution):
            value = value + _weight(corner, (parts, parts, parts))[..., None] * entry
        levels.append(value)
    values = _seen_only(torch.cat(levels, dim=-1), seen, len(resolutions))
    return values if dtype is None else values.to(dtype)


def encode_with_slopes(
    tables: Float[Tensor, "S L T F"],
    x: Float[Tensor, "S P 3"],
    resolutions: Sequence[int],
    seen: Int[Tensor, "S"] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> tuple[Float[Tensor, "S P L*F"], Float[Tensor, "S P L*F 3"]]:
    """As `engine.kernels.hash_encode.encode_with_slopes`."""
    entries = tables if dtype is None else tables.to(dtype)
    unit = 0.5 * x + 0.5
    is_inside = ((unit >= 0.0) & (unit <= 1.0)).to(x.dtype)
    levels = []
    for level, resolution in enumerate(resolutions):
        rate = 0.5 * resolution * is_inside
        rates = (-rate, rate)
        slopes = torch.zeros(*x.shape[:2], tables.shape[-1], 3, device=x.device)
        for corner, parts, entry in _corners(entries[:, level], x, resolution):
            by_axis = (
                _weight(corner, (rates, parts, parts)),
                _weight(corner, (parts, rates, parts)),
                _weight(corner, (parts, parts, rates)),
            )
            slopes = slopes + entry[..., None] * torch.stack(by_axis, dim=-1)[:, :, None]
        levels.append(slopes)
    columns = [_seen_only(torch.cat(levels, dim=-2)[..., k], seen, len(levels)) for k in range(3)]
    slopes = torch.stack(columns, dim=-1)
    features = encode(tables, x, resolutions, seen, dtype=dtype)
    return features, slopes if dtype is None else slopes.to(dtype)


def pull(
    slopes: Float[Tensor, "S P C 3"], cotangent: Float[Tensor, "S P C"]
) -> Float[Tensor, "S P 3"]:
    """As `engine.kernels.hash_encode.pull`."""
    accumulator = torch.promote_types(slopes.dtype, torch.float32)
    return (slopes.to(accumulator) * cotangent.to(accumulator)[..., None]).sum(dim=-2)


def _corners(
    table: Float[Tensor, "S T F"], x: Float[Tensor, "S P 3"], resolution: int
) -> Iterator[tuple[_Corner, _Parts, Float[Tensor, "S P F"]]]:
    """Corners of the cells that points lie in, the sides' weights, and the corners' entries."""
    num_scenes, size, features = table.shape
    first_row = size * torch.arange(num_scenes, device=x.device)[:, None]
    scaled = (0.5 * x + 0.5).clamp(0.0, 1.0) * resolution
    cell = scaled.detach().floor().clamp(max=resolution - 1)
    fraction = scaled - cell
    parts = (1.0 - fraction, fraction)
    x0, y0, z0 = cell.long().unbind(-1)
    flat = table.reshape(num_scenes * size, features)
    for i, j, k in product((0, 1), repeat=3):
        row = first_row + _row(x0 + i, y0 + j, z0 + k, resolution, size)
        yield (i, j, k), parts, flat.index_select(0, row.flatten()).view(*row.shape, features)


def _weight(corner: _Corner, axes: tuple[_Parts, _Parts, _Parts]) -> Float[Tensor, "S P"]:
    """Product of a corner's parts along the axes."""
    # Not prod(): its gradient takes another path if any scene has a weight of 0.
    (i, j, k), (x, y, z) = corner, axes
    return x[i][..., 0] * y[j][..., 1] * z[k][..., 2]


def _seen_only(
    values: Float[Tensor, "S P C"], seen: Int[Tensor, "S"] | None, num_levels: int
) -> Float[Tensor, "S P C"]:
    """0 in the features of levels that are still to come."""
    if seen is None:
        return values
    levels = torch.arange(num_levels, device=values.device)
    is_seen = (levels < seen[:, None]).to(values.dtype)
    return values * is_seen.repeat_interleave(values.shape[-1] // num_levels, dim=1)[:, None]


def _row(
    x: Int[Tensor, "*p"], y: Int[Tensor, "*p"], z: Int[Tensor, "*p"], resolution: int, size: int
) -> Int[Tensor, "*p"]:
    """Row of a lattice corner in its level's table."""
    side = resolution + 1
    if side**3 <= size:
        return (z * side + y) * side + x
    return (x * _PRIMES[0] ^ y * _PRIMES[1] ^ z * _PRIMES[2]) % size
