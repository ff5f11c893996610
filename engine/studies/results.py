"""What a study keeps of a variation: a line of `results.jsonl` for each part of its scenes.

A line says what it was made by (its key); one of another key is passed over, so that a study that
is begun again makes what is missing alone. Scenes may be shared out among processes, part k of n
each; lines of the parts are one result. Free of the models.
"""

import hashlib
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engine.evaluation.manner import Manner
from engine.evaluation.sweep import score_of
from engine.evaluation.trials import Outcome
from engine.evaluation.variations import Variation
from engine.evaluation.verdict import Figures, Verdict, figures
from engine.recipe import Recipe

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Scenes of a study: the `number`th of `count` equal shares, counted from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def read(cls, text: str) -> "Part":
        """The part that "2/4" names. Raises ValueError for any other text."""
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise ValueError(f"--part: expected k/n with k from 1 to n, got {text!r}")
        return cls(number=int(number), count=int(count))

    def span(self, total: int) -> tuple[int, int]:
        """First scene and the one after the last."""
        return (self.number - 1) * total // self.count, self.number * total // self.count


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a line was made by."""

    guidance_digest: str
    judge: str
    split: str
    prompts: int
    seed: int
    part: Part = Part()

    def of(self, variation: Variation) -> Row:
        """The key of a variation, as its line has it."""
        found = {
            "variation": variation.name,
            "recipe_digest": variation.recipe.digest(),
            **asdict(self),
        }
        if variation.manner is not None:
            found["manner"] = asdict(variation.manner)
        return found

    def stem(self, variation: Variation) -> str:
        """A file's name without its ending, for what is too large for a line."""
        text = json.dumps(self.of(variation), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A variation, those of its parts together that are there."""

    name: str
    recipe: Recipe
    seconds: float
    """Of optimisation, all scenes and devices together."""
    peak_bytes: int | None
    ok: int
    caption_score: float
    scenes: list[Row]
    """Each scene's verdict, its `chamfer` (None: no mesh), the `losses` of its last step (None: no
    number) and what else the study asked of it."""
    device: str
    manner: Row | None = None
    """How it was run; None in lines of before it was kept."""
    trees: Sequence[Row] = ()
    """`commit` and `versions` by which its parts were made, each once; those of lines of before
    they were kept are missing."""

    @property
    def figures(self) -> Figures:
        """Shares over the scenes."""
        return figures([Verdict.from_row(scene) for scene in self.scenes])

    @property
    def chamfer(self) -> float:
        """Median over the scenes; infinite where half of them have no mesh."""
        return statistics.median(
            math.inf if scene["chamfer"] is None else scene["chamfer"] for scene in self.scenes
        )

    @property
    def score(self) -> float:
        """`sweep.score_of`."""
        return score_of(self.figures, self.chamfer)

    @property
    def evaluations(self) -> int:
        """Of the diffusion model, a scene."""
        return self.recipe.evaluations

    def as_row(self) -> Row:
        """Plain data, ready for JSON."""
        return {
            "name": self.name,
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 2),
            "peak_bytes": self.peak_bytes,
            "ok": self.ok,
            "caption_score": round(self.caption_score, 4),
            "score": round(self.score, 4),
            "chamfer": _number(self.chamfer),
            "figures": asdict(self.figures),
            "device": self.device,
            "manner": self.manner,
            "trees": list(self.trees),
            "recipe": self.recipe.to_dict(),
            "scenes": self.scenes,
        }


def row_of(
    key: Row,
    outcome: Outcome,
    chamfers: Sequence[float],
    examined: Sequence[Row],
    device: str,
    manner: Manner,
    tree: Row,
) -> Row:
    """The line of an outcome; `examined` is what the study asked of each scene besides, `tree`
    the commit and the versions that made it."""
    asked = zip(outcome.verdicts, chamfers, outcome.losses, examined, strict=True)
    scenes = [
        {
            **verdict.as_row(),
            "chamfer": _number(far),
            "losses": {name: _number(value) for name, value in losses.items()},
            **more,
        }
        for verdict, far, losses, more in asked
    ]
    facts = {"scenes": scenes, "device": device, "manner": asdict(manner), "tree": tree}
    return {"key": key, **outcome.as_row(), **facts}


def _number(value: float) -> float | None:
    """None for what JSON has no word for."""
    return value if math.isfinite(value) else None


def append(path: Path, row: Row) -> None:
    """Adds a line in one write, so that processes may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, json.dumps(row).encode() + b"\n")
    finally:
        os.close(file)


def read(path: Path) -> list[Row]:
    """All lines; one that was cut off by a broken run is passed over."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def find(rows: Sequence[Row], key: Row) -> Row | None:
    """The first line of that key."""
    return next((row for row in rows if row["key"] == key), None)


def collect(rows: Sequence[Row], key: Key, variation: Variation) -> Result | None:
    """The variation's parts as one result; None where there is none yet."""
    parts = [
        replace(key, part=Part(number=k + 1, count=key.part.count)) for k in range(key.part.count)
    ]
    found = [row for part in parts if (row := find(rows, part.of(variation))) is not None]
    return _joined(variation, found) if found else None


def _joined(variation: Variation, rows: Sequence[Mapping[str, Any]]) -> Result:
    scenes = [scene for row in rows for scene in row["scenes"]]
    peaks = [row["peak_bytes"] for row in rows if row["peak_bytes"] is not None]
    trees = [row["tree"] for row in rows if "tree" in row]
    return Result(
        name=variation.name,
        recipe=variation.recipe,
        seconds=sum(row["seconds"] for row in rows),
        peak_bytes=max(peaks, default=None),
        ok=sum(row["ok"] for row in rows),
        caption_score=sum(row["caption_score"] * len(row["scenes"]) for row in rows) / len(scenes),
        scenes=scenes,
        device=rows[0]["device"],
        manner=rows[0].get("manner"),
        trees=[tree for k, tree in enumerate(trees) if tree not in trees[:k]],
    )
