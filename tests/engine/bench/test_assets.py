import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.bench import __main__ as program
from engine.bench import assets, devices, maker, rows
from engine.bench.assets import AssetsBench
from engine.bench.gate import GateError
from engine.bench.maker import Order, Report
from engine.recipes import get

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, and would be timed")


def report(**changes: Any) -> Report:
    figures = {
        "device": "d",
        "scenes": 24,
        "found": 0.75,
        "assets_per_hour": 1000.0,
        "step_ms": 12.0,
        "device_ms": 11.0,
        "export_seconds": 2.0,
        "export_alone_seconds": 1.0,
        "export_busy": 0.5,
        "exports_behind": 1,
        "num_exports": 6,
        "peak_bytes": 2**30,
        "graphs": 8,
    }
    return Report(**(figures | changes))


def bench(**changes: Any) -> AssetsBench:
    chosen = {
        "model": "primitives",
        "recipe": get("smoke"),
        "slots": (2,),
        "out": Path(),
        "commit": "abc",
    }
    return AssetsBench(**(chosen | changes))


def test_devices_together_are_held_against_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "usual_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(rows, "device_name", lambda device: "H")
    both = [report(assets_per_hour=990.0), report(assets_per_hour=960.0, scenes=8, found=0.25)]
    row = assets.made(bench(devices=2), 2, both, report())
    assert row.assets_per_hour == 1950.0
    assert row.one_device_per_hour == 1000.0
    assert row.times_one == pytest.approx(1.95)
    assert row.asset_seconds == pytest.approx(3600 / 1950)
    assert (row.scenes, row.exports_behind, row.exports_at_once) == (32, 2, 6)
    assert row.found == pytest.approx((24 * 0.75 + 8 * 0.25) / 32)
    assert "1.950 times one device's 1000" in assets.told(row)
    alone = assets.made(bench(), 2, [report()], report())
    assert alone.times_one is alone.one_device_per_hour is None
    assert alone.setting.startswith("smoke S=2 ")
    assert "N=2" in row.setting


def test_a_device_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(32)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    found = [devices.environment(k, 2) for k in range(2)]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in found] == ["3", "5"]
    assert [e["OMP_WAIT_POLICY"] for e in found] == ["PASSIVE", "PASSIVE"]
    assert [devices.cores(k, 2) for k in range(2)] == [set(range(16)), set(range(16, 32))]
    assert devices.cores(0, 1) == set(range(32))
    # More devices than cores.
    assert [devices.cores(k, 64) for k in (0, 33)] == [{0}, {1}]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices.environment(1, 2)["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_process_has_its_cores_and_so_have_those_that_it_starts() -> None:
    ours = os.sched_getaffinity(0)
    asked = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
    with devices._affinity({max(ours)}):
        found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert found.split() == [str(max(ours))]
    assert os.sched_getaffinity(0) == ours


class Told:
    """A maker that tells what it was asked in its process, or fails."""

    def __init__(self, order: Order, device: torch.device, *, number: int = 0) -> None:
        self._number, self._calls = number, 0

    def warm(self) -> tuple[int, str]:
        return self._number, os.environ["CUDA_VISIBLE_DEVICES"]

    def run(self) -> int:
        self._calls += 1
        if self._calls == 2 and self._number == 1:
            raise GateError("a sign")
        return self._calls


def test_a_process_answers_until_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "Maker", Told)
    monkeypatch.setattr(torch, "set_num_threads", [].append)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    ours, theirs = multiprocessing.Pipe()
    serving = threading.Thread(target=devices.serve, args=(theirs, bench().order(2), 1))
    serving.start()
    assert devices._asked([ours], "warm") == [(1, "7")]
    assert devices._asked([ours], "run") == [1]
    with pytest.raises(GateError, match="device 0: a sign"):
        devices._asked([ours], "run")
    ours.close()
    serving.join(10)
    assert not serving.is_alive()
    theirs.close()


def test_a_process_that_ends_is_named() -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with ours, pytest.raises(RuntimeError, match="run: the process of device 0"):
        devices._asked([ours], "run")


@on_cpu
def test_assets_are_made_and_judged_but_not_timed_without_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maker, "_MOST_JUDGED", 1)
    words = ["assets", "--model", "primitives", "--recipe", "smoke", "--slots", "1"]
    more = ["--generations", "1", "--out", str(tmp_path), "--commit", "abc"]
    assert program.main([*words, *more, "--fewest", "0"]) == 0
    (line,) = (json.loads(text) for text in (tmp_path / "assets.jsonl").read_text().splitlines())
    assert (line["op"], line["part"], line["setting"]) == (
        "assets",
        "primitives",
        "smoke S=1",
    )
    assert line["scenes"] >= 1
    assert 0.0 <= line["found"] <= 1.0
    assert line["assets_per_hour"] is line["export_seconds"] is None
    said = capsys.readouterr().out
    assert "not timed" in said
    assert " an hour" not in said


@on_cpu
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--slots", "two"], "--slots: expected 1,2,4 or so, got 'two'"),
        (["--slots", "0"], "--slots: expected 1,2,4 or so"),
        (["--generations", "0"], "--generations: expected 1 or more, got 0"),
        (["--model", "if", "--devices", "2"], "expected 1 for a model whose assets"),
        (["--model", "if", "--slots", "4"], "run python -m engine.bench step --model if"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["assets", "--model", "primitives", "--out", str(tmp_path), *words])
    assert expected in capsys.readouterr().err


def test_too_few_found_assets_tell_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> Any:
        raise GateError("J1 finds 10% of the assets, expected 75%")

    monkeypatch.setattr(assets, "Maker", refused)
    words = ["assets", "--model", "primitives", "--recipe", "smoke", "--slots", "1"]
    assert program.main([*words, "--out", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())
    assert "nothing is told: J1 finds 10%" in capsys.readouterr().err
