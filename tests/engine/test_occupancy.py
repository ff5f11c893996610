import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine import fields, occupancy, volume
from engine.configs.fields import DenseGridConfig
from engine.configs.march import MarchConfig, Region
from engine.fields import Parameters, Samples

CONFIG = MarchConfig(num_samples=9, num_bins=24, grid_size=6, density_floor=1.0, refresh=8)


class Formula:
    """A field whose density is a function of the point, times each scene's factor."""

    bound = 1.0

    def __init__(self, density) -> None:
        self._density = density

    def initial(self, seed: Tensor) -> Parameters:
        return {"factor": torch.ones(len(seed), 1)}

    def density(self, parameters: Parameters, x: Tensor, part: Tensor) -> Tensor:
        return parameters["factor"] * self._density(x)

    def query(
        self, parameters: Parameters, x: Tensor, part: Tensor, *, with_normal: bool
    ) -> Samples:
        raise NotImplementedError

    def total_variation(self, parameters: Parameters) -> Tensor:
        raise NotImplementedError


def cell_of(x: np.ndarray, grid_size: int) -> int:
    i, j, k = (min(max(math.floor((v + 1) / 2 * grid_size), 0), grid_size - 1) for v in x)
    return (k * grid_size + j) * grid_size + i


def rays(num_scenes: int, num_rays: int) -> tuple[Tensor, Tensor]:
    """From a shell around the unit sphere towards points in it."""
    origins = torch.nn.functional.normalize(torch.randn(num_scenes, num_rays, 3), dim=-1)
    origins = origins * (1.5 + torch.rand(num_scenes, num_rays, 1))
    target = (torch.rand(num_scenes, num_rays, 3) - 0.5) * 1.1
    return origins, torch.nn.functional.normalize(target - origins, dim=-1)


def naive_span(origin: np.ndarray, direction: np.ndarray) -> tuple[float, float] | None:
    """Roots of |o + t d|^2 = 1, in front of the origin."""
    b, c = float(origin @ direction), float(origin @ origin) - 1
    discriminant = b * b - c
    if discriminant <= 0 or -b + math.sqrt(discriminant) <= 0:
        return None
    return max(0.0, -b - math.sqrt(discriminant)), -b + math.sqrt(discriminant)


def naive_march(
    is_occupied: np.ndarray,
    origin: np.ndarray,
    direction: np.ndarray,
    u: np.ndarray,
    config: MarchConfig,
) -> tuple[list[float], float, list[int]]:
    """Distances, delta and the occupied bins of one ray, walking from bin to bin."""
    span = naive_span(origin, direction)
    assert span is not None
    near, far = span
    bin_length = (far - near) / config.num_bins
    bins = []
    for m in range(config.num_bins):
        middle = origin + (near + (m + 0.5) * bin_length) * direction
        if is_occupied[cell_of(middle, config.grid_size)]:
            bins.append(m)
    bins = bins or list(range(config.num_bins))
    length = len(bins) * bin_length
    distances = []
    for k, jitter in enumerate(u):
        rest = length * (k + jitter) / len(u)
        for m in bins:
            if rest < bin_length:
                distances.append(near + m * bin_length + rest)
                break
            rest -= bin_length
    return distances, length / len(u), bins


@given(
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1),
)
def test_the_span_solves_the_sphere_s_equation(
    origin: tuple[float, ...], direction: tuple[float, ...]
) -> None:
    o, d = np.array(origin), np.array(direction) / np.linalg.norm(direction)
    near, far = (
        float(v) for v in occupancy.sphere_span(torch.from_numpy(o), torch.from_numpy(d), 1.0)
    )
    expected = naive_span(o, d)
    if expected is None:
        assert far - near < 1e-6
    else:
        assert (near, far) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("filling", [0.02, 0.3, 1.0])
