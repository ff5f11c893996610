"""Figures and rows of a benchmark, by hand."""

import json
import math
from pathlib import Path

import torch

from engine.evaluation.benchmark_report import Result, summary, write
from engine.evaluation.specimens import Specimen
from engine.evaluation.verdict import Verdict
from engine.primitives.grammar import Spec


def result(spec: Spec, place: int, chamfer: float, seconds: float, status: str = "ok") -> Result:
    return Result(
        specimen=Specimen(
            key="000-1",
            spec=spec,
            seed=1,
            status=status,
            iterations=10,
            seconds=seconds,
            scene=None,
        ),
        verdict=Verdict(
            spec=spec,
            taken_for=spec,
            colour_place=place,
            geometry_place=place,
            benchmark_place=place,
            colours_right=(True,) * len(spec.colours),
            beats_swap=None,
        ),
        chamfer=chamfer,
        evaluations=40,
    )


CUBE, CUP = Spec("cube", ("red",)), Spec("cup", ("red", "blue"))
RESULTS = [
    result(CUBE, 0, 0.02, 4.0),
    result(CUBE, 3, 0.04, 6.0),
    result(CUP, 0, math.inf, 5.0, status="empty"),
]


def test_a_summary_counts_failures() -> None:
    rows = summary(RESULTS)
    assert list(rows) == ["all", "one colour", "two colours", "cup", "cube"]
    assert rows["all"]["chamfer"] == 0.04
    assert rows["all"]["benchmark_retrieval"] == 2 / 3
    assert (rows["all"]["seconds"], rows["all"]["evaluations"]) == (5.0, 40)
    assert rows["cube"]["chamfer"] == 0.03
    assert rows["cup"]["chamfer"] is None


def test_what_is_written(tmp_path: Path) -> None:
    said = write(tmp_path, {"judge": "j1"}, RESULTS, torch.rand(3, 8, 3, 16, 16))
    assert said.splitlines()[1].split()[:2] == ["all", "3"]
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["judge"] == "j1"
    assert document["figures"]["cube"]["count"] == 2
    assert [row["chamfer"] for row in document["assets"]] == [0.02, 0.04, None]
    assert document["assets"][2]["status"] == "empty"
    assert (tmp_path / "best.png").is_file()
    assert (tmp_path / "worst.png").is_file()
