"""Variations of a recipe, or of how it is run, on the same scenes: the frame of most studies.

    python -m engine.studies.NAME --out DIR [--only "a pattern"] [--part 1/2] ...

Each variation is optimised, all scenes in one gang unless its manner or `--slots` says otherwise,
shown to the judge, and kept before the next begins: a line of `results.jsonl` and its pictures. The
same command goes on where a broken one stopped. Several GPUs may share a study and its DIR: each
with variations of its own (`--only`), or with scenes of its own (`--part`); who comes last writes
the tables of all. `table.md`, `results.json` and `pictures.png` are of what is there.

Axes: N scenes, V views of the stage.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from engine.bench.rows import commit, versions
from engine.evaluation.chamfer import Chamfer
from engine.evaluation.judge import Judge
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.manner import Manner
from engine.evaluation.trials import Trials
from engine.evaluation.variations import Variation, chamfers
from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.hardware import usual_device
from engine.primitives.grammar import Spec
from engine.studies import report, results, strips
from engine.studies.order import Order
from engine.studies.report import Columns, Words, no_words
from engine.studies.results import Key, Result, Row

NUM_SHOWN = 12

Examine = Callable[[Float[Tensor, "N V 3 h w"], Sequence[Spec], Lexicon], Sequence[Row]]
"""What a study asks of each scene's coloured pictures besides."""


def nothing_more(
    colour: Float[Tensor, "N V 3 h w"], specs: Sequence[Spec], lexicon: Lexicon
) -> list[Row]:
    """No further question."""
    return [{} for _ in specs]


def run(
    order: Order,
    examine: Examine = nothing_more,
    columns: Columns | None = None,
    words: Words = no_words,
) -> list[Result]:
    """Makes what is asked for and missing, writes the tables and the words below them; returns all
    results there are."""
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
            report.write(order, key, columns or {}, words)
    found, table = report.write(order, key, columns or {}, words)
    print(table, flush=True)
    return found


class _Bench:
    """The models, each loaded once, and this process's scenes."""

    def __init__(self, order: Order, key: Key, examine: Examine) -> None:
        device = usual_device()
        self._device, self._path = device, order.model
        self._key, self._out, self._examine = key, order.out, examine
        first, end = order.part.span(len(order.specs))
        self._specs = order.specs[first:end]
        self._lexicon = Lexicon(Judge.load(order.judge, device))
        self._ruler = Chamfer(device)
        self._usual = order.manner
        # Of what runs, whatever becomes of the files meanwhile.
        self._tree = {"commit": commit(), "versions": versions()}
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
        row = results.row_of(self._key.of(variation), outcome, far, more, name, manner, self._tree)
        results.append(self._out / "results.jsonl", row)
        print(f"{variation.name}: {outcome.seconds:.1f} s, {outcome.num_ok} ok", flush=True)

    def _trials(self, manner: Manner) -> Trials:
        kind = (manner.is_exact, manner.compiled)
        if kind not in self._models:
            self._models[kind] = manner.load(self._path, self._device)
        model = self._models[kind]
        return Trials(model, self._lexicon, self._specs, seed=self._seed, manner=manner)