def test_march_matches_a_walk_from_bin_to_bin(filling: float) -> None:
    num_scenes, num_rays = 2, 40
    is_occupied = torch.rand(num_scenes, CONFIG.grid_size**3) < filling
    origins, directions = rays(num_scenes, num_rays)
    u = torch.rand(num_scenes, num_rays, CONFIG.num_samples)
    march = occupancy.march(is_occupied, origins, directions, u, CONFIG, 1.0)
    num_partly_empty = 0
    for s, r in np.ndindex(num_scenes, num_rays):
        distances, delta, bins = naive_march(
            is_occupied[s].numpy(),
            origins[s, r].double().numpy(),
            directions[s, r].double().numpy(),
            u[s, r].double().numpy(),
            CONFIG,
        )
        np.testing.assert_allclose(march.distance[s, r].numpy(), distances, atol=2e-4)
        np.testing.assert_allclose(march.delta[s, r].numpy(), delta, rtol=1e-4, atol=1e-6)
        num_partly_empty += len(bins) < CONFIG.num_bins
    assert (num_partly_empty > 0) == (filling < 1)


@given(
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.sampled_from([-1.0, -0.3, 0.0, 0.5, 1.0])] * 3).filter(lambda d: any(d)),
)
def test_the_cube_s_span_is_between_its_outermost_crossings(
    origin: tuple[float, ...], direction: tuple[float, ...]
) -> None:
    """A fine walk along the ray, asking at every step whether it is in the cube."""
    o, d = np.array(origin), np.array(direction) / np.linalg.norm(direction)
    near, far = (
        float(v) for v in occupancy.cube_span(torch.from_numpy(o), torch.from_numpy(d), 1.4)
    )
    distance = np.linspace(0, 10, 5001)
    inside = distance[(np.abs(o + distance[:, None] * d) <= 1.4).all(axis=1)]
    if len(inside) < 2:
        assert far - near < 5e-3
    else:
        assert (near, far) == pytest.approx((inside[0], inside[-1]), abs=3e-3)


@pytest.mark.parametrize("region", ["sphere", "cube"])
def test_a_larger_bound_is_the_same_march_enlarged(region: Region) -> None:
    config = replace(CONFIG, region=region)
    is_occupied = torch.rand(2, CONFIG.grid_size**3) < 0.3
    origins, directions = rays(2, 40)
    u = torch.rand(2, 40, CONFIG.num_samples)
    one = occupancy.march(is_occupied, origins, directions, u, config, 1.0)
    # A power of two, so that no rounding moves a sample to another cell.
    other = occupancy.march(is_occupied, 2 * origins, directions, u, config, 2.0)
    torch.testing.assert_close(other.distance, 2 * one.distance, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.delta, 2 * one.delta, rtol=1e-4, atol=1e-5)


def test_the_cube_s_march_reaches_its_corners() -> None:
    config = replace(CONFIG, region="cube")
    everything = torch.ones(1, CONFIG.grid_size**3, dtype=torch.bool)
    origins, directions = torch.tensor([[[3.0, 0.9, 0.9]]]), torch.tensor([[[-1.0, 0, 0]]])
    u = torch.full((1, 1, 4), 0.5)
    march = occupancy.march(everything, origins, directions, u, config, 1.0)
    torch.testing.assert_close(march.distance[0, 0], 2.0 + torch.tensor([1, 3, 5, 7]) / 4)
    torch.testing.assert_close(march.delta[0, 0], torch.full((4,), 0.5))
    # The ball ends before it.
    assert occupancy.march(everything, origins, directions, u, CONFIG, 1.0).delta.max() == 0


def test_a_ray_that_misses_the_cube_has_samples_of_no_length() -> None:
    origins, directions = torch.tensor([[[2.0, 0, 0]]]), torch.tensor([[[0.0, 1, 0]]])
    everything = torch.ones(1, CONFIG.grid_size**3, dtype=torch.bool)
    config = replace(CONFIG, region="cube")
    march = occupancy.march(everything, origins, directions, torch.rand(1, 1, 9), config, 1.0)
    assert march.delta.abs().max() == 0
    assert march.distance.abs().max() == 0


