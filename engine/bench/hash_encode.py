"""Hash encoding: gate and cases.

The shape is tiny-cuda-nn's in the comparison: 16 levels of 2 features, 2^19 rows, base 16, growth
1.4473, 2^20 samples, at random in the cube or in ray order (256 a ray, 4,096 rays). As there, the
forward includes the rounding of the fp32 parameters, and the backward the memory of the gradient.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from engine.bench.gate import hold
from engine.bench.ops import Case
from engine.kernels.hash_encode import fused, reference

DTYPES = (torch.float16, torch.bfloat16, torch.float32)

_ROUNDING = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 1e-5}
"""Tolerance of values, which are rounded to the dtype in the end; sums are fp32 in all."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a call."""

    num_scenes: int = 1
    num_points: int = 2**20
    num_levels: int = 16
    features: int = 2
    log2_size: int = 19
    resolutions: list[int] = field(
        default_factory=lambda: [round(16 * 1.4473**level) for level in range(16)]
    )

    @property
    def num_columns(self) -> int:
        """L F"""
        return self.num_levels * self.features

    def tables(self, device: torch.device) -> Tensor:
        """Parameters, fp32."""
        rows = (self.num_scenes, self.num_levels, 2**self.log2_size, self.features)
        return torch.randn(rows, device=device).requires_grad_()


_TINY = {"num_levels": 2, "log2_size": 7, "resolutions": [4, 9]}


def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
    """Values, slopes and their gradients of every dtype, two scenes, one of them with few levels.

    Against the reference in fp64 on the same rounded entries and cotangents. Points lie on a
    lattice of 1/512, where fp32 and fp64 agree on the cells.
    """
    # One point more than whole blocks; as many again along rays, where cells are shared.
    shape = Shape(num_scenes=2, num_points=2**15 + 1)
    if is_tiny:
        shape = Shape(num_scenes=2, num_points=9, **_TINY)
    errors = {}
    for dtype in DTYPES[:1] if is_tiny else DTYPES:
        values, gradients = _compared(shape, dtype, device)
        for (actual, expected), tolerance in ((values, _ROUNDING[dtype]), (gradients, 1e-5)):
            named = hold(
                {f"{name} {dtype}": value for name, value in actual.items()},
                {f"{name} {dtype}": value for name, value in expected.items()},
                tolerance,
            )
            errors.update(named)
    return errors


_Pair = tuple[dict[str, Tensor], dict[str, Tensor]]


def _compared(shape: Shape, dtype: torch.dtype, device: torch.device) -> tuple[_Pair, _Pair]:
    """(actual, expected) of values, and of gradients."""
    tables = shape.tables(device)
    x = torch.cat([_points(shape, order, device) for order in ("random", "rays")], dim=1)
    # Some of them outside the cube.
    x = ((540 * x).round() / 512).requires_grad_()
    seen = torch.tensor([shape.num_levels, shape.num_levels // 2], device=device)
    columns = (*x.shape[:2], shape.num_columns)
    g = torch.randn(columns, device=device).to(dtype)
    g_slopes = torch.randn(*columns, 3, device=device).to(dtype)
    rounded, x_64 = (v.detach().double().requires_grad_() for v in (tables.to(dtype), x))
    found = []
    for op, t, p, read_in in ((fused, tables, x, dtype), (reference, rounded, x_64, None)):
        features, slopes = op.encode_with_slopes(t, p, shape.resolutions, seen, dtype=read_in)
        cotangents = (g.to(features.dtype), g_slopes.to(slopes.dtype))
        d_tables, d_x = torch.autograd.grad((features, slopes), (t, p), cotangents)
        pulled = op.pull(g_slopes.to(slopes.dtype), cotangents[0])
        values = {"features": features, "slopes": slopes}
        found.append((values, {"d_tables": d_tables, "d_x": d_x, "pulled": pulled}))
    (values, gradients), (expected_values, expected_gradients) = found
    return (values, expected_values), (gradients, expected_gradients)


def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
    """Every part by dtype and order, at one scene and at eight with an eighth of the samples."""
    shapes = [Shape(), Shape(num_scenes=8, num_points=2**17)]
    dtypes = DTYPES
    if is_tiny:
        shapes, dtypes = [Shape(num_points=20, **_TINY)], (torch.float16,)
    for shape, order, dtype in product(shapes, ("random", "rays"), dtypes):
        x = _points(shape, order, device)
        setting = f"S={shape.num_scenes} P={shape.num_points} {order} {dtype}".replace("torch.", "")
        for part, run, num_bytes in _parts(shape, x, dtype):
            samples = shape.num_scenes * shape.num_points
            yield Case(
                part=part, setting=setting, num_samples=samples, num_bytes=num_bytes, run=run
            )


def _parts(
    shape: Shape, x: Tensor, dtype: torch.dtype
) -> Iterator[tuple[str, Callable[[], object], int]]:
    """(name, what to run, fewest bytes) of each part."""
    tables = shape.tables(x.device)
    fixed, moving = tables.detach(), x.clone().requires_grad_()
    columns = x[..., :1].numel() * shape.num_columns * dtype.itemsize
    entries = tables.numel() * (4 if dtype == torch.float32 else 4 + 2 * dtype.itemsize)
    written = 2 * tables.numel() * 4
    positions = x.numel() * 4

    def forward() -> object:
        with torch.no_grad():
            return fused.encode(tables, x, shape.resolutions, dtype=dtype)

    def with_slopes() -> object:
        with torch.no_grad():
            return fused.encode_with_slopes(tables, x, shape.resolutions, dtype=dtype)

    yield "forward", forward, positions + entries + columns
    yield "forward with slopes", with_slopes, positions + entries + 4 * columns
    y = fused.encode(tables, x, shape.resolutions, dtype=dtype)
    g = torch.randn_like(y)
    yield "backward tables", _backward(y, tables, g), positions + columns + written
    y = fused.encode(fixed, moving, shape.resolutions, dtype=dtype)
    yield "backward positions", _backward(y, moving, g), 2 * positions + entries + columns
    both = fused.encode_with_slopes(tables, x, shape.resolutions, dtype=dtype)
    g_both = (g, torch.randn_like(both[1]))
    yield "backward both to tables", _backward(both, tables, g_both), (
        positions + 4 * columns + written
    )  # fmt: skip


def _backward(
    y: Tensor | tuple[Tensor, ...], to: Tensor, g: Tensor | tuple[Tensor, ...]
) -> Callable[[], object]:
    return lambda: torch.autograd.grad(y, to, g, retain_graph=True)


def _points(shape: Shape, order: str, device: torch.device) -> Tensor:
    """S P 3 in the cube: at random, or 256 at even steps on each of many chords."""
    if order == "random":
        return torch.rand(shape.num_scenes, shape.num_points, 3, device=device) * 2 - 1
    per_ray = min(256, shape.num_points)
    rays = (shape.num_scenes, shape.num_points // per_ray, 1, 3)
    start, end = (torch.rand(rays, device=device) * 2 - 1 for _ in range(2))
    # From face to face: one coordinate of either end lies on a face.
    start[..., 0], end[..., 0] = -1.0, 1.0
    steps = torch.linspace(0, 1, per_ray, device=device)[:, None]
    return (start + (end - start) * steps).flatten(1, 2)
