import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.primitives import solids
from engine.primitives.solids import Points, points

Vector = tuple[float, float, float]
Flat = tuple[float, float]

COORDINATE = st.floats(-1.5, 1.5)
PLACE = st.tuples(COORDINATE, COORDINATE, COORDINATE)
LENGTH = st.floats(0.1, 1.0)


def at(place: Vector) -> Points:
    return points(torch.tensor([[place]], dtype=torch.float64))


def value(distance: Tensor) -> float:
    assert distance.shape == (1, 1)
    return float(distance)


def to_segment(p: Flat, a: Flat, b: Flat) -> float:
    along, rest = (b[0] - a[0], b[1] - a[1]), (p[0] - a[0], p[1] - a[1])
    squared = along[0] ** 2 + along[1] ** 2
    share = (rest[0] * along[0] + rest[1] * along[1]) / squared if squared else 0.0
    share = min(1.0, max(0.0, share))
    return math.hypot(rest[0] - share * along[0], rest[1] - share * along[1])


def to_polygon(p: Flat, corners: Sequence[Flat]) -> float:
    """Distance to a convex polygon, corners counter-clockwise; negative inside."""
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    distance = min(to_segment(p, a, b) for a, b in edges)
    turns = [(b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) for a, b in edges]
    return -distance if all(turn >= 0 for turn in turns) else distance


def to_prism(p: Vector, half: float, corners: Sequence[Flat]) -> float:
    """Distance to a polygon in y and z drawn out along x."""
    across, along = to_polygon((p[1], p[2]), corners), abs(p[0]) - half
    if max(across, along) <= 0:
        return max(across, along)
    return math.hypot(max(across, 0), max(along, 0))


def rectangle(y: float, z: float) -> list[Flat]:
    return [(-y, -z), (y, -z), (y, z), (-y, z)]


def round_z(p: Vector) -> Flat:
    return math.hypot(p[0], p[1]), p[2]


@given(PLACE, LENGTH)
def test_sphere(p: Vector, radius: float) -> None:
    expected = math.dist(p, (0, 0, 0)) - radius
    assert value(solids.sphere(at(p), radius)) == pytest.approx(expected, abs=1e-8)


@given(PLACE, LENGTH, LENGTH, LENGTH, st.sampled_from([0.0, 0.04]))
def test_box(p: Vector, hx: float, hy: float, hz: float, rounding: float) -> None:
    core = to_prism(p, hx - rounding, rectangle(hy - rounding, hz - rounding))
    expected = core - rounding
    assert value(solids.box(at(p), hx, hy, hz, rounding)) == pytest.approx(expected, abs=1e-8)


@given(PLACE, LENGTH, LENGTH)
def test_cylinder(p: Vector, radius: float, half: float) -> None:
    expected = to_polygon(round_z(p), rectangle(radius, half))
    assert value(solids.cylinder(at(p), radius, half)) == pytest.approx(expected, abs=1e-8)


@given(PLACE, LENGTH, st.floats(0.0, 1.0), LENGTH)
def test_cone(p: Vector, bottom: float, top: float, half: float) -> None:
    exact = to_polygon(round_z(p), [(-bottom, -half), (bottom, -half), (top, half), (-top, half)])
    check_bound(value(solids.cone(at(p), bottom, top, half)), exact)


@given(PLACE, LENGTH, st.floats(0.05, 0.4))
def test_torus(p: Vector, ring: float, tube: float) -> None:
    rho, z = round_z(p)
    expected = min(math.hypot(rho - ring, z), math.hypot(rho + ring, z)) - tube
    assert value(solids.torus(at(p), ring, tube)) == pytest.approx(expected, abs=1e-8)


@given(PLACE, PLACE, PLACE, st.floats(0.02, 0.4))
def test_limb(p: Vector, start: Vector, end: Vector, radius: float) -> None:
    along = [b - a for a, b in zip(start, end, strict=True)]
    if math.hypot(*along) < 0.01:
        end = (start[0], start[1], start[2] + 0.5)
    shares = [k / 4000 for k in range(4001)]
    nearest = min(
        math.dist(p, [a + s * (b - a) for a, b in zip(start, end, strict=True)]) for s in shares
    )
    # The nearest of 4001 points on a segment of length 5.2 at most.
    assert value(solids.limb(at(p), start, end, radius)) == pytest.approx(
        nearest - radius, abs=1e-3
    )


@given(PLACE, LENGTH, LENGTH, LENGTH)
def test_gable(p: Vector, hx: float, hy: float, height: float) -> None:
    exact = to_prism(p, hx, [(-hy, 0.0), (hy, 0.0), (0.0, height)])
    check_bound(value(solids.gable(at(p), hx, hy, height)), exact)


@given(PLACE, LENGTH, st.floats(0.02, 0.08))
def test_dome(p: Vector, radius: float, thickness: float) -> None:
    found = value(solids.dome(at(p), radius, thickness))
    away = math.dist(p, (0, 0, 0))
    is_inside = p[2] > 0 and abs(away - radius) < thickness
    if min(abs(p[2]), abs(abs(away - radius) - thickness)) > 1e-9:
        assert (found < 0) == is_inside
    rho, z = round_z(p)
    angles = [k * math.pi / 400 for k in range(401)]
    walls = [
        math.hypot(rho - r * math.cos(a), z - r * math.sin(a))
        for r in (radius - thickness, radius + thickness)
        for a in angles
    ]
    assert abs(found) <= min(walls) + 1e-3 or is_inside


