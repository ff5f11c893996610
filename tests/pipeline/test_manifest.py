import errno
import hashlib
import json
import time
import unicodedata
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import manifest
from pipeline.errors import UserError
from pipeline.records import Prompt, Rejection


def parquet(path: Path, columns: dict[str, Any]) -> str:
    pq.write_table(pa.table(columns), path / "manifest.parquet")
    return str(path / "manifest.parquet")


def split(url: str, **options: Any) -> tuple[list[Prompt], list[Rejection]]:
    items = list(manifest.read(url, **options))
    prompts = [item for item in items if isinstance(item, Prompt)]
    return prompts, [item for item in items if isinstance(item, Rejection)]


def only_reason(url: str) -> str:
    prompts, rejections = split(url)
    assert len(rejections) == 1, (prompts, rejections)
    return rejections[0].reason


def test_every_format_gives_the_same_prompts(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a red ball", "negative_prompt": "blurry, grey", "seed": 5, "source": "x"},
        {"prompt": 'a "blue" ball, é', "negative_prompt": None, "seed": None, "source": None},
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "m.parquet")
    pd.DataFrame(rows).to_csv(tmp_path / "m.csv", index=False)
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "m.jsonl").write_text(f"{lines}\n\n", encoding="utf-8-sig")
    found = [
        list(manifest.read(str(tmp_path / f"m.{kind}"))) for kind in ("parquet", "csv", "jsonl")
    ]
    assert found[0] == found[1] == found[2]
    first, second = found[0]
    assert isinstance(first, Prompt)
    assert (first.row, first.prompt, first.negative_prompt) == (0, "a red ball", "blurry, grey")
    assert (first.seed, dict(first.extra)) == (5, {"source": "x"})
    assert isinstance(second, Prompt)
    assert (second.negative_prompt, second.recipe, dict(second.extra)) == (
        "",
        None,
        {"source": None},
    )
    assert second.seed == manifest.default_seed('a "blue" ball, é')


def test_a_text_file_is_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_bytes("\ufeffa red ball\r\n\n  a blue ball \na café".encode() + b"\nbad \xff")
    prompts, rejections = split(str(path))
    assert [(p.row, p.prompt) for p in prompts] == [
        (0, "a red ball"),
        (2, "a blue ball"),
        (3, "a café"),
    ]
    assert [(r.row, r.reason.split(":")[0]) for r in rejections] == [
        (1, "prompt is empty"),
        (4, "prompt is not a string"),
    ]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"prompt": None}, "prompt is empty"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": " \t\u2003\n"}, "prompt is empty"),
        ({"prompt": 7}, "prompt is not a string: got int 7"),
        ({"prompt": ["a ball"]}, "prompt is not a string: got list ['a ball']"),
        ({"prompt": "x" * 4097}, "prompt has 4097 characters: expected at most 4096"),
        ({"prompt": "a ball \ud800"}, "it has half of a surrogate pair"),
        ({"negative_prompt": 1.5}, "negative_prompt is not a string: got float 1.5"),
        (
            {"negative_prompt": "x" * 4097},
            "negative_prompt has 4097 characters: expected at most 4096",
        ),
        ({"seed": -1}, "seed is -1: expected 0 to 9223372036854775807"),
        ({"seed": 2**63}, "seed is 9223372036854775808: expected 0 to 9223372036854775807"),
        ({"seed": "1"}, "seed is not an integer: got str '1'"),
        ({"seed": 1.5}, "seed is not an integer: got float 1.5"),
        ({"seed": True}, "seed is not an integer: got bool True"),
        ({"seed": float("inf")}, "seed is not an integer: got float inf"),
        ({"num_seeds": 0}, "num_seeds is 0: expected 1 to 10000"),
        ({"num_seeds": 10_001}, "num_seeds is 10001: expected 1 to 10000"),
        (
            {"seed": 2**63 - 1, "num_seeds": 2},
            "seed 9223372036854775807 with num_seeds 2 passes 9223372036854775807",
        ),
        ({"recipe": 3}, "recipe is not a string: got int 3"),
        ({"prompt_id": 1.5}, "prompt_id is not a string: got float 1.5"),
        ({"prompt_id": "x" * 257}, "prompt_id has 257 characters: expected at most 256"),
    ],
)
def test_a_bad_row_is_rejected_and_its_neighbours_are_kept(
    tmp_path: Path, cells: dict[str, Any], reason: str
) -> None:
    rows = [{"prompt": "before"}, {"prompt": "a ball"} | cells, {"prompt": "after"}]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    prompts, rejections = split(str(path))
    assert [(p.row, p.prompt) for p in prompts] == [(0, "before"), (2, "after")]
    assert [(r.row, r.reason) for r in rejections] == [(1, reason)]
    assert rejections[0].prompt is None or len(rejections[0].prompt) <= 200


