"""The card of an output: what it says is counted here again, and its code is run."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pipeline import compact
from pipeline.card import card, files
from pipeline.cli import main
from pipeline.dataset import catalog
from pipeline.dataset.asset_names import asset_name
from pipeline.records import Failure, Rejection
from pipeline.store import Store
from tests.pipeline import snippets
from tests.pipeline.packed import fill
from tests.pipeline.sample_assets import (
    open_store,
    sample_asset,
    sample_bytes,
    sample_run,
    sample_task,
)
from tests.storage_server import StorageServer

HOSTILE = (
    "<script>alert(1)</script> | [x](http://x) `rm` *a*\n# head\x1b[31m\u202e ![](y) " + "z" * 300
)


def split(readme: Path) -> tuple[dict[str, Any], str]:
    """Front matter and text."""
    _, front, text = readme.read_text().split("---\n", 2)
    return yaml.safe_load(front), text


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Five assets, one of them empty, one twice; one quarantine, one rejected row."""
    store = open_store(str(tmp_path / "out"))
    fill(store, range(4))
    empty = sample_task(9, prompt="a red ball, number 1")
    store.commit(empty.asset_id, sample_bytes(empty, asset=sample_asset(is_empty=True)))
    store.start_run(sample_run())
    store.write_failure(
        Failure(
            asset_id="f" * 32,
            attempt_id="1" * 32,
            prompt_id="p",
            prompt="a cube",
            error_kind="diverged",
            message="so",
            attempts=3,
            quarantined=True,
        )
    )
    store.write_rejections("run-1", [Rejection(row=0, prompt_id=None, prompt=None, reason="null")])
    return tmp_path / "out"


def tables(text: str) -> dict[str, str]:
    """The rows of two cells of all tables."""
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, flags=re.MULTILINE))


def test_the_statistics_are_counted(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}/README.md\n"
    front, text = split(output / "README.md")
    found = tables(text)
    assert found["assets"] == "5"
    assert found["different prompts"] == "4"
    assert found["device time"] == "8 s"
    assert found["quarantined prompts"] == "1"
    assert found["rejected rows of the newest manifest"] == "1"
    assert found["failed attempts\\: diverged"] == "1"
    assert (found["ok"], found["empty"], found["smoke"], found["primitives"]) == (
        "4",
        "1",
        "5",
        "5",
    )
    assert "| 0 | 1.2 | 1 | ██████ |" in text
    assert "| 10.8 | 12 | 4 | ████████████████████████ |" in text
    assert r"mesh\_faces, mean 9.6:" in text
    assert front["license"] == "apache-2.0"
    assert front["size_categories"] == ["n<1K"]
    assert front["pretty_name"] == "out"


def test_its_code_runs(output: Path, tmp_path: Path) -> None:
    card.write(Store.open(str(output), create=False))
    blocks = snippets.python_blocks((output / "README.md").read_text())
    readers = [re.findall("pandas|duckdb|datasets", block)[0] for block in blocks]
    assert readers == ["pandas", "duckdb", "datasets"]
    said = snippets.run(blocks, output, tmp_path / "cache")
    assert "smoke" in said
    assert "a red ball, number 0" in said
    row = pd.read_parquet(output / "catalog").query("mesh_status == 'ok'").iloc[0]
    asset = pd.read_parquet(output / row.asset_file).iloc[0]
    assert (output / "asset.glb").read_bytes() == asset.mesh_glb
    assert (output / "asset.webp").read_bytes() == asset.turntable["bytes"]
    with Image.open(output / "view.png") as view:
        assert (view.mode, view.size, view.getpixel((8, 8))) == ("RGBA", (16, 16), (255, 0, 0, 255))


@pytest.mark.parametrize("partition_by", [None, "collection"])
def test_its_code_runs_where_assets_are_packed(
    output: Path, tmp_path: Path, partition_by: str | None
) -> None:
    store = Store.open(str(output), create=False)
    compact.compact(store, partition_by=partition_by)
    for path in (output / "assets").rglob("*.parquet"):
        path.unlink()
    is_mixed = partition_by is None
    if is_mixed:
        fill(store, [30])
    card.write(store)
    front, text = split(output / "README.md")
    patterns = [files.PACKED, *([files.LOOSE] if is_mixed else [])]
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": patterns}]
    assert ("which they leave out" in text) == (partition_by is not None)
    blocks = snippets.python_blocks(text)
    count = 'print("count", len(assets), "collection" in assets.column_names)'
    said = snippets.run([*blocks, count], output, tmp_path / "cache")
    assert said.splitlines()[-1] == f"count {5 + is_mixed} {partition_by is None}"
    assert ("a red ball, number 30" in said) == is_mixed


def test_readers_do_not_take_the_card_for_data(output: Path) -> None:
    before = {name: len(pd.read_parquet(output / name)) for name in ("assets",)}
    store = Store.open(str(output), create=False)
    committed = store.committed()
    card.write(store)
    assert {name: len(pd.read_parquet(output / name)) for name in ("assets",)} == before
    assert store.committed() == committed
    assert len(catalog.collect(store)) == 5
    card.write(store)
    compact.compact(store)
    assert (output / "README.md").exists()


