"""What a benchmark writes: figures, a row for each asset, sheets of the best and of the worst."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from engine.evaluation.report import Row, grouped, table
from engine.evaluation.sheets import write_sheets
from engine.evaluation.specimens import Specimen
from engine.evaluation.verdict import Verdict, figures


@dataclass(frozen=True, kw_only=True)
class Result:
    """One asset, judged and measured."""

    specimen: Specimen
    verdict: Verdict
    chamfer: float
    """Infinite where there is no mesh."""
    evaluations: int
    """Guided pairs of the diffusion model: steps x those of a step."""

    def as_row(self) -> dict[str, object]:
        """Plain data, ready for JSON."""
        return {
            "key": self.specimen.key,
            "seed": self.specimen.seed,
            "status": self.specimen.status,
            **self.verdict.as_row(),
            "chamfer": _finite(self.chamfer),
            "seconds": self.specimen.seconds,
            "evaluations": self.evaluations,
        }


def summary(results: Sequence[Result]) -> dict[str, Row]:
    """Figures of all, of each family and of each kind. An asset without a mesh is infinitely far.

    `chamfer` is the median, `seconds` and `evaluations` are means.
    """
    return {
        name: {
            **asdict(figures([result.verdict for result in group])),
            "chamfer": _finite(statistics.median(result.chamfer for result in group)),
            "seconds": statistics.fmean(result.specimen.seconds for result in group),
            "evaluations": round(statistics.fmean(result.evaluations for result in group)),
        }
        for name, group in grouped(results, lambda result: result.specimen.spec).items()
    }


def write(
    out: Path,
    facts: Mapping[str, object],
    results: Sequence[Result],
    pictures: Float[Tensor, "N V 3 h w"],
) -> str:
    """Writes `results.json`, `best.png` and `worst.png`; returns the figures as a table."""
    rows = summary(results)
    document = {**facts, "figures": rows, "assets": [result.as_row() for result in results]}
    (out / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    judged = [result.verdict for result in results]
    write_sheets(out, list(zip(judged, pictures, strict=True)))
    return table(rows)


def _finite(value: float) -> float | None:
    """JSON knows no infinity."""
    return value if math.isfinite(value) else None
