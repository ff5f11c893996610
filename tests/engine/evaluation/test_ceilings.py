"""Ceilings and chance of a judge that reads the pixels."""

import json
from pathlib import Path

import pytest
import torch

from engine.evaluation import ceilings, chamfer
from engine.evaluation.ceilings import ceilings as measure
from engine.evaluation.ceilings import main
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.verdict import figures
from engine.primitives.grammar import Geometry, Spec
from tests.engine.evaluation.oracles import Oracle

TOWERS = [
    Spec("cube", colours, "on", "cube")
    for colours in (("red", "blue"), ("green", "yellow"), ("white", "black"), ("pink", "cyan"))
]


def test_truth_is_told_from_shuffled_captions(lexicon: Lexicon) -> None:
    true, shuffled = measure(lexicon, TOWERS, torch.device("cpu"))
    assert figures(true).against_swap == 1.0
    assert figures(true).all_colours == 1.0
    assert sorted(v.spec for v in shuffled) == sorted(TOWERS)
    moved = [b for a, b in zip(true, shuffled, strict=True) if a.spec != b.spec]
    assert len(moved) >= 2
    assert not any(any(verdict.colours_right) for verdict in moved)
    assert all(verdict.colour_place > 0 for verdict in moved)


def test_the_command(
    tmp_path: Path,
    lexicon: Lexicon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ceilings.Judge, "load", lambda *_: Oracle())
    monkeypatch.setattr(ceilings, "Lexicon", lambda _: lexicon)
    monkeypatch.setattr(ceilings, "geometries", lambda: (Geometry("table"), Geometry("ball")))
    monkeypatch.setattr(ceilings, "_OTHER", 1)
    monkeypatch.setattr(chamfer, "NUM_SHAPES", 8)
    main(["--judge", "j1", "--split", "dev", "--count", "2", "--out", str(tmp_path / "a/c.json")])
    said = json.loads((tmp_path / "a/c.json").read_text())
    assert said["truth"]["all"]["count"] == said["shuffled"]["all"]["count"] == 2
    assert said["chamfer"]["own"] < 0.03 < said["chamfer"]["other"]
    assert "another 0." in capsys.readouterr().out
