import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from engine import fields, recipes
from engine.configs.fields import DenseGridConfig
from engine.evaluation.trials import Outcome
from engine.evaluation.verdict import Verdict
from engine.primitives.grammar import Spec
from engine.scene import Scene
from engine.studies import full_gradient_report
from engine.studies.gradients import Comparison

RED = Spec("ball", ("red",))
FIELD = DenseGridConfig(resolutions=(4,))
OUTCOME = Outcome(
    name="a try",
    recipe=replace(recipes.get("smoke"), iterations=50),
    seconds=4.0,
    num_steps=50,
    peak_bytes=3 * 2**30,
    scenes=[Scene(FIELD, fields.build(FIELD).initial(torch.tensor([0]))), None],
    losses=[{}, {}],
    colour=torch.zeros(2, 8, 3, 64, 64),
    verdicts=[
        Verdict(
            spec=RED,
            taken_for=seen,
            colour_place=place,
            geometry_place=0,
            colours_right=(seen == RED,),
            beats_swap=None,
        )
        for seen, place in ((RED, 0), (None, 63))
    ],
    caption_score=3.256,
)
COMPARISON = Comparison(
    time=0.1, score_size=2.0, full_size=0.25, cosine=-0.01, score_repeat=0.5, full_repeat=0.75
)


def test_costs_and_figures() -> None:
    (row,) = full_gradient_report.costs_and_figures([OUTCOME])
    assert row == {
        "": "a try",
        "steps": "50",
        "ms a step": "80.0",
        "seconds": "4.0",
        "GiB": "3.0",
        "ok": "1 of 2",
        "R 64": "0.500",
        "R geo": "1.000",
        "kind": "0.500",
        "all col": "0.500",
        "> swap": "-",
        "caption score": "3.26",
    }
    (row,) = full_gradient_report.costs_and_figures([replace(OUTCOME, peak_bytes=None)])
    assert row["GiB"] == "-"


def test_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = replace(OUTCOME, name="another", colour=torch.ones(2, 8, 3, 64, 64))
    out = tmp_path / "new" / "folder"
    full_gradient_report.write(
        out, {"torch": "2"}, [OUTCOME, other], [COMPARISON], [OUTCOME, other]
    )
    results = json.loads((out / "results.json").read_text())
    assert results["torch"] == "2"
    assert [row["name"] for row in results["outcomes"]] == ["a try", "another"]
    assert results["gradients"][0]["full_repeat"] == 0.75
    table = (out / "table.md").read_text()
    assert "| another | 50 |" in table
    assert "| 0.1 | 2 | 0.25 | -0.01 | 0.5 | 0.75 |" in table
    assert "| another | 50 |" in capsys.readouterr().out
    with Image.open(io.BytesIO((out / "pictures.png").read_bytes())) as image:
        pixels = image.convert("RGB")
    # A tile begins 8 pixels in: two black views of the first outcome, then two white ones.
    middle = pixels.height // 2
    line = [pixels.getpixel((8 + 64 + 128 * k, 60)) for k in range(4)]
    assert line == [(0, 0, 0)] * 2 + [(255, 255, 255)] * 2, middle
