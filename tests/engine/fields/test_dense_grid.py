from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.configs.fields import DenseGridConfig
from engine.fields import DenseGrid, Parameters
from engine.fields.field import blob

CONFIG = DenseGridConfig(resolutions=(2, 5, 8), density_gain=3.0, blob_density=4.0)


def stir(num_scenes: int) -> Parameters:
    initial = DenseGrid(CONFIG).initial(torch.arange(num_scenes))
    return {name: torch.randn_like(p) for name, p in initial.items()}


def ends(num_scenes: int) -> Tensor:
    """The end of the run, of every scene."""
    return torch.ones(num_scenes)


def naive_read(grid: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Trilinear interpolation of one C Z Y X lattice at one point, corner by corner."""
    n = grid.shape[-1]
    place = np.clip((x + 1) / 2 * (n - 1), 0, n - 1)
    low = np.minimum(place.astype(int), n - 2)
    value = np.zeros(grid.shape[0])
    for corner in product((0, 1), repeat=3):
        weight = 1.0
        for axis in range(3):
            part = place[axis] - low[axis]
            weight *= part if corner[axis] else 1 - part
        i, j, k = low + corner
        value += weight * grid[:, k, j, i]
    return value


def naive_query(parameters: Parameters, scene: int, x: np.ndarray) -> tuple[float, np.ndarray]:
    """Density and albedo of one scene at one point."""
    raw = sum(naive_read(p[scene].double().numpy(), x) for p in parameters.values())
    assert isinstance(raw, np.ndarray)
    bias = CONFIG.blob_density * (1 - np.linalg.norm(x) / CONFIG.blob_radius)
    sigma = np.logaddexp(0.0, CONFIG.density_gain * raw[0] + bias)
    return sigma, 1 / (1 + np.exp(-raw[1:]))


@pytest.mark.parametrize(("num_scenes", "num_points"), [(1, 1), (2, 7), (3, 40)])
def test_density_and_albedo_match_a_loop_over_corners(num_scenes: int, num_points: int) -> None:
    field, parameters = DenseGrid(CONFIG), stir(num_scenes)
    x = torch.rand(num_scenes, num_points, 3) * 2 - 1
    samples = field.query(parameters, x, ends(len(x)), with_normal=False)
    density = field.density(parameters, x, ends(len(x)))
    for s, p in product(range(num_scenes), range(num_points)):
        sigma, albedo = naive_query(parameters, s, x[s, p].double().numpy())
        assert float(samples.sigma[s, p]) == pytest.approx(sigma, rel=1e-4, abs=1e-5)
        assert float(density[s, p]) == pytest.approx(sigma, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(samples.albedo[s, p].numpy(), albedo, rtol=1e-4, atol=1e-6)


def test_corners_of_the_box_read_the_lattice_s_corner_points() -> None:
    field, parameters = DenseGrid(CONFIG), stir(1)
    for corner in product((0, -1), repeat=3):
        x = torch.tensor([[[1.0 if c else -1.0 for c in corner]]])
        i, j, k = corner
        raw = sum(p[0, :, k, j, i] for p in parameters.values())
        assert isinstance(raw, Tensor)
        albedo = field.query(parameters, x, ends(len(x)), with_normal=False).albedo[0, 0]
        torch.testing.assert_close(albedo, torch.sigmoid(raw[1:]))


def test_beyond_the_box_the_border_holds() -> None:
    field, parameters = DenseGrid(CONFIG), stir(1)
    outside = torch.tensor([[[1.7, 0.2, -3.0]]])
    inside = outside.clamp(-1, 1)
    torch.testing.assert_close(
        field.query(parameters, outside, ends(len(outside)), with_normal=False).albedo,
        field.query(parameters, inside, ends(len(inside)), with_normal=False).albedo,
    )


@pytest.mark.parametrize("with_normal", [False, True])
def test_gradients_match_autograd_through_the_definition(with_normal: bool) -> None:
    field = DenseGrid(CONFIG)
    parameters = {name: p.requires_grad_() for name, p in stir(2).items()}
    x = torch.rand(2, 6, 3) * 1.9 - 0.95
    samples = field.query(parameters, x, ends(len(x)), with_normal=with_normal)
    cotangent = torch.randn_like(samples.albedo)
    total = samples.sigma.sum() + (samples.albedo * cotangent).sum()
    actual = torch.autograd.grad(total, list(parameters.values()))
    exact = {name: p.detach().double().requires_grad_() for name, p in parameters.items()}
    expected = torch.autograd.grad(
        _definition(exact, x.double(), cotangent.double()), list(exact.values())
    )
    for name, a, e in zip(parameters, actual, expected, strict=True):
        torch.testing.assert_close(
            a.double(), e, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def _definition(parameters: Parameters, x: Tensor, cotangent: Tensor) -> Tensor:
    """Sum of densities and weighted albedos, by hat functions over whole lattices."""
    raw = torch.zeros(*x.shape[:2], 4, dtype=x.dtype)
    for grid in parameters.values():
        n = grid.shape[-1]
        place = (x + 1) / 2 * (n - 1)
        hats = (1 - (place[..., None] - torch.arange(n, dtype=x.dtype)).abs()).clamp(min=0)
        raw = raw + torch.einsum(
            "spk,spj,spi,sckji->spc",
            hats[:, :, 2],
            hats[:, :, 1],
            hats[:, :, 0],
            grid,
        )
    bias = CONFIG.blob_density * (1 - x.norm(dim=-1) / CONFIG.blob_radius)
    sigma = torch.log1p(torch.exp(CONFIG.density_gain * raw[..., 0] + bias))
    return sigma.sum() + (torch.sigmoid(raw[..., 1:]) * cotangent).sum()


@pytest.mark.parametrize("bound", [1.0, 1.7])
def test_normals_match_finite_differences_of_a_smooth_density(bound: float) -> None:
    """A lattice that samples a linear function is that function: no interpolation error."""
    config = DenseGridConfig(resolutions=(4, 9), density_gain=2.0, blob_density=1.0, bound=bound)
    field = DenseGrid(config)
    parameters = {}

    def density(points: Tensor) -> Tensor:
        return field.density(parameters, points, ends(1))

    for n in config.resolutions:
        z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, n).double()] * 3, indexing="ij")
        ramp = 0.3 * x - 0.7 * y + 0.5 * z
        parameters[f"grid{n}"] = torch.stack([ramp, x, y, z])[None]
    points = torch.rand(1, 30, 3, dtype=torch.float64) * 1.6 - 0.8
    normal = field.query(parameters, points, ends(len(points)), with_normal=True).normal
    assert normal is not None
    h = 1e-5
    gradient = torch.stack(
        [
            (density(points + e) - density(points - e)) / 2 / h
            for e in h * torch.eye(3, dtype=torch.float64)
        ],
        dim=-1,
    )
    expected = -torch.nn.functional.normalize(gradient, dim=-1)
    torch.testing.assert_close(normal, expected, rtol=0, atol=1e-5)


def test_normals_of_a_rough_density_point_the_same_way_on_the_whole() -> None:
    config = DenseGridConfig(resolutions=(16,), density_gain=3.0)
    field = DenseGrid(config)
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, 16)] * 3, indexing="ij")
    bumps = torch.sin(3 * x) * torch.cos(2 * y) + torch.sin(4 * z + x)
    parameters = {"grid16": torch.stack([bumps] * 4)[None]}
    points = (torch.rand(1, 200, 3) * 1.6 - 0.8).requires_grad_()
    normal = field.query(parameters, points.detach(), ends(len(points)), with_normal=True).normal
    assert normal is not None
    (gradient,) = torch.autograd.grad(
        field.density(parameters, points, ends(len(points))).sum(), points
    )
    cosine = (normal * -torch.nn.functional.normalize(gradient, dim=-1)).sum(-1)
    assert float(cosine.mean()) > 0.97
    torch.testing.assert_close(normal.norm(dim=-1), torch.ones(1, 200))


def test_total_variation_matches_a_loop_over_neighbours() -> None:
    field, parameters = DenseGrid(CONFIG), stir(2)
    actual = field.total_variation(parameters)
    for s in range(2):
        expected = 0.0
        for grid in parameters.values():
            values = grid[s].double().numpy()
            for axis in (1, 2, 3):
                squares = [
                    (values.take(i + 1, axis) - values.take(i, axis)) ** 2
                    for i in range(values.shape[axis] - 1)
                ]
                expected += np.mean(squares)
        assert float(actual[s]) == pytest.approx(expected, rel=1e-5)


def test_a_constant_lattice_has_no_variation() -> None:
    parameters = {name: p * 0 + 3.0 for name, p in stir(2).items()}
    assert DenseGrid(CONFIG).total_variation(parameters).tolist() == [0.0, 0.0]


def test_the_blob_is_a_bias_before_the_activation() -> None:
    x = torch.rand(1, 5, 3)
    initial = DenseGrid(CONFIG).initial(torch.tensor([0]))
    bias = blob(x, CONFIG.blob_density, CONFIG.blob_radius)
    expected = torch.log1p(bias.exp())
    torch.testing.assert_close(DenseGrid(CONFIG).density(initial, x, ends(1)), expected)
