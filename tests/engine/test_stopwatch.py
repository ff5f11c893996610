import itertools
import time

import pytest
import torch

from engine import stopwatch
from engine.stopwatch import Stopwatch
from tests.engine import waits

CPU = torch.device("cpu")


def ticking(monkeypatch: pytest.MonkeyPatch, *moments: float) -> None:
    """The clock shows these moments, one a look."""
    clock = iter(moments)
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))


def test_laps_add_up_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking(monkeypatch, 10.0, 11.0, 13.0, 16.0, 20.0)
    watch = Stopwatch(CPU)
    watch.start()
    for part in ("other", "unet", "field"):
        watch.lap(part)
    watch.stop("other")
    (parts,) = watch.read()
    assert parts == {"other": 1.0 + 4.0, "unet": 2.0, "field": 3.0}
    assert sum(parts.values()) == 20.0 - 10.0


def test_steps_are_read_once_and_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking(monkeypatch, 0.0, 1.0, 5.0, 7.0, 8.0, 11.0)
    watch = Stopwatch(CPU)
    assert watch.read() == []
    for _ in range(2):
        watch.start()
        watch.stop("all")
    assert watch.read() == [{"all": 1.0}, {"all": 2.0}]
    watch.start()
    assert watch.read() == [], "it is under way"
    watch.stop("all")
    assert watch.read() == [{"all": 3.0}]
    assert watch.read() == []


def test_a_step_that_broke_off_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking(monkeypatch, 0.0, 100.0, 200.0, 201.0)
    watch = Stopwatch(CPU)
    watch.start()
    watch.lap("unet")
    watch.start()
    watch.stop("other")
    assert watch.read() == [{"other": 1.0}]


def test_nobody_has_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ticking(monkeypatch, *itertools.chain.from_iterable((0.0, float(k)) for k in range(1000)))
    watch = Stopwatch(CPU)
    for _ in range(1000):
        watch.start()
        watch.stop("all")
    kept = watch.read()
    assert 1 <= len(kept) < 1000
    assert kept[-1] == {"all": 999.0}


def test_a_step_is_timed_for_microseconds() -> None:
    """A step of the fastest recipe takes a hundred milliseconds of a CPU."""
    watch = Stopwatch(CPU)

    def seconds() -> float:
        start = time.perf_counter()
        watch.start()
        for _ in range(6):
            watch.lap("part")
        watch.stop("part")
        watch.read()
        return time.perf_counter() - start

    assert min(seconds() for _ in range(100)) < 1e-4


class Device:
    """A stream that does nothing until it is told to; each thing it is asked for takes a second."""

    def __init__(self) -> None:
        self.num_asked = 0
        self.num_done = 0


class FakeEvent:
    """Takes the place of `torch.cuda.Event`, which knows its time once the device has come by."""

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: Device) -> None:
        stream.num_asked += 1
        self.stream, self.number = stream, stream.num_asked

    def query(self) -> bool:
        return self.number <= self.stream.num_done

    def elapsed_time(self, later: "FakeEvent") -> float:
        assert later.query(), "this would wait"
        return 1000.0 * (later.number - self.number)


def test_what_the_device_has_not_done_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: device)
    watch = Stopwatch(torch.device("cuda"))
    for _ in range(3):
        watch.start()
        watch.lap("unet")
        watch.lap("field")
        watch.stop("unet")
    step = {"unet": 2.0, "field": 1.0}
    assert watch.read() == []
    device.num_done = 7
    assert watch.read() == [step], "the second is half done"
    assert watch.read() == []
    device.num_done = device.num_asked
    assert watch.read() == [step, step]


@pytest.mark.gpu
def test_the_device_is_timed_and_never_waited_for() -> None:
    device = torch.device("cuda")
    watch = Stopwatch(device)
    cycles = 30_000_000
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def step() -> None:
        watch.start()
        torch.cuda._sleep(cycles)
        watch.lap("field")
        torch.cuda._sleep(3 * cycles)
        watch.stop("unet")

    step()
    torch.cuda.synchronize()
    watch.read()
    with waits.forbidden():
        start = time.perf_counter()
        before.record()
        step()
        after.record()
        assert watch.read() == []
        step()
        assert watch.read() == []
        seconds = time.perf_counter() - start
    assert not after.query(), "the device has done in no time what it was to take long for"
    torch.cuda.synchronize()
    first, second = watch.read()
    whole = before.elapsed_time(after) / 1000
    assert seconds < whole
    for parts in (first, second):
        # The clock of the device goes up and down.
        assert 2.0 < parts["unet"] / parts["field"] < 4.0
        assert sum(parts.values()) == pytest.approx(whole, rel=0.1)
