"""Launches of the kernels: shapes, memory, grids. No autograd.

Features S P C and slopes S P C 3 are views of memory in which P is the last axis (S C P and
S 3 C P), so that every program writes whole lines; cotangents may have any strides.
"""
# Triton's stubs do not know the options of a launch.
# pyright: reportCallIssue=false

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from engine.kernels.hash_encode.gather import encode_fwd_kernel
from engine.kernels.hash_encode.positions import encode_bwd_positions_kernel
from engine.kernels.hash_encode.products import pull_bwd_kernel, pull_fwd_kernel
from engine.kernels.hash_encode.scatter import encode_bwd_tables_kernel

BLOCK = 128
"""Points a program, as many as threads: then no value of a scatter has to change its thread."""

RUN_BLOCK = 32
"""The same where runs are summed: one warp, which needs no shared memory and no barrier for it."""

STREAM_BLOCK = 512
"""The same where bytes only pass through: four a thread, for wider words."""

IS_MERGED = True
"""Whether runs of points in one cell of a dense level are summed before they are sent."""

FEATURES = (1, 2, 4)
"""Features an entry that the kernels can read: sides of a block are powers of two."""

_MOST = 2**31
"""Offsets within a scene are 32-bit integers."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What is the same in every call of a field."""

    resolutions: tuple[int, ...]
    size: int
    """Rows of a level's table."""
    features: int
    dtype: torch.dtype
    """Of entries as they are read, and of features and slopes."""

    @property
    def num_columns(self) -> int:
        """L F"""
        return len(self.resolutions) * self.features

    @property
    def num_dense(self) -> int:
        """Levels that fit into their tables: the coarsest."""
        return sum((n + 1) ** 3 <= self.size for n in self.resolutions)

    @property
    def kinds(self) -> list[tuple[int, int, bool]]:
        """(first level, number of levels, whether they are hashed) of the one or two launches."""
        num_hashed = len(self.resolutions) - self.num_dense
        kinds = [(0, self.num_dense, False), (self.num_dense, num_hashed, True)]
        return [kind for kind in kinds if kind[1]]


def check(
    tables: Tensor, x: Tensor, resolutions: Sequence[int], dtype: torch.dtype | None
) -> Levels:
    """The levels that these arguments describe.

    Raises ValueError where the kernels do not reach: dtype, features, size, order, points.
    """
    num_levels, size, features = tables.shape[1:]
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"hash_encode: points in fp32 or fp64, got {x.dtype}; see dtype for speed")
    if features not in FEATURES:
        raise ValueError(f"hash_encode: features of 1, 2 or 4 on a GPU, got {features}")
    if size & (size - 1):
        raise ValueError(f"hash_encode: a table size that is a power of 2, got {size}")
    if list(resolutions) != sorted(resolutions) or len(resolutions) != num_levels:
        raise ValueError(
            f"hash_encode: {num_levels} resolutions, coarse to fine, got {list(resolutions)}"
        )
    if x.shape[1] * num_levels * features * 3 >= _MOST or num_levels * size * features >= _MOST:
        raise ValueError(
            f"hash_encode: fewer than 2^31 slopes and entries a scene, got {x.shape[1]} points "
            f"of {num_levels * features} features, tables of {num_levels} x {size} x {features}"
        )
    return Levels(
        resolutions=tuple(resolutions), size=size, features=features, dtype=dtype or tables.dtype
    )


def gather(
    tables: Tensor, x: Tensor, seen: Tensor | None, levels: Levels, *, sloped: bool
) -> tuple[Tensor, Tensor | None]:
    """Features S P C and, if asked for, slopes S P C 3."""
    num_scenes, num_points, _ = x.shape
    features = _columns(x, levels.num_columns, levels.dtype)
    slopes = _sloped_columns(x, levels.num_columns, levels.dtype) if sloped else None
    entries = tables.to(levels.dtype).contiguous()
    x, seen = x.contiguous(), _int32(seen)
    for first, count, is_hashed in levels.kinds if num_points else []:
        encode_fwd_kernel[_blocks(num_points, BLOCK), count, num_scenes](
            entries, x, _resolutions(levels.resolutions, x.device), seen, features, slopes,
            num_points, len(levels.resolutions), first,
            F=levels.features, SIZE=levels.size, HASHED=is_hashed, BLOCK=BLOCK,
            num_warps=_warps(BLOCK),
        )  # fmt: skip
    return features, slopes


