import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine import kernels
from engine.bench import __main__ as program
from engine.bench import ops, rows, timing
from engine.bench.gate import GateError, hold
from engine.bench.ops import Case
from engine.bench.rows import Row

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, and would be timed")


def row(**changes: object) -> Row:
    facts = {
        "op": "twice",
        "part": "forward",
        "setting": "P=3",
        "device": "d",
        "versions": {"torch": "1"},
        "commit": "c",
        "milliseconds": 2.0,
        "samples_per_second": 1.5e3,
        "num_bytes": 24,
        "num_flops": 0,
        "share_of_copy_rate": 0.5,
        "copy_rate": 24e3,
        "errors": {"y": 0.0},
    }
    return Row(**(facts | changes))  # pyright: ignore[reportArgumentType]


def test_the_gate_holds_what_is_close() -> None:
    ones = torch.ones(4)
    assert hold({"y": ones + 1e-3}, {"y": ones}, 1e-2)["y"] == pytest.approx(1e-3, rel=1e-3)
    for wrong in (ones + 0.1, ones * torch.nan):
        with pytest.raises(GateError, match="y: relative error"):
            hold({"y": wrong}, {"y": ones}, 1e-2)


def test_a_row_replaces_that_of_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "new" / "twice.jsonl"
    rows.keep(path, [row(), row(setting="P=4"), row(commit="d"), row(device="e")])
    rows.keep(path, [row(milliseconds=1.0), row(versions={"torch": "2"})])
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["setting"] for line in found] == ["P=4", "P=3", "P=3", "P=3", "P=3"]
    assert [line["milliseconds"] for line in found] == [2.0, 2.0, 2.0, 1.0, 2.0]


def test_a_tree_has_a_name() -> None:
    name = rows.commit()
    assert name == "unknown" or len(name.rstrip("+")) >= 10
    pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")
    assert set(rows.versions()) == {"python", "torch", "triton", "cuda"}


@on_cpu
def test_an_op_is_run_but_not_timed_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
        assert is_tiny
        yield Case(
            part="forward", setting="P=3", num_samples=3, num_bytes=24, run=lambda: ran.append(1)
        )

    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    twice = SimpleNamespace(check=lambda device, is_tiny: {"y": 0.25}, cases=cases)
    monkeypatch.setattr(rows, "versions", lambda: {"triton": "3"})
    monkeypatch.setitem(ops.OPS, "twice", "engine.bench.twice")
    monkeypatch.setattr(ops, "load", lambda name: {"twice": twice}[name])
    assert program.main(["twice", "--out", str(tmp_path), "--commit", "abc"]) == 0
    (line,) = (tmp_path / "twice.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert ran == [1]
    assert found["commit"] == "abc"
    assert found["errors"] == {"y": 0.25}
    assert found["milliseconds"] is found["samples_per_second"] is found["copy_rate"] is None
    told = capsys.readouterr().out
    assert "these are no speeds" in told
    assert "samples/s" not in told


@on_cpu
def test_nothing_is_timed_of_an_op_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(device: torch.device, *, is_tiny: bool) -> dict[str, float]:
        return hold({"y": torch.zeros(1)}, {"y": torch.ones(1)}, 1e-3)

    def cases(device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
        raise AssertionError("timed all the same")

    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    monkeypatch.setitem(ops.OPS, "wrong", "engine.bench.wrong")
    monkeypatch.setattr(ops, "load", lambda name: SimpleNamespace(check=check, cases=cases))
    assert program.main(["wrong", "--out", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())
    assert "the gate does not hold, so nothing is timed: y: relative" in capsys.readouterr().err


@on_cpu
def test_hash_encode_runs_in_the_interpreter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")
    assert program.main(["hash_encode", "--out", str(tmp_path)]) == 0
    found = [json.loads(line) for line in (tmp_path / "hash_encode.jsonl").read_text().splitlines()]
    assert {line["part"] for line in found} == {
        "forward",
        "forward with slopes",
        "backward tables",
        "backward positions",
        "backward both to tables",
    }
    assert {line["setting"] for line in found} == {
        "S=1 P=20 random float16",
        "S=1 P=20 rays float16",
    }
    assert all(line["milliseconds"] is None for line in found)
    assert len(found[0]["errors"]) == 5
    assert "gate: d_tables torch.float16" in capsys.readouterr().out


def test_without_triton_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "has_triton", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        program.main(["hash_encode", "--out", str(tmp_path)])
    assert "kernels need Triton: pip install 'dreambatch[kernels]'" in capsys.readouterr().err


@on_cpu
@pytest.mark.parametrize("name", ["field"])
def test_an_op_of_references_alone_needs_no_triton_on_a_cpu(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "has_triton", lambda: False)
    # As where it is not installed, but for what has been imported before.
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, ops.OPS[name], raising=False)
    assert program.main([name, "--out", str(tmp_path)]) == 0
    found = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert {line["versions"]["triton"] for line in found} == {None}
    assert {line["milliseconds"] for line in found} == {None}
    assert "tiny sizes in references alone; these are no speeds" in capsys.readouterr().out


@pytest.mark.parametrize("name", ops.OPS)
def test_every_op_can_be_loaded(name: str) -> None:
    pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")
    op = ops.load(name)
    assert callable(op.check)
    assert callable(op.cases)


@pytest.mark.gpu
def test_the_copy_rate_is_that_of_a_gpu() -> None:
    rate = timing.copy_rate(torch.device("cuda"))
    assert 1e11 < rate < 2e13
