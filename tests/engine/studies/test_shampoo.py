"""Shampoo of a library, against its formulas in float64; scenes that do not know of each other."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from engine.configs.optimiser import OptimiserConfig
from engine.fields import Parameters
from engine.studies import shampoo
from engine.studies.shampoo import Shampoo, layers

needs_library = pytest.mark.skipif(
    find_spec("pytorch_optimizer") is None,
    reason="needs pytorch-optimizer, which is not installed",
)
CONFIG = OptimiserConfig(betas=(0.9, 0.8))
EVERY = 3
RATES = (0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 0.2)


def gradients(step: int) -> Parameters:
    """Of two scenes; each has two matrices of 4 x 6 and two rows of 6."""
    generator = torch.Generator().manual_seed(step)
    w = torch.randn(2, 2, 4, 6, generator=generator)
    # Of very different sizes, as layers are.
    w *= torch.tensor([1.0, 1e-3])[None, :, None, None]
    return {"w": w, "b": torch.randn(2, 2, 1, 6, generator=generator)}


def zeros() -> Parameters:
    return {"w": torch.zeros(2, 2, 4, 6), "b": torch.zeros(2, 2, 1, 6)}


def descended(optimiser: Shampoo, found: Parameters, rates: tuple[float, ...] = RATES) -> None:
    for k, rate in enumerate(rates):
        lr, is_active = torch.full((2,), rate), torch.ones(2, dtype=torch.bool)
        optimiser.step(found, gradients(k), lr=lr, is_active=is_active)


def inverse_root(statistics: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(statistics)
    return vectors @ np.diag((values + 1e-6 * values.max()) ** -0.5) @ vectors.T


def oracle(found: list[np.ndarray], config: OptimiserConfig, every: int) -> np.ndarray:
    """Where a matrix of zeros ends up, by the papers: Anil et al., and SQRT_N as a graft."""
    beta1, beta2 = config.betas
    rows, columns = found[0].shape
    left, right = 1e-6 * np.eye(rows), 1e-6 * np.eye(columns)
    roots = np.eye(rows), np.eye(columns)
    p = signs_sum = steps_sum = np.zeros((rows, columns))
    for number, (g, rate) in enumerate(zip(found, RATES, strict=True), start=1):
        left = beta2 * left + (1.0 - beta2) * g @ g.T
        right = beta2 * right + (1.0 - beta2) * g.T @ g
        if number % every == 0:
            roots = inverse_root(left), inverse_root(right)
        signs = rate * np.sign(g)
        direction = roots[0] @ g @ roots[1]
        step = direction * rate * np.sqrt(g.size) / np.linalg.norm(direction)
        signs_sum, steps_sum = beta1 * signs_sum + signs, beta1 * steps_sum + step
        # Nesterov's.
        p = p - (beta1 * steps_sum + step if number >= every else beta1 * signs_sum + signs)
    return p


@needs_library
def test_it_follows_the_formulas() -> None:
    optimiser, found = Shampoo(CONFIG, EVERY), zeros()
    optimiser.admit(0)
    optimiser.admit(1)
    descended(optimiser, found)
    for slot in range(2):
        for k in range(2):
            of_layer = [gradients(n)["w"][slot, k].double().numpy() for n in range(len(RATES))]
            expected = torch.from_numpy(oracle(of_layer, CONFIG, EVERY)).float()
            error = (found["w"][slot, k] - expected).norm() / expected.norm()
            # The library's iteration for a root stops at an error of 1e-3.
            assert error < 5e-3
            plain = torch.from_numpy(oracle(of_layer, CONFIG, every=99)).float()
            assert (plain - expected).norm() / expected.norm() > 0.1
        rows = [gradients(n)["b"][slot, 1].double().numpy() for n in range(len(RATES))]
        # Signs alone: no roots are ever used.
        expected = torch.from_numpy(oracle(rows, CONFIG, every=99)).float()
        torch.testing.assert_close(found["b"][slot, 1], expected)


@needs_library
def test_a_scene_does_not_know_of_its_neighbour() -> None:
    both, alone = zeros(), zeros()
    optimiser = Shampoo(CONFIG, EVERY)
    optimiser.admit(0)
    optimiser.admit(1)
    descended(optimiser, both)
    single = Shampoo(CONFIG, EVERY)
    single.admit(1)
    descended(single, alone)
    for name, p in both.items():
        # The library begins the search for the greatest eigenvalue anywhere.
        torch.testing.assert_close(p[1], alone[name][1], rtol=1e-3, atol=1e-4)
        assert alone[name][0].count_nonzero() == 0


@needs_library
def test_a_scene_that_comes_begins_anew() -> None:
    optimiser, found = Shampoo(CONFIG, EVERY), zeros()
    optimiser.admit(0)
    optimiser.admit(1)
    descended(optimiser, found)
    optimiser.admit(1)
    for p in found.values():
        p.zero_()
    descended(optimiser, found, RATES[:1])
    # The first step is 1.9 rates long, by Nesterov; momentum would show.
    first = torch.full((2, 4, 6), 1.9 * RATES[0])
    torch.testing.assert_close(found["w"][1].abs(), first)
    assert (found["w"][0].abs() - first).abs().amax() > 0.1


@needs_library
def test_a_scene_that_is_not_active_stays_even_if_its_gradient_is_no_number() -> None:
    optimiser, found = Shampoo(CONFIG, EVERY), zeros()
    optimiser.admit(0)
    optimiser.admit(1)
    given = gradients(0)
    given["w"][0, 0, 0, 0] = torch.nan
    is_active = torch.tensor([False, True])
    for _ in range(2 * EVERY):
        optimiser.step(found, given, lr=torch.full((2,), 0.1), is_active=is_active)
    assert found["w"][0].count_nonzero() == 0
    assert found["w"][1].count_nonzero() == found["w"][1].numel()


def test_layers_are_views_of_all_that_there_is() -> None:
    p = torch.arange(2.0 * 4 * 6).reshape(2, 4, 6)
    matrices = layers(p)
    assert [m.shape for m in matrices] == [(4, 6), (4, 6)]
    matrices[1].zero_()
    assert p[1].count_nonzero() == 0
    assert [v.shape for v in layers(torch.ones(5, 1, 6))] == [(30,)]
    assert [m.shape for m in layers(torch.ones(4, 6))] == [(4, 6)]


def test_where_the_library_is_missing_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *_: Any) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(shampoo, "import_module", missing)
    with pytest.raises(ValueError, match="pip install pytorch-optimizer, or leave Shampoo out"):
        Shampoo(CONFIG, EVERY)
