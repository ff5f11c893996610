import numpy as np
import pytest
import torch

from engine.export import skin

from .subjects import BLUE, RED, WHITE, Ball, Solids, figure


class Layered(Solids):
    """Red to a depth of .05, blue below it, as dense as is asked for."""

    def density(self, x: torch.Tensor) -> torch.Tensor:
        return self.peak * (self.depth(x) > 0.0)

    def albedo(self, x: torch.Tensor) -> torch.Tensor:
        is_deep = (self.depth(x) > 0.05)[:, None]
        return torch.where(is_deep, torch.tensor(BLUE), torch.tensor(RED))


def _points(num: int, radius: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    normals = np.random.default_rng(0).normal(size=(num, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return radius * normals, normals


def _seen(scene: Solids, x: np.ndarray, normal: np.ndarray, spacing: float) -> np.ndarray:
    """Colour of one point by a loop over the samples of its ray."""
    light, colour, delta = 1.0, np.zeros(3), 4.0 * spacing / 16
    for k in range(16):
        place = x - ((k + 0.5) * delta - spacing) * normal
        point = torch.from_numpy(place[None]).float()
        sigma = 1e6 if k == 15 else float(scene.density(point))
        taken = light * (1.0 - np.exp(-sigma * delta))
        colour += taken * scene.albedo(point)[0].numpy()
        light -= taken
    return colour


@pytest.mark.parametrize("peak", [5.0, 30.0, 500.0])
def test_colours_are_those_of_a_loop(peak: float):
    scene = Layered(parts=(Ball(radius=0.5),), peak=peak)
    points, normals = _points(8)
    found = skin.colours(scene, points, normals, 0.04)
    expected = [_seen(scene, x, n, 0.04) for x, n in zip(points, normals, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("peak", [5.0, 30.0, 500.0])
def test_the_shells_mean_albedo_is_nearly_that_colour(peak: float):
    scene = Layered(parts=(Ball(radius=0.5),), peak=peak)
    points, normals = _points(50)
    shells = skin.shells(scene, points, normals, 0.04)
    assert shells.shape == (50, skin.SHELLS, 3)
    found = scene.albedo(shells.reshape(-1, 3)).reshape(shells.shape).mean(dim=1).numpy()
    expected = skin.colours(scene, points, normals, 0.04)
    # Between two layers of any colours, no more than half a shell is on the wrong side.
    assert np.abs(found - expected).max() <= 0.5 / skin.SHELLS + 1e-3


def test_shells_lie_below_the_point_in_order_and_halve_the_light_evenly():
    """In an even haze of density s the part p of the light is gone at -log(1 - p) / s."""
    scene = Layered(parts=(Ball(radius=0.5),), peak=60.0)
    points, normals = _points(20)
    shells = skin.shells(scene, points, normals, 0.04).numpy()
    depth = ((points[:, None] - shells) * normals[:, None]).sum(axis=-1)
    parts = (np.arange(skin.SHELLS) + 0.5) / skin.SHELLS
    np.testing.assert_allclose(depth, np.tile(-np.log(1.0 - parts) / 60.0, (20, 1)), atol=3e-3)
    assert (np.diff(depth, axis=-1) > 0).all()


def test_where_nothing_is_the_shells_are_at_the_end():
    scene = Layered(parts=(Ball(radius=0.5),), peak=0.0)
    shells = skin.shells(scene, *_points(5), 0.04).numpy()
    depth = 0.5 - np.linalg.norm(shells, axis=-1)
    assert ((depth > 0.1) & (depth <= 0.12 + 1e-6)).all()


def test_a_solid_s_own_colour_is_seen():
    scene = figure()
    found = skin.colours(scene, np.array([[-0.35, 0.0, 0.0]]), np.array([[-1.0, 0.0, 0.0]]), 0.03)
    np.testing.assert_allclose(found[0], WHITE, atol=1e-3)
