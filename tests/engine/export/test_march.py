import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.cameras import Cameras, orbit, rays
from engine.export import lattice, march
from engine.export.occupancy import Occupancy, occupied
from engine.export.subject import density_at

from .subjects import RED, Ball, Soft, Solids, ball, box, everywhere, figure, nothing


def _cameras(*azimuths: float, size: int = 48) -> Cameras:
    azimuth = torch.tensor(azimuths)
    elevation, radius, fov = (torch.full_like(azimuth, x) for x in (20.0, 2.4, 45.0))
    return orbit(azimuth, elevation, radius, fov, size)


def _everything(scene: Solids) -> Occupancy:
    """An occupancy that skips nothing."""
    size = 96
    return Occupancy(
        cells=torch.ones(size, size, size, dtype=torch.bool),
        least=torch.zeros(size, size, size),
        bound=scene.bound,
        low=torch.full((3,), -scene.bound),
        high=torch.full((3,), scene.bound),
    )


def _naive_median(sigma: list[float], delta: float) -> float:
    """Walks in tiny steps until half of the light is gone."""
    tau, steps = 0.0, 2000
    for i, s in enumerate(sigma):
        for k in range(steps):
            tau += s * delta / steps
            if 1.0 - math.exp(-tau) >= 0.5:
                return (i + (k + 1) / steps) * delta
    return math.inf


@given(
    st.lists(st.sampled_from([0.0, 0.3, 2.0, 40.0, 1e4]), min_size=1, max_size=6),
    st.floats(0.01, 1.0),
)
def test_median_distance_agrees_with_a_walk(sigma: list[float], delta: float):
    found = march.median_distance(torch.tensor([sigma]), torch.tensor([delta]))
    expected = _naive_median(sigma, delta)
    assert float(found) == pytest.approx(expected, abs=delta / 500)


def test_normals_agree_with_the_analytic_ones_and_point_outward():
    scene = ball()
    direction = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    direction = torch.nn.functional.normalize(direction, dim=-1)
    x = torch.tensor([0.1, -0.05, 0.15]) + 0.49 * direction
    normals = march.outward_normals(scene, x, 0.005)
    assert float((normals * direction).sum(-1).min()) > 0.9999
    assert float(march.outward_normals(scene, torch.zeros(1, 3), 0.005).abs().max()) == 0.0


def test_skipping_changes_nothing_that_can_be_seen():
    scene, cameras = figure(), _cameras(0.0, 100.0)
    exact = march.render(scene, _everything(scene), cameras, 1024)
    num_exact, scene.num_densities = scene.num_densities, 0
    occupancy = occupied(lattice.sample(scene, 96))
    scene.num_densities = 0
    fast = march.render(scene, occupancy, cameras, 512)
    assert scene.num_densities < 0.2 * num_exact
    seen = exact.alpha > 0.99
    assert float(seen.float().mean()) > 0.1
    assert float((fast.alpha - exact.alpha).abs().mean()) < 0.002
    assert float((fast.depth - exact.depth)[seen].abs().mean()) < 0.002
    assert float((fast.albedo - exact.albedo)[seen].abs().mean()) < 0.005
    assert float((fast.normal * exact.normal).sum(-1)[seen].mean()) > 0.99


def test_alpha_albedo_and_depth_agree_with_a_naive_sum_along_one_ray():
    scene, cameras = figure(), _cameras(0.0)
    occupancy = occupied(lattice.sample(scene, 96))
    num = 256
    picture = march.render(scene, occupancy, cameras, num, with_normals=False)
    row, column = 27, 24
    origin, direction = (x[0, row, column] for x in rays(cameras))
    near, far = occupancy.span(origin[None], direction[None])
    delta = float(far - near) / num
    light, colour, reached = 1.0, torch.zeros(3), None
    for i in range(num):
        x = (origin + (float(near) + (i + 0.5) * delta) * direction)[None]
        alpha = 1.0 - math.exp(-float(density_at(scene, x)) * delta)
        colour += light * alpha * scene.albedo(x)[0]
        light *= 1.0 - alpha
        reached = x[0] if reached is None and light <= 0.5 else reached
    assert reached is not None
    assert float(picture.alpha[0, row, column]) == pytest.approx(1 - light, abs=1e-3)
    torch.testing.assert_close(
        picture.albedo[0, row, column], colour / (1 - light), atol=0.01, rtol=0
    )
    z = float(-(reached - cameras.c2w[0, :3, 3]) @ cameras.c2w[0, :3, 2])
    assert float(picture.depth[0, row, column]) == pytest.approx(z, abs=delta)
    torch.testing.assert_close(colour / (1 - light), torch.tensor(RED), atol=0.01, rtol=0)


