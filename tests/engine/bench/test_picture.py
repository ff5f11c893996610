import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from engine.bench import __main__ as program
from engine.bench import picture

SVG = "{http://www.w3.org/2000/svg}"


def step(model: str, slots: int, parts: dict[str, float] | None, **changes: Any) -> dict[str, Any]:
    row = {
        "part": model,
        "setting": f"dreamfusion_{model} S={slots} V=1",
        "device": "a & b",
        "slots": slots,
        "views": 1,
        "parts_ms": parts,
        "commit": "new",
    }
    return row | changes


ROWS = [
    step("sd", 2, {"unet": 8.0, "vae": 12.0, "field": 2.0, "other": 1.0}),
    step("if", 4, {"unet": 52.0, "field": 4.0, "other": 2.0}),
    step("if", 1, {"unet": 16.0, "field": 2.0, "other": 2.0}),
    step("if", 1, {"unet": 56.0, "field": 3.0, "other": 9.0}),
    step("if", 8, None, device="a processor"),
]


def test_a_bar_is_a_scenes_part_of_the_fastest_step() -> None:
    found = picture.bars(ROWS[:4])
    assert [(bar.model, bar.slots) for bar in found] == [("if", 1), ("if", 4), ("sd", 2)]
    assert found[0].scene_ms == {"unet": 16.0, "vae": 0.0, "field": 2.0, "other": 2.0}
    assert found[1].total == pytest.approx(14.5)
    assert found[2].scene_ms["vae"] == 6.0


def test_a_step_of_an_older_commit_is_not_shown_however_fast_it_was() -> None:
    older = step("sd", 2, {"unet": 1.0}, commit="old")
    (bar,) = picture.bars([older, ROWS[0]])
    assert bar.scene_ms["unet"] == 4.0


def test_bars_are_as_long_as_their_numbers_say(tmp_path: Path) -> None:
    path, out = tmp_path / "step.jsonl", tmp_path / "new" / "step.svg"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    assert program.main(["picture", str(path), "--out", str(out)]) == 0
    drawn = ET.fromstring(out.read_text())
    texts = [t.text for t in drawn.iter(f"{SVG}text")]
    assert texts[0] == "A step on one a & b: milliseconds a scene"
    assert {"16.00", "13.00", "4.00", "6.00", "20.00", "14.50", "11.50", "S = 4"} <= set(texts)
    unet = [
        float(r.get("width", 0))
        for r in drawn.iter(f"{SVG}rect")
        if r.get("fill") == "#1f6fb4" and float(r.get("x", 0)) == 72.0
    ]
    # 328 pixels are the longest bar of a model: 20 ms of IF, 11.5 of Stable Diffusion.
    assert unet == pytest.approx([328 * 16 / 20, 328 * 13 / 20, 328 * 4 / 11.5], abs=0.01)
    height = float(drawn.get("height", 0))
    assert all(float(t.get("y", 0)) < height for t in drawn.iter(f"{SVG}text"))


def test_devices_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="timed ones of one device"):
        picture.picture([*ROWS, step("if", 2, {"unet": 1.0}, device="another")])
    with pytest.raises(ValueError, match=r"timed ones of one device, got those of \[\]"):
        picture.picture(ROWS[4:])
    with pytest.raises(SystemExit, match="2"):
        program.main(["picture", str(tmp_path / "none"), "--out", str(tmp_path / "x.svg")])
    assert "No such file" in capsys.readouterr().err