@given(PLACE, LENGTH, LENGTH, LENGTH)
def test_ellipsoid(p: Vector, rx: float, ry: float, rz: float) -> None:
    found = value(solids.ellipsoid(at(p), rx, ry, rz))
    level = (p[0] / rx) ** 2 + (p[1] / ry) ** 2 + (p[2] / rz) ** 2
    if abs(level - 1) > 1e-6:
        assert (found > 0) == (level > 1)
    surface = [
        (rx * math.sin(a) * math.cos(b), ry * math.sin(a) * math.sin(b), rz * math.cos(a))
        for a in (k * math.pi / 24 for k in range(25))
        for b in (k * math.pi / 12 for k in range(24))
    ]
    assert abs(found) <= min(math.dist(p, q) for q in surface) + 1e-8


def check_bound(found: float, exact: float) -> None:
    """The sign of the distance, and never more than its size."""
    if abs(exact) > 1e-9:
        assert (found > 0) == (exact > 0)
    assert abs(found) <= abs(exact) + 1e-8


def test_a_bound_is_told_apart_from_a_distance_that_is_too_long() -> None:
    check_bound(0.5, 0.6)
    for found, exact in [(0.7, 0.6), (-0.5, 0.6), (-0.7, -0.6)]:
        with pytest.raises(AssertionError):
            check_bound(found, exact)


SOLIDS: dict[str, Callable[[Points, Any, Any, Any], Tensor]] = {
    "sphere": lambda p, a, b, c: solids.sphere(p, a),
    "ellipsoid": solids.ellipsoid,
    "box": lambda p, a, b, c: solids.box(p, a, b, c, 0.03),
    "cylinder": lambda p, a, b, c: solids.cylinder(p, a, b),
    "cone": solids.cone,
    "torus": lambda p, a, b, c: solids.torus(p, a, 0.5 * b),
    "limb": lambda p, a, b, c: solids.limb(p, (a, b, 0.0), (-a, 0.0, c), 0.1),
    "gable": solids.gable,
    "dome": lambda p, a, b, c: solids.dome(p, a, 0.05),
    "union": lambda p, a, b, c: solids.union(solids.sphere(p, a), solids.box(p, b, c, a)),
    "common": lambda p, a, b, c: solids.common(solids.sphere(p, a), -solids.box(p, b, c, a)),
    "moved": lambda p, a, b, c: solids.cylinder(p.about(a, b, c).along_x().along_y(), a, b),
    "scaled": lambda p, a, b, c: a * solids.box(p.scaled(a), b, c, a),
    "mirrored": lambda p, a, b, c: solids.box(p.mirrored(x=True, y=True).about(a, b), b, c, a),
}


@pytest.mark.parametrize("name", SOLIDS)
@given(st.integers(0, 2**31), LENGTH, LENGTH, LENGTH)
def test_no_distance_grows_faster_than_the_way(
    name: str, seed: int, a: float, b: float, c: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    here = 3.0 * torch.rand(1, 400, 3, generator=generator, dtype=torch.float64) - 1.5
    step = torch.randn(1, 400, 3, generator=generator, dtype=torch.float64)
    step *= 10 ** (-4 * torch.rand(1, 400, 1, generator=generator, dtype=torch.float64))
    solid = SOLIDS[name]
    change = solid(points(here), a, b, c) - solid(points(here + step), a, b, c)
    assert bool((change.abs() <= step.norm(dim=-1) + 1e-8).all())
    assert float(change.abs().max()) > 0


@pytest.mark.parametrize("name", SOLIDS)
def test_sizes_of_a_batch_are_the_sizes_of_each(name: str) -> None:
    place = torch.rand(3, 50, 3, dtype=torch.float64) * 3 - 1.5
    sizes = 0.2 + torch.rand(3, 3, 1, dtype=torch.float64)
    together = SOLIDS[name](points(place), *sizes.unbind(1))
    for row in range(3):
        alone = SOLIDS[name](points(place[row : row + 1]), *sizes[row, :, 0].tolist())
        torch.testing.assert_close(together[row : row + 1], alone)


def test_axes_are_renamed_without_a_reflection() -> None:
    p = at((1.0, 2.0, 3.0))
    for turned, around in ((p.along_x(), 1.0), (p.along_y(), 2.0)):
        assert value(turned.z) == around
        order = [int(value(c)) for c in turned]
        assert order in ([2, 3, 1], [3, 1, 2])


def test_points_are_seen_from_a_centre_folded_and_in_other_units() -> None:
    p = at((-1.0, -2.0, -3.0))
    assert [value(c) for c in p.about(0.5, -1.0, 2.0)] == [-1.5, -1.0, -5.0]
    assert [value(c) for c in p.mirrored(x=True)] == [1.0, -2.0, -3.0]
    assert [value(c) for c in p.scaled(2.0)] == [-0.5, -1.0, -1.5]
    assert [value(c) for c in p.mirrored(y=True)] == [-1.0, 2.0, -3.0]
