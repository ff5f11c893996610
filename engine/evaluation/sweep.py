"""Recipes side by side: one setting changed at a time, all scenes of each in one gang.

    python -m engine.evaluation.sweep --recipe primitives --out DIR \\
        --vary distillation.scale=10,20,40 --vary "iterations=300,600 views=2"

Each `--vary` names settings by their path in the recipe; those that stand together, parted by
spaces, change together, and the one with several values is walked through. A first variation is
the recipe as it is. With `--greedy` the best of each `--vary` is where the next starts from: a
search along coordinates; settings that a recipe refuses together end it there. Scored on *dev* by
J1, which is what tuning may look at. Every variation is appended to `sweep.jsonl` and drawn in
`<number>.png` before the next begins; `best.json` is the recipe of the best so far.
"""

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine import recipes
from engine.directories import to_write
from engine.evaluation.chamfer import Chamfer
from engine.evaluation.judge import Judge
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.sheets import write_sheet
from engine.evaluation.trials import Trials
from engine.evaluation.variations import Variation, chamfers
from engine.evaluation.verdict import Figures, figures
from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.hardware import usual_device
from engine.primitives.splits import choose
from engine.recipe import Recipe

_SEED = 5
_NUM_SHOWN = 12
_FAR = 0.2
"""A chamfer distance that counts for nothing; 0 counts as much as a share of 1."""

Changes = Mapping[str, Any]
Row = dict[str, Any]


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


def named(changes: Changes) -> str:
    """The changes as `--vary` would have them."""
    text = " ".join(f"{path}={json.dumps(value)}" for path, value in changes.items())
    return text.replace(", ", ",")


def walk(
    base: Recipe, texts: Sequence[str], run: Callable[[Variation], Row], *, greedy: bool
) -> Iterator[Recipe]:
    """Runs the recipe as it is and every change; after each, the recipe of the highest score yet.

    `greedy`: each text's changes are made to the best recipe that was found before it.
    """
    best = base
    best_score = run(Variation(name="as it is", recipe=base))["score"]
    yield best
    for text in texts:
        start = best if greedy else base
        for changes in read_changes(text):
            recipe = changed(start, changes)
            score = run(Variation(name=named(changes), recipe=recipe))["score"]
            if score > best_score:
                best, best_score = recipe, score
            yield best


def score_of(found: Figures, chamfer: float) -> float:
    """One number to tune by: the mean of five shares, the last of which falls with the distance."""
    shares = (found.colour_retrieval, found.geometry_retrieval, found.kind, found.colour)
    near = max(0.0, 1.0 - chamfer / _FAR)
    return statistics.fmean([*(share or 0.0 for share in shares), near])


class Bench:
    """Trials of the dev scenes, a ruler for their shapes, and the files that keep what was seen."""

    def __init__(self, trials: Trials, out: Path) -> None:
        self._trials, self._out = trials, out
        self._ruler = Chamfer(trials.guidance.device)
        self._number = 0

    def run(self, variation: Variation) -> Row:
        """Optimises all scenes in one gang, draws them; writes and returns the report's row."""
        recipe = variation.recipe
        outcome = self._trials.run(variation.name, recipe)
        chamfer = statistics.median(chamfers(outcome, self._trials.specs, self._ruler))
        found = figures(outcome.verdicts)
        row = {
            "variation": variation.name,
            "score": score_of(found, chamfer),
            "seconds": round(outcome.seconds, 1),
            "ms_a_step": round(outcome.ms_a_step, 1),
            "evaluations": recipe.evaluations,
            "ok": outcome.num_ok,
            "chamfer": chamfer if math.isfinite(chamfer) else None,
            **asdict(found),
        }
        pictures = list(zip(outcome.verdicts, outcome.colour, strict=True))[:_NUM_SHOWN]
        write_sheet(self._out / f"{self._number}.png", variation.name, pictures)
        self._number += 1
        with (self._out / "sweep.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m engine.evaluation.sweep")
    parser.add_argument("--recipe", default="primitives")
    parser.add_argument("--guidance", help="a model directory instead of the recipe's")
    parser.add_argument("--judge", default="j1", help="j1 or a directory; j2 only reports")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--vary", action="append", default=[], help='"name=value,value ..."')
    parser.add_argument("--greedy", action="store_true", help="go on from the best so far")
    parser.add_argument("--out", type=to_write, required=True)
    given = parser.parse_args(arguments)
    base = recipes.find(given.recipe)
    for text in given.vary:
        for changes in read_changes(text):
            changed(base, changes)
    device = usual_device()
    guidance = PixelGuidance.load(files.resolve(given.guidance or base.guidance), device=device)
    lexicon = Lexicon(Judge.load(given.judge, device))
    given.out.mkdir(parents=True, exist_ok=True)
    specs = choose("dev", given.prompts, _SEED)
    trials = Trials(guidance, lexicon, specs, seed=_SEED)
    bench = Bench(trials, given.out)
    for best in walk(base, given.vary, bench.run, greedy=given.greedy):
        (given.out / "best.json").write_text(json.dumps(best.to_dict(), indent=1) + "\n")


if __name__ == "__main__":
    main()
