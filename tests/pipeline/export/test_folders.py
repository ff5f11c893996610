import errno
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.export import asset_files, folders, formats
from pipeline.export.asset_files import DamagedAsset
from pipeline.export.folders import Folders
from pipeline.export.formats import Format, Read
from pipeline.export.shards import Shards
from tests.pipeline.export.test_asset_files import row
from tests.pipeline.sample_assets import sample_asset

ASSET = row()
EMPTY = row(sample_asset(is_empty=True))


def reversed_mesh(read: Read) -> dict[str, bytes]:
    if (glb := read("mesh.glb")) == b"bad":
        raise ValueError("no GLB\nof ours")
    return {"mesh.rev": glb[::-1], "mesh.side": b"side"}


@pytest.fixture
def _reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    converter(monkeypatch, reversed_mesh)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the process is stopped, nothing has the asset's name that is not all of it."""
    whole = list(asset_files.files(ASSET, asset_files.Names()))
    for stop in range(len(whole)):

        def some(*_: Any, stop: int = stop) -> Any:
            yield from whole[:stop]
            assert names(tmp_path) <= {name for name in names(tmp_path) if name.startswith(".")}
            raise KeyboardInterrupt

        monkeypatch.setattr(asset_files, "files", some)
        with pytest.raises(KeyboardInterrupt):
            Folders(tmp_path).add(ASSET)
        assert names(tmp_path) == set()
    monkeypatch.undo()
    folders = Folders(tmp_path)
    assert not folders.has(ASSET["asset_id"])
    folders.add(ASSET)
    assert folders.has(ASSET["asset_id"])
    assert names(tmp_path) == {ASSET["asset_id"]}
    for name, data in whole:
        assert (tmp_path / ASSET["asset_id"] / name).read_bytes() == data


@pytest.mark.parametrize("place", [Folders, lambda path: Shards(path, 10**9)])
def test_what_a_killed_export_left_is_removed_after_an_hour(
    tmp_path: Path, place: Callable[[Path], object]
) -> None:
    place(tmp_path)
    old, shard, new = (f".{digit * 32}.{digit * 32}.tmp" for digit in "abc")
    shard = shard[33:]
    for name in (old, new, ".theirs.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_bytes(b"part")
    (tmp_path / shard).write_bytes(b"part")
    long_ago = time.time() - 3700
    for name in (old, shard, ".theirs.tmp"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    place(tmp_path)
    assert names(tmp_path) == {new, ".theirs.tmp"}


def test_the_first_of_two_exports_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reveal = folders._reveal

    def late(hidden: Path, folder: Path) -> None:
        shutil.copytree(hidden, folder)
        (folder / "theirs").write_bytes(b"")
        reveal(hidden, folder)

    monkeypatch.setattr(folders, "_reveal", late)
    Folders(tmp_path).add(ASSET)
    assert names(tmp_path) == {ASSET["asset_id"]}
    assert (tmp_path / ASSET["asset_id"] / "theirs").exists()


def test_a_file_in_the_way_and_a_full_disk_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ASSET["asset_id"]).write_bytes(b"a file")
    with pytest.raises(OSError, match=ASSET["asset_id"]):
        Folders(tmp_path).add(ASSET)
    assert names(tmp_path) == {ASSET["asset_id"]}

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no room"):
        Folders(tmp_path).add(EMPTY | {"asset_id": "e" * 32})
    assert names(tmp_path) == {ASSET["asset_id"]}


@pytest.mark.usefixtures("_reverse")
def test_formats_are_made_at_once_or_later(tmp_path: Path) -> None:
    folder = tmp_path / ASSET["asset_id"]
    Folders(tmp_path).add(ASSET)
    assert "mesh.rev" not in names(folder)
    folders = Folders(tmp_path, ("rev",))
    assert not folders.has(ASSET["asset_id"])
    folders.add(ASSET)
    assert folders.has(ASSET["asset_id"])
    assert (folder / "mesh.rev").read_bytes() == ASSET["mesh_glb"][::-1]
    assert (folder / "mesh.side").read_bytes() == b"side"
    shutil.rmtree(folder)
    folders.add(ASSET)
    assert {"mesh.rev", "mesh.side", "transforms.json"} <= names(folder)
    assert not [name for name in names(folder) if name.startswith(".")]


def test_textureless_pictures_lie_in_a_directory_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / ASSET["asset_id"]
    Folders(tmp_path).add(ASSET)
    made = Folders(tmp_path, ("textureless",))
    assert not made.has(ASSET["asset_id"])
    made.add(ASSET)
    assert made.has(ASSET["asset_id"])
    assert names(folder / "textureless") == names(folder / "images")


@pytest.mark.usefixtures("_reverse")
def test_an_empty_mesh_has_no_formats(tmp_path: Path) -> None:
    folders = Folders(tmp_path, ("rev",))
    folders.add(EMPTY)
    assert folders.has(EMPTY["asset_id"])


@pytest.mark.usefixtures("_reverse")
def test_a_mesh_that_is_none_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedAsset, match=r"^mesh.glb: ValueError: no GLB of ours$"):
        Folders(tmp_path, ("rev",)).add(ASSET | {"mesh_glb": b"bad"})
    assert names(tmp_path) == set()


def converter(monkeypatch: pytest.MonkeyPatch, convert: Callable[[Read], dict[str, bytes]]) -> None:
    kind = Format(source="mesh.glb", target="mesh.rev", convert=convert)
    monkeypatch.setitem(formats.FORMATS, "rev", kind)


def raising(error: Exception) -> Callable[[Read], dict[str, bytes]]:
    def convert(_: Read) -> dict[str, bytes]:
        raise error

    return convert


@pytest.mark.parametrize("error", [KeyError("meshes"), IndexError(), OSError("no picture")])
def test_what_a_converter_does_not_understand_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    converter(monkeypatch, raising(error))
    with pytest.raises(DamagedAsset, match=f"^mesh.glb: {type(error).__name__}: "):
        Folders(tmp_path, ("rev",)).add(ASSET)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EIO, errno.ENOENT])
def test_trouble_of_the_machine_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    converter(monkeypatch, raising(OSError(number, os.strerror(number))))
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as met:
        Folders(tmp_path, ("rev",)).add(ASSET)
    assert met.value.errno == number
    assert names(tmp_path) == set()


def test_a_file_that_the_folder_has_lost_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converter(monkeypatch, lambda read: {"mesh.rev": read("thumb.png")})
    Folders(tmp_path).add(ASSET)
    (tmp_path / ASSET["asset_id"] / "thumb.png").unlink()
    with pytest.raises(DamagedAsset, match=r"^thumb.png is not there$"):
        Folders(tmp_path, ("rev",)).add(ASSET)
