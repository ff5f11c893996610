import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.export import images

from .subjects import decode


@given(far=st.floats(0.01, 1e4), seed=st.integers(0, 99))
def test_depth_round_trip(far: float, seed: int):
    scale = images.depth_scale(far)
    depth = torch.rand(5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    depth = depth * far
    depth[0, 0], depth[0, 1] = 0.0, far
    stored = decode(images.depth_png(depth, scale))
    assert stored.dtype == np.uint16
    assert stored[0, 0] == 0
    np.testing.assert_allclose(stored * scale, depth.numpy(), rtol=1e-12, atol=0.5001 * scale)


def test_depth_scale_is_the_least_power_of_ten_that_fits():
    assert images.depth_scale(4.13) == pytest.approx(1e-4)
    assert images.depth_scale(6.5535) == pytest.approx(1e-4)
    assert images.depth_scale(6.56) == pytest.approx(1e-3)


def test_rgba_is_straight_and_rounded():
    albedo = torch.tensor([[[0.0, 0.5, 1.0], [0.2, 0.2, 0.2]]])
    stored = decode(images.rgba_png(albedo, torch.tensor([[0.25, 1.0]])))
    assert stored.tolist() == [[[0, 128, 255, 64], [51, 51, 51, 255]]]


def test_normal_encoding():
    s = math.sqrt(0.5)
    normal = torch.tensor([[[1.0, 0.0, -1.0], [0.0, 0.0, 0.0], [s, -s, 0.0]]])
    stored = decode(images.normal_png(normal)).astype(float)
    assert stored[0, :2].tolist() == [[255, 128, 0], [128, 128, 128]]
    np.testing.assert_allclose(stored[0, 2] / 127.5 - 1, [s, -s, 0], atol=0.005)


def test_on_white_blends():
    picture = images.on_white(torch.zeros(1, 2, 3), torch.tensor([[0.0, 1.0]]))
    assert np.asarray(picture).tolist() == [[[255, 255, 255], [0, 0, 0]]]
