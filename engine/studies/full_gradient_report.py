"""What `full_gradient` leaves: its files are those of `report`, with other tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine.evaluation.trials import Outcome
from engine.evaluation.verdict import figures
from engine.export.images import on_white
from engine.export.sheet import Row, contact_sheet
from engine.primitives.captions import caption
from engine.studies.gradients import Comparison
from engine.studies.report import markdown, shares
from engine.studies.strips import SHOWN_VIEWS, enlarged


def write(
    out: Path,
    facts: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    comparisons: Sequence[Comparison],
    shown: Sequence[Outcome],
) -> None:
    """Writes everything into `out`; of `shown`, left to right, there are pictures."""
    out.mkdir(parents=True, exist_ok=True)
    results = {
        **facts,
        "gradients": [asdict(row) for row in comparisons],
        "outcomes": [outcome.as_row() for outcome in outcomes],
        "shown": [outcome.name for outcome in shown],
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    tables = [markdown(costs_and_figures(outcomes)), markdown(_sizes(comparisons))]
    (out / "table.md").write_text("\n".join(tables))
    (out / "pictures.png").write_bytes(_pictures(shown))
    print(tables[0], flush=True)


def costs_and_figures(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """A row an outcome."""
    rows = []
    for outcome in outcomes:
        row = outcome.as_row()
        peak = outcome.peak_bytes
        rows.append(
            {
                "": outcome.name,
                "steps": f"{row['steps']}",
                "ms a step": f"{row['ms_a_step']:.1f}",
                "seconds": f"{outcome.seconds:.1f}",
                "GiB": "-" if peak is None else f"{peak / 2**30:.1f}",
                "ok": f"{outcome.num_ok} of {len(outcome.verdicts)}",
                **shares(figures(outcome.verdicts)),
                "caption score": f"{outcome.caption_score:.2f}",
            }
        )
    return rows


def _sizes(comparisons: Sequence[Comparison]) -> list[dict[str, str]]:
    """A row a diffusion time."""
    return [
        {f.name.replace("_", " "): f"{getattr(row, f.name):.3g}" for f in fields(row)}
        for row in comparisons
    ]


def _pictures(shown: Sequence[Outcome]) -> bytes:
    """A tile a scene: two views of every outcome, side by side."""
    rows = [
        Row(
            caption=caption(verdict.spec),
            pictures=[_png(outcome.colour[k, view]) for outcome in shown for view in SHOWN_VIEWS],
        )
        for k, verdict in enumerate(shown[0].verdicts)
    ]
    heads = (f"{outcome.name} ({outcome.recipe.iterations} steps)" for outcome in shown)
    return contact_sheet(rows, "two views each of:  " + "  |  ".join(heads))


def _png(picture: Float[Tensor, "3 h w"]) -> bytes:
    return enlarged(on_white(picture.movedim(0, -1), torch.ones_like(picture[0])))