@given(
    st.integers(1, 40), st.integers(1, 70), st.floats(0, 1), st.integers(0, 2**31), st.booleans()
)
def test_samples_are_in_order_in_occupied_bins_and_share_their_length(
    num_samples: int, num_bins: int, filling: float, seed: int, at_the_ends: bool
) -> None:
    config = replace(CONFIG, num_bins=num_bins)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        is_occupied = torch.rand(1, config.grid_size**3) < filling
        origins, directions = rays(1, 8)
        u = torch.rand(1, 8, num_samples)
    if at_the_ends:
        # The least and the largest number that engine.philox draws.
        u = torch.where(u < 0.5, 0.0, 1 - 2.0**-24)
    march = occupancy.march(is_occupied, origins, directions, u, config, 1.0)
    near, far = occupancy.sphere_span(origins, directions, 1.0)
    bin_length = (far - near)[..., None] / num_bins
    assert (march.distance.diff(dim=-1) >= -1e-5).all()
    assert (march.delta >= 0).all()
    middles = near[..., None] + (torch.arange(num_bins) + 0.5) * bin_length
    x = origins[:, :, None] + middles[..., None] * directions[:, :, None]
    place = (x + 1) / 2 * config.grid_size
    # A middle on the face between two cells belongs to either.
    is_clear = ((place - place.round()).abs() > 1e-4).all(dim=-1)
    num_checked = 0
    for r in range(8):
        cells = [cell_of(p, config.grid_size) for p in x[0, r].double().numpy()]
        hit = is_occupied[0][cells]
        if not hit.any():
            hit = torch.ones_like(hit)
        if not is_clear[0, r].all():
            continue
        num_checked += 1
        place_in_bins = ((march.distance[0, r] - near[0, r]) / bin_length[0, r]).double()
        for value in place_in_bins.tolist():
            around = [math.floor(value - 1e-3), math.floor(value + 1e-3)]
            assert any(0 <= m < num_bins and bool(hit[m]) for m in around)
        occupied_length = float(hit.sum() * bin_length[0, r, 0])
        assert float(march.delta[0, r].sum()) == pytest.approx(occupied_length, rel=1e-4)
    assert num_checked > 0


def test_a_ray_without_occupied_cells_is_sampled_all_along() -> None:
    origins, directions = rays(1, 5)
    u = torch.rand(1, 5, CONFIG.num_samples)
    nothing = torch.zeros(1, CONFIG.grid_size**3, dtype=torch.bool)
    empty = occupancy.march(nothing, origins, directions, u, CONFIG, 1.0)
    full = occupancy.march(~nothing, origins, directions, u, CONFIG, 1.0)
    near, far = occupancy.sphere_span(origins, directions, 1.0)
    torch.testing.assert_close(empty.distance, full.distance)
    torch.testing.assert_close(empty.delta.sum(-1), far - near)


def test_a_ray_that_misses_the_sphere_has_samples_of_no_length() -> None:
    origins = torch.tensor([[[2.0, 0, 0], [2.0, 0, 0]]])
    directions = torch.tensor([[[0.0, 1, 0], [1.0, 0, 0]]])
    u = torch.rand(1, 2, CONFIG.num_samples)
    everything = torch.ones(1, CONFIG.grid_size**3, dtype=torch.bool)
    march = occupancy.march(everything, origins, directions, u, CONFIG, 1.0)
    assert march.delta.abs().max() == 0
    assert march.distance.isfinite().all()