@pytest.mark.parametrize(
    ("cell", "seed"),
    [("3", 3), ("3.0", 3), (" 3 ", 3), ("9007199254740993", 2**53 + 1), ("", None)],
)
def test_integers_in_csv_may_be_written_as_pandas_does(
    tmp_path: Path, cell: str, seed: int | None
) -> None:
    (tmp_path / "m.csv").write_text(f"prompt,seed,num_seeds,recipe\na ball,{cell},,\n")
    (prompt,), _ = split(str(tmp_path / "m.csv"))
    assert prompt.seed == (manifest.default_seed("a ball") if seed is None else seed)
    assert prompt.recipe is None


def test_integer_columns_that_pandas_turned_into_floats_are_integers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b"], "seed": [3, None], "prompt_id": [10, None]})
    assert frame["seed"].dtype == "float64"
    frame.to_parquet(tmp_path / "m.parquet")
    prompts, _ = split(str(tmp_path / "m.parquet"))
    assert [p.seed for p in prompts] == [3, manifest.default_seed("b")]
    assert prompts[0].prompt_id == "10"
    assert len(prompts[1].prompt_id) == 16


@pytest.mark.parametrize("values", [pa.array([1, 2]), pa.array([b"a", b"b"]), pa.array([[1], []])])
def test_a_prompt_column_of_another_type_rejects_each_row(tmp_path: Path, values: pa.Array) -> None:
    prompts, rejections = split(parquet(tmp_path, {"prompt": values}))
    assert prompts == []
    assert [r.row for r in rejections] == [0, 1]
    assert all(r.reason.startswith("prompt is not a string: got ") for r in rejections)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_prompts_may_be_stored_as_any_kind_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    url = parquet(tmp_path, {"prompt": pa.array(["a", None, "b"]).cast(kind)})
    prompts, rejections = split(url)
    assert [p.prompt for p in prompts] == ["a", "b"]
    assert [r.row for r in rejections] == [1]


def test_parquet_text_that_is_not_utf8_rejects_its_row_only(tmp_path: Path) -> None:
    raw = pa.array([b"a ball", b"bad \xff", b"a cup"], pa.binary())
    prompt = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    note = pa.Array.from_buffers(pa.string(), 3, pa.array([b"x", b"y", b"\xfe"]).buffers())
    prompts, rejections = split(parquet(tmp_path, {"prompt": prompt, "note": note}))
    assert [p.prompt for p in prompts] == ["a ball"]
    first, second = (rejection.reason for rejection in rejections)
    assert first == "prompt is not a string: got bytes b'bad \\xff'"
    assert second.startswith("note cannot be b'\\xfe': ")
    assert "not a utf8 string" in second


