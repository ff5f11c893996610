"""A batch of scores as a table, and what is read back from it."""

from typing import Any

import pyarrow as pa
import pytest
import torch

from engine.evaluation.examiners import Looks, Scores
from engine.evaluation.verdict import Verdict
from engine.primitives.captions import parse
from pipeline.evaluation.rows import Columns

PROMPTS = ["a red car with blue wheels", "a green ball"]


def looks() -> Looks:
    return Looks(
        colour=torch.arange(6.0).reshape(2, 3),
        geometry=-torch.arange(6.0).reshape(2, 3),
        janus=torch.tensor([0.25, -0.5]),
    )


def verdict(prompt: str, taken_for: str, *right: bool) -> Verdict:
    return Verdict(
        spec=parse(prompt),
        taken_for=parse(taken_for),
        colour_place=3,
        geometry_place=0,
        benchmark_place=0,
        colours_right=right,
        beats_swap=True if len(right) > 1 else None,
    )


def scores(**changes: Any) -> Scores:
    said: dict[str, Any] = {
        "similarity": 0.5,
        "place": 0,
        "geometry_similarity": 0.25,
        "geometry_place": 2,
    }
    return Scores(**said | changes)


def test_rows_of_a_clip() -> None:
    columns = Columns(label="tiny", kind="clip")
    found = [scores(), scores(place=None, geometry_place=None)]
    table = columns.table(["x", "y"], PROMPTS, looks(), found)
    assert table.schema == columns.schema
    first, second = table.to_pylist()
    assert first == {
        "asset_id": "x",
        "prompt": PROMPTS[0],
        "score_tiny_similarity": 0.5,
        "score_tiny_r_precision": 1.0,
        "score_tiny_place": 0,
        "score_tiny_geometry_similarity": 0.25,
        "score_tiny_geometry_r_precision": 0.0,
        "score_tiny_geometry_place": 2,
        "score_tiny_janus": 0.25,
        "score_tiny_overall": 0.375,
        "embedding_colour": [0.0, 1.0, 2.0],
        "embedding_geometry": [0.0, -1.0, -2.0],
    }
    assert (second["score_tiny_r_precision"], second["score_tiny_place"]) == (None, None)


def test_looks_are_what_they_were_in_any_part_of_a_table() -> None:
    columns = Columns(label="tiny", kind="clip")
    table = columns.table(["x", "y"], PROMPTS, looks(), [scores()] * 2)
    whole = pa.concat_tables([table.slice(1), table])
    again = columns.looks(whole)
    assert torch.equal(again.colour, looks().colour[[1, 0, 1]])
    assert torch.equal(again.geometry, looks().geometry[[1, 0, 1]])
    assert torch.equal(again.janus, looks().janus[[1, 0, 1]])
    assert torch.equal(columns.looks(table.slice(1)).colour, looks().colour[1:])


def test_verdicts_are_what_they_were() -> None:
    columns = Columns(label="j2", kind="embedded")
    said = [
        verdict(PROMPTS[0], "a red car with white wheels", True, False),
        verdict(PROMPTS[1], "a green cube", True),
    ]
    found = [scores(verdict=one, place=0, geometry_place=0) for one in said]
    table = columns.table(["x", "y"], PROMPTS, looks(), found)
    assert columns.verdicts(table) == said
    assert table["score_j2_kind"].to_pylist() == [1.0, 0.0]
    assert table["score_j2_colours"].to_pylist() == [0.5, 1.0]
    assert table["score_j2_r_precision_64"].to_pylist() == [0.0, 0.0]
    assert table["taken_for"].to_pylist() == ["a red car with white wheels", "a green cube"]


def test_a_judge_of_the_world_must_give_a_verdict() -> None:
    with pytest.raises(KeyError):
        Columns(label="j2", kind="embedded").table(["x"], PROMPTS[:1], _first(), [scores()])


def _first() -> Looks:
    whole = looks()
    return Looks(colour=whole.colour[:1], geometry=whole.geometry[:1], janus=whole.janus[:1])