def scatter(
    x: Tensor,
    d_features: Tensor | None,
    d_slopes: Tensor | None,
    seen: Tensor | None,
    levels: Levels,
) -> Tensor:
    """Gradient to the tables, S L T F, in the precision of the positions."""
    num_scenes, num_points, _ = x.shape
    num_levels = len(levels.resolutions)
    shape = (num_scenes, num_levels, levels.size, levels.features)
    d_tables = torch.zeros(shape, dtype=x.dtype, device=x.device)
    x, seen = x.contiguous(), _int32(seen)
    for first, count, is_hashed in levels.kinds if num_points else []:
        is_merged = IS_MERGED and not is_hashed
        block = RUN_BLOCK if is_merged else BLOCK
        encode_bwd_tables_kernel[_blocks(num_points, block), count, num_scenes](
            x, _resolutions(levels.resolutions, x.device), seen, d_features, d_slopes, d_tables,
            num_points, num_levels, first, *_strides(d_features, 3), *_strides(d_slopes, 4),
            F=levels.features, SIZE=levels.size, HASHED=is_hashed,
            MERGED=is_merged, BLOCK=block, num_warps=_warps(block),
        )  # fmt: skip
    return d_tables


def positions(
    tables: Tensor,
    x: Tensor,
    d_features: Tensor | None,
    d_slopes: Tensor | None,
    seen: Tensor | None,
    levels: Levels,
) -> Tensor:
    """Gradient to the positions, S P 3."""
    num_scenes, num_points, _ = x.shape
    d_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    entries = tables.to(levels.dtype).contiguous()
    if num_points:
        encode_bwd_positions_kernel[_blocks(num_points, BLOCK), num_scenes](
            entries, x.contiguous(), _resolutions(levels.resolutions, x.device), _int32(seen),
            d_features, d_slopes, d_x, num_points, len(levels.resolutions), levels.num_dense,
            *_strides(d_features, 3), *_strides(d_slopes, 4),
            F=levels.features, SIZE=levels.size, BLOCK=BLOCK, num_warps=_warps(BLOCK),
        )  # fmt: skip
    return d_x


def pull(slopes: Tensor, cotangent: Tensor) -> Tensor:
    """Sum over C of slopes S P C 3 times cotangent S P C."""
    num_scenes, num_points, num_columns, _ = slopes.shape
    dtype = torch.promote_types(slopes.dtype, torch.float32)
    out = torch.empty((num_scenes, num_points, 3), dtype=dtype, device=slopes.device)
    if num_points:
        pull_fwd_kernel[_blocks(num_points, STREAM_BLOCK), num_scenes](
            slopes, cotangent, out, num_points, num_columns,
            *slopes.stride(), *cotangent.stride(), BLOCK=STREAM_BLOCK, num_warps=4,
        )  # fmt: skip
    return out


def push(slopes: Tensor, cotangent: Tensor, d_out: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `pull` to slopes and cotangent, from d_out S P 3."""
    num_scenes, num_points, num_columns, _ = slopes.shape
    d_slopes = _sloped_columns(slopes, num_columns, slopes.dtype)
    d_cotangent = _columns(slopes, num_columns, cotangent.dtype)
    if num_points:
        pull_bwd_kernel[_blocks(num_points, STREAM_BLOCK), num_scenes](
            slopes, cotangent, d_out.contiguous(), d_slopes, d_cotangent, num_points, num_columns,
            *slopes.stride(), *cotangent.stride(), BLOCK=STREAM_BLOCK, num_warps=4,
        )  # fmt: skip
    return d_slopes, d_cotangent


def _blocks(num_points: int, block: int) -> int:
    return -(-num_points // block)


def _warps(block: int) -> int:
    """For as many threads as points."""
    return max(block // 32, 1)


def _columns(like: Tensor, num_columns: int, dtype: torch.dtype) -> Tensor:
    """S P C, unwritten, with P last in memory."""
    shape = (like.shape[0], num_columns, like.shape[1])
    return torch.empty(shape, dtype=dtype, device=like.device).transpose(1, 2)


def _sloped_columns(like: Tensor, num_columns: int, dtype: torch.dtype) -> Tensor:
    """S P C 3, unwritten, with P last in memory."""
    shape = (like.shape[0], 3, num_columns, like.shape[1])
    return torch.empty(shape, dtype=dtype, device=like.device).permute(0, 3, 2, 1)


def _strides(x: Tensor | None, num_axes: int) -> tuple[int, ...]:
    return (0,) * num_axes if x is None else x.stride()


def _int32(seen: Tensor | None) -> Tensor | None:
    return None if seen is None else seen.to(torch.int32).contiguous()


@cache
def _resolutions(resolutions: tuple[int, ...], device: torch.device) -> Tensor:
    """On the device once, so that no step waits for a copy."""
    return torch.tensor(resolutions, dtype=torch.int32, device=device)