def test_text_is_nfc_without_blanks_around_it(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    url = parquet(tmp_path, {"prompt": [f" {decomposed}\n"], "negative_prompt": [decomposed]})
    (prompt,), _ = split(url)
    assert (prompt.prompt, prompt.negative_prompt) == (composed, composed)
    url = parquet(tmp_path, {"prompt": [composed, decomposed]})
    assert only_reason(url) == "repeats the prompt, negative prompt, seed and recipe of row 0"


def test_the_default_seed_is_the_same_for_ever() -> None:
    assert manifest.default_seed("a red mushroom") == 20230470
    seeds = {manifest.default_seed(f"prompt {k}") for k in range(2000)}
    assert len(seeds) == 2000
    assert min(seeds) >= 0
    assert 2**30 < max(seeds) < 2**31


def test_the_run_says_how_many_seeds_a_row_has_that_says_nothing(tmp_path: Path) -> None:
    columns = {"prompt": ["a", "b", "c"], "seed": [4, 9, 5], "num_seeds": [None, 1, 2]}
    path = tmp_path / "m.parquet"
    pd.DataFrame(columns).to_parquet(path)
    found = [item for item in manifest.read(str(path), num_seeds=3) if isinstance(item, Prompt)]
    seeds = [(item.prompt, item.seed) for item in found]
    assert seeds == [("a", 4), ("a", 5), ("a", 6), ("b", 9), ("c", 5), ("c", 6)]
    assert len({item.prompt_id for item in found}) == 6
    for wrong in (0, 10_001):
        with pytest.raises(UserError, match=f"{wrong} seeds a prompt: expected 1 to 10000"):
            next(manifest.read(str(path), num_seeds=wrong))


def test_num_seeds_expands_to_seeds_in_a_row(tmp_path: Path) -> None:
    columns = {"prompt": ["a", "b"], "prompt_id": ["x", "y"], "seed": [4, 9], "num_seeds": [3, 1]}
    prompts, rejections = split(parquet(tmp_path, columns))
    assert [(p.row, p.prompt_id, p.seed) for p in prompts] == [
        (0, "x-4", 4),
        (0, "x-5", 5),
        (0, "x-6", 6),
        (1, "y", 9),
    ]
    assert rejections == []


def test_only_the_repeated_seeds_of_a_row_are_rejected(tmp_path: Path) -> None:
    prompts, rejections = split(
        parquet(tmp_path, {"prompt": ["a", "a"], "seed": [0, 2], "num_seeds": [3, 2]})
    )
    assert [(p.row, p.seed) for p in prompts] == [(0, 0), (0, 1), (0, 2), (1, 3)]
    assert [(r.row, r.prompt_id and r.prompt_id[-2:]) for r in rejections] == [(1, "-2")]


def test_a_rejected_row_does_not_shadow_a_later_one(tmp_path: Path) -> None:
    columns = {"prompt": ["a", "b", "b"], "prompt_id": ["same", "same", "other"]}
    prompts, rejections = split(parquet(tmp_path, columns))
    assert [(p.row, p.prompt) for p in prompts] == [(0, "a"), (2, "b")]
    assert rejections[0].reason == "repeats the prompt_id 'same' of row 0"


ROW = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["a", "b", "e\u0301", "\u00e9"]),
        "negative_prompt": st.sampled_from([None, "", "x"]),
        "seed": st.sampled_from([None, 0, 1]),
        "recipe": st.sampled_from([None, "smoke"]),
        "prompt_id": st.sampled_from([None, "p", "q", "r", "s"]),
    }
)


@given(rows=st.lists(ROW, min_size=1, max_size=25), batch_rows=st.integers(1, 7))
def test_duplicates_are_those_of_a_naive_search(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], batch_rows: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "duplicates.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    kept: list[tuple[tuple[Any, ...], str | None]] = []
    expected: list[int] = []
    for number, row in enumerate(rows):
        text = unicodedata.normalize("NFC", row["prompt"])
        seed = manifest.default_seed(text) if row["seed"] is None else row["seed"]
        request = (text, row["negative_prompt"] or "", seed, row["recipe"])
        name = row["prompt_id"]
        if any(request == r or (name is not None and name == n) for r, n in kept):
            expected.append(number)
        else:
            kept.append((request, name))
    prompts, rejections = split(str(path), batch_rows=batch_rows)
    assert [r.row for r in rejections] == expected
    found = [(p.prompt, p.negative_prompt, p.seed, p.recipe) for p in prompts]
    assert found == [request for request, _ in kept]
    assert max(Counter(p.prompt_id for p in prompts).values()) == 1


