"""The rows of a batch of scores, and back.

    asset_id, prompt
    score_<label>_similarity             mean cosine of the coloured views and the prompt
    score_<label>_r_precision            1 if the prompt comes first in the pool, else 0: the mean
                                         over assets is the R-Precision; null in a pool of its own
    score_<label>_place                  how many captions come before or level; 0 is a hit
    score_<label>_geometry_similarity, ..._geometry_r_precision, ..._geometry_place
                                         the same of textureless views; in the embedded world with
                                         the colourless caption, among those of all geometries
    score_<label>_janus                  how alike front and back are; see `engine.evaluation.janus`
    score_<label>_overall                mean of the two similarities: what decides `is_best`

of judges of the embedded world also

    score_<label>_r_precision_64         in the pool of 64 hard captions
    score_<label>_kind                   1 if kind, relation and count are right
    score_<label>_colours                share of the named colours that are right

These go into the catalog. The rest stays: `embedding_colour` and `embedding_geometry`, by which
assets are judged again in another pool, and what a verdict holds besides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.dataset.scores import PREFIX

if TYPE_CHECKING:
    from engine.evaluation.examiners import Looks, Scores
    from engine.evaluation.verdict import Verdict

SHARES = ("similarity", "geometry_similarity", "janus", "overall")
"""Scores that are numbers about -1 to 1."""
HITS = ("r_precision", "geometry_r_precision", "r_precision_64", "kind", "colours")
"""Scores that are 1 or 0, or a share of such."""

_COMMON = [
    ("similarity", pa.float64()),
    ("r_precision", pa.float64()),
    ("place", pa.int64()),
    ("geometry_similarity", pa.float64()),
    ("geometry_r_precision", pa.float64()),
    ("geometry_place", pa.int64()),
    ("janus", pa.float64()),
    ("overall", pa.float64()),
]
_EMBEDDED = [("r_precision_64", pa.float64()), ("kind", pa.float64()), ("colours", pa.float64())]
_VERDICT = [
    ("taken_for", pa.string()),
    ("place_64", pa.int64()),
    ("colours_right", pa.list_(pa.bool_())),
    ("beats_swap", pa.bool_()),
]
LOOKS = ("embedding_colour", "embedding_geometry")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a label and a kind of judge."""

    label: str
    kind: str

    @property
    def schema(self) -> pa.Schema:
        """Of a batch."""
        is_embedded = self.kind == "embedded"
        scores = _COMMON + (_EMBEDDED if is_embedded else [])
        return pa.schema(
            [
                ("asset_id", pa.string()),
                ("prompt", pa.string()),
                *((self.name(score), kind) for score, kind in scores),
                *((name, pa.list_(pa.float32())) for name in LOOKS),
                *(_VERDICT if is_embedded else []),
            ]
        )

    def name(self, score: str) -> str:
        """The column of a score."""
        return f"{PREFIX}{self.label}_{score}"

    def table(
        self,
        asset_ids: Sequence[str],
        prompts: Sequence[str],
        looks: "Looks",
        scores: Sequence["Scores"],
    ) -> pa.Table:
        """A batch."""
        columns: dict[str, Any] = {"asset_id": list(asset_ids), "prompt": list(prompts)}
        values = [
            _values(found, float(janus))
            for found, janus in zip(scores, looks.janus.tolist(), strict=True)
        ]
        for field in self.schema:
            if field.name.startswith(PREFIX):
                score = field.name.removeprefix(self.name(""))
                columns[field.name] = [row[score] for row in values]
        columns |= {name: _lists(getattr(looks, name.partition("_")[2])) for name in LOOKS}
        if self.kind == "embedded":
            rows = [_beside(found.verdict) for found in scores]
            columns |= {name: [row[name] for row in rows] for name, _ in _VERDICT}
        return pa.table(columns, schema=self.schema)

    def looks(self, table: pa.Table) -> "Looks":
        """What the judge saw of the assets of a batch."""
        import torch

        from engine.evaluation.examiners import Looks

        colour, geometry = (torch.from_numpy(_matrix(table[name])) for name in LOOKS)
        janus = torch.from_numpy(table[self.name("janus")].to_numpy().astype(np.float32))
        return Looks(colour=colour, geometry=geometry, janus=janus)

    def verdicts(self, table: pa.Table) -> list["Verdict"]:
        """What a judge of the embedded world said of the assets of a batch."""
        from engine.evaluation.verdict import Verdict
        from engine.primitives.captions import parse

        names = ["prompt", self.name("place"), self.name("geometry_place")]
        names += [name for name, _ in _VERDICT]
        return [
            Verdict(
                spec=parse(row["prompt"]),
                taken_for=parse(row["taken_for"]),
                colour_place=row["place_64"],
                geometry_place=row[self.name("geometry_place")],
                benchmark_place=row[self.name("place")],
                colours_right=tuple(row["colours_right"]),
                beats_swap=row["beats_swap"],
            )
            for row in table.select(names).to_pylist()
        ]


def _values(found: "Scores", janus: float) -> dict[str, float | int | None]:
    values: dict[str, float | int | None] = {
        "similarity": found.similarity,
        "r_precision": _hit(found.place),
        "place": found.place,
        "geometry_similarity": found.geometry_similarity,
        "geometry_r_precision": _hit(found.geometry_place),
        "geometry_place": found.geometry_place,
        "janus": janus,
        "overall": 0.5 * (found.similarity + found.geometry_similarity),
    }
    if found.verdict is not None:
        right = found.verdict.colours_right
        values |= {
            "r_precision_64": _hit(found.verdict.colour_place),
            "kind": float(found.verdict.is_kind_right),
            "colours": sum(right) / len(right),
        }
    return values


def _beside(said: "Verdict | None") -> dict[str, object]:
    from engine.primitives.captions import caption

    assert said is not None, "a judge of the embedded world gives a verdict"
    assert said.taken_for is not None, "there was something to see"
    return {
        "taken_for": caption(said.taken_for),
        "place_64": said.colour_place,
        "colours_right": list(said.colours_right),
        "beats_swap": said.beats_swap,
    }


def _hit(place: int | None) -> float | None:
    return None if place is None else float(place == 0)


def _lists(matrix: Any) -> pa.Array:
    """The rows of a matrix of torch as lists."""
    values = matrix.numpy()
    ends = np.arange(0, values.size + 1, max(values.shape[1], 1), dtype=np.int32)
    return pa.ListArray.from_arrays(ends, pa.array(values.ravel(), pa.float32()))


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Inverse of `_lists`."""
    rows = column.combine_chunks()
    return rows.flatten().to_numpy().reshape(len(rows), -1).copy()
