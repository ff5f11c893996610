"""Chamfer distance from an asset to the true shape of its geometry.

a       points on the asset's surface
b       points on a true shape's surface
s, t    scale and translation of the asset into the true shape's frame; it is not turned, because
        the frame is part of what was asked for: front +X, up +Z
d       (mean over a of the distance of s a + t to the true shape) + (mean over b of the distance
        of b to the asset), as a share of the longest side of the true shape's bounding box

The result is the least d over 64 sampled proportions of the geometry and two alignments: equal
centre of mass and equal root mean square radius of the surfaces; and from there a few Gauss-Newton
steps on the squared distances of the asset's points. Distances to the true shape are exact, those
to the asset are to the nearest of many points, which adds about half a per cent of the box. The
candidates are ranked with few points; the first three are measured with all.

Axes: B true shapes, P points of the asset, Q points of a true shape. Scene units.
"""

import threading
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.evaluation.surfaces import TrueShapes
from engine.primitives.grammar import Geometry
from engine.primitives.kinds import NUM_PROPORTIONS

NUM_SHAPES = 64
NUM_TRUE_POINTS = 512
NUM_DENSE_POINTS = 24_000
"""Points that stand for the asset's surface."""
NUM_FEW_POINTS = 512
"""Those of them with which candidates are ranked, and whose distance to true shapes is taken."""
NUM_FINALISTS = 3

_SEED = 5
_STEPS = 5
_RIDGE = 1e-6
_PAIRS_AT_ONCE = 2**24


@dataclass(frozen=True)
class _Candidates:
    """True shapes, points on them, and how an asset is laid over each: x -> scale x + shift."""

    shapes: TrueShapes
    points: Float[Tensor, "B Q 3"]
    scale: Float[Tensor, "B"]
    shift: Float[Tensor, "B 3"]

    def forth(self, a: Float[Tensor, "P 3"]) -> Float[Tensor, "B P 3"]:
        """The asset's points in each true shape's frame."""
        return self.scale[:, None, None] * a + self.shift[:, None]

    def distances(
        self, few: Float[Tensor, "P 3"], all_points: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "B"]:
        """d of each candidate; `all_points` are those that distances to the asset are taken to."""
        forth = self.shapes.to_surface(self.forth(few))[0].abs().mean(dim=1)
        back = (self.points - self.shift[:, None]) / self.scale[:, None, None]
        at_once = max(1, _PAIRS_AT_ONCE // (back.shape[1] * len(all_points)))
        # By products of matrices it would be quicker, but wrong by more than a small distance.
        exact = "donot_use_mm_for_euclid_dist"
        pairs = (torch.cdist(b, all_points, compute_mode=exact) for b in back.split(at_once))
        away = torch.cat([found.amin(dim=-1).mean(dim=1) for found in pairs]) * self.scale
        side = (self.points.amax(dim=1) - self.points.amin(dim=1)).amax(dim=-1)
        return (forth + away) / side

    def joined(self, other: "_Candidates") -> "_Candidates":
        """Both one after the other."""
        u = torch.cat([self.shapes.proportions, other.shapes.proportions])
        return _Candidates(
            TrueShapes(self.shapes.geometry, u),
            torch.cat([self.points, other.points]),
            torch.cat([self.scale, other.scale]),
            torch.cat([self.shift, other.shift]),
        )

    def chosen(self, rows: Int[Tensor, "b"]) -> "_Candidates":
        """Some of them."""
        shapes = TrueShapes(self.shapes.geometry, self.shapes.proportions[rows])
        return _Candidates(shapes, self.points[rows], self.scale[rows], self.shift[rows])


class Chamfer:
    """The ruler; keeps the true shapes of every geometry that it has been asked for.

    Threads may share it.
    """

    def __init__(self, device: torch.device | str) -> None:
        """True shapes are sampled on `device`."""
        self._device = torch.device(device)
        # torch readies its solver for GPUs at its first use, which no two threads may make at once.
        torch.linalg.solve(torch.eye(1, device=self._device), torch.ones(1, device=self._device))
        self._lock = threading.Lock()
        self._known: dict[Geometry, tuple[TrueShapes, Float[Tensor, "B P 3"]]] = {}

    def distance(self, surface: Float[np.ndarray, "P 3"], geometry: Geometry) -> float:
        """d of the points of a surface, many and even by area, to a geometry."""
        dense = torch.from_numpy(surface).float().to(self._device)
        few = dense[:: max(1, len(dense) // NUM_FEW_POINTS)]
        start = _balanced(dense, *self._true(geometry))
        candidates = start.joined(_refined(start, few))
        order = candidates.distances(few, few).argsort()
        return float(candidates.chosen(order[:NUM_FINALISTS]).distances(few, dense).min())

    def _true(self, geometry: Geometry) -> tuple[TrueShapes, Float[Tensor, "B P 3"]]:
        with self._lock:
            if geometry not in self._known:
                generator = torch.Generator().manual_seed(_SEED)
                u = torch.rand(NUM_SHAPES, NUM_PROPORTIONS, generator=generator).to(self._device)
                shapes = TrueShapes(geometry, u)
                self._known[geometry] = shapes, shapes.sample(NUM_TRUE_POINTS, _SEED)
            return self._known[geometry]


def points_on_mesh(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], count: int = NUM_DENSE_POINTS
) -> Float[np.ndarray, "P 3"]:
    """Random points on triangles, even by area; the same for the same mesh."""
    draw = np.random.default_rng(_SEED)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    face = draw.choice(len(faces), size=count, p=area / area.sum())
    # Uniform in a triangle: the square root evens out the corner that two sides share.
    root, v = np.sqrt(draw.random((count, 1))), draw.random((count, 1))
    return (1.0 - root) * a[face] + root * (1.0 - v) * b[face] + root * v * c[face]


def _balanced(
    a: Float[Tensor, "P 3"], shapes: TrueShapes, b: Float[Tensor, "B Q 3"]
) -> _Candidates:
    """Brings the asset to each true shape's centre of mass and root mean square radius."""
    centre_a, centre_b = a.mean(dim=0), b.mean(dim=1)
    radius_a = (a - centre_a).square().sum(-1).mean().sqrt()
    radius_b = (b - centre_b[:, None]).square().sum(-1).mean(dim=1).sqrt()
    scale = radius_b / radius_a
    return _Candidates(shapes, b, scale, centre_b - scale[:, None] * centre_a)


def _refined(start: _Candidates, a: Float[Tensor, "P 3"]) -> _Candidates:
    """Gauss-Newton on the sum of squared distances of the asset's points, over scale and shift."""
    now = start
    for _ in range(_STEPS):
        distance, direction = now.shapes.to_surface(now.forth(a))
        slope = torch.cat([(direction * a).sum(-1, keepdim=True), direction], dim=-1)
        normal = slope.mT @ slope / len(a) + _RIDGE * torch.eye(4, device=a.device)
        move = torch.linalg.solve(normal, (slope.mT @ distance[..., None]) / len(a))[..., 0]
        # An asset unlike the shape may be drawn towards a point of its surface.
        scale = torch.maximum(now.scale - move[:, 0], 0.5 * start.scale)
        now = _Candidates(now.shapes, now.points, scale, now.shift - move[:, 1:])
    return now
