"""The figures of an evaluation: quantiles by numpy, shares by counting, each asset once."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.dataset.scores import Metric, Scores
from pipeline.evaluation.rows import Columns
from pipeline.evaluation.tables import Measured, Summary, render, summarise
from pipeline.storage.objects import Objects
from pipeline.storage.places import connect
from tests.pipeline.dataset.test_scores import metric
from tests.pipeline.evaluation.test_rows import PROMPTS, looks, scores, verdict


def measured(ours: Metric, *, first_foreign: str = "", **changes: int) -> Measured:
    counts = {
        "num_new": 0,
        "num_again": 0,
        "num_before": 0,
        "num_foreign": 0,
        "num_unreadable": 0,
    }
    counts |= changes
    pool_size = len(ours.captions)
    return Measured(metric=ours, pool_size=pool_size, first_foreign=first_foreign, **counts)


def batch(ours: Metric, *numbers: int) -> pa.Table:
    """Scores of some assets of a CLIP: similarity k / 10, a hit where k is even."""
    columns = Columns(label=ours.label, kind="clip")
    found = [
        scores(similarity=k / 10, place=k % 2 if k != 7 else None, geometry_similarity=0.0)
        for k in numbers
    ]
    seen, tables = looks(), []
    for k, one in zip(numbers, found, strict=True):
        half = type(seen)(colour=seen.colour[:1], geometry=seen.geometry[:1], janus=seen.janus[:1])
        tables.append(columns.table([f"{k:032x}"], ["a ball"], half, [one]))
    return pa.concat_tables(tables)


@pytest.fixture
def kept(tmp_path: Path) -> Scores:
    return Scores(Objects(*connect(str(tmp_path)), url=str(tmp_path)))


def test_each_asset_counts_once(kept: Scores) -> None:
    ours = kept.claim(metric())
    kept.write(ours, batch(ours, 1, 2, 3, 3))
    kept.write(ours, batch(ours, 3, 4, 7))
    found = summarise(kept, measured(ours))
    assert len(found.ids) == 5
    np.testing.assert_allclose(sorted(found.values["similarity"]), [0.1, 0.2, 0.3, 0.4, 0.7])
    np.testing.assert_allclose(sorted(found.values["overall"]), [0.05, 0.1, 0.15, 0.2, 0.35])
    assert np.isnan(found.values["r_precision"]).sum() == 1
    assert found.by_kind == ""


def test_the_table_says_what_numpy_says(kept: Scores) -> None:
    ours = kept.claim(metric(captions=[str(k) for k in range(20)]))
    numbers = [*range(0, 7), *range(8, 22)]
    kept.write(ours, batch(ours, *numbers, 7))
    foreign = "a very furry cat " * 5
    short = "a very furry cat a very furry cat a ver…"
    done = measured(ours, num_new=3, num_foreign=1_000, first_foreign=foreign, num_unreadable=2)
    lines = render(summarise(kept, done)).splitlines()
    assert lines[0] == "tiny: judge clip:tiny (weights wwwwwwwwwwww), 22 assets, 20 captions"
    assert lines[1] == (
        "  3 newly scored, 1,000 with prompts that it does not understand, such as "
        f"{short!r}, 2 could not be read"
    )
    (row,) = [line.split() for line in lines if line.startswith("  similarity")]
    values = np.arange(22) / 10
    expected = [values.mean(), *np.quantile(values, [0.05, 0.5, 0.95])]
    assert row == ["similarity", "22", *(f"{value:.3f}" for value in expected)]
    (row,) = [line.split() for line in lines if line.startswith("  R-Precision  ")]
    hits = sum(k % 2 == 0 for k in numbers) / len(numbers)
    assert row == ["R-Precision", "21", f"{hits:.3f}", "(by", "chance", "0.050)"]


def test_figures_of_the_world_are_the_benchmark_s(kept: Scores) -> None:
    ours = kept.claim(metric("j2", kind="embedded", captions=PROMPTS))
    said = [
        verdict(PROMPTS[0], "a red car with white wheels", True, False),
        verdict(PROMPTS[1], "a green ball", True),
    ]
    found = [scores(verdict=one, place=0, geometry_place=0) for one in said]
    columns = Columns(label="j2", kind="embedded")
    kept.write(ours, columns.table(["0" * 32, "1" * 32], PROMPTS, looks(), found))
    text = render(summarise(kept, measured(ours)))
    assert "R-Precision, geometry" in text
    assert "(by chance 0.016)" in text, "one of 63 geometries, whatever the pool"
    _, legend, table = text.split("\n\n")
    head, *lines = [line.split() for line in table.splitlines()]
    assert (head[:2], head[-2:]) == (["n", "R"], [">", "swap"])
    assert "\n  > swap " in legend
    everything = next(line for line in lines if line[:1] == ["all"])
    assert everything[1] == "2"
    # Right are one of the car's two colours and the ball's, which words tell from each other.
    (mean,) = [line for line in text.splitlines() if line.startswith("  colours right per asset  ")]
    assert mean.split()[4:] == ["2", "0.750"]
    assert everything[6] == "0.667"
    assert "\n  colour   of the named colours of all subjects together those" in legend
    assert next(line for line in lines if line[:1] == ["car"])[1] == "1"


def test_without_scores_there_is_no_table(kept: Scores) -> None:
    ours = kept.claim(metric())
    found = summarise(kept, measured(ours))
    assert isinstance(found, Summary)
    assert render(found).splitlines()[1:] == ["  0 newly scored"]
