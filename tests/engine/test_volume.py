import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine import volume

SHAPES = [(1,), (7,), (3, 1), (2, 5, 13), (1, 3, 64)]


def naive_weights(sigma: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Every weight from its definition: a product over all samples in front."""
    weights = np.zeros_like(sigma)
    for i in range(len(sigma)):
        transmittance = 1.0
        for j in range(i):
            transmittance *= np.exp(-sigma[j] * delta[j])
        weights[i] = transmittance * (1.0 - np.exp(-sigma[i] * delta[i]))
    return weights


def autograd_weights(sigma: Tensor, delta: Tensor) -> Tensor:
    """The same definition in a form that autograd can follow."""
    clear = torch.exp(-sigma * delta)
    columns = [clear[..., :i].prod(dim=-1) * (1.0 - clear[..., i]) for i in range(sigma.shape[-1])]
    return torch.stack(columns, dim=-1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_match_a_quadratic_loop(shape: tuple[int, ...]) -> None:
    sigma, delta = 30 * torch.rand(shape), 0.1 * torch.rand(shape)
    weights = volume.composite(sigma, delta)
    assert weights.dtype == torch.float32
    for index in np.ndindex(shape[:-1]):
        expected = naive_weights(sigma[index].double().numpy(), delta[index].double().numpy())
        np.testing.assert_allclose(weights[index].numpy(), expected, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_match_autograd_of_the_definition(shape: tuple[int, ...]) -> None:
    values = {
        "sigma": (20 * torch.rand(shape)).requires_grad_(),
        "delta": (0.1 * torch.rand(shape)).requires_grad_(),
    }
    cotangent = torch.randn(shape)
    actual = torch.autograd.grad(volume.composite(**values), list(values.values()), cotangent)
    exact = {name: value.detach().double().requires_grad_() for name, value in values.items()}
    expected = torch.autograd.grad(
        autograd_weights(**exact), list(exact.values()), cotangent.double()
    )
    for name, a, e in zip(values, actual, expected, strict=True):
        torch.testing.assert_close(
            a.double(), e, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@given(st.lists(st.tuples(st.floats(0, 1e6, width=32), st.floats(0, 2, width=32)), min_size=1))
def test_weights_are_probabilities_that_sum_to_at_most_one(
    samples: list[tuple[float, float]],
) -> None:
    sigma, delta = torch.tensor(samples).unbind(-1)
    weights = volume.composite(sigma, delta)
    assert (weights >= 0).all()
    assert float(weights.double().sum()) <= 1 + 1e-5
    expected = naive_weights(sigma.double().numpy(), delta.double().numpy())
    np.testing.assert_allclose(weights.numpy(), expected, atol=1e-5)


def test_a_sample_without_length_or_density_weighs_nothing() -> None:
    sigma, delta = torch.tensor([[5.0, 1e6, 0.0, 2.0]]), torch.tensor([[0.1, 0.0, 0.3, 0.2]])
    weights = volume.composite(sigma, delta)[0].tolist()
    assert weights[0] > 0
    assert weights[1] == weights[2] == 0
    assert weights[3] == pytest.approx(np.exp(-0.5) * (1 - np.exp(-0.4)))


def test_a_wall_takes_all_that_is_left() -> None:
    weights = volume.composite(torch.tensor([0.0, 1.0, 1e6, 50.0]), torch.full((4,), 0.5))
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    assert float(weights[3]) == 0
    assert float(weights[2]) == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_accumulate_is_a_weighted_sum(shape: tuple[int, ...]) -> None:
    weights, values = torch.rand(shape), torch.randn(*shape, 3)
    actual = volume.accumulate(weights, values)
    assert actual.shape == (*shape[:-1], 3)
    for index in np.ndindex(shape[:-1]):
        expected = sum(
            float(weights[index][n]) * values[index][n].double().numpy() for n in range(shape[-1])
        )
        np.testing.assert_allclose(actual[index].numpy(), expected, rtol=1e-5, atol=1e-5)
