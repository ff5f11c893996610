"""The benchmark's assets: made by a gang, kept on disk, so that a broken run goes on.

DIR/run.json                what they are made by; another recipe or model needs another DIR
DIR/scenes/012-1.json       prompt 12, seed 1: what became of it
DIR/scenes/012-1.safetensors    the scene in half precision, as a dataset holds it; written first
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.gang import FinishedScene, Gang, SceneRequest
from engine.guidance import files
from engine.guidance.guidance import Guidance
from engine.guidance.pixel import PixelGuidance
from engine.primitives.captions import caption
from engine.primitives.grammar import Spec
from engine.recipe import Recipe
from engine.scene import Scene
from engine.showcase import finishing


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One asset of the benchmark."""

    key: str
    spec: Spec
    """What was asked for."""
    seed: int
    status: str
    """As `FinishedScene.status`."""
    iterations: int
    seconds: float
    scene: Scene | None
    """None unless the status is ok."""


def claim(recipe: Recipe, specs: Sequence[Spec], out: Path) -> None:
    """Writes `run.json`, or compares with it.

    Raises ValueError if `out` was made by another recipe or diffusion model or of other prompts.
    """
    mine = {
        "recipe": recipe.to_dict(),
        "recipe_digest": recipe.digest(),
        "guidance_digest": files.digest(files.resolve(recipe.guidance)),
        "prompts": [caption(spec) for spec in specs],
    }
    path = out / "run.json"
    (out / "scenes").mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        _write_whole(path, json.dumps(mine, indent=1) + "\n")
        return
    other = json.loads(path.read_text())
    for name in ("recipe_digest", "guidance_digest", "prompts"):
        if other[name] != mine[name]:
            raise ValueError(
                f"{out} holds a benchmark of another {name.replace('_', ' ')}; expected that of "
                f"recipe {recipe.name!r}; give another directory, or remove this one"
            )


def make(
    recipe: Recipe,
    specs: Sequence[Spec],
    num_seeds: int,
    out: Path,
    num_slots: int,
    devices: Sequence[torch.device],
) -> list[Specimen]:
    """Every scene under every seed, on the first device.

    Those that `out`, which is claimed, holds already are read; the others are made, each device
    running a gang of its own for its share of them.
    """
    wanted = {
        f"{number:03d}-{seed}": (spec, seed)
        for number, spec in enumerate(specs)
        for seed in range(num_seeds)
    }
    folder = out / "scenes"
    missing = [key for key in wanted if not (folder / f"{key}.json").is_file()]
    requests = [
        SceneRequest(key=key, prompt=caption(wanted[key][0]), seed=wanted[key][1])
        for key in missing
    ]
    if requests:
        _share_out(recipe, requests, folder, num_slots, devices)
    return [_read(folder, key, *wanted[key], devices[0]) for key in wanted]


def _share_out(
    recipe: Recipe,
    requests: list[SceneRequest],
    folder: Path,
    num_slots: int,
    devices: Sequence[torch.device],
) -> None:
    """Makes the scenes, each device those of its share."""
    shares = [requests[k :: len(devices)] for k in range(min(len(devices), len(requests)))]
    path = files.resolve(recipe.guidance)
    # One after the other: the loaders patch torch while they are at work.
    models = [
        PixelGuidance.load(path, device=device) for device, _ in zip(devices, shares, strict=False)
    ]

    def work(guidance: Guidance, share: list[SceneRequest]) -> None:
        is_gpu = guidance.device.type == "cuda"
        # A new thread's current GPU is the first, whose stream events would be recorded on.
        with torch.cuda.device(guidance.device) if is_gpu else nullcontext():
            gang = Gang(recipe, guidance, num_slots=min(num_slots, len(share)))
            _optimise(gang, share, folder)

    first, *others = zip(models, shares, strict=True)
    with ThreadPoolExecutor(max_workers=len(devices)) as pool:
        waiting = [pool.submit(work, *pair) for pair in others]
        # Here and not in the pool: on a CPU, a gang in another thread takes half as long again.
        work(*first)
        for done in waiting:
            done.result()


def _optimise(gang: Gang, requests: list[SceneRequest], folder: Path) -> None:
    """Runs the requests through the gang's slots and writes each scene when it is done."""
    for finished in finishing(gang, requests):
        _write(folder, finished)
        print(f"{finished.key} {finished.prompt}: {finished.status}", flush=True)


def _write_whole(path: Path, text: str) -> None:
    """A killed run leaves no half of it: the file says that something is done."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def _write(folder: Path, finished: FinishedScene) -> None:
    facts = {
        "prompt": finished.prompt,
        "seed": finished.seed,
        "status": finished.status,
        "iterations": finished.iterations,
        "seconds": round(finished.seconds, 3),
    }
    (folder / f"{finished.key}.safetensors").write_bytes(finished.scene.to_bytes())
    _write_whole(folder / f"{finished.key}.json", json.dumps(facts) + "\n")


def _read(folder: Path, key: str, spec: Spec, seed: int, device: torch.device) -> Specimen:
    facts = json.loads((folder / f"{key}.json").read_text())
    scene = None
    if facts["status"] == "ok":
        scene = Scene.from_bytes((folder / f"{key}.safetensors").read_bytes()).to(device)
    return Specimen(
        key=key,
        spec=spec,
        seed=seed,
        status=facts["status"],
        iterations=facts["iterations"],
        seconds=facts["seconds"],
        scene=scene,
    )
