from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.kernels.composite import Composited, composite
from tests.engine.kernels.checking import assert_close

pytestmark = pytest.mark.usefixtures("fused")

SHAPES = [(1, 1, 1), (2, 5, 13), (3, 7, 48), (1, 3, 700), (2, 9, 128)]
CHANNELS = (3, 1, 3)
"""Colour, distance and normal."""


def naive(sigma: Tensor, delta: Tensor, *values: Tensor) -> Composited:
    """Every weight by its definition, as a product over all samples in front."""
    clear = torch.exp(-sigma * delta)
    left = torch.ones_like(clear[..., 0])
    weights = []
    for i in range(sigma.shape[-1]):
        weights.append(left * -torch.expm1(-sigma[..., i] * delta[..., i]))
        left = left * clear[..., i]
    w = torch.stack(weights, dim=-1)
    sums = tuple((w[..., None] * v).sum(-2) for v in values)
    return Composited(weights=w, opacity=w.sum(-1), sums=sums)


def named(composited: Composited) -> dict[str, Tensor]:
    sums = {f"sum{k}": x for k, x in enumerate(composited.sums)}
    return {"weights": composited.weights, "opacity": composited.opacity} | sums


def both(inputs: dict[str, Tensor], seed: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and gradients of the kernels, and those of the definition in float64."""
    results = []
    for f, dtype in ((composite, torch.float32), (naive, torch.float64)):
        own = {n: x.detach().to(dtype).requires_grad_(n != "delta") for n, x in inputs.items()}
        outputs = named(f(*own.values()))
        generator = torch.Generator().manual_seed(seed)
        weights = [torch.randn(x.shape, generator=generator).to(x) for x in outputs.values()]
        leaves = {name: x for name, x in own.items() if x.requires_grad}
        slopes = torch.autograd.grad(list(outputs.values()), list(leaves.values()), weights)
        gradients = {f"gradient of {n}": g for n, g in zip(leaves, slopes, strict=True)}
        results.append({n: x.detach() for n, x in outputs.items()} | gradients)
    return results[0], results[1]


def draw(shape: tuple[int, ...], device: torch.device, density: float = 20.0) -> dict[str, Tensor]:
    inputs = {"sigma": density * torch.rand(shape), "delta": 0.1 * torch.rand(shape)}
    inputs |= {f"value{k}": torch.randn(*shape, c) for k, c in enumerate(CHANNELS)}
    return {name: x.to(device) for name, x in inputs.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients_match_the_definition(
    shape: tuple[int, ...], device: torch.device
) -> None:
    actual, expected = both(draw(shape, device))
    assert len(actual) == 9
    assert_close(actual, expected, 2e-6)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scenes=st.integers(1, 3),
    rays=st.integers(1, 9),
    samples=st.integers(1, 40),
    density=st.sampled_from([0.01, 1.0, 1e3]),
)
def test_any_shape_and_density_does(
    device: torch.device, scenes: int, rays: int, samples: int, density: float
) -> None:
    assert_close(*both(draw((scenes, rays, samples), device, density)), 1e-5)


def test_walls_hide_what_is_behind_and_spare_what_is_before_them(device: torch.device) -> None:
    rays = [
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [3.0, 1e6, 2.0, 1e6, 4.0],
        [1e6, 1e6, 1e6, 1e6, 1e6],
        [0.0, 0.0, 0.0, 1e6, 0.0],
        [1e-6, 2.0, 0.0, 1e-7, 1e6],
    ]
    inputs = draw((1, 5, 5), device) | {"sigma": torch.tensor([rays], device=device)}
    inputs["delta"] = torch.full_like(inputs["sigma"], 0.3)
    actual, expected = both(inputs)
    assert_close(actual, expected, 1e-6)
    weights = actual["weights"][0].tolist()
    assert weights[0] == [0.0] * 5
    assert weights[1][2:] == [0.0] * 3
    assert weights[2] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert weights[3] == [0.0, 0.0, 0.0, 1.0, 0.0]
    assert actual["gradient of sigma"][0, 2].tolist() == [0.0] * 5
    # Each number by itself, however small beside its neighbours.
    torch.testing.assert_close(
        actual["weights"].double(), expected["weights"].to(device), rtol=1e-6, atol=0
    )


def test_small_gradients_beside_large_ones_keep_their_digits(device: torch.device) -> None:
    """The light behind 18 optical depths is 1e-8 of what the dense sample takes itself."""
    inputs = draw((1, 40, 3), device)
    inputs["sigma"] = torch.tensor([0.4, 18.0, 0.7], device=device).expand(1, 40, 3)
    inputs["delta"] = torch.ones_like(inputs["sigma"])
    actual, expected = both(inputs)
    dense = actual["gradient of sigma"][0, :, 1].double().cpu()
    wanted = expected["gradient of sigma"][0, :, 1].cpu()
    assert 1e-9 < float(wanted.abs().median()) < 1e-7
    assert_close({"dense": dense}, {"dense": wanted}, 1e-5)


def test_rays_that_miss_see_and_teach_nothing(device: torch.device) -> None:
    inputs = draw((2, 6, 9), device)
    inputs["delta"] = torch.rand(2, 6, 1, device=device).expand(2, 6, 9).clone()
    inputs["delta"][:, ::2] = 0.0
    actual, expected = both(inputs)
    assert_close(actual, expected, 2e-6)
    for name, value in actual.items():
        assert float(value[:, ::2].abs().max()) == 0.0, name
        assert float(value[:, 1::2].abs().min(dim=0).values.max()) > 0.0, name


def test_one_length_a_ray_is_not_spread_in_memory(device: torch.device) -> None:
    inputs = draw((2, 3, 11), device)
    inputs["delta"] = inputs["delta"][..., :1].expand(2, 3, 11)
    assert inputs["delta"].stride() == (33, 11, 0)
    seen = composite(*inputs.values())
    exact = naive(*(x.double() for x in inputs.values()))
    assert_close(named(seen), named(exact), 2e-6)


def test_results_that_nobody_uses_cost_no_gradient(device: torch.device) -> None:
    inputs = draw((2, 3, 11), device)
    sigma = inputs.pop("sigma").requires_grad_()
    delta, colour, distance, normal = inputs.values()
    colour.requires_grad_()
    seen = composite(sigma, delta, colour, distance, normal.requires_grad_())
    weight = torch.randn_like(seen.sums[0])
    actual = torch.autograd.grad((weight * seen.sums[0]).sum(), [sigma, colour], retain_graph=True)
    exact = [x.detach().double().requires_grad_() for x in (sigma, colour)]
    wanted = naive(exact[0], delta.double(), exact[1]).sums[0]
    expected = torch.autograd.grad((weight.double() * wanted).sum(), exact)
    names = ("sigma", "colour")
    assert_close(
        dict(zip(names, actual, strict=True)), dict(zip(names, expected, strict=True)), 2e-6
    )
    assert torch.autograd.grad(seen.sums[0].sum(), normal, allow_unused=True) == (None,)


def test_without_values_there_are_weights_alone(device: torch.device) -> None:
    sigma = (5 * torch.rand(2, 3, 4, device=device)).requires_grad_()
    delta = torch.full_like(sigma, 0.2).detach()
    seen = composite(sigma, delta)
    assert seen.sums == ()
    (actual,) = torch.autograd.grad(seen.opacity.sum(), sigma)
    # o = 1 - exp(-sum tau).
    expected = delta * torch.exp(-(sigma * delta).sum(-1, keepdim=True))
    assert_close({"sigma": actual}, {"sigma": expected.detach()}, 1e-6)


def test_no_rays_are_no_work(device: torch.device) -> None:
    seen = composite(*draw((2, 0, 5), device).values())
    assert seen.weights.shape == (2, 0, 5)
    assert seen.sums[0].shape == (2, 0, 3)


def test_a_gradient_of_the_gradient_is_refused(device: torch.device) -> None:
    inputs = draw((1, 2, 3), device)
    sigma = inputs["sigma"].requires_grad_()
    opacity = composite(*inputs.values()).opacity
    (slope,) = torch.autograd.grad(opacity.square().sum(), sigma, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [(8, 16384, 48), (4, 4096, 128)], ids=str)
def test_full_size(shape: tuple[int, ...], dtype: torch.dtype, tolerance: float) -> None:
    device = torch.device("cuda")
    inputs = draw(shape, device) | {"delta": torch.full(shape, 0.04, device=device)}
    rounded = {name: x.to(dtype) for name, x in inputs.items()}
    own = {name: x.requires_grad_(name != "delta") for name, x in rounded.items()}
    seen = named(composite(*own.values()))
    exact = {n: x.detach().double().requires_grad_(n != "delta") for n, x in own.items()}
    wanted = named(naive(*exact.values()))
    assert_close(seen, wanted, tolerance)
    for inputs_, outputs in ((own, seen), (exact, wanted)):
        torch.stack([x.square().sum() for x in outputs.values()]).sum().backward()
        assert all(x.grad is not None for n, x in inputs_.items() if n != "delta")
    assert_close(
        {n: x.grad for n, x in own.items() if n != "delta"},
        {n: x.grad for n, x in exact.items() if n != "delta"},
        tolerance,
    )
