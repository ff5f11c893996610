"""Manifests that no user should write, and some do: whatever a file holds, `dreambatch validate`
ends with a verdict, and every row of a table that can be read is planned or rejected, once."""

import contextlib
import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import cli, exit_codes, manifest
from pipeline.dataset.asset_table import asset_schema
from pipeline.errors import UserError
from pipeline.plan import Plan, make_plan
from pipeline.records import Prompt, Rejection
from pipeline.store import Store

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
HOSTILE = st.sampled_from(
    [
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "'; DROP TABLE assets; --",
        "$(reboot) `id` %s {0} {prompt}",
        "a\x00b",
        "\u202eright to left",
        "\ufeffBOM",
        "e\u0301" * 20,
        "🦆" * 30,
        "x" * 5000,
        "NaN",
        "null",
        "-1",
        "1e309",
        "=1+1",
    ]
)
INTEGERS = st.integers(-(2**70), 2**70) | st.sampled_from([0, 1, -1, 2**63 - 1, 2**63, 2**64])
FLOATS = st.floats() | st.sampled_from([1.0, 3.0, 1e300, 2.0**63])
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT | HOSTILE
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KNOWN = ["prompt", "prompt_id", "seed", "num_seeds", "negative_prompt", "recipe"]
FEW_SEEDS = st.sampled_from([None, 1, 2, 3, 0, -1, 10_001, "2", 2.0, True])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifests")


def validate(path: Path) -> tuple[int, str]:
    """Exit code of `dreambatch validate`, and what it says; any other end fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["validate", "--manifest", str(path)])
    if code == exit_codes.COMPLETE:
        assert err.getvalue() == ""
        return code, out.getvalue()
    assert code == exit_codes.USER
    assert out.getvalue() == ""
    assert err.getvalue().startswith("dreambatch: error: ")
    assert err.getvalue().count("\n") == 1
    return code, err.getvalue()


def planned(path: Path, folder: Path) -> tuple[Plan, list[Prompt | Rejection]]:
    """The plan of a manifest, as far as it goes before an actor is asked: with its rejections
    written down, and the carried columns of each task fit for the dataset."""
    carried = manifest.schema(str(path))
    items = list(manifest.read(str(path)))
    plan = make_plan(
        items,
        recipes={"primitives": "d"},
        default_recipe="primitives",
        guidance="primitives",
        guidance_digest="d",
        carried=carried,
    )
    Store.open(str(folder / "out"), create=True).write_rejections("run", plan.rejections)
    schema = asset_schema(carried)
    for task in plan.tasks:
        for name in carried.names:
            pa.array([task.prompt.extra[name]], schema.field(name).type)
    return plan, items


def check_whole(path: Path, folder: Path, seeds: list[int]) -> None:
    """Every row is planned or rejected, once; `seeds` says how many assets a good row asks for."""
    plan, items = planned(path, folder)
    rejected = Counter(item.row for item in plan.rejections)
    made = Counter(task.prompt.row for task in plan.tasks)
    assert {*rejected, *made} == set(range(len(seeds)))
    for row, wanted in enumerate(seeds):
        whole = (made[row], rejected[row]) == (0, 1)
        assert whole or made[row] + rejected[row] == wanted, (row, made[row], rejected[row])
    assert len(set(plan.tasks.asset_ids())) == len(plan.tasks)
    assert len({item.prompt_id for item in items if isinstance(item, Prompt)}) == sum(
        isinstance(item, Prompt) for item in items
    )
    code, words = validate(path)
    assert code == exit_codes.COMPLETE
    counts = len(plan.tasks), len(plan.rejections)
    made_words, refused_words = (
        f"{number:,} {what}" + ("" if number == 1 else "s")
        for number, what in zip(counts, ("asset", "row"), strict=True)
    )
    assert f"{made_words} to make, {refused_words} rejected" in words


def check_verdict(path: Path, folder: Path) -> None:
    """A table that may be beyond reading: a user's mistake, or rows without a gap."""
    code, _ = validate(path)
    if code == exit_codes.USER:
        with pytest.raises(UserError):
            list(manifest.read(str(path)))
        return
    _, items = planned(path, folder)
    assert sorted({item.row for item in items}) == list(range(max(x.row for x in items) + 1))


