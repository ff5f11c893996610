from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from engine.configs.fields import HashGridConfig
from engine.fields import HashGrid, Parameters
from engine.fields.hash_grid import seen_levels
from engine.kernels.hash_encode import encode

CONFIG = HashGridConfig(
    num_levels=4, features=3, log2_size=8, base_resolution=3, finest_resolution=20, hidden=6
)
"""Two levels fit into 256 rows (4^3, 6^3 corners) and two are hashed."""


def stir(num_scenes: int) -> Parameters:
    initial = HashGrid(CONFIG).initial(torch.arange(num_scenes))
    return {name: torch.randn_like(p) for name, p in initial.items()}


def naive_row(i: int, j: int, k: int, resolution: int, size: int) -> int:
    side = resolution + 1
    if side**3 <= size:
        return i + side * j + side * side * k
    return (i ^ (j * 2654435761) ^ (k * 805459861)) % size


def naive_encode(tables: np.ndarray, x: np.ndarray, resolutions: list[int]) -> np.ndarray:
    """Features of one scene at one point, table L T F."""
    features = []
    for level, resolution in enumerate(resolutions):
        place = np.clip((x + 1) / 2, 0, 1) * resolution
        low = np.minimum(np.floor(place).astype(int), resolution - 1)
        value = np.zeros(tables.shape[-1])
        for corner in product((0, 1), repeat=3):
            parts = [
                p - c if on else 1 - (p - c) for p, c, on in zip(place, low, corner, strict=True)
            ]
            i, j, k = (int(v) for v in low + corner)
            value += np.prod(parts) * tables[level, naive_row(i, j, k, resolution, len(tables[0]))]
        features.append(value)
    return np.concatenate(features)


def naive_query(parameters: Parameters, scene: int, x: np.ndarray) -> tuple[float, np.ndarray]:
    p = {name: value[scene].double().numpy() for name, value in parameters.items()}
    features = naive_encode(p["tables"], x, HashGrid(CONFIG).resolutions())
    hidden = np.maximum(features @ p["w0"] + p["b0"][0], 0)
    raw = hidden @ p["w1"] + p["b1"][0]
    bias = CONFIG.blob_density * (1 - np.linalg.norm(x) / CONFIG.blob_radius)
    return np.logaddexp(0, raw[0] + bias), 1 / (1 + np.exp(-raw[1:]))


def test_levels_grow_geometrically_and_both_kinds_of_row_are_tested() -> None:
    resolutions = HashGrid(CONFIG).resolutions()
    assert resolutions == [3, 6, 11, 20]
    fits = [(n + 1) ** 3 <= 2**CONFIG.log2_size for n in resolutions]
    assert True in fits
    assert False in fits


@pytest.mark.parametrize(("num_scenes", "num_points"), [(1, 1), (2, 7), (3, 20)])
def test_encoding_matches_a_loop_over_corners(num_scenes: int, num_points: int) -> None:
    tables = stir(num_scenes)["tables"]
    x = torch.rand(num_scenes, num_points, 3) * 2.4 - 1.2
    resolutions = HashGrid(CONFIG).resolutions()
    actual = encode(tables, x, resolutions)
    assert actual.shape == (num_scenes, num_points, CONFIG.num_levels * CONFIG.features)
    for s, p in product(range(num_scenes), range(num_points)):
        expected = naive_encode(tables[s].double().numpy(), x[s, p].double().numpy(), resolutions)
        np.testing.assert_allclose(actual[s, p].numpy(), expected, rtol=1e-3, atol=2e-5)


def test_faces_and_corners_of_the_box_are_inside() -> None:
    tables = stir(1)["tables"]
    corners = torch.tensor(list(product((-1.0, 0.0, 1.0), repeat=3)))[None]
    resolutions = HashGrid(CONFIG).resolutions()
    actual = encode(tables, corners, resolutions)
    for p, x in enumerate(corners[0]):
        expected = naive_encode(tables[0].double().numpy(), x.double().numpy(), resolutions)
        np.testing.assert_allclose(actual[0, p].numpy(), expected, rtol=1e-3, atol=2e-5)


def test_density_and_albedo_match_the_naive_network() -> None:
    field, parameters = HashGrid(CONFIG), stir(2)
    x = torch.rand(2, 9, 3) * 2 - 1
    samples = field.query(parameters, x, torch.ones(2), with_normal=False)
    density = field.density(parameters, x, torch.ones(2))
    for s, p in product(range(2), range(9)):
        sigma, albedo = naive_query(parameters, s, x[s, p].double().numpy())
        assert float(samples.sigma[s, p]) == pytest.approx(sigma, rel=1e-3, abs=1e-4)
        assert float(density[s, p]) == pytest.approx(sigma, rel=1e-3, abs=1e-4)
        np.testing.assert_allclose(samples.albedo[s, p].numpy(), albedo, rtol=1e-3, atol=1e-4)


