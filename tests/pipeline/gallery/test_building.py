import math
from pathlib import Path

import pytest

from pipeline import gallery
from pipeline.cli import main
from pipeline.compact import compact
from pipeline.errors import UserError
from pipeline.gallery import building, rows
from pipeline.store import Store
from tests.pipeline.gallery.samples import (
    HOSTILE,
    add_unmade,
    commit,
    filled,
    media_of,
    read_page,
)
from tests.pipeline.sample_assets import CARRIED, open_store


def built(store: Store, to: Path, **options: int) -> tuple[gallery.Built, list[str]]:
    said: list[str] = []
    return gallery.build(store, str(to), say=said.append, **options), said


def files(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its inode, which a second writing would change."""
    return {
        str(path.relative_to(directory)): (path.stat().st_ino, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_page_has_every_asset_and_what_came_of_the_others(tmp_path: Path) -> None:
    prompts = ["a red ball, number 0", *HOSTILE[:4]]
    store = filled(tmp_path / "data", 5, prompts)
    add_unmade(store)
    done, _ = built(store, tmp_path / "page")
    assert done == gallery.Built(
        address=f"{tmp_path}/page/index.html",
        num_assets=5,
        num_new=5,
        num_unreadable=0,
        num_older=0,
        num_quarantined=1,
        num_rejected=1,
    )
    page = read_page(tmp_path / "page")
    assert [row["prompt"] for row in page["rows"]] == prompts[::-1]
    assert {row["asset_id"] for row in page["rows"]} == store.committed()
    head = page["head"]
    assert (head["name"], head["shown"], head["committed"]) == ("data", 5, 5)
    assert (head["quarantined"], head["rejected"]) == (1, 1)
    assert math.isclose(head["gpu_seconds"], 5 * 1.5)
    assert (head["recipes"], head["models"]) == (["smoke"], ["primitives"])
    assert [x["status"] for x in page["unmade"]] == ["quarantined", "rejected"]
    for asset_id in store.committed():
        assert all(media_of(tmp_path / "page", asset_id).values())
    assert str(tmp_path) not in (tmp_path / "page" / "index.html").read_text()


def test_the_page_tells_the_catalog_s_values(tmp_path: Path) -> None:
    store = filled(tmp_path / "data", 3)
    built(store, tmp_path / "page")
    page = read_page(tmp_path / "page")
    columns = {column["name"]: column for column in page["head"]["columns"]}
    row = page["rows"][0]
    assert row["prompt_id"] == "row-2"
    assert columns["collection"]["values"][row["collection"]] == "toys"
    assert columns["mesh_watertight"]["values"][row["mesh_watertight"]] == "yes"
    assert (row["seed"], row["loss_sds"], row["mesh_faces"]) == (2, 0.25, 12)
    assert columns["created_at"]["kind"] == "time"
    assert columns["collection"]["group"] == "yours"


def test_a_second_call_writes_what_is_new_and_nothing_else(tmp_path: Path) -> None:
    store = filled(tmp_path / "data", 4)
    built(store, tmp_path / "page")
    before = files(tmp_path / "page" / "media")
    new = commit(store, 50)
    done, _ = built(store, tmp_path / "page")
    assert (done.num_assets, done.num_new) == (5, 1)
    after = files(tmp_path / "page" / "media")
    assert {name: after[name] for name in before} == before
    assert {Path(name).stem for name in after.keys() - before.keys()} == {new}
    assert len(read_page(tmp_path / "page")["rows"]) == 5


def test_a_call_without_news_changes_no_file(tmp_path: Path) -> None:
    store = filled(tmp_path / "data", 3)
    add_unmade(store)
    built(store, tmp_path / "page")
    before = {name: data for name, (_, data) in files(tmp_path / "page").items()}
    built(store, tmp_path / "page")
    assert {name: data for name, (_, data) in files(tmp_path / "page").items()} == before


def test_packed_assets_are_shown_alike(tmp_path: Path) -> None:
    store = filled(tmp_path / "data", 6)
    built(store, tmp_path / "loose")
    compact(store, partition_by="collection")
    for path in (tmp_path / "data" / "assets").rglob("*.parquet"):
        path.unlink()
    built(Store.open(str(tmp_path / "data"), create=False), tmp_path / "packed")
    loose, packed = (read_page(tmp_path / name)["rows"] for name in ("loose", "packed"))
    for row in (*loose, *packed):
        row.pop("asset_file")
    assert packed == loose
    media = [files(tmp_path / name / "media") for name in ("loose", "packed")]
    assert {k: v for k, (_, v) in media[0].items()} == {k: v for k, (_, v) in media[1].items()}


def test_a_limit_keeps_the_newest_and_says_so(tmp_path: Path) -> None:
    store = filled(tmp_path / "data", 5)
    done, _ = built(store, tmp_path / "page", limit=2)
    assert (done.num_assets, done.num_older) == (2, 3)
    page = read_page(tmp_path / "page")
    assert [row["prompt_id"] for row in page["rows"]] == ["row-4", "row-3"]
    assert (page["head"]["shown"], page["head"]["committed"]) == (2, 5)
    assert "3 older assets are beyond the limit" in gallery.render(done)
    with pytest.raises(UserError, match="--limit: expected 1 or more, got 0"):
        built(store, tmp_path / "page", limit=0)


def test_an_asset_that_cannot_be_read_is_left_out_and_counted(tmp_path: Path) -> None:
    from pipeline.dataset import catalog

    store = filled(tmp_path / "data", 3)
    catalog.write(store)  # so that its scalars are still known
    broken = min(store.committed())
    path = tmp_path / f"data/assets/shard=x{broken[:2]}/{broken}.parquet"
    path.write_bytes(b"PAR1" + bytes(50))
    done, _ = built(store, tmp_path / "page")
    assert (done.num_assets, done.num_unreadable) == (2, 1)
    assert broken not in {row["asset_id"] for row in read_page(tmp_path / "page")["rows"]}
    assert "1 assets could not be read" in gallery.render(done)


def test_many_assets_come_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "FIRST", 3)
    monkeypatch.setattr(rows, "CHUNK", 4)
    store = filled(tmp_path / "data", 12)
    built(store, tmp_path / "page")
    page = read_page(tmp_path / "page")
    assert len(page["head"]["chunks"]) == 3
    assert [row["prompt_id"] for row in page["rows"]] == [f"row-{k}" for k in range(11, -1, -1)]


def test_an_output_without_assets_has_a_page(tmp_path: Path) -> None:
    done, _ = built(open_store(str(tmp_path / "data")), tmp_path / "page")
    assert done.num_assets == 0
    page = read_page(tmp_path / "page")
    assert (page["rows"], page["head"]["chunks"], page["head"]["unmade"]) == ([], [], None)


def test_a_column_of_the_user_may_be_called_anything(tmp_path: Path) -> None:
    names = ["__proto__", "<b>", "constructor", "a:b", "0"]
    store = open_store(str(tmp_path / "data"))
    fixed = [*CARRIED.names, *names]
    import pyarrow as pa

    (tmp_path / "data" / "_schema.json").unlink()
    store.claim_schema(pa.schema([(name, pa.string()) for name in fixed]))
    commit(store, 1)
    built(store, tmp_path / "page")
    page = read_page(tmp_path / "page")
    assert {c["name"] for c in page["head"]["columns"] if c["group"] == "yours"} == set(fixed)
    assert all(page["rows"][0][name] is None for name in names)


def test_long_work_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_SAY_SECONDS", -1.0)
    _, said = built(filled(tmp_path / "data", 3), tmp_path / "page")
    assert said == [f"{k} of 3 new assets" for k in (1, 2, 3)]


def test_a_page_can_be_written_to_any_storage(tmp_path: Path, memory_url: str) -> None:
    import fsspec

    store = filled(tmp_path / "data", 2)
    done = gallery.build(store, f"{memory_url}/page", say=print)
    assert done.address == f"{memory_url}/page/index.html"
    names = {Path(name).suffix for name in fsspec.filesystem("memory").find("/place/page")}
    assert names == {".html", ".js", ".css", ".svg", ".webp", ".png"}


def test_the_command_writes_the_page_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(tmp_path / "data", 2)
    add_unmade(store)
    arguments = ["gallery", "--output", f"{tmp_path}/data", "--to", f"{tmp_path}/page"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 assets (2 new), 1 quarantined and 1 rejected prompts",
        f"open {tmp_path}/page/index.html in a browser",
    ]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("2 assets (0 new)")


@pytest.mark.parametrize(
    ("output", "to", "message"),
    [
        ("nowhere", "page", "no dataset at"),
        ("data", "taken", "is no gallery: name another directory"),
        ("data", "taken/index.html", "cannot use"),
        ("data", "taken/index.html/page", "cannot use"),
        ("data", "data/page", "lies in the dataset"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, to: str, message: str
) -> None:
    filled(tmp_path / "data", 1)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "index.html").write_text("mine")
    code = main(["gallery", "--output", f"{tmp_path}/{output}", "--to", f"{tmp_path}/{to}"])
    said = capsys.readouterr().err
    assert code == 2
    assert len(said.splitlines()) == 1
    assert message in said
