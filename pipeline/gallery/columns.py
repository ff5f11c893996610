"""What the page knows of a column: how to show it, and which filter it gets.

    text    any text: contains
    choice  few different texts, or yes and no: choose among `values`; in data their index
    number  from, to; texts that are all numbers count as such, and travel as they are written
    time    from, to; in data seconds since 1970, UTC

Whole numbers that JavaScript cannot hold travel as text, so that a seed is shown to its last digit;
so do NaN and infinities, which JSON has no word for. Other floats keep seven digits, and a text its
first 4,096 characters.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pipeline.dataset.asset_table import MESH, SCALARS
from pipeline.dataset.catalog import FILE_COLUMN
from pipeline.gallery.rows import Rows

Kind = Literal["text", "choice", "number", "time"]
Group = Literal["request", "yours", "scores", "making", "mesh", "names"]

_MOST_CHOICES = 40
_LONGEST_CHOICE = 80
_LONGEST_TEXT = 4096
_LARGEST_INTEGER = 2**53 - 1
_NO_YES = ("no", "yes")
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,300})(\.\d+)?([eE][+-]?\d{1,2})?", re.ASCII)

_REQUEST = {"prompt", "negative_prompt", "seed", "recipe", "guidance"}
_NAMES = {"asset_id", "prompt_id", "attempt_id", "recipe_digest", "guidance_digest", FILE_COLUMN}
_ALWAYS_TEXT = {"prompt", "negative_prompt", *_NAMES}
_LABELS = {
    "asset_id": "Asset",
    "prompt_id": "Prompt id",
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "seed": "Seed",
    "seed_used": "Seed used",
    "attempt_id": "Attempt",
    "status": "Status",
    "mesh_status": "Mesh status",
    "recipe": "Recipe",
    "recipe_digest": "Recipe digest",
    "guidance": "Model",
    "guidance_digest": "Model digest",
    "created_at": "Made",
    "attempts": "Attempts",
    "iterations": "Iterations",
    "gpu_seconds": "Device time",
    "device": "Device",
    "peak_memory_bytes": "Peak memory",
    FILE_COLUMN: "File",
    "is_best": "Best of its seeds",
    "mesh_vertices": "Vertices",
    "mesh_faces": "Faces",
    "mesh_components": "Pieces",
    "mesh_watertight": "Watertight",
    "mesh_volume": "Volume",
    "mesh_area": "Surface",
    "mesh_level": "Density level",
}
_UNITS = {"gpu_seconds": "s", "peak_memory_bytes": "B"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the page; `values` are those of a choice, sorted."""

    name: str
    label: str
    kind: Kind
    group: Group
    unit: str = ""
    values: tuple[str, ...] = ()


def describe(rows: Rows, carried: set[str]) -> list[Column]:
    """The columns of the rows; `carried` names those of the user's manifest."""
    return [_column(name, rows.column(name), carried) for name in rows.table.column_names]


def encode(column: Column, values: pa.ChunkedArray) -> list[Any]:
    """Values as the page expects them; null stays null."""
    if column.kind == "time":
        return [None if x is None else x / 1e6 for x in _microseconds(values).to_pylist()]
    found = values.to_pylist()
    if column.kind == "number":
        return [x if isinstance(x, str) else _number(x) for x in found]
    as_text = _as_text(values.type)
    texts = [None if x is None else as_text(x)[:_LONGEST_TEXT] for x in found]
    if column.kind == "text":
        return texts
    codes = {text: code for code, text in enumerate(column.values)}
    return [None if text is None else codes[text] for text in texts]


def _column(name: str, values: pa.ChunkedArray, carried: set[str]) -> Column:
    kind, choices = _kind(name, values)
    label = _LABELS.get(name, name) if name not in carried else name
    return Column(
        name=name,
        label=label,
        kind=kind,
        group=_group(name, carried),
        unit=_UNITS.get(name, "") if name not in carried else "",
        values=choices,
    )


def _group(name: str, carried: set[str]) -> Group:
    if name in carried:
        return "yours"
    if name in _REQUEST:
        return "request"
    if name in _NAMES:
        return "names"
    if name in MESH.names or name == "mesh_status":
        return "mesh"
    return "making" if name in SCALARS.names or name.startswith("loss_") else "scores"


def _kind(name: str, values: pa.ChunkedArray) -> tuple[Kind, tuple[str, ...]]:
    kind = values.type
    if pa.types.is_boolean(kind):
        return "choice", _NO_YES
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number", ()
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time", ()
    if name in _ALWAYS_TEXT or not _is_plain_text(kind):
        return "text", ()
    if _reads_as_numbers(values):
        return "number", ()
    choices = sorted(x for x in values.unique().to_pylist() if x is not None)
    is_short = all(len(x) <= _LONGEST_CHOICE for x in choices)
    return (
        ("choice", tuple(choices)) if len(choices) <= _MOST_CHOICES and is_short else ("text", ())
    )


def _is_plain_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _reads_as_numbers(values: pa.ChunkedArray) -> bool:
    """Whether texts are numbers that nobody gave a type, as in a CSV file; 007 is a name."""
    found = (x for chunk in values.chunks for x in chunk.to_pylist() if x is not None)
    first = next(found, "")
    return all(map(_NUMBER.fullmatch, itertools.chain([first], found)))


def _as_text(kind: pa.DataType) -> Callable[[Any], str]:
    """How a value that is no number is shown."""
    if pa.types.is_boolean(kind):
        return lambda x: _NO_YES[x]
    if pa.types.is_nested(kind):
        return lambda x: json.dumps(x, ensure_ascii=False, default=str)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return lambda x: f"{len(x):,} bytes"
    return str


def _number(value: Any) -> int | float | str | None:
    if value is None:
        return None
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_INTEGER else str(value)
    value = float(value)
    return float(f"{value:.7g}") if math.isfinite(value) else str(value).replace("inf", "Infinity")


def _microseconds(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Moments since 1970; one without a zone is taken for UTC."""
    zone = getattr(values.type, "tz", None)
    moments = values.cast(pa.timestamp("us", tz=zone), safe=False)
    return moments.cast(pa.int64())


def wire(columns: list[Column]) -> Iterator[dict[str, Any]]:
    """The columns as JSON objects."""
    for x in columns:
        yield {
            "name": x.name,
            "label": x.label,
            "kind": x.kind,
            "group": x.group,
            "unit": x.unit,
            "values": list(x.values),
        }