def test_a_ray_from_inside_the_sphere_begins_at_its_origin() -> None:
    origins, directions = torch.tensor([[[0.5, 0, 0]]]), torch.tensor([[[1.0, 0, 0]]])
    everything = torch.ones(1, CONFIG.grid_size**3, dtype=torch.bool)
    u = torch.full((1, 1, 4), 0.5)
    march = occupancy.march(everything, origins, directions, u, CONFIG, 1.0)
    torch.testing.assert_close(march.distance[0, 0], 0.5 * torch.tensor([1, 3, 5, 7]) / 8)


def test_scenes_march_through_their_own_cells() -> None:
    origins, directions = rays(1, 30)
    u = torch.rand(1, 30, CONFIG.num_samples)
    is_occupied = torch.rand(2, CONFIG.grid_size**3) < 0.3
    both = occupancy.march(
        is_occupied,
        origins.repeat(2, 1, 1),
        directions.repeat(2, 1, 1),
        u.repeat(2, 1, 1),
        CONFIG,
        1.0,
    )
    for s in range(2):
        alone = occupancy.march(is_occupied[s : s + 1], origins, directions, u, CONFIG, 1.0)
        assert torch.equal(both.distance[s], alone.distance[0])
    assert not torch.allclose(both.distance[0], both.distance[1])


def test_initial_measures_the_middle_of_every_cell() -> None:
    field = Formula(lambda x: 2 + x[..., 0] + 0.1 * x[..., 1] + 0.01 * x[..., 2])
    g = CONFIG.grid_size
    density = occupancy.initial(field, field.initial(torch.tensor([0])), g)
    for k, j, i in np.ndindex(g, g, g):
        x, y, z = ((v + 0.5) / g * 2 - 1 for v in (i, j, k))
        expected = 2 + x + 0.1 * y + 0.01 * z
        assert float(density[0, (k * g + j) * g + i]) == pytest.approx(expected)


def test_cells_fill_the_field_s_cube_and_are_measured_at_its_time() -> None:
    class Large(Formula):
        bound = 1.5

        def density(self, parameters: Parameters, x: Tensor, part: Tensor) -> Tensor:
            return x[..., 0] + 10 * part[:, None]

    field, g = Large(None), CONFIG.grid_size
    parameters = field.initial(torch.arange(2))
    density = occupancy.initial(field, parameters, g)
    centres = (torch.arange(g) + 0.5) / g * 3 - 1.5
    torch.testing.assert_close(density[1, :g], centres)
    seed, part = torch.arange(2), torch.tensor([0.0, 0.5])
    later = occupancy.refresh(density * 0 - 99, field, parameters, seed, seed * 0, part, CONFIG)
    first = later[:, 0]
    assert -1.5 <= float(first[0]) <= -1.5 + 3 / g
    assert 3.5 <= float(first[1]) <= 3.5 + 3 / g