def num_seeds(value: object) -> int:
    """How many assets a row with this `num_seeds` asks for."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 1 <= value <= 10_000 else 1  # pyright: ignore


ROW = st.fixed_dictionaries(
    {"prompt": TEXT | HOSTILE | SCALARS},
    optional={
        "prompt_id": SCALARS,
        "seed": SCALARS,
        "num_seeds": FEW_SEEDS,
        "negative_prompt": SCALARS,
        "recipe": st.none() | st.just("primitives") | SCALARS,
    },
)


@given(rows=st.lists(ROW, min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_rows_of_json_with_any_values(folder: Path, rows: list[dict[str, Any]]) -> None:
    path = folder / "values.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    check_whole(path, folder, [num_seeds(row.get("num_seeds")) for row in rows])


@given(
    values=st.lists(JSON, min_size=1, max_size=4),
    more=st.lists(JSON | st.lists(INTEGERS | FLOATS), max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_json_columns_of_any_shape(folder: Path, values: list[Any], more: list[Any]) -> None:
    path = folder / "shapes.jsonl"
    rows = [{"prompt": f"ball {k}", "note": value} for k, value in enumerate([*values, *more])]
    path.write_text("\n".join(map(json.dumps, rows)))
    if validate(path)[0] == exit_codes.COMPLETE:
        check_whole(path, folder, [1] * len(rows))


@given(
    lines=st.lists(
        st.binary(max_size=30)
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.just(b'{"prompt": "a ball"}'),
        max_size=8,
    ),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe"]),
)
@settings(max_examples=40, deadline=None)
def test_lines_of_anything(folder: Path, lines: list[bytes], end: bytes, mark: bytes) -> None:
    for suffix in ("jsonl", "txt", "csv", "parquet"):
        path = folder / f"lines.{suffix}"
        path.write_bytes(mark + end.join(lines))
        check_verdict(path, folder)


CELL = TEXT | HOSTILE | INTEGERS.map(str) | FLOATS.map(str)


@given(
    header=st.lists(st.sampled_from([*KNOWN, "note"]), unique=True, max_size=4),
    rows=st.lists(st.lists(CELL, min_size=1, max_size=6), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
@settings(max_examples=40, deadline=None)
def test_cells_of_anything(
    folder: Path, header: list[str], rows: list[list[str]], end: str
) -> None:
    header = ["prompt", *(name for name in header if name not in ("prompt", "num_seeds"))]
    path = folder / "cells.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerows([header, *rows])
    check_whole(path, folder, [1] * len(rows))


@given(names=st.lists(TEXT | HOSTILE | st.sampled_from([*KNOWN, "Prompt"]), max_size=5))
@settings(max_examples=40, deadline=None)
def test_columns_of_any_name(folder: Path, names: list[str]) -> None:
    rows = [[*(f"{k}" for _ in names), f"ball {k}"] for k in range(2)]
    with (folder / "names.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([[*names, "prompt"], *rows])
    check_verdict(folder / "names.csv", folder)
    lines = [json.dumps(dict(zip([*names, "prompt"], row, strict=True))) for row in rows]
    (folder / "names.jsonl").write_text("\n".join(lines))
    check_verdict(folder / "names.jsonl", folder)
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    table = pa.Table.from_arrays(columns, names=[*names, "prompt"])
    pq.write_table(table, folder / "names.parquet")
    check_verdict(folder / "names.parquet", folder)


def arrow_types() -> st.SearchStrategy[pa.DataType]:
    plain = st.sampled_from(
        [
            pa.null(),
            pa.bool_(),
            pa.int8(),
            pa.uint64(),
            pa.float16(),
            pa.float64(),
            pa.decimal128(38, 4),
            pa.decimal256(70, 2),
            pa.date32(),
            pa.date64(),
            pa.time32("s"),
            pa.time64("us"),
            pa.time64("ns"),
            pa.timestamp("s"),
            pa.timestamp("us", "UTC"),
            pa.timestamp("ns", "Europe/Berlin"),
            pa.timestamp("ms", "Not/AZone"),
            pa.duration("ns"),
            pa.duration("s"),
            pa.string(),
            pa.large_string(),
            pa.string_view(),
            pa.binary(),
            pa.binary_view(),
            pa.binary(3),
            pa.uuid(),
            pa.json_(),
            pa.bool8(),
        ]
    )
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            inner.map(pa.list_),
            inner.map(pa.large_list),
            inner.map(lambda kind: pa.list_(kind, 2)),
            inner.map(lambda kind: pa.struct([("x", kind), ("y", pa.int32())])),
            inner.map(lambda kind: pa.map_(pa.string(), kind)),
        ),
        max_leaves=2,
    )


def random_array(kind: pa.DataType, length: int, data: st.DataObject) -> pa.Array:
    """Any bytes as values of that type, as a broken writer may store them."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, random_array(kind.storage_type, length, data))
    if pa.types.is_struct(kind):
        parts = [random_array(x.type, length, data) for x in kind.fields]
        return pa.StructArray.from_arrays(parts, fields=kind.fields)
    if pa.types.is_map(kind):
        values = random_array(kind.item_type, length, data)
        keys = pa.array([f"k{k}" for k in range(length)])
        return pa.MapArray.from_arrays(pa.array(range(length + 1), pa.int32()), keys, values, kind)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(
            random_array(kind.value_type, 2 * length, data), type=kind
        )
    if pa.types.is_nested(kind):
        is_large = pa.types.is_large_list(kind)
        offsets = pa.array(range(length + 1), pa.int64() if is_large else pa.int32())
        lists = pa.LargeListArray if is_large else pa.ListArray
        return lists.from_arrays(offsets, random_array(kind.value_type, length, data))
    if pa.types.is_null(kind):
        return pa.nulls(length)
    if kind in (pa.string(), pa.large_string(), pa.string_view()):
        return pa.array(data.draw(st.lists(TEXT, min_size=length, max_size=length)), kind)
    if kind in (pa.binary(), pa.binary_view()):
        return pa.array(
            data.draw(st.lists(st.binary(max_size=5), min_size=length, max_size=length)), kind
        )
    size = max(1, kind.bit_width // 8) * length
    raw = data.draw(st.binary(min_size=size, max_size=size))
    return pa.Array.from_buffers(kind, length, [None, pa.py_buffer(raw)])


@given(kind=arrow_types(), name=st.sampled_from([*KNOWN, "note"]), data=st.data())
@settings(max_examples=80, deadline=None)
def test_parquet_columns_of_any_type(
    folder: Path, kind: pa.DataType, name: str, data: st.DataObject
) -> None:
    length = data.draw(st.integers(1, 4))
    columns = {"prompt": pa.array([f"ball {k}" for k in range(length)])}
    columns[name] = random_array(kind, length, data)
    path = folder / "types.parquet"
    try:
        pq.write_table(pa.table(columns), path)
    except pa.ArrowException:
        return
    if name == "num_seeds" and not pa.types.is_null(kind):
        check_verdict(path, folder)
    elif validate(path)[0] == exit_codes.COMPLETE:
        check_whole(path, folder, [1] * length)


@given(
    first=st.integers(0, 3000),
    noise=st.binary(min_size=1, max_size=40),
    suffix=st.sampled_from(["parquet", "csv", "jsonl", "txt"]),
)
@settings(max_examples=50, deadline=None)
def test_damaged_files(folder: Path, first: int, noise: bytes, suffix: str) -> None:
    whole = folder / "whole.parquet"
    table = pa.table({"prompt": [f"ball {k} {k * k}" for k in range(200)], "n": range(200)})
    pq.write_table(table, whole, compression="none" if first % 2 else "zstd")
    data = whole.read_bytes()
    path = folder / f"damaged.{suffix}"
    first %= len(data)
    for damaged in (data[:first] + noise + data[first + len(noise) :], data[:first]):
        path.write_bytes(damaged)
        check_verdict(path, folder)