def test_a_card_is_written_to_a_bucket(server: StorageServer, tmp_path: Path) -> None:
    store = open_store(server.url("out"))
    fill(store, range(2))
    assert card.write(store) == server.url("out/README.md")
    (tmp_path / "README.md").write_bytes(store.objects.read("README.md") or b"")
    front, _ = split(tmp_path / "README.md")
    assert front["configs"][0]["data_files"][0]["path"] == ["assets/*/*.parquet"]


def test_prompts_stay_text(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    task = sample_task(prompt=HOSTILE)
    store.commit(task.asset_id, sample_bytes(task))
    card.write(store)
    front, text = split(tmp_path / "out" / "README.md")
    (line,) = [x for x in text.splitlines() if "script" in x]
    assert line.startswith(
        r"- &lt;script&gt;alert\(1\)&lt;/script&gt; \| \[x\]\(http\://x\) \`rm\`"
    )
    assert r"\# head" in line
    assert not {"\x1b", "\u202e", "<"} & set(text.replace("<hh>", "").replace("<asset_id>", ""))
    assert line.endswith("...")
    assert HOSTILE not in str(front)


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [("see www.evil.com", r"- see www\.evil.com"), ("1. a ball", r"- 1\. a ball")],
)
def test_prompts_are_no_links_and_no_lists(tmp_path: Path, prompt: str, wanted: str) -> None:
    store = open_store(str(tmp_path / "out"))
    task = sample_task(prompt=prompt)
    store.commit(task.asset_id, sample_bytes(task))
    card.write(store)
    assert wanted in split(tmp_path / "out" / "README.md")[1].splitlines()


def test_a_name_cannot_leave_the_front_matter(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "a: b\n---\n# x"))
    fill(store, [0])
    card.write(store)
    (readme,) = tmp_path.rglob("README.md")
    front, _ = split(readme)
    assert front["pretty_name"] == "a: b --- # x"


def test_a_place_may_be_named_by_dots(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory, url in ((output, "."), (output / "assets", "..")):
        monkeypatch.chdir(directory)
        card.write(Store.open(url, create=False))
        assert split(output / "README.md")[0]["pretty_name"] == "out"


def test_the_licence_is_that_of_the_model_or_as_said(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", "--output", str(output), "--licence", "cc-by-4.0"]) == 0
    assert split(output / "README.md")[0]["license"] == "cc-by-4.0"
    frame = pd.read_parquet(output / "catalog")
    frame["guidance"] = ["primitives"] * 4 + ["org/model"]
    path = output.parent / "other.parquet"
    frame.to_parquet(path)
    text = card.draw(Store.open(str(output), create=False), path, licence=None)
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "other"
    assert "here: primitives (apache\\-2.0), org/model (unknown)." in text


def test_an_output_without_assets_has_no_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store(str(tmp_path))
    assert main(["card", "--output", str(tmp_path)]) == 2
    assert "has no assets: a card describes" in capsys.readouterr().err
    assert not (tmp_path / "README.md").exists()
    assert not (tmp_path / "catalog").exists(), "a mistake writes nothing"


def test_an_output_of_damaged_assets_has_no_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(open_store(str(tmp_path)), [0])
    (asset,) = (tmp_path / "assets").rglob("*.parquet")
    asset.write_bytes(b"PAR1")
    assert main(["card", "--output", str(tmp_path)]) == 2
    assert "has no asset that can be read" in capsys.readouterr().err


def read(output: Path, patterns: list[str]) -> list[str]:
    """The ids that somebody reads who opens what the card names."""
    paths = [path for pattern in patterns for path in sorted(output.glob(pattern))]
    tables = [pq.ParquetFile(path).read(["asset_id"]) for path in paths]
    return sorted(pa.concat_tables(tables)["asset_id"].to_pylist())


def test_each_asset_is_named_once_in_all_states_of_packing(output: Path) -> None:
    store = Store.open(str(output), create=False)
    expected = sorted(store.committed())
    found = files.find(store)
    assert found.patterns == [files.LOOSE]
    assert read(output, found.patterns) == expected

    compact.compact(store)  # everything lies twice
    found = files.find(store)
    assert found.patterns == [files.PACKED]
    assert read(output, found.patterns) == expected

    fill(store, [20])
    new = sample_task(20).asset_id
    found = files.find(store)  # loose ones beside packed ones that are loose as well
    assert found.patterns == [files.PACKED, asset_name(new)]
    assert read(output, found.patterns) == sorted([*expected, new])

    compact.compact(store, target_bytes=10**9)  # old packed files stay until they are collected
    before, after = (set(output.glob(files.PACKED)), files.find(store).patterns)
    assert read(output, after) == sorted([*expected, new])
    assert len(before) >= len(after)

    for asset_id in expected:
        (output / asset_name(asset_id)).unlink()
    fill(store, [21])
    (output / asset_name(new)).unlink()
    found = files.find(store)
    assert found.patterns[-1] == files.LOOSE
    assert read(output, found.patterns) == sorted([*expected, new, sample_task(21).asset_id])


def test_an_unnameable_column_leaves_the_features_out(output: Path) -> None:
    store = Store.open(str(output), create=False)
    columns = pa.schema([("x", pa.map_(pa.string(), pa.int8()))])
    assert files.features(store, files.find(store), columns) == {}