def test_table_gradients_match_a_loop_of_scattered_weights() -> None:
    """The gradient of a row is the sum of the weights with which points read it."""
    tables = stir(2)["tables"].requires_grad_()
    x = torch.rand(2, 5, 3) * 2 - 1
    resolutions = HashGrid(CONFIG).resolutions()
    cotangent = torch.randn(2, 5, CONFIG.num_levels * CONFIG.features)
    (actual,) = torch.autograd.grad(encode(tables, x, resolutions), tables, cotangent)
    expected = np.zeros(tables.shape)
    for s, p, level in product(range(2), range(5), range(CONFIG.num_levels)):
        resolution = resolutions[level]
        place = (x[s, p].double().numpy() + 1) / 2 * resolution
        low = np.floor(place).astype(int)
        for corner in product((0, 1), repeat=3):
            weight = np.prod(1 - np.abs(place - low - corner))
            i, j, k = (int(v) for v in low + corner)
            row = naive_row(i, j, k, resolution, tables.shape[2])
            first = level * CONFIG.features
            expected[s, level, row] += (
                weight * cotangent[s, p, first : first + CONFIG.features].double().numpy()
            )
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("bound", [1.0, 1.7])
def test_normals_match_finite_differences_of_density(bound: float) -> None:
    field = HashGrid(replace(CONFIG, bound=bound, blob_radius=0.5 * bound))
    parameters = {name: p.double() for name, p in stir(2).items()}

    def density(x: torch.Tensor) -> torch.Tensor:
        return field.density(parameters, x, torch.ones(2))

    x = (torch.rand(2, 15, 3, dtype=torch.float64) * 1.8 - 0.9) * bound
    normal = field.query(parameters, x, torch.ones(2), with_normal=True).normal
    assert normal is not None
    h = 1e-6
    gradient = torch.stack(
        [
            (density(x + e) - density(x - e)) / (2 * h)
            for e in h * torch.eye(3, dtype=torch.float64)
        ],
        dim=-1,
    )
    # Far from the ball density is flat, and a direction means nothing there.
    steep = gradient.norm(dim=-1) > 1e-2
    assert steep.sum() >= 10
    expected = -torch.nn.functional.normalize(gradient, dim=-1)
    torch.testing.assert_close(normal[steep], expected[steep], rtol=0, atol=1e-4)


def test_normals_by_differences_agree_with_the_analytic_ones() -> None:
    """In cells much larger than the step, away from the faces where slopes jump."""
    analytic = replace(CONFIG, base_resolution=2, finest_resolution=4, num_levels=2)
    both = []
    parameters = HashGrid(analytic).initial(torch.arange(2))
    parameters = {name: torch.randn_like(p).double() for name, p in parameters.items()}
    x = (torch.rand(2, 400, 3, dtype=torch.float64) * 1.8 - 0.9).clamp(-0.45, 0.45)
    for method in ("analytic", "differences"):
        field = HashGrid(replace(analytic, normals=method, normal_step=1e-3))
        samples = field.query(parameters, x, torch.ones(2), with_normal=True)
        assert samples.normal is not None
        both.append(samples.normal)
        plain = field.query(parameters, x, torch.ones(2), with_normal=False)
        torch.testing.assert_close(samples.sigma, plain.sigma)
        torch.testing.assert_close(samples.albedo, plain.albedo)
    cosine = (both[0] * both[1]).sum(-1)
    # A step across a face, or across a kink of the network, sees another slope.
    assert (cosine > 0.999).double().mean() > 0.95


def test_normals_can_be_trained_through() -> None:
    field = HashGrid(CONFIG)
    parameters = {name: p.double().requires_grad_() for name, p in stir(1).items()}
    x = torch.rand(1, 4, 3, dtype=torch.float64) * 1.8 - 0.9
    cotangent = torch.randn(1, 4, 3, dtype=torch.float64)

    def loss(w0: torch.Tensor, w1: torch.Tensor) -> torch.Tensor:
        normal = field.query(
            parameters | {"w0": w0, "w1": w1}, x, torch.ones(1), with_normal=True
        ).normal
        assert normal is not None
        return (normal * cotangent).sum()

    assert torch.autograd.gradcheck(loss, (parameters["w0"], parameters["w1"]), atol=1e-4)


