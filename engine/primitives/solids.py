"""Signed distance functions of primitive solids, batched.

Legend: a point set is held by components (`Points`), each a tensor "B P"; sizes are numbers or
tensors that broadcast with it ("B 1": one size an object). Distances are negative inside, in scene
units. Every function here is 1-Lipschitz, so |distance| never exceeds the way to the surface and a
ray may advance by it (sphere tracing). Where a body is the intersection of simpler ones the value
is a lower bound of the distance, no longer exact off its edges.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Size = float | Tensor
Distance = Float[Tensor, "B P"]


class Points(NamedTuple):
    """Points by components; +X front, +Y left of the object (right in its front view), +Z up."""

    x: Tensor
    y: Tensor
    z: Tensor

    def about(self, x: Size = 0.0, y: Size = 0.0, z: Size = 0.0) -> "Points":
        """The same points seen from a centre (x, y, z)."""
        return Points(self.x - x, self.y - y, self.z - z)

    def scaled(self, size: Size) -> "Points":
        """The same points in units of `size`, in which distances to them come out as well."""
        return Points(self.x / size, self.y / size, self.z / size)

    def along_x(self) -> "Points":
        """Axes renamed so that a solid built around z stands around x."""
        return Points(self.y, self.z, self.x)

    def along_y(self) -> "Points":
        """Axes renamed so that a solid built around z stands around y."""
        return Points(self.z, self.x, self.y)

    def mirrored(self, *, x: bool = False, y: bool = False) -> "Points":
        """Folded at the planes x = 0 and y = 0: a solid at +x appears at -x as well."""
        return Points(self.x.abs() if x else self.x, self.y.abs() if y else self.y, self.z)


def points(xyz: Float[Tensor, "B P 3"]) -> Points:
    """Split a coordinate tensor into components."""
    return Points(*xyz.unbind(-1))


def _length(*components: Tensor) -> Tensor:
    total = components[0].square()
    for component in components[1:]:
        total = total + component.square()
    return total.clamp_min(1e-18).sqrt()


def _outside(*gaps: Tensor) -> Tensor:
    """Distance to a body from its signed gaps along orthogonal directions (all <= 0 inside)."""
    largest = gaps[0]
    for gap in gaps[1:]:
        largest = torch.maximum(largest, gap)
    return _length(*[gap.clamp_min(0.0) for gap in gaps]) + largest.clamp_max(0.0)


def union(*bodies: Tensor) -> Tensor:
    """Distance to several bodies together: the least."""
    nearest = bodies[0]
    for body in bodies[1:]:
        nearest = torch.minimum(nearest, body)
    return nearest


def common(*bodies: Tensor) -> Tensor:
    """Lower bound of the distance to the intersection: the greatest."""
    farthest = bodies[0]
    for body in bodies[1:]:
        farthest = torch.maximum(farthest, body)
    return farthest


def sphere(p: Points, radius: Size) -> Distance:
    """Ball: |p| - r. Exact."""
    return _length(*p) - radius


def ellipsoid(p: Points, rx: Size, ry: Size, rz: Size) -> Distance:
    """Ellipsoid with half axes r: (|p / r| - 1) min(r), a lower bound of the distance."""
    least = min(float(r) if isinstance(r, (int, float)) else float("inf") for r in (rx, ry, rz))
    tensors = [r for r in (rx, ry, rz) if isinstance(r, Tensor)]
    bound: Size = least
    for r in tensors:
        bound = r.clamp_max(least) if not isinstance(bound, Tensor) else torch.minimum(bound, r)
    return (_length(p.x / rx, p.y / ry, p.z / rz) - 1.0) * bound


def box(p: Points, hx: Size, hy: Size, hz: Size, rounding: float = 0.0) -> Distance:
    """Box with half sizes h, edges rounded off inside of them. Exact."""
    gaps = (p.x.abs() - hx, p.y.abs() - hy, p.z.abs() - hz)
    return _outside(*[gap + rounding for gap in gaps]) - rounding


def cylinder(p: Points, radius: Size, half: Size) -> Distance:
    """Cylinder around z from -half to +half. Exact."""
    return _outside(_length(p.x, p.y) - radius, p.z.abs() - half)


def cone(p: Points, bottom: Size, top: Size, half: Size) -> Distance:
    """Frustum around z with radius `bottom` at -half and `top` at +half. Lower bound."""
    slope = (bottom - top) / (2.0 * half)
    across = (
        torch.rsqrt(1.0 + slope * slope) if isinstance(slope, Tensor) else (1 + slope**2) ** -0.5
    )
    side = (_length(p.x, p.y) + slope * p.z - 0.5 * (bottom + top)) * across
    return torch.maximum(side, p.z.abs() - half)


def torus(p: Points, ring: Size, tube: Size) -> Distance:
    """Ring around z: radius `ring` to the middle of a tube of radius `tube`. Exact."""
    return _length(_length(p.x, p.y) - ring, p.z) - tube


def limb(
    p: Points, start: tuple[Size, Size, Size], end: tuple[Size, Size, Size], radius: Size
) -> Distance:
    """Capsule: all points within `radius` of the segment from `start` to `end`. Exact."""
    q = p.about(*start)
    along = [b - a for a, b in zip(start, end, strict=True)]
    squared = along[0] * along[0] + along[1] * along[1] + along[2] * along[2]
    share = ((q.x * along[0] + q.y * along[1] + q.z * along[2]) / squared).clamp(0.0, 1.0)
    return _length(q.x - share * along[0], q.y - share * along[1], q.z - share * along[2]) - radius


def gable(p: Points, hx: Size, hy: Size, height: Size) -> Distance:
    """Roof: a triangle of half width hy at z = 0 and apex at `height`, from -hx to hx. Bound."""
    slope = height / hy
    across = (
        torch.rsqrt(1.0 + slope * slope) if isinstance(slope, Tensor) else (1 + slope**2) ** -0.5
    )
    side = (p.z - height + slope * p.y.abs()) * across
    return common(side, -p.z, p.x.abs() - hx)


def dome(p: Points, radius: Size, thickness: float) -> Distance:
    """Shell of the upper half of a sphere, `thickness` to either side of it. Bound."""
    return torch.maximum((_length(*p) - radius).abs() - thickness, -p.z)
