import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.gallery import media
from pipeline.storage.objects import Objects
from pipeline.storage.places import connect
from pipeline.store import Store
from tests.pipeline.gallery.samples import SMALL, calls, commit, cube, filled, media_of, with_mesh
from tests.pipeline.sample_assets import open_store, sample_asset, sample_task


def site_at(path: Path) -> Objects:
    fs, root = connect(str(path))
    return Objects(fs, root, url=str(path))


def ids(store: Store) -> list[str]:
    return sorted(store.committed())


def test_an_asset_has_its_pictures_and_its_mesh(tmp_path: Path) -> None:
    store, site = open_store(str(tmp_path / "data")), site_at(tmp_path / "site")
    asset_id = commit(store, 1, asset=with_mesh(cube()))
    assert list(media.write(store, site, [asset_id])) == [(asset_id, True)]
    files = media_of(tmp_path / "site", asset_id)
    assert files["webp"] == SMALL.turntable
    assert files["png"] == SMALL.thumb
    ((kind, name, text),) = calls(files["js"])
    assert (kind, name) == ("mesh", asset_id)
    assert base64.b64decode(text) == cube()


def test_an_empty_mesh_is_none(tmp_path: Path) -> None:
    store, site = open_store(str(tmp_path / "data")), site_at(tmp_path / "site")
    asset_id = commit(store, 1, asset=sample_asset(is_empty=True))
    list(media.write(store, site, [asset_id]))
    assert calls(media_of(tmp_path / "site", asset_id)["js"]) == [["mesh", asset_id, None]]


def test_the_mesh_is_the_last_file_and_says_that_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, site = filled(tmp_path / "data", 1), site_at(tmp_path / "site")
    (asset_id,) = ids(store)
    written: list[str] = []
    publish = site.publish

    def watched(name: str, data: bytes) -> str:
        assert media.present(site, [asset_id]) == set()
        written.append(name.rpartition(".")[2])
        return publish(name, data)

    monkeypatch.setattr(site, "publish", watched)
    list(media.write(store, site, [asset_id]))
    assert written[-1] == "js"
    assert sorted(written) == ["js", "png", "webp"]
    assert media.present(site, [asset_id]) == {asset_id}


def test_foreign_files_are_no_assets(tmp_path: Path) -> None:
    asset_id = sample_task(1).asset_id
    directory = tmp_path / f"media/x{asset_id[:2]}"
    directory.mkdir(parents=True)
    for name in ("other.js", f"{asset_id}.png", f"{asset_id}.js.bak", f".{asset_id}.js.tmp"):
        (directory / name).touch()
    assert media.present(site_at(tmp_path), [asset_id]) == set()


def test_an_asset_that_cannot_be_read_is_named_and_the_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(media, "_AT_ONCE", 3)
    store, site = filled(tmp_path / "data", 7), site_at(tmp_path / "site")
    names = ids(store)
    broken = {names[1], names[2], names[6]}
    for asset_id in broken:
        path = tmp_path / f"data/assets/shard=x{asset_id[:2]}/{asset_id}.parquet"
        path.write_bytes(b"PAR1" + bytes(50))
    gone = "0" * 32
    with caplog.at_level(logging.WARNING):
        done = list(media.write(store, site, [*names, gone]))
    assert done == [(name, name not in broken) for name in names] + [(gone, False)]
    assert media.present(site, names) == set(names) - broken
    assert sum("left out of the gallery" in message for message in caplog.messages) == 4


def test_few_assets_are_in_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_AT_ONCE", 4)
    store, site = filled(tmp_path / "data", 10), site_at(tmp_path / "site")
    asked: list[int] = []
    read = store.assets.read_each

    def watched(asset_ids: list[str], columns: list[str]) -> Iterator[Any]:
        asked.append(len(asset_ids))
        return read(asset_ids, columns)

    monkeypatch.setattr(store.assets, "read_each", watched)
    assert len(list(media.write(store, site, ids(store)))) == 10
    assert asked == [4, 4, 2]