def test_normals_come_without_gradients_where_none_are_kept() -> None:
    field, parameters = HashGrid(CONFIG), stir(1)
    with torch.no_grad():
        samples = field.query(parameters, torch.rand(1, 3, 3), torch.ones(1), with_normal=True)
    assert samples.normal is not None
    assert not samples.normal.requires_grad


def test_initial_parameters_depend_on_the_scene_s_seed_alone() -> None:
    field = HashGrid(CONFIG)
    together = field.initial(torch.tensor([5, 6, 5]))
    alone = field.initial(torch.tensor([6]))
    for name, p in together.items():
        assert torch.equal(p[0], p[2])
        assert torch.equal(p[1], alone[name][0])
    assert not torch.equal(together["tables"][0], together["tables"][1])
    assert float(together["tables"].abs().max()) <= 1e-4
    assert together["w0"].std() > 0.1
    # Tables and weights are drawn apart from each other.
    w0 = together["w0"][0].flatten()
    table = together["tables"][0].flatten()[: len(w0)]
    assert abs(float(torch.corrcoef(torch.stack([w0, table]))[0, 1])) < 0.5


def test_the_hash_has_no_total_variation() -> None:
    assert HashGrid(CONFIG).total_variation(stir(3)).tolist() == [0.0] * 3


def test_levels_come_one_after_the_other() -> None:
    """threestudio's bands in IF's settings: 8 levels, from step 2000 of 10000 one more each 500."""
    config = replace(CONFIG, num_levels=16, start_level=8, level_from=0.2, level_every=0.05)
    steps = [0, 1999, 2000, 2499, 2500, 2999, 3000, 5999, 6000, 9999]
    seen = seen_levels(config, torch.tensor(steps) / 10_000)
    expected = [min(8 + max(step - 2000, 0) // 500, 16) for step in steps]
    assert seen.tolist() == expected


def test_a_level_to_come_has_no_effect_and_no_gradient() -> None:
    config = replace(CONFIG, start_level=1, level_from=0.5, level_every=0.1)
    field, x = HashGrid(config), torch.rand(2, 20, 3) - 0.5
    parameters = {name: p.requires_grad_() for name, p in stir(2).items()}
    part = torch.tensor([0.0, 0.61])
    sigma = field.density(parameters, x, part)
    (gradient,) = torch.autograd.grad(sigma.sum(), parameters["tables"])
    has_gradient = (gradient.abs().amax(dim=(2, 3)) > 0).tolist()
    assert has_gradient == [[True, False, False, False], [True, True, False, False]]
    emptied = parameters["tables"].detach().clone()
    emptied[0, 1:], emptied[1, 2:] = 0.0, 0.0
    everything = HashGrid(replace(config, start_level=0))
    torch.testing.assert_close(
        sigma, everything.density(parameters | {"tables": emptied}, x, torch.ones(2))
    )


def test_all_levels_are_there_at_the_end() -> None:
    late = HashGrid(replace(CONFIG, start_level=1, level_from=0.5, level_every=0.1))
    x, parameters = torch.rand(2, 9, 3), stir(2)
    at_the_end = late.density(parameters, x, torch.ones(2))
    assert torch.equal(at_the_end, HashGrid(CONFIG).density(parameters, x, torch.zeros(2)))


def test_activations_and_blobs() -> None:
    config = replace(CONFIG, activation="exp", albedo="shifted", blob="gaussian", blob_density=5.0)
    config = replace(config, blob_radius=0.2)
    x, parameters, part = torch.rand(1, 6, 3) - 0.5, stir(1), torch.ones(1)
    samples = HashGrid(config).query(parameters, x, part, with_normal=False)
    # The network's own outputs, seen through the plain field without a blob.
    plain = replace(CONFIG, blob_density=0.0)
    through = HashGrid(plain).query(parameters, x, part, with_normal=False)
    for p in range(6):
        raw = np.log(np.expm1(through.sigma[0, p].double().numpy()))
        bias = 5.0 * np.exp(-float(x[0, p].square().sum()) / (2 * 0.2**2))
        assert float(samples.sigma[0, p]) == pytest.approx(np.exp(raw + bias), rel=1e-3)
        albedo = through.albedo[0, p].double().numpy()
        colour = (np.log(albedo / (1 - albedo)) + 1) / 2
        np.testing.assert_allclose(samples.albedo[0, p].numpy(), colour, rtol=1e-3, atol=1e-4)


def test_density_beyond_all_bounds_is_finite() -> None:
    config = replace(CONFIG, activation="exp", blob_density=1e4)
    sigma = HashGrid(config).density(stir(1), torch.zeros(1, 1, 3), torch.ones(1))
    assert sigma.item() == pytest.approx(np.exp(15.0), rel=1e-5)
