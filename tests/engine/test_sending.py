import pytest
import torch

from engine.sending import sent
from tests.engine import waits


def test_what_is_there_stays_as_it_is() -> None:
    x = torch.tensor([1.0, 2.0])
    assert sent(x, torch.device("cpu")) is x


@pytest.mark.gpu
def test_a_device_that_is_busy_is_not_waited_for() -> None:
    device = torch.device("cuda")
    x = torch.arange(10_000_000)
    # Memory is pinned once, while the device is waited for.
    sent(x, device)
    torch.cuda.synchronize()
    with waits.forbidden():
        torch.cuda._sleep(1_000_000_000)
        y = sent(x, device)
        queued = torch.cuda.Event()
        queued.record()
        assert not queued.query(), "the device was waited for"
    assert torch.equal(y.cpu(), x)
