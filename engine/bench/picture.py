"""A picture of a step's parts, as SVG: a bar for each model and number of slots.

    python -m engine.bench picture DIR/step.jsonl --out engine/bench/results/step.svg

Times are medians on the clock of the device, in milliseconds of a step over the slots of its gang.
Each model has a scale of its own, and every number stands beside its bar. The ground is white, so
that it reads the same on a dark page.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

PARTS = {"unet": "U-Net", "vae": "VAE", "field": "field", "other": "other"}
"""Names by `Gang.part_seconds`'s."""
MODELS = {
    "if": "DeepFloyd IF-I-XL (4.3 G parameters)",
    "sd": "Stable Diffusion 2.1 (866 M parameters)",
    "primitives": "the embedded model",
}
_COLOURS = {"unet": "#1f6fb4", "vae": "#8a4fa3", "field": "#3a8f4d", "other": "#d1662a"}
_INK, _FAINT, _TRACK = "#333333", "#777777", "#f0f0f0"
_WIDTH, _MARGIN = 760, 16
_BARS = (72, 400)
_COLUMNS = {"unet": 478, "vae": 546, "field": 614, "other": 682, "all": 744}
"""Right edges of the columns of numbers."""
_HEAD, _TITLE, _ROW = 56, 34, 24


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A gang's step."""

    model: str
    recipe: str
    views: int
    slots: int
    scene_ms: Mapping[str, float]
    """Of each part, over the slots."""

    @property
    def total(self) -> float:
        """Of all parts."""
        return sum(self.scene_ms.values())


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 drawn, 2 a mistake of the user's."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench picture")
    parser.add_argument("steps", type=Path, help="step.jsonl, as `step` writes it")
    parser.add_argument("--out", type=Path, required=True, help="the SVG")
    given = parser.parse_args(arguments)
    try:
        drawn = picture([json.loads(line) for line in given.steps.read_text().splitlines()])
    except (OSError, ValueError) as error:
        parser.error(str(error))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(drawn)
    print(given.out)
    return 0


def picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """The picture of rows of one device. Raises ValueError where none was timed, or on several."""
    timed = [row for row in rows if row["parts_ms"] is not None]
    devices = sorted({row["device"] for row in timed})
    if len(devices) != 1:
        raise ValueError(f"steps: expected timed ones of one device, got those of {devices}")
    panels: dict[tuple[str, str, int], list[Bar]] = {}
    for bar in bars(timed):
        panels.setdefault((bar.model, bar.recipe, bar.views), []).append(bar)
    drawn, y = _head(devices[0]), float(_HEAD)
    for panel in panels.values():
        drawn += _panel(panel, y)
        y += _TITLE + _ROW * len(panel)
    height = round(y) + _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="13">',
            f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="white"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def bars(rows: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """One a model, recipe, views and slots: the fastest of the commit that comes last; in the
    order of `MODELS`."""
    fastest: dict[tuple[int, str, int, int], Bar] = {}
    commits: dict[tuple[int, str, int, int], str] = {}
    for row in rows:
        bar = Bar(
            model=row["part"],
            recipe=row["setting"].split()[0],
            views=row["views"],
            slots=row["slots"],
            scene_ms={part: row["parts_ms"].get(part, 0.0) / row["slots"] for part in PARTS},
        )
        key = (list(MODELS).index(bar.model), bar.recipe, bar.views, bar.slots)
        if commits.get(key) != row["commit"] or bar.total < fastest[key].total:
            fastest[key], commits[key] = bar, row["commit"]
    return [fastest[key] for key in sorted(fastest)]


def _head(device: str) -> list[str]:
    """What it shows, and the names of the columns with the colours of the bars."""
    found = [_text(_MARGIN, 24, f"A step on one {device}: milliseconds a scene", "start", size=15)]
    for part, name in PARTS.items():
        x = _COLUMNS[part]
        found.append(_text(x, 50, name, "end"))
        found.append(_rect(x - 56, 40, 11, 11, _COLOURS[part]))
    found.append(_text(_COLUMNS["all"], 50, "step", "end", weight="bold"))
    return found


def _panel(panel: Sequence[Bar], top: float) -> list[str]:
    """The bars of one model, on one scale."""
    first, (left, right) = panel[0], _BARS
    views = f"{first.views} view" + ("s" if first.views > 1 else "")
    title = f"{MODELS[first.model]}, {first.recipe}, {views} a scene"
    found = [_text(_MARGIN, top + 22, title, "start", weight="bold")]
    scale = (right - left) / max(bar.total for bar in panel)
    for k, bar in enumerate(panel):
        y = top + _TITLE + _ROW * k
        found.append(_text(left - 10, y + 14, f"S = {bar.slots}", "end"))
        found.append(_rect(left, y + 2, right - left, _ROW - 7, _TRACK))
        x = float(left)
        for part, ms in bar.scene_ms.items():
            found.append(_rect(x, y + 2, scale * ms, _ROW - 7, _COLOURS[part]))
            x += scale * ms
            number, colour = (f"{ms:.2f}", _INK) if ms else ("–", _FAINT)
            found.append(_text(_COLUMNS[part], y + 14, number, "end", colour=colour))
        found.append(_text(_COLUMNS["all"], y + 14, f"{bar.total:.2f}", "end", weight="bold"))
    return found


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}" fill="{colour}"/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str,
    *,
    size: int = 13,
    weight: str = "normal",
    colour: str = _INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="{colour}">{escape(text)}</text>'
    )
