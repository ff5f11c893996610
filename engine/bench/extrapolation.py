"""Assets an hour of models whose weights are random here: from a measured step and a measured
export.

seconds an asset = iterations x wall time of a gang's step / slots + seconds of an export alone

The sum is an upper bound: exports run beside the gang, and cost it no more than all of their time.
What is exported is the blob that a scene begins as, on the recipe's lattice, with its views.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from engine import background
from engine.bench import rows
from engine.bench.line import exported_alone
from engine.bench.rows import AssetsRow
from engine.bench.subjects import Model
from engine.recipe import Recipe
from engine.scene import Scene
from engine.starts import Starts


def rows_of(
    recipe: Recipe, steps: Sequence[Mapping[str, Any]], commit: str, device: torch.device
) -> Iterator[AssetsRow]:
    """A row for each measured step. Raises GateError where the blob has no mesh."""
    export = exported_alone(blob(recipe, device), recipe.export)
    for step in steps:
        timed: dict[str, Any] = {}
        if step["wall_ms"] is not None:
            seconds = asset_seconds(recipe, step["wall_ms"], step["slots"], export)
            timed = {
                "asset_seconds": seconds,
                "assets_per_hour": 3600 / seconds,
                "step_ms": step["wall_ms"],
                "device_ms": step["device_ms"],
                "export_alone_seconds": export,
                "peak_bytes": step["peak_bytes"],
            }
        yield AssetsRow(
            part=step["part"],
            setting=f"{step['setting']} extrapolated",
            device=rows.device_name(device),
            versions=rows.versions(),
            commit=commit,
            slots=step["slots"],
            scenes=0,
            found=None,
            extrapolated_from=f"step {step['setting']} at {step['commit']}",
            **timed,
        )


def asset_seconds(recipe: Recipe, step_ms: float, slots: int, export_seconds: float) -> float:
    """See the file's formula."""
    return 1e-3 * recipe.iterations * step_ms / slots + export_seconds


def measured_step(
    path: Path, model: Model, recipe: Recipe, slots: int, device: torch.device
) -> dict[str, Any]:
    """The fastest of the newest commit's steps of this model, recipe and gang on such a device.

    Raises ValueError where there is none.
    """
    lines = path.read_text().splitlines() if path.exists() else []
    fitting = [
        row
        for row in map(json.loads, lines)
        if (row["part"], row["slots"], row["views"]) == (model, slots, recipe.views)
        and row["setting"].split()[0] == recipe.name
        and row["device"] == rows.device_name(device)
    ]
    if not fitting:
        raise ValueError(
            f"{path}: expected a step of {model} by {recipe.name} with {slots} slots on "
            f"{rows.device_name(device)}, there is none; run python -m engine.bench step --model "
            f"{model} --recipe {recipe.name} --slots {slots} --out {path.parent}"
        )
    newest = [row for row in fitting if row["commit"] == fitting[-1]["commit"]]
    return min(newest, key=lambda row: row["wall_ms"] or 0.0)


def blob(recipe: Recipe, device: torch.device) -> Scene:
    """A scene as it begins."""
    parameters = Starts(recipe, device).parameters(torch.zeros(1, dtype=torch.long, device=device))
    own = {n: p for n, p in parameters.items() if not n.startswith(background.PREFIX)}
    return Scene(recipe.field, own, region=recipe.march.region)
