from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from engine.configs.march import MarchConfig, Region
from engine.kernels.march import march, reference
from engine.occupancy import march as scene_march
from engine.occupancy import sphere_span
from tests.engine.kernels.checking import assert_close

pytestmark = pytest.mark.usefixtures("fused")


def draw(
    num_scenes: int,
    num_rays: int,
    num_samples: int,
    device: torch.device,
    *,
    grid_size: int = 8,
    share: float = 0.2,
    bound: float = 1.0,
) -> dict[str, Any]:
    """Rays towards the middle, of which some pass by, and an occupancy of this share."""
    origins = 2.5 * bound * normalize(torch.randn(num_scenes, num_rays, 3), dim=-1)
    aim = 0.8 * bound * torch.randn(num_scenes, num_rays, 3)
    directions = normalize(aim - origins, dim=-1)
    near, far = sphere_span(origins, directions, bound)
    is_occupied = torch.rand(num_scenes, grid_size**3) < share
    tensors = {
        "is_occupied": is_occupied,
        "origins": origins,
        "directions": directions,
        "near": near,
        "far": far,
        "u": torch.rand(num_scenes, num_rays, num_samples),
    }
    moved: dict[str, Any] = {name: t.to(device) for name, t in tensors.items()}
    return moved | {"grid_size": grid_size, "bound": bound}


def naive(inputs: dict[str, Any], num_bins: int) -> tuple[Tensor, Tensor]:
    """Ray by ray: a list of the bins that count, cut into N equal parts."""
    n, bound, shape = inputs["grid_size"], inputs["bound"], inputs["u"].shape
    cells, o, d, near, far, u = (
        inputs[name].cpu().numpy()
        for name in ("is_occupied", "origins", "directions", "near", "far", "u")
    )
    distance, delta = np.zeros(shape), np.zeros(shape)
    for s, r in product(range(shape[0]), range(shape[1])):
        length = np.float32(far[s, r] - near[s, r]) / np.float32(num_bins)
        counting = []
        for b in range(num_bins):
            x = o[s, r] + (near[s, r] + np.float32(b + 0.5) * length) * d[s, r]
            i, j, k = np.clip(np.trunc((x + bound) * (0.5 * n / bound)), 0, n - 1).astype(int)
            if cells[s, (k * n + j) * n + i]:
                counting.append(b)
        counting = counting or list(range(num_bins))
        delta[s, r] = length * len(counting) / shape[2]
        for k in range(shape[2]):
            place = len(counting) * (k + float(u[s, r, k])) / shape[2]
            rank = min(int(place), len(counting) - 1)
            distance[s, r, k] = near[s, r] + length * (counting[rank] + place - rank)
    return torch.from_numpy(distance), torch.from_numpy(delta)


def named(found: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return dict(zip(("distance", "delta"), found, strict=True))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(
    ("num_scenes", "num_rays", "num_samples", "num_bins"),
    [(1, 1, 1, 1), (2, 19, 13, 45), (3, 5, 64, 96), (1, 40, 48, 32)],
    ids=str,
)
def test_samples_match_a_walk_along_each_ray(
    num_scenes: int,
    num_rays: int,
    num_samples: int,
    num_bins: int,
    share: float,
    device: torch.device,
) -> None:
    inputs = draw(num_scenes, num_rays, num_samples, device, share=share)
    assert_close(named(march(**inputs, num_bins=num_bins)), named(naive(inputs, num_bins)), 1e-6)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    num_rays=st.integers(1, 20),
    num_samples=st.integers(1, 40),
    num_bins=st.integers(1, 70),
    grid_size=st.integers(1, 9),
    bound=st.sampled_from([0.5, 1.0, 1.7]),
)
def test_it_is_what_the_reference_computes(
    device: torch.device,
    num_rays: int,
    num_samples: int,
    num_bins: int,
    grid_size: int,
    bound: float,
) -> None:
    inputs = draw(2, num_rays, num_samples, device, grid_size=grid_size, bound=bound)
    expected = reference.march(**inputs, num_bins=num_bins)
    assert_close(named(march(**inputs, num_bins=num_bins)), named(expected), 1e-6)


def test_rays_that_miss_stand_still(device: torch.device) -> None:
    inputs = draw(2, 30, 8, device)
    distance, delta = march(**inputs, num_bins=16)
    is_missed = inputs["near"] == inputs["far"]
    assert 3 < int(is_missed.sum()) < 57
    assert delta[is_missed].abs().max() == 0
    assert torch.equal(distance[is_missed], inputs["near"][is_missed][:, None].expand(-1, 8))


def test_the_last_sample_stays_in_the_last_bin_that_counts(device: torch.device) -> None:
    """One cell of eight on the way; u = 1 is past any draw, as rounding can make one."""
    cells = torch.zeros(1, 8**3, dtype=torch.bool, device=device)
    cells[0, (4 * 8 + 4) * 8 + 2] = True
    one = torch.ones(1, 1, device=device)
    distance, delta = march(
        cells,
        torch.tensor([[[-3.0, 0.1, 0.1]]], device=device),
        torch.tensor([[[1.0, 0.0, 0.0]]], device=device),
        2.0 * one,
        4.0 * one,
        torch.ones(1, 1, 3, device=device),
        num_bins=8,
        grid_size=8,
        bound=1.0,
    )
    # The cell lies from x = -0.5 to -0.25.
    expected = torch.tensor([2.5 + 0.25 / 3, 2.5 + 0.5 / 3, 2.75], device=device)
    torch.testing.assert_close(distance[0, 0], expected)
    torch.testing.assert_close(delta[0, 0], torch.full((3,), 0.25 / 3, device=device))


def test_one_length_a_ray_is_kept_once(device: torch.device) -> None:
    _, delta = march(**draw(2, 5, 7, device), num_bins=9)
    assert delta.shape == (2, 5, 7)
    assert delta.stride(2) == 0


@pytest.mark.parametrize("region", ["sphere", "cube"])
def test_a_scene_s_march_is_the_same_with_kernels(
    region: Region, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = draw(2, 20, 9, device)
    config = MarchConfig(region=region, num_samples=9, num_bins=20, grid_size=8, refresh=8)
    results = []
    for is_fused in (True, False):
        monkeypatch.setattr("engine.kernels.is_fused", lambda x, is_fused=is_fused: is_fused)
        found = scene_march(
            inputs["is_occupied"], inputs["origins"], inputs["directions"], inputs["u"], config, 1.0
        )
        results.append({"distance": found.distance, "delta": found.delta})
    assert_close(results[0], results[1], 1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("num_rays", "num_samples", "num_bins"), [(16384, 48, 96), (4096, 128, 512)], ids=str
)
def test_full_size(num_rays: int, num_samples: int, num_bins: int) -> None:
    inputs = draw(8, num_rays, num_samples, torch.device("cuda"), grid_size=32, share=0.1)
    distance, delta = march(**inputs, num_bins=num_bins)
    wanted, wanted_delta = reference.march(**inputs, num_bins=num_bins)
    # A bin's middle on a cell's face may fall to either side, which moves the ray's samples.
    is_same = (delta - wanted_delta).abs()[..., 0] < 1e-6
    is_same &= (distance - wanted).abs().amax(dim=-1) < 1e-4
    assert float(is_same.float().mean()) > 0.995
