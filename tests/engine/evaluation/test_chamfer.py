"""The chamfer distance of shapes to themselves, to their copies and to others."""

import numpy as np
import pytest
import torch

from engine.evaluation import chamfer
from engine.evaluation.chamfer import Chamfer, points_on_mesh
from engine.evaluation.surfaces import TrueShapes
from engine.primitives.grammar import Geometry

TABLE, BALL, ROW = Geometry("table"), Geometry("ball"), Geometry("cube", count=3)
FLOOR = 0.012
"""What the finite number of points leaves of 0."""


@pytest.fixture(scope="module")
def ruler() -> Chamfer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chamfer, "NUM_SHAPES", 16)
        ruler = Chamfer("cpu")
        for geometry in (TABLE, BALL, ROW):
            ruler.distance(np.random.default_rng(0).random((600, 3)), geometry)
    return ruler


def surface(geometry: Geometry, u: torch.Tensor) -> np.ndarray:
    return TrueShapes(geometry, u[None]).sample(12000, seed=11)[0].numpy()


def sampled(number: int) -> torch.Tensor:
    """The proportions that the ruler itself has sampled."""
    return torch.rand(16, 6, generator=torch.Generator().manual_seed(5))[number]


@pytest.mark.parametrize("geometry", [TABLE, BALL, ROW])
def test_a_shape_is_at_no_distance_from_itself(ruler: Chamfer, geometry: Geometry) -> None:
    assert ruler.distance(surface(geometry, sampled(3)), geometry) < FLOOR


def test_size_and_place_do_not_count(ruler: Chamfer) -> None:
    x = surface(TABLE, sampled(3))
    plain = ruler.distance(x, TABLE)
    assert ruler.distance(0.4 * x + np.array([0.3, -0.2, 0.1]), TABLE) == pytest.approx(
        plain, abs=1e-3
    )


def test_the_frame_does_count(ruler: Chamfer) -> None:
    x = surface(TABLE, sampled(3))
    assert ruler.distance(x[:, [2, 1, 0]] * [1, 1, -1], TABLE) > 0.08


def test_new_proportions_are_near_and_other_kinds_far(ruler: Chamfer) -> None:
    x = surface(TABLE, torch.full((6,), 0.35))
    near = ruler.distance(x, TABLE)
    assert near < 0.04
    assert min(ruler.distance(x, BALL), ruler.distance(x, ROW)) > max(0.1, 3 * near)


def test_a_missing_part_is_seen(ruler: Chamfer) -> None:
    """A table without legs; every point that is there is right."""
    x = surface(TABLE, sampled(3))
    top = x[x[:, 2] > np.quantile(x[:, 2], 0.5)]
    assert ruler.distance(top, TABLE) > 0.05


def test_a_superfluous_part_is_seen(ruler: Chamfer) -> None:
    x = surface(BALL, sampled(0))
    spike = np.random.default_rng(0).random((3000, 3)) * [0.05, 0.05, 0.6] + [0, 0, 0.5]
    assert ruler.distance(np.concatenate([x, spike]), BALL) > 0.05


def test_against_a_naive_chamfer_distance(ruler: Chamfer) -> None:
    """A ball of radius 1.2 around one of radius 1 (unscaled): 0.2 each way, of 2."""
    u = sampled(0)
    x = surface(BALL, u)
    radius = float(np.linalg.norm(x, axis=-1).mean())
    shapes = TrueShapes(BALL, u[None])
    start = chamfer._Candidates(
        shapes, torch.from_numpy(x[None, :400]), torch.ones(1), torch.zeros(1, 3)
    )
    bigger = torch.from_numpy(x) * 1.2
    (found,) = start.distances(bigger[:400], bigger).tolist()
    assert found == pytest.approx((0.2 + 0.2) * radius / (2.0 * radius), abs=0.012)


def test_points_on_a_mesh_are_even_by_area() -> None:
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 5], [1, 0, 5], [0, 1, 5]], float)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    x = points_on_mesh(vertices, faces, 8000)
    assert x.shape == (8000, 3)
    low = x[x[:, 2] == 0]
    assert len(low) / 8000 == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(low.mean(axis=0), [1, 1 / 3, 0], atol=0.03)
    assert (low[:, 0] / 3 + low[:, 1] <= 1 + 1e-9).all()
    np.testing.assert_array_equal(x, points_on_mesh(vertices, faces, 8000))
