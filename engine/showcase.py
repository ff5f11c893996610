"""Optimises a few prompts on this machine, without Ray or a dataset, and draws what came of them.

    python -m engine.showcase --out DIR --recipe primitives "a red mushroom with white stem" ...

Writes `contact_sheet.png` (each prompt from four sides), one GLB a prompt and `measured.json`: the
device, the recipe, and seconds for every scene. For people who tune recipes; datasets are made by
`dreambatch run`.
"""

import argparse
import dataclasses
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from engine import recipes
from engine.export import Asset, export_asset
from engine.export.sheet import Row, contact_sheet
from engine.gang import FinishedScene, Gang, SceneRequest
from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.hardware import usual_device
from engine.recipe import Recipe


def optimise(
    gang: Gang, requests: list[SceneRequest], stepped: Callable[[], None] = lambda: None
) -> list[FinishedScene]:
    """Runs requests through the gang's slots until all are done; `stepped` hears of each step."""
    return list(finishing(gang, requests, stepped))


def finishing(
    gang: Gang, requests: list[SceneRequest], stepped: Callable[[], None] = lambda: None
) -> Iterator[FinishedScene]:
    """The same, each scene as soon as it is done."""
    waiting, num_done = list(requests), 0
    while num_done < len(requests):
        while waiting and gang.num_free:
            gang.add(waiting.pop(0))
        gang.step()
        stepped()
        for scene in gang.take_finished():
            num_done += 1
            yield scene


def measured(scene: FinishedScene, asset: Asset, export_seconds: float) -> dict[str, object]:
    """One scene's row of the report."""
    return {
        "prompt": scene.prompt,
        "seed": scene.seed,
        "status": scene.status,
        "iterations": scene.iterations,
        "optimise_seconds": round(scene.seconds, 2),
        "export_seconds": round(export_seconds, 2),
        "losses": {name: round(value, 4) for name, value in scene.losses.items()},
        "mesh_status": asset.mesh_status,
        **asset.mesh,
    }


def show(
    recipe: Recipe,
    prompts: list[str],
    out: Path,
    *,
    seed: int,
    slots: int | None,
    compiled: bool,
) -> None:
    """Optimises, exports and writes everything into `out`."""
    device = usual_device()
    path = files.resolve(recipe.guidance)
    guidance = PixelGuidance.load(path, device=device, compiled=compiled)
    gang = Gang(recipe, guidance, num_slots=slots or recipe.num_slots)
    requests = [SceneRequest(key=f"{k:03d}", prompt=p, seed=seed) for k, p in enumerate(prompts)]
    start = time.perf_counter()
    scenes = optimise(gang, requests)
    total = time.perf_counter() - start
    out.mkdir(parents=True, exist_ok=True)
    rows, report = [], []
    for scene in sorted(scenes, key=lambda s: s.key):
        start = time.perf_counter()
        asset = export_asset(scene.scene, recipe.export, metadata={"prompt": scene.prompt})
        report.append(measured(scene, asset, time.perf_counter() - start))
        sides = asset.views[:: len(asset.views) // 4]
        rows.append(Row(caption=scene.prompt, pictures=[view.image for view in sides]))
        if asset.mesh_glb is not None:
            (out / f"{scene.key}.glb").write_bytes(asset.mesh_glb)
    (out / "contact_sheet.png").write_bytes(
        contact_sheet(rows, f"{recipe.name}, {recipe.iterations} steps")
    )
    facts = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor(),
        "torch": torch.__version__,
        "unet_dtype": str(guidance.dtype),
        "unet_compiled": compiled,
        "slots": gang.num_slots,
        "seconds": round(total, 2),
        "seconds_per_scene": round(total / len(prompts), 2),
        "recipe": recipe.to_dict(),
        "scenes": report,
    }
    (out / "measured.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{len(prompts)} scenes in {total:.1f} s on {facts['device']}; see {out}", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m engine.showcase", description=__doc__)
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="primitives", help="a name, or a file of JSON")
    parser.add_argument("--guidance", help="a model directory instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slots", type=int)
    parser.add_argument("--compile", action="store_true", help="compile the U-Net")
    arguments = parser.parse_args()
    try:
        recipe = recipes.find(arguments.recipe)
    except ValueError as error:
        parser.error(str(error))
    if arguments.guidance:
        recipe = dataclasses.replace(recipe, guidance=arguments.guidance)
    show(
        recipe,
        arguments.prompts,
        arguments.out,
        seed=arguments.seed,
        slots=arguments.slots,
        compiled=arguments.compile,
    )


if __name__ == "__main__":
    main()
