import pytest
import torch

from engine.leash import STEPS, Leash


def test_on_a_cpu_there_is_nothing_to_wait_for() -> None:
    leash = Leash(torch.device("cpu"))
    for _ in range(3 * STEPS):
        leash.hold()
    assert not leash._steps


@pytest.mark.gpu
def test_no_more_steps_wait_on_the_device_than_it_allows() -> None:
    leash = Leash(torch.device("cuda"))
    busy, ends = torch.randn(4096, 4096, device="cuda"), list[torch.cuda.Event]()
    torch.cuda.synchronize()
    for _ in range(4 * STEPS):
        for _ in range(5):
            busy = busy @ busy
        ends.append(torch.cuda.Event())
        ends[-1].record()
        leash.hold()
        assert sum(not end.query() for end in ends) <= STEPS
    # The host was ahead at all.
    assert not ends[-1].query()
