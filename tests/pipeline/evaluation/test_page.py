"""The page: whole, offline, without a script, and hostile prompts stay text."""

import base64
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline.dataset.scores import Scores
from pipeline.evaluation import page
from pipeline.evaluation.page import histogram, render_page
from tests.pipeline.dataset.test_scores import metric
from tests.pipeline.evaluation.scenes_store import ASSET, begin, commit
from tests.pipeline.evaluation.test_tables import batch, measured

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)"> & "quoted"'


class Reader(HTMLParser):
    """Elements, their attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_bars_are_numpy_s_histogram() -> None:
    values = np.array([0.0, 0.1, 0.1, 0.5, 1.0])
    drawn = ElementTree.fromstring(histogram(values, 'a "score"'))
    bars = [element for element in drawn if element.tag == "rect"]
    counts, _ = np.histogram(values, bins=24)
    assert len(bars) == sum(counts > 0)
    heights = [float(bar.attrib["height"]) for bar in bars]
    tallest = max(heights)
    np.testing.assert_allclose(
        [tallest * count / 2 for count in counts if count], heights, atol=0.06
    )
    for bar in bars:
        assert float(bar.attrib["y"]) + float(bar.attrib["height"]) == 102
    (line,) = [element for element in drawn if element.tag == "line"]
    assert float(line.attrib["x1"]) == 30.0, "the median, a tenth of 300"
    assert drawn.attrib["aria-label"] == 'a "score": 5 assets from 0.000 to 1.000'


def test_equal_values_have_a_histogram() -> None:
    assert len(ElementTree.fromstring(histogram(np.full(3, 0.25), "x"))) > 2


def test_the_page_is_whole_and_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "NUM_PICTURED", 2)
    store = begin(tmp_path)
    ids = sorted(commit(store, k, f"{HOSTILE} {k}", b"").asset_id for k in range(4))
    scores = Scores(store.objects)
    ours = scores.claim(metric())
    rows = batch(ours, 9, 1, 5, 2)  # overall .45, .05, .25, .1
    rows = rows.set_column(0, "asset_id", [ids])
    scores.write(ours, rows)
    text = render_page(store, scores, [measured(ours)])
    reader = Reader()
    reader.feed(text)
    assert "script" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    sources = [value for name, value in reader.attributes if name in ("src", "href")]
    picture = base64.b64encode(ASSET.thumb).decode()
    assert sources == [f"data:image/png;base64,{picture}"] * 4
    assert reader.text.count(HOSTILE) == 4
    assert reader.tags.count("svg") == 4
    best, worst = reader.text.split("The worst 2")
    assert best.index("0.450 ·") < best.index("0.250 ·")
    assert worst.index("0.050 ·") < worst.index("0.100 ·")
    assert "default-src 'none'" in text


def test_two_judges_have_a_section_each(tmp_path: Path) -> None:
    store = begin(tmp_path)
    scores = Scores(store.objects)
    both = [scores.claim(metric()), scores.claim(metric("other", weights_digest="o"))]
    reader = Reader()
    reader.feed(render_page(store, scores, [measured(ours) for ours in both]))
    assert reader.tags.count("h2") == 2
    assert "svg" not in reader.tags
