"""Columns of every type, as the page gets them."""

import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pytest

from pipeline.gallery import columns
from pipeline.gallery.columns import Column
from pipeline.gallery.rows import Rows


def described(name: str, values: pa.Array, *, carried: bool = True) -> tuple[Column, list[object]]:
    """A column and its values as they travel."""
    rows = Rows(table=pa.table({name: values}), order=np.arange(len(values)))
    (column,) = columns.describe(rows, {name} if carried else set())
    return column, columns.encode(column, rows.column(name))


def test_a_few_different_texts_are_a_choice() -> None:
    column, codes = described("size", pa.array(["small", None, "large", "small", ""]))
    assert (column.kind, column.values) == ("choice", ("", "large", "small"))
    assert codes == [2, None, 1, 2, 0]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("caption", [f"text {k}" for k in range(41)]),
        ("caption", ["short", "x" * 81]),
        ("prompt", ["one", "two", "one"]),
        ("asset_id", ["0" * 32, "1" * 32]),
    ],
)
def test_many_or_long_texts_and_names_are_searched(name: str, texts: list[str]) -> None:
    column, sent = described(name, pa.array(texts), carried=name == "caption")
    assert (column.kind, column.values) == ("text", ())
    assert sent == texts


def test_a_text_is_cut_before_it_fills_the_page() -> None:
    _, sent = described("notes", pa.array(["x" * 5000]))
    assert sent == ["x" * 4096]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["0.5", None, "-12", "1e-3", "0"], "number"),
        (["0.5", "007"], "choice"),
        (["0.5", ""], "choice"),
        (["1", "nan"], "choice"),
        (["1", "٣"], "choice"),
        ([None, None], "choice"),
    ],
)
def test_texts_that_are_all_numbers_are_numbers(texts: list[str | None], kind: str) -> None:
    column, sent = described("difficulty", pa.array(texts, pa.string()))
    assert column.kind == kind
    if kind == "number":
        assert sent == texts


def test_yes_and_no_are_a_choice() -> None:
    column, codes = described("is_good", pa.array([True, None, False]))
    assert column.values == ("no", "yes")
    assert codes == [1, None, 0]


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        (pa.array([1, None, -3], pa.int16()), [1, None, -3]),
        (pa.array([2**53 - 1, 2**53, -(2**63)]), [2**53 - 1, str(2**53), str(-(2**63))]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        (pa.array([0.1 + 0.2, 1 / 3, 1e30]), [0.3, 0.3333333, 1e30]),
        (pa.array([np.nan, np.inf, -np.inf]), ["nan", "Infinity", "-Infinity"]),
        (pa.array([decimal.Decimal("1.50")]), [1.5]),
    ],
)
def test_numbers_keep_what_a_person_reads(values: pa.Array, sent: list[object]) -> None:
    column, arrived = described("difficulty", values)
    assert column.kind == "number"
    assert arrived == sent


MOMENT = dt.datetime(2026, 11, 23, 12, 0, 0, 250000, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (pa.array([MOMENT, None], pa.timestamp("us", tz="UTC")), MOMENT.timestamp()),
        (pa.array([MOMENT, None], pa.timestamp("ns", tz="Europe/Berlin")), MOMENT.timestamp()),
        (pa.array([MOMENT.replace(tzinfo=None), None]), MOMENT.timestamp()),
        (pa.array([MOMENT.date(), None]), MOMENT.timestamp() // 86400 * 86400),
    ],
)
def test_moments_are_seconds_in_utc(values: pa.Array, seconds: float) -> None:
    column, sent = described("reviewed", values)
    assert column.kind == "time"
    assert sent == [pytest.approx(seconds, abs=1e-6), None]


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        (pa.array([["a", "b"], None]), ['["a", "b"]', None]),
        (pa.array([{"x": 1.5, "y": "é"}]), ['{"x": 1.5, "y": "é"}']),
        (pa.array([b"abc", None]), ["3 bytes", None]),
        (pa.array([dt.time(12, 30)]), ["12:30:00"]),
        (pa.nulls(2), [None, None]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    ],
)
def test_everything_else_is_shown_as_text(values: pa.Array, sent: list[object]) -> None:
    column, arrived = described("extra", values)
    assert column.kind == "text"
    assert arrived == sent


@pytest.mark.parametrize(
    ("name", "carried", "group", "label", "unit"),
    [
        ("prompt", False, "request", "Prompt", ""),
        ("gpu_seconds", False, "making", "Device time", "s"),
        ("peak_memory_bytes", False, "making", "Peak memory", "B"),
        ("loss_sds", False, "making", "loss_sds", ""),
        ("mesh_status", False, "mesh", "Mesh status", ""),
        ("bbox_min_x", False, "mesh", "bbox_min_x", ""),
        ("guidance_digest", False, "names", "Model digest", ""),
        ("clip_score", False, "scores", "clip_score", ""),
        ("is_best", False, "scores", "Best of its seeds", ""),
        ("collection", True, "yours", "collection", ""),
        ("__proto__", True, "yours", "__proto__", ""),
    ],
)
def test_a_column_has_its_place_and_its_word(
    name: str, carried: bool, group: str, label: str, unit: str
) -> None:
    column, _ = described(name, pa.array([1.0, 2.0]), carried=carried)
    assert (column.group, column.label, column.unit) == (group, label, unit)


def test_columns_travel_whole() -> None:
    column, _ = described("size", pa.array(["small", "large"]))
    assert list(columns.wire([column])) == [
        {
            "name": "size",
            "label": "size",
            "kind": "choice",
            "group": "yours",
            "unit": "",
            "values": ["large", "small"],
        }
    ]
