import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.configs.optimiser import OptimiserConfig
from engine.fields import Parameters
from engine.optimiser import Moments, adam_step, learning_rate

SHAPES = {"a": (3,), "b": (2, 5), "c": (1, 2, 7)}


def stack(num_scenes: int) -> Parameters:
    return {name: torch.randn(num_scenes, *shape) for name, shape in SHAPES.items()}


def step(
    parameters: Parameters,
    gradients: Parameters,
    moments: Moments,
    count: list[int],
    lr: list[float],
    is_active: list[bool],
    betas: tuple[float, float] = (0.9, 0.99),
    eps: float = 1e-8,
) -> None:
    adam_step(
        parameters,
        gradients,
        moments,
        count=torch.tensor(count),
        lr=torch.tensor(lr),
        is_active=torch.tensor(is_active),
        betas=betas,
        eps=eps,
    )


@given(st.floats(0, 0.99), st.floats(0, 0.999), st.sampled_from([1e-15, 1e-8, 1e-2]))
def test_one_scene_moves_as_torch_s_adam_moves_it(beta1: float, beta2: float, eps: float) -> None:
    parameters = stack(1)
    moments = Moments.zeros_like(parameters)
    twins = {name: p.clone().requires_grad_() for name, p in parameters.items()}
    adam = torch.optim.Adam(twins.values(), lr=0.1, betas=(beta1, beta2), eps=eps)
    for count in range(1, 8):
        gradients = stack(1)
        for group in adam.param_groups:
            group["lr"] = 0.1 / count
        for name, p in twins.items():
            p.grad = gradients[name].clone()
        adam.step()
        step(parameters, gradients, moments, [count], [0.1 / count], [True], (beta1, beta2), eps)
    for name, p in parameters.items():
        torch.testing.assert_close(p, twins[name].detach(), rtol=1e-4, atol=1e-4)


def test_every_scene_has_its_own_count_and_rate() -> None:
    together = stack(3)
    moments = Moments.zeros_like(together)
    alone = [{name: p[s : s + 1].clone() for name, p in together.items()} for s in range(3)]
    alone_moments = [Moments.zeros_like(p) for p in alone]
    counts, lrs = [1, 5, 100], [0.1, 0.02, 0.3]
    for k in range(4):
        gradients = stack(3)
        step(together, gradients, moments, [c + k for c in counts], lrs, [True] * 3)
        for s in range(3):
            one = {name: g[s : s + 1] for name, g in gradients.items()}
            step(alone[s], one, alone_moments[s], [counts[s] + k], [lrs[s]], [True])
    for s in range(3):
        for name, p in together.items():
            assert torch.equal(p[s], alone[s][name][0])


def test_the_first_step_has_the_length_of_the_rate() -> None:
    """m_hat / sqrt(v_hat) is the gradient's sign at first, whatever its size."""
    parameters = {"p": torch.zeros(2, 4)}
    gradients = {"p": torch.tensor([[1e-6, -1e-3, 1.0, -1e6], [5.0, 5.0, 5.0, 5.0]])}
    moments = Moments.zeros_like(parameters)
    step(parameters, gradients, moments, [1, 1], [0.5, 0.25], [True, True], eps=1e-15)
    expected = torch.tensor([[-0.5, 0.5, -0.5, 0.5], [-0.25] * 4])
    torch.testing.assert_close(parameters["p"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_an_inactive_scene_does_not_move_a_bit(poison: float) -> None:
    parameters = stack(3)
    moments = Moments.zeros_like(parameters)
    for count in range(1, 4):
        step(parameters, stack(3), moments, [count] * 3, [0.1] * 3, [True] * 3)
    before = {name: p.clone() for name, p in parameters.items()}
    healthy = {name: p[::2].clone() for name, p in parameters.items()}
    healthy_moments = Moments(
        {name: p[::2].clone() for name, p in moments.first.items()},
        {name: p[::2].clone() for name, p in moments.second.items()},
    )
    for count in range(4, 8):
        gradients = stack(3)
        for gradient in gradients.values():
            gradient[1] = poison
        step(parameters, gradients, moments, [count] * 3, [0.1] * 3, [True, False, True])
        others = {name: g[::2] for name, g in gradients.items()}
        step(healthy, others, healthy_moments, [count] * 2, [0.1] * 2, [True] * 2)
    for name, p in parameters.items():
        assert torch.equal(p[1], before[name][1])
        assert torch.equal(p[::2], healthy[name])
        assert not torch.equal(p[0], before[name][0])
        assert moments.first[name].isfinite().all()
        assert moments.second[name].isfinite().all()


def test_a_gradient_of_zero_leaves_a_fresh_scene_where_it_is() -> None:
    parameters = stack(1)
    before = {name: p.clone() for name, p in parameters.items()}
    gradients = {name: torch.zeros_like(p) for name, p in parameters.items()}
    step(parameters, gradients, Moments.zeros_like(parameters), [1], [0.1], [True], eps=1e-15)
    for name, p in parameters.items():
        assert torch.equal(p, before[name])


def test_the_background_has_a_rate_of_its_own() -> None:
    parameters = {name: torch.zeros(2, 3) for name in ("grid", "background.w0")}
    gradients = {name: torch.ones(2, 3) for name in parameters}
    adam_step(
        parameters,
        gradients,
        Moments.zeros_like(parameters),
        count=torch.tensor([1, 1]),
        lr=torch.tensor([0.5, 0.2]),
        is_active=torch.tensor([True, True]),
        betas=(0.9, 0.99),
        eps=1e-15,
        background_rate=0.1,
    )
    assert parameters["grid"][:, 0].tolist() == pytest.approx([-0.5, -0.2])
    assert parameters["background.w0"][:, 0].tolist() == pytest.approx([-0.05, -0.02])


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    config = OptimiserConfig(lr=(1e-4, 1e-6), warmup=0.2, warmup_lr=1e-9)
    part = torch.linspace(0, 1, 101)
    for p, rate in zip(part.tolist(), learning_rate(config, part).tolist(), strict=True):
        if p < 0.2:
            expected = 1e-9 + (1e-4 - 1e-9) * p / 0.2
        else:
            expected = 1e-6 + (1e-4 - 1e-6) * (1 + math.cos(math.pi * (p - 0.2) / 0.8)) / 2
        assert rate == pytest.approx(expected, rel=1e-3, abs=1e-10)


def test_without_a_warm_up_the_rate_is_half_a_cosine() -> None:
    rates = learning_rate(OptimiserConfig(lr=(0.02, 0.004)), torch.tensor([0.0, 0.5, 1.0]))
    assert rates.tolist() == pytest.approx([0.02, 0.012, 0.004])
