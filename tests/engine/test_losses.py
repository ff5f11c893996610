import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import losses

SHAPES = [(1, 1), (2, 7), (3, 50)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_opacity_matches_a_loop(shape: tuple[int, int]) -> None:
    o = torch.rand(shape)
    expected = [np.mean([math.sqrt(v * v + 0.01) for v in row]) for row in o.tolist()]
    np.testing.assert_allclose(losses.opacity(o).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_entropy_matches_a_loop(shape: tuple[int, int]) -> None:
    o = torch.rand(shape) * 0.98 + 0.01
    expected = [
        np.mean([-p * math.log2(p) - (1 - p) * math.log2(1 - p) for p in row]) for row in o.tolist()
    ]
    np.testing.assert_allclose(losses.entropy(o).numpy(), expected, rtol=1e-4)


@given(st.lists(st.floats(-(2.0**-16), 1 + 2.0**-16, width=32), min_size=1, max_size=9))
def test_entropy_is_between_0_and_1_with_a_finite_gradient(opacities: list[float]) -> None:
    o = torch.tensor([opacities], requires_grad=True)
    value = losses.entropy(o)
    (gradient,) = torch.autograd.grad(value.sum(), o)
    assert 0 <= value.item() <= 1 + 1e-6
    assert gradient.isfinite().all()


def test_entropy_is_least_at_the_ends_and_pushes_towards_them() -> None:
    o = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.3, 0.7]], requires_grad=True)
    value = losses.entropy(o)
    assert value[0].item() < 0.01
    assert value[1].item() == pytest.approx(1)
    (gradient,) = torch.autograd.grad(value.sum(), o)
    assert gradient[2, 0] > 0 > gradient[2, 1]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 3), (3, 5, 16)], ids=str)
def test_distortion_matches_the_double_sum(shape: tuple[int, int, int]) -> None:
    weights, delta = torch.rand(shape), torch.rand(shape)
    distance = torch.rand(shape).mul(3).sort(dim=-1).values
    actual = losses.distortion(weights, distance, delta)
    for s in range(shape[0]):
        total = 0.0
        for r in range(shape[1]):
            w, t, d = (v[s, r].tolist() for v in (weights, distance, delta))
            for i, j in np.ndindex(shape[2], shape[2]):
                total += w[i] * w[j] * abs(t[i] - t[j])
            total += sum(w[i] ** 2 * d[i] for i in range(shape[2])) / 3
        assert float(actual[s]) == pytest.approx(total / shape[1], rel=1e-4)


def test_distortion_draws_matter_together() -> None:
    distance, delta = torch.tensor([[[1.0, 1.1, 3.0]]]), torch.full((1, 1, 3), 0.1)
    near, apart = torch.tensor([[[0.5, 0.5, 0.0]]]), torch.tensor([[[0.5, 0.0, 0.5]]])
    assert losses.distortion(near, distance, delta) < losses.distortion(apart, distance, delta)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 3), (3, 5, 16)], ids=str)
def test_orientation_matches_a_loop(shape: tuple[int, int, int]) -> None:
    weights = torch.rand(shape)
    normal = torch.nn.functional.normalize(torch.randn(*shape, 3), dim=-1)
    directions = torch.nn.functional.normalize(torch.randn(*shape[:2], 3), dim=-1)
    actual = losses.orientation(weights, normal, directions)
    for s in range(shape[0]):
        total = 0.0
        for r, n in np.ndindex(*shape[1:]):
            facing = float(normal[s, r, n].double() @ directions[s, r].double())
            total += float(weights[s, r, n]) * max(0.0, facing) ** 2
        assert float(actual[s]) == pytest.approx(total / shape[1], rel=1e-4)


def test_orientation_moves_normals_but_not_weights() -> None:
    weights = torch.rand(1, 2, 3, requires_grad=True)
    normal = torch.tensor([[[[1.0, 0, 0]] * 3] * 2], requires_grad=True)
    directions = torch.tensor([[[1.0, 0, 0], [-1.0, 0, 0]]])
    value = losses.orientation(weights, normal, directions)
    gradients = torch.autograd.grad(value.sum(), (weights, normal), allow_unused=True)
    assert gradients[0] is None
    assert gradients[1] is not None
    # The first ray sees the surface from behind, the second from its front.
    assert (gradients[1][0, 0, :, 0] > 0).all()
    assert gradients[1][0, 1].abs().max() == 0
