import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from engine.aside import Aside, mark


def test_on_a_cpu_it_is_nothing() -> None:
    device = torch.device("cpu")
    ready = mark(device)
    assert ready is None
    with Aside(device).after(ready):
        assert float(torch.ones(3).sum()) == 3.0


@pytest.mark.gpu
def test_a_result_comes_before_what_waits_on_the_gang_s_stream() -> None:
    device = torch.device("cuda")
    aside = Aside(device)
    x = torch.full((1000,), 2.0, device=device)
    # Whatever is loaded, or takes memory for its stream, for the first time waits for the device.
    with aside.after(mark(device)):
        assert float(x.sum()) == 2000.0
    ready = mark(device)
    torch.cuda._sleep(2_000_000_000)
    behind = torch.cuda.Event()
    behind.record()
    with aside.after(ready):
        assert torch.cuda.current_stream() != torch.cuda.default_stream()
        assert float(x.sum()) == 2000.0
    assert not behind.query()
    torch.cuda.synchronize()


@pytest.mark.gpu
def test_work_aside_waits_for_what_it_needs() -> None:
    device = torch.device("cuda")
    aside = Aside(device)
    busy = torch.randn(4096, 4096, device=device)
    for _ in range(20):
        busy = busy @ busy
        busy = busy / busy.norm()
    x = busy.abs().sum() * 0.0 + 7.0
    with aside.after(mark(device)):
        assert float(x) == 7.0


@pytest.mark.gpu
def test_each_thread_has_a_stream_of_its_own() -> None:
    device = torch.device("cuda")
    aside = Aside(device)

    def stream(_: int) -> torch.cuda.Stream:
        together.wait(20)
        with aside.after(mark(device)):
            return torch.cuda.current_stream()

    together = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        first, second = (list(pool.map(stream, range(2))) for _ in range(2))
    assert set(first) == set(second)
    assert len({*first, torch.cuda.default_stream()}) == 3
