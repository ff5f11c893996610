"""Variations of a recipe, or of how it is run, on the same scenes: the frame of most studies.

    python -m engine.studies.NAME --out DIR [--only "a pattern"] [--part 1/2] ...

Each variation is optimised, all scenes in one gang unless its manner or `--slots` says otherwise,
shown to the judge, and kept before the next begins: a line of `results.jsonl` and its pictures. The
same command goes on where a broken one stopped. Several GPUs may share a study and its DIR: each
with variations of its own (`--only`), or with scenes of its own (`--part`); who comes last writes
the tables of all. `table.md`, `results.json` and `pictures.png` are of what is there.

Axes: N scenes, V views of the stage.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from engine.evaluation.chamfer import Chamfer
from engine.evaluation.judge import Judge
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.manner import Manner
from engine.evaluation.trials import Trials
from engine.evaluation.variations import Variation, chamfers
from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.primitives.captions import caption
from engine.primitives.grammar import Spec
from engine.studies import report, results, strips
from engine.studies.order import Order
from engine.studies.results import Key, Part, Result, Row

NUM_SHOWN = 12

Examine = Callable[[Float[Tensor, "N V 3 h w"], Sequence[Spec], Lexicon], Sequence[Row]]
"""What a study asks of each scene's coloured pictures besides."""
Column = Callable[[Result], str]
Columns = Mapping[str, Column]
"""A study's own columns of the table."""


def nothing_more(
    colour: Float[Tensor, "N V 3 h w"], specs: Sequence[Spec], lexicon: Lexicon
) -> list[Row]:
    """No further question."""
    return [{} for _ in specs]


def run(
    order: Order, examine: Examine = nothing_more, columns: Columns | None = None
) -> list[Result]:
    """Makes what is asked for and missing, writes the tables; returns all results there are."""
    key = Key(
        guidance_digest=files.digest(order.model),
        judge=order.judge,
        split=order.split,
        prompts=len(order.specs),
        seed=order.seed,
        part=order.part,
    )
    rows = results.read(order.out / "results.jsonl")
    missing = [v for v in order.wanted if results.find(rows, key.of(v)) is None]
    if missing:
        bench = _Bench(order, key, examine)
        for variation in missing:
            bench.run(variation)
            # A run that is cut off leaves its tables, too.
            _write(order, key, columns or {})
    found, table = _write(order, key, columns or {})
    print(table, flush=True)
    return found


class _Bench:
    """The models, each loaded once, and this process's scenes."""

    def __init__(self, order: Order, key: Key, examine: Examine) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._device, self._path = device, order.model
        self._key, self._out, self._examine = key, order.out, examine
        first, end = order.part.span(len(order.specs))
        self._specs = order.specs[first:end]
        self._lexicon = Lexicon(Judge.load(order.judge, device))
        self._ruler = Chamfer(device)
        self._usual = order.manner
        # A scene's seed is its number's, whoever makes it.
        self._seed = order.seed + first
        self._models: dict[tuple[bool, bool], PixelGuidance] = {}

    def run(self, variation: Variation) -> None:
        """Makes every scene, asks what there is to ask, and keeps the answers."""
        manner = variation.manner or self._usual
        optimiser = variation.optimiser and variation.optimiser()
        outcome = self._trials(manner).run(variation.name, variation.recipe, optimiser)
        far = chamfers(outcome, self._specs, self._ruler)
        more = self._examine(outcome.colour, self._specs, self._lexicon)
        shown = self._out / "pictures" / f"{self._key.stem(variation)}.png"
        strips.write(shown, outcome.colour[:NUM_SHOWN])
        name = torch.cuda.get_device_name() if self._device.type == "cuda" else "cpu"
        row = results.row_of(self._key.of(variation), outcome, far, more, name, manner)
        results.append(self._out / "results.jsonl", row)
        print(f"{variation.name}: {outcome.seconds:.1f} s, {outcome.num_ok} ok", flush=True)

    def _trials(self, manner: Manner) -> Trials:
        kind = (manner.is_exact, manner.compiled)
        if kind not in self._models:
            self._models[kind] = manner.load(self._path, self._device)
        model = self._models[kind]
        return Trials(model, self._lexicon, self._specs, seed=self._seed, manner=manner)


def _write(order: Order, key: Key, columns: Columns) -> tuple[list[Result], str]:
    """Writes what is of all variations that are there; returns them, and their table."""
    out, offered = order.out, order.offered
    rows = results.read(out / "results.jsonl")
    found = [result for v in offered if (result := results.collect(rows, key, v)) is not None]
    facts = {
        "guidance_digest": key.guidance_digest,
        "judge": key.judge,
        "split": key.split,
        "prompts": key.prompts,
        "seed": key.seed,
        "torch": torch.__version__,
    }
    document = {**facts, "results": [result.as_row() for result in found]}
    (out / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    table = report.markdown([_cells(result, key.prompts, columns) for result in found])
    (out / "table.md").write_text(table)
    # The first scenes are those of the first part.
    first = replace(key, part=Part(count=key.part.count))
    pictures = {v.name: out / "pictures" / f"{first.stem(v)}.png" for v in offered}
    strips.write_sheet(out / "pictures.png", [caption(spec) for spec in order.specs], pictures)
    return found, table


def _cells(result: Result, total: int, columns: Columns) -> dict[str, str]:
    """A row of the table."""
    scenes = len(result.scenes)
    return {
        "": result.name,
        "evaluations": f"{result.evaluations}",
        "s a scene": f"{result.seconds / scenes:.2f}",
        "ok": f"{result.ok} of {scenes}" + ("" if scenes == total else f" ({total})"),
        **report.shares(result.figures),
        "chamfer": f"{result.chamfer:.4f}",
        "score": f"{result.score:.3f}",
        "caption score": f"{result.caption_score:.2f}",
        **{head: said(result) for head, said in columns.items()},
    }
