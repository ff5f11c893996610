import itertools
import json
import math
import mmap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine import recipes
from engine.bench import __main__ as program
from engine.bench import refills
from engine.bench.refills import Refills, refilled
from engine.bench.rows import RefillRow
from engine.gang import Gang, SceneRequest
from tests.engine.fakes import DiscGuidance
from tests.engine.test_gang import recipe, request

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, and would be filled")


class Watched(Gang):
    """Keeps how many scenes were in each step, and how many ended behind it."""

    def __init__(self, num_slots: int, iterations: int) -> None:
        super().__init__(
            replace(recipe(), iterations=iterations), DiscGuidance(), num_slots=num_slots
        )
        self.busy: list[int] = []
        self.ended: list[int] = []

    def step(self) -> None:
        self.busy.append(self.num_slots - self.num_free)
        super().step()

    def take_finished(self) -> list:
        found = super().take_finished()
        self.ended.append(len(found))
        return found


def requests() -> Iterator[SceneRequest]:
    return (replace(request("a"), key=str(k), seed=k) for k in itertools.count())


@pytest.mark.parametrize(("slots", "iterations"), [(4, 2), (3, 2), (1, 3), (2, 4)])
def test_slots_empty_one_after_the_other_and_are_filled_at_once(
    slots: int, iterations: int
) -> None:
    gang = Watched(slots, iterations)
    asked = Refills(recipe=gang.recipe, slots=slots, refills=11, every=4)
    readings = list(refilled(gang, requests(), asked))
    assert [reading.refills for reading in readings] == [4, 8, 11]
    a_step = math.ceil(slots / iterations)
    assert max(gang.ended) == a_step
    # All slots are busy once the first scenes have come, and until the last has.
    assert set(gang.busy[iterations:-1]) <= ({slots} if slots >= iterations else {1, 2})
    assert sum(gang.ended) == 11 + gang.num_free
    assert all(r.allocated is r.reserved is None for r in readings)


def test_the_host_s_memory_is_read() -> None:
    reading = refills.read(1, torch.device("cpu"))
    if reading.host is None:
        pytest.skip("this system has no /proc")
    # Pages of its own: a tensor may get memory that others have left, which is resident already.
    with mmap.mmap(-1, 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for place in range(0, len(block), mmap.PAGESIZE):
            block[place] = 1
        more = refills.read(2, torch.device("cpu")).host
    assert more is not None
    assert more - reading.host == pytest.approx(2**26, rel=0.2)


@on_cpu
def test_the_command(
    tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["refills", "--recipe", "smoke", "--guidance", str(tiny_weights), "--slots", "2"]
    more = ["--steps", "2", "--refills", "5", "--every", "2", "--out", str(tmp_path)]
    assert program.main([*words, *more, "--commit", "abc"]) == 0
    (line,) = (json.loads(text) for text in (tmp_path / "refills.jsonl").read_text().splitlines())
    assert (line["op"], line["part"], line["commit"]) == ("refills", "smoke", "abc")
    assert line["setting"] == "S=2 2 steps 5 refills"
    assert [reading["refills"] for reading in line["readings"]] == [2, 4, 5]
    assert line["seconds"] > 0
    assert "from 2 to 5 refills" in capsys.readouterr().out


def test_the_line_tells_what_has_grown() -> None:
    readings = [
        {"refills": 100, "allocated": 3 * 2**20, "reserved": 2**23, "host": None},
        {"refills": 500, "allocated": 9 * 2**20, "reserved": 2**22, "host": None},
        {"refills": 900, "allocated": 4 * 2**20, "reserved": 2**23, "host": None},
    ]
    row = RefillRow(
        part="r",
        setting="S=2",
        device="d",
        versions={},
        commit="c",
        slots=100,
        iterations=4,
        refills=900,
        graphs=7,
        seconds=2.0,
        readings=readings,
    )
    assert refills.told(row) == (
        "refills r S=2: from 100 to 900 refills allocated 3.0 MiB +1.0, reserved 8.0 MiB +0.0; "
        "2.0 s, 2.0 ms a scene; 7 graphs"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--slots", "0"], "expected --slots of 1 or more"),
        (["--refills", "100"], "below --refills; got 8, 100 and 100"),
        (["--recipe", "none_such"], "unknown recipe 'none_such'"),
        (["--steps", "0"], "at least one step"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["refills", "--out", str(tmp_path), *words])
    assert expected in capsys.readouterr().err


@pytest.mark.gpu
def test_nothing_grows_over_2000_refills(tiny_weights: Path) -> None:
    asked = Refills(recipe=replace(recipes.get("smoke"), iterations=4))
    row = refills.measured(asked, tiny_weights, torch.device("cuda"), "abc")
    assert row.graphs > 0
    first, last = row.readings[0], row.readings[-1]
    assert (first["refills"], last["refills"]) == (100, 2000)

    def grown(name: str) -> int:
        before, after = first[name], last[name]
        assert before is not None
        assert after is not None
        return after - before

    # A gang of 8 such scenes fills megabytes; that many times 1,900 would be gigabytes.
    assert grown("allocated") <= 2**16
    assert grown("reserved") <= 2**21
    assert grown("host") <= 2**26