def test_refresh_reaches_every_cell_once_in_a_round() -> None:
    field = Formula(lambda x: 0 * x[..., 0])
    parameters = field.initial(torch.arange(2))
    density = torch.ones(2, CONFIG.grid_size**3)
    seed, step = torch.tensor([3, 4]), torch.tensor([0, 5])
    for done in range(CONFIG.refresh):
        density = occupancy.refresh(
            density, field, parameters, seed, step + done, torch.zeros(2), CONFIG
        )
        num_decayed = (density < 1).sum(dim=1).tolist()
        assert num_decayed == [(done + 1) * CONFIG.grid_size**3 // CONFIG.refresh] * 2
    torch.testing.assert_close(density, torch.full_like(density, 0.8))


def test_refresh_raises_at_once_and_lowers_slowly() -> None:
    field = Formula(lambda x: 5 + x[..., 0])
    parameters = field.initial(torch.arange(1))
    seed, step = torch.tensor([3]), torch.tensor([2])
    before = torch.tensor([[0.0, 100.0]]).repeat(1, CONFIG.grid_size**3 // 2)
    after = occupancy.refresh(before, field, parameters, seed, step, torch.zeros(1), CONFIG)
    touched = (after != before)[0].nonzero()[:, 0].tolist()
    turn = int(step) % CONFIG.refresh
    assert touched == list(range(turn, CONFIG.grid_size**3, CONFIG.refresh))
    for cell in touched:
        if before[0, cell] == 100:
            assert float(after[0, cell]) == pytest.approx(80)
        else:
            low = 5 + (cell % CONFIG.grid_size) / CONFIG.grid_size * 2 - 1
            assert low <= float(after[0, cell]) <= low + 2 / CONFIG.grid_size


def test_refresh_is_a_function_of_the_scene_s_own_seed_and_step() -> None:
    field = fields.build(DenseGridConfig(resolutions=(4,)))
    parameters = {"grid4": torch.randn(2, 4, 4, 4, 4)}
    density = torch.rand(2, CONFIG.grid_size**3)
    seed, step = torch.tensor([3, 4]), torch.tensor([9, 1])
    both = occupancy.refresh(density, field, parameters, seed, step, torch.zeros(2), CONFIG)
    for s in range(2):
        one = slice(s, s + 1)
        alone = occupancy.refresh(
            density[one],
            field,
            {"grid4": parameters["grid4"][one]},
            seed[one],
            step[one],
            torch.zeros(1),
            CONFIG,
        )
        assert torch.equal(both[one], alone)


def test_a_cell_is_occupied_if_it_or_a_neighbour_exceeds_the_floor() -> None:
    g = CONFIG.grid_size
    density = torch.rand(2, g**3) * 1.06
    actual = occupancy.occupied(density, CONFIG)
    values = density.view(2, g, g, g).numpy()
    expected = np.zeros((2, g, g, g), dtype=bool)
    for s, k, j, i in np.ndindex(2, g, g, g):
        around = values[s, max(k - 1, 0) : k + 2, max(j - 1, 0) : j + 2, max(i - 1, 0) : i + 2]
        expected[s, k, j, i] = around.max() > CONFIG.density_floor
    np.testing.assert_array_equal(actual.view(2, g, g, g).numpy(), expected)
    assert 0 < expected.sum() < expected.size


def test_expected_transmittance_through_a_box_is_the_analytic_one() -> None:
    """Beer and Lambert: exp(-density x length of the chord)."""
    half, density = 0.4, 2.5
    config = replace(CONFIG, num_bins=128, grid_size=32, num_samples=64)
    field = Formula(lambda x: density * (x.abs().amax(dim=-1) < half).float())
    parameters = field.initial(torch.tensor([0]))
    is_occupied = occupancy.occupied(occupancy.initial(field, parameters, config.grid_size), config)
    assert float(is_occupied.float().mean()) < 0.3
    target = (torch.rand(1, 12, 3) - 0.5) * 0.7
    origins = torch.nn.functional.normalize(torch.randn(1, 12, 3), dim=-1) * 2
    directions = torch.nn.functional.normalize(target - origins, dim=-1)
    draws = 40
    march = occupancy.march(
        is_occupied,
        origins.repeat(1, draws, 1),
        directions.repeat(1, draws, 1),
        torch.rand(1, 12 * draws, config.num_samples),
        config,
        1.0,
    )
    repeated = (v.repeat(1, draws, 1)[:, :, None] for v in (origins, directions))
    o, d = repeated
    sigma = field.density(
        parameters, (o + march.distance[..., None] * d).flatten(1, 2), torch.zeros(1)
    )
    weights = volume.composite(sigma.view_as(march.delta), march.delta)
    actual = (1 - weights.sum(-1)).view(draws, 12).mean(0)
    for r in range(12):
        o64, d64 = origins[0, r].double().numpy(), directions[0, r].double().numpy()
        slabs = np.sort(np.stack([(-half - o64) / d64, (half - o64) / d64]), axis=0)
        chord = max(0.0, slabs[1].min() - slabs[0].max())
        assert chord > 0
        assert float(actual[r]) == pytest.approx(math.exp(-density * chord), rel=0.02)
