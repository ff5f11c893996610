import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.kernels.philox.reference import philox_4x32
from engine.philox import Purpose, normal, uniform

MASK = 0xFFFFFFFF

# Random123's kat_vectors for philox4x32, 10 rounds: counter, key, expected.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MASK,) * 4, (MASK,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

words = st.integers(0, MASK)
seeds = st.integers(-(2**63), 2**63 - 1)
steps = st.integers(0, MASK)
purposes = st.sampled_from(Purpose)


def naive_philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """The paper's round function in unbounded integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (second >> 32) ^ c[1] ^ k[0],
            second & MASK,
            (first >> 32) ^ c[3] ^ k[1],
            first & MASK,
        ]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return tuple(c)


def naive_uniform(seed: int, step: int, purpose: int, index: int) -> float:
    """One draw by its address."""
    key = (seed & MASK, (seed >> 32) & MASK)
    word = naive_philox((index // 4, step, purpose, 0), key)[index % 4]
    return (word >> 8) / 2**24


def tensors(values: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor([value]) for value in values)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert naive_philox(counter, key) == expected
    actual = philox_4x32(tensors(counter), tensors(key))
    assert tuple(int(word) for word in actual) == expected


@given(st.tuples(words, words, words, words), st.tuples(words, words))
def test_rounds_match_unbounded_integers(counter: tuple[int, ...], key: tuple[int, ...]) -> None:
    actual = philox_4x32(tensors(counter), tensors(key))
    assert tuple(int(word) for word in actual) == naive_philox(counter, key)


@given(seeds, steps, purposes, st.integers(1, 9))
def test_every_draw_is_a_function_of_its_address(
    seed: int, step: int, purpose: Purpose, count: int
) -> None:
    drawn = uniform(torch.tensor([seed]), torch.tensor([step]), purpose, (count,))
    expected = [naive_uniform(seed, step, purpose, k) for k in range(count)]
    assert drawn.dtype == torch.float32
    assert drawn[0].tolist() == expected


@given(seeds, steps, purposes, st.integers(1, 9))
def test_normal_is_box_muller_of_the_uniform_draws(
    seed: int, step: int, purpose: Purpose, count: int
) -> None:
    drawn = normal(torch.tensor([seed]), torch.tensor([step]), purpose, (count,))
    pairs = (count + 1) // 2
    u = [naive_uniform(seed, step, purpose, k) for k in range(2 * pairs)]
    length = [math.sqrt(-2 * math.log(1 - u[k])) for k in range(pairs)]
    angle = [2 * math.pi * u[pairs + k] for k in range(pairs)]
    expected = [r * math.cos(a) for r, a in zip(length, angle, strict=True)]
    expected += [r * math.sin(a) for r, a in zip(length, angle, strict=True)]
    np.testing.assert_allclose(drawn[0].numpy(), expected[:count], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("draw", [uniform, normal])
@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3), (4, 1, 7)])
def test_a_scene_s_draws_do_not_depend_on_the_stack(draw, shape: tuple[int, ...]) -> None:
    seed, step = torch.tensor([3, -1, 2**40, 3]), torch.tensor([0, 9, 2, 1])
    together = draw(seed, step, Purpose.JITTER, shape)
    assert together.shape == (4, *shape)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2], [1, 1]):
        again = draw(seed[order], step[order], Purpose.JITTER, shape)
        assert torch.equal(again, together[order])


def test_seed_step_and_purpose_all_matter() -> None:
    one = torch.ones(1, dtype=torch.long)
    draws = {
        "base": uniform(one, one, Purpose.TIME, (64,)),
        "seed": uniform(one + 1, one, Purpose.TIME, (64,)),
        "seed's high word": uniform(one + 2**32, one, Purpose.TIME, (64,)),
        "step": uniform(one, one + 1, Purpose.TIME, (64,)),
        "purpose": uniform(one, one, Purpose.NOISE, (64,)),
    }
    names = list(draws)
    for k, a in enumerate(names):
        for b in names[k + 1 :]:
            same = (draws[a] == draws[b]).float().mean()
            assert float(same) < 0.05, f"{a} and {b} share draws"


def test_purposes_are_distinct() -> None:
    values = [int(p) for p in Purpose]
    assert len(set(values)) == len(Purpose.__members__) == len(values)


@pytest.mark.parametrize(("draw", "law"), [(uniform, "uniform"), (normal, "norm")])
@pytest.mark.parametrize("axis", ["index", "step", "seed"])
def test_draws_follow_their_law_along_every_axis(draw, law: str, axis: str) -> None:
    count = 20_000
    many, one = torch.arange(count), torch.tensor([7])
    if axis == "index":
        sample = draw(one, one, Purpose.STRATUM, (count,))[0]
    elif axis == "step":
        sample = draw(one.expand(count), many, Purpose.STRATUM, (1,))[:, 0]
    else:
        sample = draw(many, one.expand(count), Purpose.STRATUM, (1,))[:, 0]
    assert scipy.stats.kstest(sample.double().numpy(), law).pvalue > 0.01
    neighbours = np.corrcoef(sample[:-1].numpy(), sample[1:].numpy())[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(count)


def test_uniform_stays_below_one_and_normal_is_finite() -> None:
    seed = torch.arange(50)
    u = uniform(seed, seed * 0, Purpose.NOISE, (1000,))
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    assert normal(seed, seed * 0, Purpose.NOISE, (1000,)).isfinite().all()
