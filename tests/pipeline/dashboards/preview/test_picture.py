"""Whole pictures of the dashboards: their size, what was asked for them, what they are called."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.dashboards import render
from pipeline.dashboards.preview import picture, variables
from pipeline.dashboards.preview.prometheus import Query, Series, Span
from tests.pipeline.dashboards.fake_prometheus import series

BOARDS = render.dashboards()
SPAN = Span(start=1_800_000_000.0, end=1_800_003_600.0)
VALUES = {"run": "r", "instance": "h:1", "window": "5m", "price": "2", "__rate_interval": "1m"}


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)


def _asking(asked: list[str]) -> Query:
    """Answers without a server, and notes the questions."""

    def query(expression: str, span: Span, step: float) -> list[Series]:
        asked.append(expression)
        return [
            Series(
                labels=found["metric"],
                times=tuple(time for time, _ in found["values"]),
                values=tuple(float(value) for _, value in found["values"]),
            )
            for found in series(expression, span.start, span.end, step)
        ]

    return query


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_drawn_whole(name: str) -> None:
    board, asked = BOARDS[name], []
    pixels = _pixels(picture.draw(board, _asking(asked), SPAN, VALUES))
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    assert pixels.shape == (64 + 38 * rows, 24 * 66, 3)
    titles = [title for title, _ in variables.expressions(board, VALUES)]
    assert len(asked) == len(titles), "every expression is asked once"
    assert not any("$" in expression for expression in asked)
    for panel in board["panels"]:
        if panel["type"] not in ("row", "text"):
            place = panel["gridPos"]
            left, top = place["x"] * 66, 64 + place["y"] * 38
            inside = pixels[
                top + 34 : top + place["h"] * 38 - 8, left + 8 : left + place["w"] * 66 - 8
            ]
            assert np.ptp(inside) > 100, f"{panel['title']} is empty"


def _nothing(expression: str, span: Span, step: float) -> list[Series]:
    return []


def test_it_says_that_it_is_no_grafana(monkeypatch: pytest.MonkeyPatch) -> None:
    assert picture.LABEL == "preview, drawn by dreambatch, not Grafana"
    with_label = _pixels(picture.draw(BOARDS["store"], _nothing, SPAN, VALUES))
    monkeypatch.setattr(picture, "LABEL", "")
    without = _pixels(picture.draw(BOARDS["store"], _nothing, SPAN, VALUES))
    # The palette of few colours differs a little, everywhere.
    changed = np.argwhere((abs(with_label - without) > 60).any(axis=2))
    assert len(changed) > 500
    assert changed[:, 0].max() < 64
    assert changed[:, 1].min() > 24 * 66 / 2
