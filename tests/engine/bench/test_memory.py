import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from engine import recipes, slots
from engine.bench import __main__ as program
from engine.bench import memory
from engine.bench.rows import MemoryRow
from engine.bench.shapes import Parts
from engine.bench.subjects import Subject

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, and would be filled")

GIB = 2**30


def growing(growth: float) -> Callable[[int], int]:
    return lambda number: int((8 + growth * number) * GIB)


def row(probe: Callable[[int], int], room: float) -> MemoryRow:
    asked = Subject(
        model="if",
        recipe=recipes.get("dreamfusion_if"),
        parts=Parts(unet=None, scheduler=DDPMScheduler()),
        requests=[],
    )
    return memory.measured(
        asked,
        probe,
        room=int(room * GIB),
        device=torch.device("cpu"),
        commit="abc",
    )


def test_there_is_room_for_the_largest_power_of_two_that_fits() -> None:
    # 8 + 32/2 = 24 fit, 8 + 64/2 do not.
    found = row(growing(0.5), room=24.1)
    assert found.most == 32
    assert row(growing(0.5), room=23.9).most == 16
    assert found.peaks == {n: int((8 + 0.5 * n) * GIB) for n in (1, 2, slots.MOST)}
    told = memory.told(found)
    assert "dreamfusion_if V=" in told
    assert "8.50 GiB with 1, 9.00 GiB with 2, 16.00 GiB with 16; 0.50 a further scene" in told
    assert "room in 24 GiB for 32" in told


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (2, "2.00 GiB with 2, no room for 16; 1.00 a further scene; room in 20 GiB for 16"),
        (1, "no room for 2, no room for 16; room in 20 GiB for 1"),
    ],
)
def test_what_has_no_room_is_said_so(most: int, words: str) -> None:
    found = row(lambda number: number * GIB if number <= most else slots.ENDLESS, room=20.0)
    assert found.peaks[slots.MOST] is None
    assert memory.told(found).endswith(f": 1.00 GiB with 1, {words}")


@on_cpu
def test_without_a_gpu_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["memory", "--model", "if", "--out", str(tmp_path)])
    assert "there is no CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.gpu
def test_a_gpu_s_memory_grows_by_the_scene(tmp_path: Path) -> None:
    assert program.main(["memory", "--model", "primitives", "--out", str(tmp_path)]) == 0
    (line,) = (tmp_path / "memory.jsonl").read_text().splitlines()
    found = json.loads(line)
    one, two, many = (found["peaks"][number] for number in ("1", "2", str(slots.MOST)))
    assert 0 < one <= two < many < found["room"]
    assert found["most"] >= slots.MOST
