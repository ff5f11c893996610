import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.kernels.philox import reference, uniform
from engine.philox import Purpose
from tests.engine.test_philox import naive_uniform

pytestmark = pytest.mark.usefixtures("fused")


@given(
    seeds=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3),
    step=st.integers(0, 2**32 - 1),
    purpose=st.sampled_from(Purpose),
    count=st.integers(1, 13),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_draw_is_the_one_of_its_address(
    device: torch.device, seeds: list[int], step: int, purpose: Purpose, count: int
) -> None:
    """Steps of all scenes but the first are others than said."""
    steps = [(step + k) % 2**32 for k in range(len(seeds))]
    actual = uniform(
        torch.tensor(seeds, device=device), torch.tensor(steps, device=device), purpose, count
    )
    expected = [
        [naive_uniform(seed, one, purpose, i) for i in range(count)]
        for seed, one in zip(seeds, steps, strict=True)
    ]
    np.testing.assert_array_equal(actual.cpu(), np.array(expected, dtype=np.float32))


def test_more_than_a_program_makes(device: torch.device) -> None:
    seed, step = torch.tensor([7, -1], device=device), torch.tensor([0, 3], device=device)
    actual = uniform(seed, step, 6, 4100)
    assert torch.equal(actual, reference.uniform(seed, step, 6, 4100))


def test_no_draws_of_no_scenes(device: torch.device) -> None:
    none = torch.zeros(0, dtype=torch.long, device=device)
    assert uniform(none, none, 6, 5).shape == (0, 5)
    assert uniform(none.new_zeros(2), none.new_zeros(2), 6, 0).shape == (2, 0)


@pytest.mark.gpu
def test_full_size() -> None:
    seed = torch.arange(-16, 16, device="cuda") * 2**57
    step = torch.arange(32, device="cuda")
    actual = uniform(seed, step, 6, 16384 * 48 + 1)
    assert torch.equal(actual, reference.uniform(seed, step, 6, 16384 * 48 + 1))
