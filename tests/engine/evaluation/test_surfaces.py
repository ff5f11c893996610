"""Points on true surfaces: on them, evenly by area, all over."""

import math

import pytest
import torch

from engine.evaluation.surfaces import TrueShapes
from engine.primitives.grammar import Geometry
from engine.primitives.kinds import distances

CUBE, BALL = Geometry("cube"), Geometry("ball")


@pytest.mark.parametrize(
    "geometry", [Geometry("mushroom"), Geometry("sword"), Geometry("cube", "on", "cylinder")]
)
def test_points_lie_on_the_surface(geometry: Geometry) -> None:
    u = torch.rand(2, 6)
    x = TrueShapes(geometry, u).sample(300, seed=0)
    assert x.shape == (2, 300, 3)
    assert float(distances(geometry, x, u).amin(dim=-1).abs().quantile(0.99)) < 1e-3


def test_a_ball_s_points_are_even() -> None:
    x = TrueShapes(BALL, torch.full((1, 6), 0.5)).sample(6000, seed=1)[0]
    radius = x.norm(dim=-1)
    assert float(radius.std()) < 1e-4
    assert float(x.mean(dim=0).norm() / radius.mean()) < 0.04
    # Archimedes: slices of a sphere of equal height have equal areas.
    shares = torch.histc(x[:, 2] / radius, bins=8, min=-1.0, max=1.0) / len(x)
    torch.testing.assert_close(shares, torch.full((8,), 0.125), atol=0.02, rtol=0)


def test_the_sides_of_a_cube_have_their_shares() -> None:
    u = torch.full((1, 6), 0.5)
    x = TrueShapes(CUBE, u).sample(6000, seed=1)[0]
    half = x.abs().amax(dim=0)
    for axis in range(3):
        area = half.prod() / half[axis]
        share = ((x[:, axis].abs() - half[axis]).abs() < 0.03 * half[axis]).float().mean()
        total = sum(half.prod() / half[k] for k in range(3))
        assert float(share) == pytest.approx(float(area / total), abs=0.06)


def test_distances_are_mended_where_they_are_understated() -> None:
    """The duck's body is an ellipsoid, whose distance function is only a bound."""
    shapes = TrueShapes(Geometry("duck"), torch.full((1, 6), 0.5))
    surface = shapes.sample(4000, seed=0)
    direction = torch.nn.functional.normalize(surface[:, :200], dim=-1)
    away = surface[:, :200] + 0.05 * direction
    exact = torch.cdist(away, surface).amin(dim=-1)
    raw = distances(shapes.geometry, away, shapes.proportions).amin(dim=-1)
    found, ascent = shapes.to_surface(away)
    assert ascent.shape == (1, 200, 3)
    is_outside = raw > 0.01
    error = (found - exact)[is_outside].abs().mean()
    assert float(error) < 0.01
    assert float(error) < float((raw - exact)[is_outside].abs().mean())


def test_the_same_seed_gives_the_same_points() -> None:
    shapes = TrueShapes(CUBE, torch.rand(1, 6))
    assert torch.equal(shapes.sample(50, seed=3), shapes.sample(50, seed=3))
    assert not torch.equal(shapes.sample(50, seed=3), shapes.sample(50, seed=4))
    assert math.isfinite(float(shapes.sample(50, seed=3).sum()))
