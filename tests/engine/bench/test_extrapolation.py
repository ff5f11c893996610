import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.bench import extrapolation, rows
from engine.recipes import get

CPU = torch.device("cpu")


def step(**changes: Any) -> dict[str, Any]:
    row = {
        "part": "if",
        "setting": "dreamfusion_if S=4 V=1 compiled",
        "device": rows.device_name(CPU),
        "commit": "new",
        "slots": 4,
        "views": 1,
        "wall_ms": 60.0,
        "device_ms": 59.0,
        "peak_bytes": 7,
    }
    return row | changes


def found(path: Path, *steps: dict[str, Any]) -> dict[str, Any]:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in steps))
    recipe = replace(get("dreamfusion_if"), views=1)
    return extrapolation.measured_step(path, "if", recipe, 4, CPU)


def test_the_newest_commits_fastest_step_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "step.jsonl"
    others = [
        step(wall_ms=1.0, commit="old"),
        step(wall_ms=2.0, device="another"),
        step(wall_ms=3.0, slots=8),
        step(wall_ms=4.0, part="sd"),
        step(wall_ms=5.0, views=4),
        step(wall_ms=6.0, setting="dreamfusion_if_fast S=4 V=1"),
    ]
    assert found(path, *others, step(wall_ms=70.0), step())["wall_ms"] == 60.0
    with pytest.raises(ValueError, match=r"run python -m engine\.bench step --model if --recipe"):
        found(path, *others[1:])
    with pytest.raises(ValueError, match="there is none"):
        extrapolation.measured_step(tmp_path / "none", "if", get("dreamfusion_if"), 4, CPU)


def test_an_asset_takes_its_steps_and_its_export(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(get("dreamfusion_if"), iterations=1000)
    monkeypatch.setattr(extrapolation, "blob", lambda recipe, device: None)
    monkeypatch.setattr(extrapolation, "exported_alone", lambda scene, config: 3.0)
    (row,) = extrapolation.rows_of(recipe, [step()], "abc", CPU)
    assert row.asset_seconds == pytest.approx(1000 * 0.060 / 4 + 3.0)
    assert row.assets_per_hour == pytest.approx(200.0)
    assert row.extrapolated_from == "step dreamfusion_if S=4 V=1 compiled at new"
    assert (row.part, row.slots, row.scenes, row.found) == ("if", 4, 0, None)
    (untimed,) = extrapolation.rows_of(recipe, [step(wall_ms=None)], "abc", CPU)
    assert untimed.assets_per_hour is None


def test_the_blob_is_exported_for_its_time() -> None:
    recipe = get("smoke")
    scene = extrapolation.blob(recipe, CPU)
    assert float(scene.density(torch.zeros(1, 3))) > recipe.export.density_level
    assert not [name for name in scene._parameters if name.startswith("background")]
