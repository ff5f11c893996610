"""The best and the worst, in their order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.evaluation import sheets
from engine.evaluation.sheets import NUM_ROWS, badness, write_sheet, write_sheets
from engine.evaluation.verdict import Verdict
from engine.primitives.grammar import Spec

CUBE = Spec("cube", ("red",))


def verdict(place: int, taken_for: Spec | None = CUBE) -> Verdict:
    return Verdict(
        spec=CUBE, taken_for=taken_for, colour_place=place, colours_right=(True,), beats_swap=None
    )


def test_worse_is_more() -> None:
    order = [verdict(0), verdict(3), verdict(0, Spec("cup", ("red",))), verdict(9, None)]
    assert sorted(reversed(order), key=badness) == order


def test_sheets_show_the_best_and_the_worst(tmp_path: Path) -> None:
    # A subject's grey is its place, so the sheets' pixels tell who is on them.
    subjects = [(verdict(k), torch.full((8, 3, 16, 16), k / 255.0)) for k in range(2 * NUM_ROWS)]
    write_sheets(tmp_path, subjects[::-1])
    for name, expected in (("best", range(NUM_ROWS)), ("worst", range(NUM_ROWS, 2 * NUM_ROWS))):
        with Image.open(tmp_path / f"{name}.png") as sheet:
            pixels = np.asarray(sheet)
        shades, counts = np.unique(pixels[..., 0], return_counts=True)
        area = 4 * 32 * 32
        # Ink and its smoothed edges have other shades, but never as many pixels.
        assert {int(s) for s, n in zip(shades, counts, strict=True) if n >= area} - {255} == set(
            expected
        )


@pytest.mark.parametrize(
    ("count", "heads"),
    [
        (NUM_ROWS, [f"all {NUM_ROWS}, best first", f"all {NUM_ROWS}, worst first"]),
        (NUM_ROWS + 1, [f"the {name} {NUM_ROWS} of {NUM_ROWS + 1}" for name in ("best", "worst")]),
    ],
)
def test_heads_say_whether_some_are_left_out(
    count: int, heads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(sheets, "contact_sheet", lambda _, head: told.append(head) or b"")
    write_sheets(tmp_path, [(verdict(k), torch.zeros(4, 3, 4, 4)) for k in range(count)])
    assert told == heads


def test_one_sheet(tmp_path: Path) -> None:
    write_sheet(tmp_path / "one.png", "head", [(verdict(0, None), torch.zeros(4, 3, 64, 64))])
    with Image.open(tmp_path / "one.png") as sheet:
        assert sheet.width >= 4 * 128
