"""The promise about large manifests, and the command that measures it."""

import pytest

from pipeline.planning_bench import Figures, Options, measure, render


def test_a_small_plan_is_measured() -> None:
    figures = measure(Options(rows=300, committed=100, quarantined=5))
    assert (figures.num_planned, figures.num_committed, figures.num_quarantined) == (195, 100, 5)
    assert figures.num_rejected == 0
    assert figures.num_list_calls == 256
    assert figures.seconds > 0
    assert figures.peak_bytes > 2**25


def test_figures_are_shown_with_their_units() -> None:
    figures = Figures(
        num_rows=2_000_000,
        num_planned=1_000_000,
        num_committed=900_000,
        num_quarantined=60_000,
        num_rejected=40_000,
        seconds=50.0,
        peak_bytes=2**29,
        num_list_calls=1024,
    )
    words = render(figures)
    assert "2,000,000 rows: 1,000,000 to make, 900,000 committed, 60,000 quarantined" in words
    assert "50.0 s, 25.0 us a row, peak memory 512 MiB" in words
    assert "1,024 (256 prefixes, 1,000 names a page" in words


@pytest.mark.slow
def test_a_million_rows_are_planned_in_a_minute_and_a_gibibyte() -> None:
    figures = measure(Options())
    assert (figures.num_planned, figures.num_committed) == (499_000, 500_000)
    assert figures.seconds < 60
    assert figures.peak_bytes < 2**30
    assert figures.num_list_calls == 512
