"""The report of an evaluation as one HTML file: figures, histograms, the best and the worst.

It needs nothing beside itself and runs no script: histograms are drawn in SVG, thumbnails lie in it
as data. Whatever comes from a dataset is escaped.
"""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np

from pipeline.dataset import catalog
from pipeline.dataset.scores import Scores
from pipeline.dataset.snapshots import to_hex
from pipeline.evaluation.rows import SHARES
from pipeline.evaluation.tables import Measured, Summary, figures, said, summarise
from pipeline.store import Store

NUM_PICTURED = 12
"""Assets shown from either end, and at most half of all."""

_BINS = 24
_WIDTH, _HEIGHT = 300, 120
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #222; background: #fff }
pre { overflow-x: auto; background: #f5f5f5; padding: 1rem }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top }
figcaption { max-width: 18.75rem; font-size: 13px; overflow-wrap: anywhere }
.asset, .asset figcaption { width: 8rem }
.asset img { width: 8rem; height: 8rem; object-fit: contain; background: #f5f5f5 }
svg { display: block; background: #f5f5f5 }
svg rect { fill: #4472a8 }
svg line { stroke: #c0392b }
svg text { font-size: 11px; fill: #444 }
"""


def render_page(store: Store, scores: Scores, done: Sequence[Measured]) -> str:
    """The page of some judges' scores."""
    parts = [_section(store, summarise(scores, measured)) for measured in done]
    title = f"Evaluation of {escape(store.url)}"
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{title}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def histogram(values: np.ndarray, name: str) -> str:
    """A histogram as SVG, with a line at the median and the ends of the axis in numbers."""
    counts, edges = np.histogram(values, bins=_BINS)
    low, high = float(edges[0]), float(edges[-1])
    bar, floor = _WIDTH / _BINS, _HEIGHT - 18
    tall = (floor - 16) * counts / counts.max()
    bars = "".join(
        f'<rect x="{k * bar:.1f}" y="{floor - h:.1f}" width="{bar - 1:.1f}" height="{h:.1f}"/>'
        for k, h in enumerate(tall)
        if h
    )
    median = float(np.median(values))
    place = (median - low) / (high - low) * _WIDTH
    label = escape(f"{name}: {len(values)} assets from {low:.3f} to {high:.3f}")
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}">{bars}'
        f'<line x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="{floor}"/>'
        f'<text x="2" y="{_HEIGHT - 5}">{low:.3f}</text>'
        f'<text x="{_WIDTH - 2}" y="{_HEIGHT - 5}" text-anchor="end">{high:.3f}</text>'
        f'<text x="2" y="11">most: {counts.max()}</text></svg>'
    )


def _section(store: Store, summary: Summary) -> str:
    text = "\n".join(figures(summary))
    drawn: list[str] = []
    for name in SHARES:
        values = summary.values[name][np.isfinite(summary.values[name])]
        if len(values):
            caption = f"{said(name)}, median {np.median(values):.3f}"
            picture = histogram(values, said(name))
            drawn.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    return "\n".join(
        [
            f"<h2>{escape(summary.title)}</h2>",
            f"<pre>{escape(text)}</pre>",
            *drawn,
            *_pictures(store, summary),
        ]
    )


def _pictures(store: Store, summary: Summary) -> list[str]:
    """The best and the worst assets by their overall score."""
    values = summary.values["overall"]
    order = np.argsort(-values, kind="stable")
    num_best = min(NUM_PICTURED, len(order) - len(order) // 2)
    num_worst = min(NUM_PICTURED, len(order) // 2)
    found: list[str] = []
    for head, chosen in (
        ("The best", order[:num_best]),
        ("The worst", order[::-1][:num_worst]),
    ):
        by_id = dict(zip(to_hex(summary.ids[chosen]), values[chosen], strict=True))
        columns = ["asset_id", "prompt", "seed", "thumb"]
        found.append(f"<h3>{head} {len(by_id)} by their overall score</h3>")
        for table in catalog.readable(store, list(by_id), "not pictured", columns):
            (row,) = table.to_pylist()
            found.append(_picture(row, by_id[row["asset_id"]]))
    return found


def _picture(row: dict, value: float) -> str:
    thumb = (row["thumb"] or {}).get("bytes") or b""
    data = base64.b64encode(thumb).decode()
    words = f"{value:.3f} &middot; {escape(row['prompt'])} &middot; seed {row['seed']}"
    return (
        f'<figure class="asset"><img alt="" src="data:image/png;base64,{data}">'
        f"<figcaption>{words}</figcaption></figure>"
    )
