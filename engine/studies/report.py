"""What a study leaves: `results.json` for programs, `table.md` and `pictures.png` for people."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from engine.evaluation.report import HEADS
from engine.evaluation.verdict import Figures
from engine.primitives.captions import caption
from engine.studies import results, strips
from engine.studies.order import Order
from engine.studies.results import Key, Part, Result

Column = Callable[[Result], str]
Columns = Mapping[str, Column]
"""A study's own columns of the table."""
Words = Callable[[Sequence[Result]], str]
"""What a study says below its table of all results that are there, in lines; "" for nothing. It is
asked anew whenever one more is there."""

_FIGURES = ("colour_retrieval", "geometry_retrieval", "kind", "all_colours", "against_swap")
_DIGITS = 3


def no_words(found: Sequence[Result]) -> str:
    """Nothing below the table."""
    return ""


def write(
    order: Order, key: Key, columns: Columns, words: Words = no_words
) -> tuple[list[Result], str]:
    """Writes what is of all variations that are there; returns them, and their table with words."""
    out, offered = order.out, order.offered
    rows = results.read(out / "results.jsonl")
    found = [result for v in offered if (result := results.collect(rows, key, v)) is not None]
    facts = {
        "guidance_digest": key.guidance_digest,
        "judge": key.judge,
        "split": key.split,
        "prompts": key.prompts,
        "seed": key.seed,
    }
    document = {**facts, "results": [result.as_row() for result in found]}
    (out / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    table = markdown([_cells(result, key.prompts, columns) for result in found])
    if said := words(found):
        table += f"\n{said}"
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
        **shares(result.figures),
        "chamfer": f"{result.chamfer:.4f}",
        "score": f"{result.score:.3f}",
        "caption score": f"{result.caption_score:.2f}",
        **{head: said(result) for head, said in columns.items()},
    }


def shares(found: Figures) -> dict[str, str]:
    """The figures that a table shows, under their heads."""
    values = {name: getattr(found, name) for name in _FIGURES}
    return {
        HEADS.get(name, name): "-" if value is None else f"{value:.{_DIGITS}f}"
        for name, value in values.items()
    }


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table; the first row's names are its head."""
    heads = list(rows[0])
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
