"""Recipes side by side: one setting changed at a time, all scenes of each in one gang.

    python -m engine.evaluation.sweep --recipe primitives --out DIR \\
        --vary distillation.scale=10,20,40 --vary "iterations=300,600 views=2"

Each `--vary` names settings by their path in the recipe; those that stand together, parted by
spaces, change together, and the one with several values is walked through. A first variation is
the recipe as it is. Scored on *dev* by J1, which is what tuning may look at. Every variation is
appended to `sweep.jsonl` and drawn in `<number>.png` before the next begins.
"""

import argparse
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from engine import recipes
from engine.evaluation.judge import Judge
from engine.evaluation.judging import verdicts
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.sheets import write_sheet
from engine.evaluation.stage import show_scenes
from engine.evaluation.verdict import figures
from engine.gang import Gang, SceneRequest
from engine.guidance import files
from engine.guidance.guidance import Guidance
from engine.guidance.pixel import PixelGuidance
from engine.primitives.captions import caption
from engine.primitives.grammar import Spec
from engine.primitives.splits import choose
from engine.recipe import Recipe
from engine.showcase import optimise

_SEED = 5
_NUM_SHOWN = 12

Changes = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Variation:
    """A recipe with what was changed in it."""

    name: str
    recipe: Recipe


def changed(recipe: Recipe, changes: Changes) -> Recipe:
    """The recipe with settings replaced by path: {"distillation.scale": 10.0}.

    Raises ValueError where a path leads to no setting.
    """
    data = recipe.to_dict()
    for path, value in changes.items():
        *way, last = path.split(".")
        place = data
        for step in way:
            place = place.get(step, {}) if isinstance(place, dict) else {}
        if not isinstance(place, dict) or last not in place:
            raise ValueError(f"--vary: recipe {recipe.name} has no setting {path!r}")
        place[last] = value
    return Recipe.from_dict(data)


def read_changes(text: str) -> list[Changes]:
    """All combinations that "a.b=1,2 c=[3,4]" names; values are JSON, parted by commas.

    Raises ValueError where the text has another form.
    """
    names, choices = [], []
    for part in text.split():
        name, sign, values = part.partition("=")
        try:
            # Commas inside a bracket belong to a value, the others part values: JSON decides.
            choices.append(json.loads(f"[{values if sign else '?'}]"))
        except ValueError:
            raise ValueError(f"--vary: expected settings like name=1,2, got {part!r}") from None
        names.append(name)
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*choices)]


def variations(recipe: Recipe, texts: Sequence[str]) -> list[Variation]:
    """The recipe as it is and each change of it."""
    found = [Variation(name="as it is", recipe=recipe)]
    for text in texts:
        for changes in read_changes(text):
            name = " ".join(f"{path}={json.dumps(value)}" for path, value in changes.items())
            found.append(Variation(name=name.replace(", ", ","), recipe=changed(recipe, changes)))
    return found


def run(
    variation: Variation, specs: Sequence[Spec], guidance: Guidance, lexicon: Lexicon, sheet: Path
) -> dict[str, Any]:
    """Optimises all scenes in one gang, draws them and returns the row of the report."""
    recipe, start = variation.recipe, time.perf_counter()
    requests = [
        SceneRequest(key=f"{k:04d}", prompt=caption(spec), seed=_SEED + k)
        for k, spec in enumerate(specs)
    ]
    finished = optimise(Gang(recipe, guidance, num_slots=len(specs)), requests)
    seconds = time.perf_counter() - start
    finished.sort(key=lambda scene: scene.key)
    staged = show_scenes([scene.scene if scene.status == "ok" else None for scene in finished])
    found = verdicts(staged, specs, lexicon)
    write_sheet(sheet, variation.name, list(zip(found, staged.colour, strict=True))[:_NUM_SHOWN])
    return {
        "variation": variation.name,
        "seconds": round(seconds, 1),
        "ms_a_step": round(1000.0 * seconds / recipe.iterations, 1),
        "evaluations": recipe.iterations * recipe.views,
        "ok": sum(scene.status == "ok" for scene in finished),
        **asdict(figures(found)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m engine.evaluation.sweep")
    parser.add_argument("--recipe", default="primitives")
    parser.add_argument("--guidance", help="a model directory instead of the recipe's")
    parser.add_argument("--judge", default="j1", help="j1 or a directory; j2 only reports")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--vary", action="append", default=[], help='"name=value,value ..."')
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    base = recipes.get(given.recipe)
    walk = variations(base, given.vary)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    guidance = PixelGuidance.load(files.resolve(given.guidance or base.guidance), device=device)
    lexicon = Lexicon(Judge.load(given.judge, device))
    specs = choose("dev", given.prompts, _SEED)
    given.out.mkdir(parents=True, exist_ok=True)
    for number, variation in enumerate(walk):
        row = run(variation, specs, guidance, lexicon, given.out / f"{number}.png")
        with (given.out / "sweep.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
