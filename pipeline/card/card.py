"""A dataset card: `README.md` of an output, for people and for the Hugging Face hub.

Its front matter tells the hub and `datasets.load_dataset(directory)` which files hold what; the
rest are statistics, and how to read the dataset, as code that runs in its directory. No reader of
Parquet takes it for data: it lies beside the directories that they read.

Prompts and names of columns are texts of users: what Markdown or HTML would obey is escaped.
"""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from pipeline import status
from pipeline.card import files, statistics, wording
from pipeline.card.files import Files
from pipeline.card.statistics import Histogram, Statistics
from pipeline.dataset import catalog, licences
from pipeline.errors import UserError
from pipeline.plain_text import printable
from pipeline.store import Store

NAME = "README.md"

_NUM_PROMPTS = 12
_PROMPT_LETTERS = 200
_BAR = 24
_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"))
_OBEYED = re.compile(r"([\\`*_{}\[\]()#+!|~$:@-])")
_DOTTED = re.compile(r"(\bwww|^\d+)\.", re.IGNORECASE)
"""What becomes a link without being asked, and the first line of a list."""


def write(store: Store, *, licence: str | None = None) -> str:
    """Bring the catalog up to date and write the card; returns its address.

    `licence` as the hub names it; by default that of what the diffusion models make, if it is
    known. UserError for an output without assets.
    """
    if not any(shard.asset_ids() for shard in store.shards()):
        raise UserError(f"{store.url} has no assets: a card describes what a run has made")
    catalog.write(store)
    with store.objects.fetched(catalog.NAME) as path:
        text = draw(store, path, licence=licence)
    return store.publish(NAME, text.encode())


def draw(store: Store, path: Path, *, licence: str | None) -> str:
    """The text of the card, from the catalog as a file of this machine."""
    counted = statistics.read(path, num_shown=_NUM_PROMPTS)
    if not counted.num_assets:
        raise UserError(f"{store.url} has no asset that can be read: a card describes such")
    listed = files.find(store)
    found = licences.of_models(store, path)
    licence = licence or licences.of_all(found.values())
    front = _front_matter(store, listed, path, counted, licence)
    name = _text(front["pretty_name"])
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n",
        f"# {name}\n",
        wording.INTRODUCTION.format(assets=counted.num_assets, prompts=counted.num_prompts),
        _statistics(store, counted),
        _reading(listed),
        wording.LAYOUT,
        _licence(licence, found),
    ]
    return "\n".join(parts)


def _front_matter(
    store: Store, listed: Files, path: Path, counted: Statistics, licence: str
) -> dict[str, Any]:
    patterns_of = {"assets": listed.patterns, "catalog": [files.CATALOG]}
    features = files.features(store, listed, pq.read_schema(path))
    size = next((name for most, name in _SIZES if counted.num_assets < most), "n>1M")
    return {
        "pretty_name": _name(store.url),
        "license": licence,
        "task_categories": ["text-to-3d"],
        "size_categories": [size],
        "tags": ["3d", "nerf", "synthetic", "dreambatch"],
        "configs": [
            {"config_name": name, "data_files": [{"split": "train", "path": patterns}]}
            | ({"default": True} if name == "assets" else {})
            for name, patterns in patterns_of.items()
        ],
        "dataset_info": [{"config_name": name, "features": x} for name, x in features.items()],
    }


def _name(url: str) -> str:
    """The last part of a place's name, on one line."""
    last = url.rstrip("/").rpartition("/")[2]
    if last in ("", ".", ".."):
        last = Path(url).resolve().name
    return " ".join(printable(last).split())


def _statistics(store: Store, counted: Statistics) -> str:
    found = status.summarise(store)
    numbers = {
        "assets": f"{counted.num_assets:,}",
        "different prompts": f"{counted.num_prompts:,}",
        "device time": f"{counted.gpu_seconds:,.0f} s",
        "quarantined prompts": f"{found.num_quarantined:,}",
        "rejected rows of the newest manifest": f"{found.num_rejected:,}",
    }
    numbers |= {f"failed attempts: {kind}": f"{n:,}" for kind, n in found.failures.items()}
    lines = ["## Statistics\n", _table("what", "count", numbers)]
    for name, values in counted.values.items():
        lines.append(_table(name, "assets", {k: f"{n:,}" for k, n in values.items()}))
    for name, histogram in counted.histograms.items():
        lines.append(_histogram(name, histogram))
    lines.append(f"Some of the prompts:\n\n{_prompts(counted.prompts)}\n")
    return "\n".join(lines)


def _table(left: str, right: str, rows: Mapping[str, str]) -> str:
    body = "".join(f"| {_text(name)} | {_text(value)} |\n" for name, value in rows.items())
    return f"| {_text(left)} | {_text(right)} |\n|---|---:|\n{body}"


def _histogram(name: str, histogram: Histogram) -> str:
    head = f"{_text(name)}, mean {histogram.mean:.4g}"
    if histogram.num_missing:
        head += f", missing {histogram.num_missing:,}"
    most = max(histogram.counts)
    lines = [f"{head}:\n", "| from | to | assets | |", "|---:|---:|---:|:---|"]
    for low, high, n in zip(
        histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True
    ):
        lines.append(f"| {low:.4g} | {high:.4g} | {n:,} | {'█' * round(_BAR * n / most)} |")
    return "\n".join(lines) + "\n"


def _prompts(prompts: Any) -> str:
    return "\n".join(f"- {_text(prompt)}" for prompt in prompts)


def _text(text: str) -> str:
    """A text on one line, as itself: no markup of Markdown or HTML, no long one whole."""
    line = " ".join(printable(text).split())
    short = line if len(line) <= _PROMPT_LETTERS else line[: _PROMPT_LETTERS - 3] + "..."
    escaped = _OBEYED.sub(r"\\\1", html.escape(short, quote=False))
    return _DOTTED.sub(r"\1\\.", escaped)


def _reading(listed: Files) -> str:
    if listed.partition is None:
        return wording.READING
    return wording.READING + wording.PARTITIONED.format(column=_text(listed.partition))


def _licence(licence: str, found: Mapping[str, str]) -> str:
    models = ", ".join(f"{_text(model)} ({_text(name)})" for model, name in found.items())
    return (
        f"## Licence\n\n{_text(licence)}. What comes out of a diffusion model is under the terms "
        f"of that model, here: {models}.\n"
    )
