"""The benchmark: 153 unseen prompts become assets, and a judge and a ruler say how good they are.

    python -m engine.evaluation.benchmark --recipe primitives --out DIR

is `dreambatch benchmark` for a machine that has torch and not what the factory needs. Scenes are
optimised by the recipe's gang itself, without Ray. Each is judged by its pictures (`stage`), in the
pool of the benchmark and in its own pool of 64, and its mesh is held against the true shape
(`chamfer`). Writes `results.json` (figures of all, by family and by kind, and a row for each
asset), `best.png` and `worst.png`, and prints the figures. The same command goes on where a broken
one stopped, and judges anew. Recipes are tuned with `--split dev --judge j1`; j2 and the test split
are for figures that are reported.
"""

import argparse
import dataclasses
import math
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from engine import recipes
from engine.configs.export import ExportConfig
from engine.directories import to_write
from engine.evaluation.benchmark_prompts import NUM_PROMPTS, benchmark_specs
from engine.evaluation.benchmark_report import Result, write
from engine.evaluation.chamfer import Chamfer, points_on_mesh
from engine.evaluation.judge import Judge
from engine.evaluation.judging import verdicts
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.pools import with_swaps
from engine.evaluation.specimens import claim, make
from engine.evaluation.stage import show_scenes
from engine.export import lattice, mesh
from engine.guidance import files
from engine.primitives.grammar import Spec
from engine.primitives.splits import Split
from engine.recipe import Recipe
from engine.scene import Scene


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """What is measured, and where it is written."""

    recipe: Recipe
    out: Path
    prompts: int = NUM_PROMPTS
    seeds: int = 2
    """Assets of each prompt."""
    split: Split = "test"
    judge: str = "j2"
    """j1, j2 or a directory."""
    slots: int | None = None
    """Scenes optimised together on each device; None: the recipe's number."""

    def __post_init__(self) -> None:
        for name in ("prompts", "seeds", "slots"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value}")
        files.check(files.resolve(self.recipe.guidance))

    @property
    def num_slots(self) -> int:
        """Scenes optimised together on each device."""
        return self.slots or self.recipe.num_slots


def check(config: BenchmarkConfig) -> None:
    """Claims `out`. Raises ValueError for an unknown judge, too many prompts, or a taken `out`."""
    Judge.load(config.judge)
    claim(config.recipe, benchmark_specs(config.split, config.prompts), config.out)


def run(config: BenchmarkConfig) -> str:
    """Makes, judges, measures and writes everything; returns the table of figures.

    Raises ValueError as `check` does.
    """
    check(config)
    devices = all_devices()
    device = devices[0]
    lexicon = Lexicon(Judge.load(config.judge, device))
    recipe, specs = config.recipe, benchmark_specs(config.split, config.prompts)
    specimens = make(recipe, specs, config.seeds, config.out, config.num_slots, devices)
    staged = show_scenes([specimen.scene for specimen in specimens])
    wanted = [specimen.spec for specimen in specimens]
    found = verdicts(staged, wanted, lexicon, with_swaps(specs))
    ruler = Chamfer(device)
    with ThreadPoolExecutor() as pool:
        far = pool.map(lambda s: distance(s.scene, s.spec, ruler, recipe.export), specimens)
        results = [
            Result(
                specimen=specimen,
                verdict=verdict,
                chamfer=chamfer,
                evaluations=specimen.iterations * recipe.evaluations_a_step,
            )
            for specimen, verdict, chamfer in zip(specimens, found, far, strict=True)
        ]
    facts = {
        "recipe": recipe.to_dict(),
        "recipe_digest": recipe.digest(),
        "guidance_digest": files.digest(files.resolve(recipe.guidance)),
        "judge": config.judge,
        "split": config.split,
        "prompts": config.prompts,
        "seeds": config.seeds,
        "slots": config.num_slots,
        "devices": len(devices),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor(),
        "torch": torch.__version__,
    }
    return write(config.out, facts, results, staged.colour)


def all_devices() -> list[torch.device]:
    """Every GPU, or the CPU."""
    gpus = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return gpus or [torch.device("cpu")]


def distance(scene: Scene | None, spec: Spec, ruler: Chamfer, config: ExportConfig) -> float:
    """From the scene's mesh to the true shape of what was asked for; infinite without a mesh."""
    if scene is None:
        return math.inf
    surface = mesh.build(scene, lattice.sample(scene, config.grid_size), config)
    if surface is None:
        return math.inf
    return ruler.distance(points_on_mesh(surface.vertices, surface.faces), spec.geometry)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m engine.evaluation.benchmark")
    parser.add_argument("--recipe", required=True, help="a name, or a file of JSON")
    parser.add_argument("--out", type=to_write, required=True)
    parser.add_argument("--prompts", type=int, default=NUM_PROMPTS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--split", choices=get_args(Split), default="test")
    parser.add_argument("--judge", default="j2", help="j1, j2 or a directory")
    parser.add_argument("--slots", type=int)
    parser.add_argument("--guidance", help="a model directory instead of the recipe's")
    given = parser.parse_args(arguments)
    try:
        recipe = recipes.find(given.recipe)
        if given.guidance:
            recipe = dataclasses.replace(recipe, guidance=given.guidance)
        config = BenchmarkConfig(
            recipe=recipe,
            out=given.out,
            prompts=given.prompts,
            seeds=given.seeds,
            split=given.split,
            judge=given.judge,
            slots=given.slots,
        )
        check(config)
    except ValueError as error:
        parser.error(str(error))
    print(run(config), flush=True)


if __name__ == "__main__":
    main()