@given(
    text=st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1),
    negative=st.none() | st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"])),
    recipe=st.none() | st.sampled_from(["smoke", 'quo"te\\']),
)
@settings(deadline=None)
def test_the_default_id_is_a_hash_of_the_four_that_decide_the_row(
    tmp_path_factory: pytest.TempPathFactory, text: str, negative: str | None, recipe: str | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "ids.jsonl"
    row = {"prompt": text, "negative_prompt": negative, "seed": 5, "recipe": recipe}
    path.write_text(json.dumps(row))
    (prompt,), _ = split(str(path))
    four = [prompt.prompt, prompt.negative_prompt, 5, recipe]
    assert prompt.prompt_id == hashlib.sha256(json.dumps(four).encode()).hexdigest()[:16]


def test_default_ids_do_not_depend_on_the_row(tmp_path: Path) -> None:
    (first, second), _ = split(parquet(tmp_path, {"prompt": ["a", "b"]}))
    (third,), _ = split(parquet(tmp_path, {"prompt": ["b"]}))
    assert third.prompt_id == second.prompt_id != first.prompt_id


CARRIED: dict[str, pa.Array] = {
    "flag": pa.array([True, None]),
    "tiny": pa.array([1, None], pa.int8()),
    "whole": pa.array([2**63, None], pa.uint64()),
    "half": pa.array([0.5, None], pa.float32()),
    "price": pa.array([Decimal("1.20"), None], pa.decimal128(10, 2)),
    "day": pa.array([datetime(2026, 1, 2, tzinfo=UTC).date(), None]),
    "moment": pa.array([1234567890123456789, None], pa.timestamp("ns", tz="UTC")),
    "raw": pa.array([b"\xff\x00", None]),
    "tags": pa.array([["a", "b"], None]),
    "box": pa.array([{"x": 1, "y": [1.5]}, None]),
    "pairs": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
}


@pytest.mark.parametrize("name", CARRIED)
def test_carried_columns_keep_their_type_and_values(tmp_path: Path, name: str) -> None:
    column = CARRIED[name]
    url = parquet(tmp_path, {"prompt": ["a", "b"], name: column})
    assert manifest.schema(url) == pa.schema([(name, column.type)])
    prompts, _ = split(url)
    assert pa.array([p.extra[name] for p in prompts], column.type).equals(column)


@pytest.mark.parametrize(
    ("stored", "carried"),
    [
        (pa.array(["x"], pa.large_string()), pa.string()),
        (pa.array(["x"]).dictionary_encode(), pa.string()),
        (pa.array([b"x"], pa.large_binary()), pa.binary()),
        (pa.array([["x"]], pa.large_list(pa.large_string())), pa.list_(pa.string())),
        (
            pa.array([{"a": "x"}], pa.struct([("a", pa.large_string())])),
            pa.struct([("a", pa.string())]),
        ),
        (pa.nulls(1), pa.string()),
        (pa.array(['{"a": 1}'], pa.json_()), pa.string()),
        (pa.array([bytes(16)], pa.uuid()), pa.binary(16)),
    ],
)
def test_how_a_writer_encodes_a_column_does_not_matter(
    tmp_path: Path, stored: pa.Array, carried: pa.DataType
) -> None:
    url = parquet(tmp_path, {"prompt": ["a"], "x": stored})
    assert manifest.schema(url).field("x").type == carried
    (prompt,), _ = split(url)
    plain = stored.storage if isinstance(stored, pa.ExtensionArray) else stored
    assert pa.array([prompt.extra["x"]], carried).to_pylist() == plain.to_pylist()


def test_the_index_that_pandas_adds_is_not_carried(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b", "c", "d"], "note": ["x", "y", "z", "z"]})
    kept = frame[frame.note != "y"]
    kept.to_parquet(tmp_path / "m.parquet")
    kept.to_csv(tmp_path / "m.csv")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "m.parquet").names
    assert (tmp_path / "m.csv").read_text().startswith(",prompt")
    for name in ("m.parquet", "m.csv"):
        assert manifest.schema(str(tmp_path / name)).names == ["note"]
        prompts, _ = split(str(tmp_path / name))
        assert dict(prompts[1].extra) == {"note": "z"}


def test_json_columns_get_a_type_that_fits_all_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"p{k}", "n": 1} for k in range(9000)]
    rows[5] = {"prompt": "p5"}
    rows[8999] |= {"n": 1.5, "late": {"a": 1}}
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    url = str(tmp_path / "m.jsonl")
    assert manifest.schema(url) == pa.schema(
        [("n", pa.float64()), ("late", pa.struct([("a", pa.int64())]))]
    )
    prompts, _ = split(url)
    assert dict(prompts[5].extra) == {"n": None, "late": None}
    assert dict(prompts[8999].extra) == {"n": 1.5, "late": {"a": 1}}