def test_half_transparent_slab_has_straight_colour_and_no_depth():
    """Opacity 1 - exp(-sigma length) = .33 along the axis: seen, but below one half."""
    scene = box()
    scene.peak = 0.4 / 0.6
    picture = march.render(scene, _everything(scene), _cameras(0.0, size=9), 512)
    middle = picture.alpha[0, 4, 4]
    assert 0.3 < float(middle) < 0.4
    assert float(picture.depth.abs().max()) == 0.0
    torch.testing.assert_close(picture.albedo[0, 4, 4], torch.full((3,), 0.9), atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [2.0, 5.0, 9.0, 20.0, None])
def test_depth_is_where_a_walk_meets_the_surface_or_loses_half_the_light(level: float | None):
    scene, cameras = Soft(parts=(Ball(radius=0.5),)), _cameras(30.0, size=16)
    surface = None if level is None else everywhere(level)
    picture = march.render(
        scene, _everything(scene), cameras, 512, surface=surface, with_normals=False
    )
    origins, directions = rays(cameras)
    backwards, step = cameras.c2w[0, :3, 2], 5e-4
    met = {"surface": 0, "half": 0, "neither": 0}
    for row, column in itertools.product(range(16), repeat=2):
        distance = torch.arange(1.2, 3.6, step)
        x = origins[0, row, column] + distance[:, None] * directions[0, row, column]
        sigma = density_at(scene, x)
        tau = (sigma * step).cumsum(dim=0)
        is_half, is_dense = tau >= math.log(2.0), sigma > (level or math.inf)
        found = float(picture.depth[0, row, column])
        if not is_half[-1]:
            met["neither"] += 1
            assert found == 0.0
            continue
        first = int((is_half | is_dense).long().argmax())
        met["surface" if is_dense[first] else "half"] += 1
        z = float(-(x[first] - cameras.c2w[0, :3, 3]) @ backwards)
        assert found == pytest.approx(z, abs=0.006)
    assert met["neither"] > 20
    assert (met["surface"] > 0) == (level in (2.0, 5.0, 9.0))
    assert (met["half"] > 0) == (level != 2.0)


def test_the_surface_changes_depths_alone():
    scene, cameras = Soft(parts=(Ball(radius=0.5),)), _cameras(0.0, size=24)
    occupancy = occupied(lattice.sample(scene, 48))
    without = march.render(scene, occupancy, cameras, 96)
    within = march.render(scene, occupancy, cameras, 96, surface=everywhere(3.0))
    for name in ("albedo", "alpha", "normal"):
        assert torch.equal(getattr(without, name), getattr(within, name))
    assert torch.equal(without.depth > 0, within.depth > 0)
    assert float((without.depth - within.depth).max()) > 0.03
    assert bool((within.depth <= without.depth).all())


def test_nothing_is_transparent():
    scene = nothing()
    picture = march.render(scene, occupied(lattice.sample(scene, 16)), _cameras(0.0), 32)
    for values in (picture.albedo, picture.alpha, picture.depth, picture.normal):
        assert float(values.abs().max()) == 0.0


def test_without_normals_they_stay_zero_and_cost_nothing():
    scene = ball()
    occupancy = occupied(lattice.sample(scene, 48))
    counts = []
    for with_normals in (True, False):
        scene.num_densities = 0
        picture = march.render(scene, occupancy, _cameras(0.0), 64, with_normals=with_normals)
        counts.append(scene.num_densities)
        assert (float(picture.normal.abs().max()) > 0) is with_normals
    assert counts[1] < counts[0]


@pytest.mark.gpu
def test_gpu_agrees_with_the_cpu():
    pictures = []
    for device in ("cpu", "cuda"):
        scene = figure()
        scene.device = torch.device(device)
        occupancy = occupied(lattice.sample(scene, 64))
        pictures.append(march.render(scene, occupancy, _cameras(0.0, 90.0), 128))
    on_cpu, on_gpu = pictures
    assert on_gpu.albedo.device.type == "cuda"
    assert float((on_cpu.alpha - on_gpu.alpha.cpu()).abs().mean()) < 1e-3
    assert float((on_cpu.albedo - on_gpu.albedo.cpu()).abs().mean()) < 1e-3
    assert float((on_cpu.depth - on_gpu.depth.cpu()).abs().mean()) < 5e-3
