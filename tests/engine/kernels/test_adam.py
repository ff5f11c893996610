import math

import pytest
import torch
from torch import Tensor

from engine.kernels.adam import adam, reference
from tests.engine.kernels.checking import assert_close

pytestmark = pytest.mark.usefixtures("fused")

BETAS, EPS = (0.9, 0.99), 1e-8


def draw(shape: tuple[int, ...], device: torch.device) -> dict[str, Tensor]:
    num_scenes = shape[0]
    return {
        **{name: torch.randn(shape, device=device) for name in ("p", "gradient", "first")},
        "second": torch.rand(shape, device=device),
        "rate": torch.linspace(0.01, 0.03, num_scenes, device=device),
        "correction": torch.linspace(0.3, 0.9, num_scenes, device=device),
        "is_active": torch.ones(num_scenes, dtype=torch.bool, device=device),
    }


def naive(state: dict[str, Tensor], scene: int, place: tuple[int, ...]) -> tuple[float, ...]:
    """p, m and v of one number, by the textbook."""
    at = (scene, *place)
    p, g, m, v = (float(state[name][at]) for name in ("p", "gradient", "first", "second"))
    m = BETAS[0] * m + (1.0 - BETAS[0]) * g
    v = BETAS[1] * v + (1.0 - BETAS[1]) * g * g
    correction, rate = float(state["correction"][scene]), float(state["rate"][scene])
    return p - rate * m / (math.sqrt(v) / correction + EPS), m, v


def test_every_number_moves_as_the_textbook_says(device: torch.device) -> None:
    before = draw((3, 2, 5), device)
    after = {name: t.clone() for name, t in before.items()}
    adam(**after, betas=BETAS, eps=EPS)
    for scene in range(3):
        for place in [(0, 0), (0, 4), (1, 2)]:
            expected = naive(before, scene, place)
            actual = [float(after[name][scene, *place]) for name in ("p", "first", "second")]
            assert actual == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 1025), (3, 4, 3, 5, 7)])
@pytest.mark.parametrize("is_turned", [False, True])
def test_any_shape_and_order_is_that_of_the_reference(
    shape: tuple[int, ...], is_turned: bool, device: torch.device
) -> None:
    """Turned, axes lie in another order in memory; the gradient is always as it was drawn."""
    states = []
    for op in (adam, reference.adam):
        torch.manual_seed(1)
        state = draw(shape, device)
        if is_turned and len(shape) == 5:
            for name in ("p", "first", "second"):
                state[name] = state[name].contiguous(memory_format=torch.channels_last_3d)
        op(**state, betas=BETAS, eps=EPS)
        states.append(state)
    for name in ("p", "first", "second"):
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-5, atol=1e-6)


def test_what_is_not_active_stays_and_forgets_whatever_its_gradient(device: torch.device) -> None:
    state = draw((2, 40), device)
    state["gradient"][1] = torch.nan
    state["is_active"][1] = False
    state["rate"][1] = 0.0
    before = {name: t.clone() for name, t in state.items()}
    adam(**state, betas=BETAS, eps=EPS)
    assert torch.equal(state["p"][1], before["p"][1])
    torch.testing.assert_close(state["first"][1], 0.9 * before["first"][1])
    assert not torch.equal(state["p"][0], before["p"][0])


def test_a_parameter_without_numbers_is_no_mistake(device: torch.device) -> None:
    adam(**draw((0, 5), device), betas=BETAS, eps=EPS)


def hold_to_float64(shape: tuple[int, ...], device: torch.device) -> None:
    """Asserts that a step is the reference's in float64; the last of several scenes has failed."""
    state = draw(shape, device)
    state["is_active"][1:][-1:] = False
    exact = {n: t if t.dtype == torch.bool else t.double() for n, t in state.items()}
    state["gradient"][1:][-1:] = torch.nan
    adam(**state, betas=BETAS, eps=EPS)
    reference.adam(**exact, betas=BETAS, eps=EPS)
    names = ("p", "first", "second")
    assert_close({n: state[n] for n in names}, {n: exact[n] for n in names}, 1e-6)


def test_a_step_is_that_of_float64(device: torch.device) -> None:
    hold_to_float64((3, 1037), device)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(1, 2**20 + 1), (3, 2**22 + 1037), (8, 5, 2**19 + 3)], ids=str)
def test_full_size(shape: tuple[int, ...]) -> None:
    """Odd numbers of numbers, so that no scene but the first begins where a tile would."""
    hold_to_float64(shape, torch.device("cuda"))