def test_lines_that_are_no_json_objects_are_rejected(tmp_path: Path) -> None:
    lines = [b'{"prompt": "a"}', b"{oops", b"[1]", b'{"prompt": "\xff"}', b"[" * 100_000]
    (tmp_path / "m.jsonl").write_bytes(b"\n".join(lines))
    prompts, rejections = split(str(tmp_path / "m.jsonl"))
    assert [p.prompt for p in prompts] == ["a"]
    assert [(r.row, r.reason.split(":")[0]) for r in rejections] == [
        (1, "it is not JSON"),
        (2, "it is not a JSON object"),
        (3, "it is not JSON"),
        (4, "it is not JSON"),
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "txt"])
def test_a_line_without_end_is_one_bad_row(tmp_path: Path, suffix: str) -> None:
    good = b'{"prompt": "a"}' if suffix == "jsonl" else b"a"
    path = tmp_path / f"m.{suffix}"
    path.write_bytes(b"\n".join([good, b"x" * (3 * (1 << 24) + 5), good.replace(b"a", b"b")]))
    prompts, rejections = split(str(path))
    assert [p.row for p in prompts] == [0, 2]
    assert [(r.row, r.reason) for r in rejections] == [(1, "its line has more than 16777216 bytes")]


def test_a_csv_line_without_end_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"prompt\na ball\n" + b"x," * (1 << 23) + b"x\n")
    message = "has more than 16777216 characters in line 3: is it CSV"
    with pytest.raises(UserError, match=message):
        split(str(tmp_path / "m.csv"))


