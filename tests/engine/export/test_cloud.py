import itertools

import numpy as np
import pytest
import torch

from engine.export.cloud import cloud
from engine.export.lattice import Lattice, sample
from tests.engine.export.subjects import Solids, ball, figure, nothing


def shell(samples: Lattice, level: float) -> set[tuple[int, ...]]:
    """Cells above the level with a side where it is not, one after the other."""
    n = samples.size
    above = {
        cell
        for cell in itertools.product(range(n), repeat=3)
        if float(samples.density[cell]) > level
    }
    sides = [(d * (a == 0), d * (a == 1), d * (a == 2)) for a in range(3) for d in (-1, 1)]
    return {
        cell
        for cell in above
        if any(tuple(c + s for c, s in zip(cell, side, strict=True)) not in above for side in sides)
    }


@pytest.mark.parametrize("level", [1.0, 250.0])
def test_points_are_the_cells_that_one_sees(level: float) -> None:
    scene = ball()
    samples = sample(scene, 17)
    found = cloud(scene, samples, level=level)
    cells = (found.points + samples.bound) / samples.spacing - 0.5
    assert np.abs(cells - cells.round()).max() < 1e-4
    assert {tuple(cell) for cell in cells.round().astype(int).tolist()} == shell(samples, level)
    assert len(found.points) == len(found.colours) == len(shell(samples, level))


def test_a_field_that_fills_the_cube_is_seen_at_its_border() -> None:
    samples = Lattice(density=torch.ones(4, 4, 4), bound=1.0)
    found = cloud(ball(), samples, level=0.5)
    assert len(found.points) == 4**3 - 2**3
    assert np.abs(found.points).max() == pytest.approx(0.75)


def test_points_have_the_field_s_colours() -> None:
    scene = figure()
    found = cloud(scene, sample(scene, 48), level=100.0)
    expected = scene.albedo(torch.from_numpy(found.points)) * 255.0
    assert found.colours.dtype == np.uint8
    assert np.abs(found.colours - expected.numpy()).max() <= 0.5001
    assert len(np.unique(found.colours, axis=0)) == 4


def test_many_points_are_thinned_evenly() -> None:
    scene = ball()
    samples = sample(scene, 32)
    whole = cloud(scene, samples, level=1.0)
    fewer = cloud(scene, samples, level=1.0, most=100)
    step = -(-len(whole.points) // 100)
    assert step > 1
    assert np.array_equal(fewer.points, whole.points[::step])
    assert np.array_equal(fewer.colours, whole.colours[::step])


@pytest.mark.parametrize("scene", [nothing(), ball()], ids=["nothing", "too high a level"])
def test_where_nothing_is_dense_there_are_no_points(scene: Solids) -> None:
    found = cloud(scene, sample(scene, 9), level=1e6)
    assert found.points.shape == found.colours.shape == (0, 3)
