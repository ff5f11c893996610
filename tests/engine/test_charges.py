import time
from dataclasses import dataclass, field

import pytest
import torch

from engine.charges import Account, Charges
from engine.stopwatch import Stopwatch
from tests.engine import waits


@dataclass
class Watch(Stopwatch):
    """Tells of the steps that the device has done, when the test says so."""

    done: list[dict[str, float]] = field(default_factory=list)

    def read(self) -> list[dict[str, float]]:
        done, self.done = self.done, []
        return done


def test_a_step_is_shared_by_those_who_had_part_in_it() -> None:
    watch = Watch()
    charges, a, b = Charges(watch), Account(), Account(seconds=100.0)
    charges.book([a])
    charges.book([a, b])
    charges.settle()
    assert (a.seconds, b.seconds) == (0.0, 100.0), "the device has done nothing yet"
    watch.done = [{"unet": 2.0, "other": 1.0}]
    charges.settle()
    assert (a.seconds, b.seconds) == (3.0, 100.0)
    watch.done = [{"unet": 8.0}]
    charges.settle()
    charges.settle()
    assert (a.seconds, b.seconds) == (7.0, 104.0)
    assert charges.read() == [{"unet": 2.0, "other": 1.0}, {"unet": 8.0}]
    assert charges.read() == []


def test_who_has_left_pays_nothing_more_and_the_others_do() -> None:
    watch = Watch()
    charges, a, b = Charges(watch), Account(), Account()
    for _ in range(3):
        charges.book([a, b])
    watch.done = [{"unet": 2.0}]
    assert charges.close(a) == 1.0
    watch.done = [{"unet": 4.0}]
    charges.settle()
    assert (a.seconds, b.seconds) == (1.0, 5.0)
    charges.close(b)
    watch.done = [{"unet": 1.0}]
    charges.settle()
    assert (a.seconds, b.seconds) == (1.0, 5.0)


def test_nobody_has_to_read() -> None:
    watch = Watch()
    charges, a = Charges(watch), Account()
    for k in range(1000):
        charges.book([a])
        watch.done = [{"unet": float(k)}]
        charges.settle()
    assert a.seconds == sum(range(1000))
    kept = charges.read()
    assert 1 <= len(kept) < 1000
    assert kept[-1] == {"unet": 999.0}


@pytest.mark.gpu
def test_a_device_without_a_step_costs_nothing_and_is_never_waited_for() -> None:
    device = torch.device("cuda")
    watch = Stopwatch(device)
    charges, a = Charges(watch), Account()
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def step() -> None:
        watch.start()
        torch.cuda._sleep(30_000_000)
        watch.stop("unet")
        charges.book([a])

    step()
    torch.cuda.synchronize()
    charges.settle()
    a.seconds = 0.0
    with waits.forbidden():
        before.record()
        for _ in range(4):
            step()
        after.record()
        charges.settle()
        assert a.seconds < 0.1
    torch.cuda.synchronize()
    time.sleep(0.5)
    charges.settle()
    assert a.seconds == pytest.approx(before.elapsed_time(after) / 1000, rel=0.05)