def test_csv_cells_may_hold_anything_and_a_bad_row_is_rejected(tmp_path: Path) -> None:
    content = b'prompt, note\n"two\nlines","a,b"\n\nshort\na ball,\ncaf\xe9,x\n'
    (tmp_path / "m.csv").write_bytes(content)
    prompts, rejections = split(str(tmp_path / "m.csv"))
    assert [(p.row, p.prompt, p.extra["note"]) for p in prompts] == [
        (0, "two\nlines", "a,b"),
        (2, "a ball", None),
    ]
    assert [(r.row, r.reason) for r in rejections] == [
        (1, "it has 1 cells, and the header 2"),
        (3, "it is not UTF-8"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.parquet", b"PAR1 this is no such thing", "is not a Parquet file: "),
        ("m.parquet", b"", "is not a Parquet file: "),
        ("m.xlsx", b"", "ends in '.xlsx': expected .parquet, .pq, .csv"),
        ("m", b"", "ends in '': expected"),
        ("m.csv", b"text,seed\nx,1\n", "has no 'prompt' column: it has 'text', 'seed'"),
        ("m.csv", b"", "has no columns: expected at least 'prompt'"),
        ("m.csv", b"prompt,seed\n", "has no rows"),
        ("m.csv", b"prompt,a,a\nx,1,2\n", "has more than one column 'a'"),
        ("m.csv", b"\xff\xfep\x00r\x00o\x00", "is not UTF-8: save it in that encoding"),
        ("m.csv", b'prompt\n"never closed\n', "is no CSV in line 2: unexpected end of data"),
        ("m.txt", b"", "has no rows"),
        ("m.jsonl", b"\n", "has no columns"),
        ("m.jsonl", b'{"text": "x"}', "has no 'prompt' column: it has 'text'"),
        ("m.jsonl", b'{"prompt":"a","n":1}\n{"prompt":"b","n":"x"}', "column 'n' of"),
        ("m.csv", b"prompt,asset_id\na,b\n", "the dataset has its own column 'asset_id': rename"),
        ("m.csv", b"prompt,Shard\na,b\n", "the dataset has its own column 'Shard'"),
        ("m.csv", b"prompt,mesh_colour\na,b\n", "the dataset has its own column 'mesh_colour'"),
        ("m.csv", b"prompt,Prompt\na,b\n", "the dataset has its own column 'Prompt'"),
        ("m.csv", b"prompt,Note,note\na,b,c\n", "'Note' and 'note' of"),
    ],
)
def test_a_table_that_cannot_be_used_is_a_users_mistake(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(manifest.read(str(tmp_path / name)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parquet_table_without_rows_or_prompts_is_a_users_mistake(tmp_path: Path) -> None:
    empty = parquet(tmp_path, {"prompt": pa.array([], pa.string())})
    with pytest.raises(UserError, match="has no rows: write one prompt a row"):
        list(manifest.read(empty))
    with pytest.raises(UserError, match="has no 'prompt' column: it has 'text', 'seed'"):
        list(manifest.read(parquet(tmp_path, {"text": ["a"], "seed": [1]})))


def test_a_damaged_parquet_table_is_a_users_mistake(tmp_path: Path) -> None:
    url = parquet(tmp_path, {"prompt": [f"prompt {k} {k * k}" for k in range(5000)]})
    data = bytearray(Path(url).read_bytes())
    data[200:4000] = bytes(3800)
    Path(url).write_bytes(data)
    with pytest.raises(UserError, match="is damaged: "):
        list(manifest.read(url))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{}/absent.parquet", "cannot read the manifest {}/absent.parquet: No such file"),
        ("{}", "the manifest {} is a directory: name one file in it"),
        ("memory://absent.parquet", "memory://absent.parquet: no such file, directory or bucket"),
        ("nonsense://m.parquet", "cannot open nonsense://m.parquet: Protocol not known"),
        ("abfs://bucket/m.parquet", "adlfs"),
        (" ", "an empty path"),
    ],
)
def test_a_place_without_a_table_is_a_users_mistake(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        list(manifest.read(url.format(tmp_path)))
    assert message.format(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), OSError(errno.EIO, "I/O error")])
def test_a_disk_or_network_that_fails_is_nobodys_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    url = parquet(tmp_path, {"prompt": ["a"]})
    for method in ("iter_batches", "__init__"):
        monkeypatch.setattr(pq.ParquetFile, method, fail)
        with pytest.raises(type(error), match=str(error.args[-1])):
            list(manifest.read(url))


def test_the_limit_counts_prompts_and_not_rows(tmp_path: Path) -> None:
    url = parquet(tmp_path, {"prompt": ["", "a", "b", "c"], "num_seeds": [1, 2, 2, 2]})
    prompts, rejections = split(url, limit=3)
    assert [(p.row, p.prompt) for p in prompts] == [(1, "a"), (1, "a"), (2, "b")]
    assert [r.row for r in rejections] == [0]
    with pytest.raises(UserError, match="the limit is 0"):
        split(url, limit=0)


def test_any_fsspec_url_is_read(memory_url: str) -> None:
    fsspec.filesystem("memory").pipe_file(f"{memory_url}/m.txt", b"a ball\n")
    prompts, _ = split(f"{memory_url}/m.txt")
    assert [p.prompt for p in prompts] == ["a ball"]
    assert len(manifest.digest(f"{memory_url}/m.txt")) == 64


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest.digest(str(tmp_path / "m.txt")) == expected


def test_a_large_table_is_read_in_bounded_time(tmp_path: Path) -> None:
    count = 100_000
    url = parquet(tmp_path, {"prompt": [f"prompt {k}" for k in range(count)], "n": range(count)})
    start = time.monotonic()
    assert sum(isinstance(item, Prompt) for item in manifest.read(url)) == count
    assert time.monotonic() - start < 60
