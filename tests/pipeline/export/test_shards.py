import hashlib
import io
import json
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RunError, UserError
from pipeline.export import asset_files
from pipeline.export.asset_files import DamagedAsset, Names
from pipeline.export.shards import Shards
from tests.pipeline.export.test_asset_files import row
from tests.pipeline.sample_assets import sample_asset

ROW = row()
EMPTY = row(sample_asset(is_empty=True))
SIZE = 60_000
"""A little more than one asset takes, and less than two."""


def assets(count: int) -> list[dict[str, Any]]:
    """Rows of assets by their ids; the second has no mesh."""
    rows = [EMPTY if k == 1 else ROW for k in range(count)]
    ids = sorted(hashlib.sha256(bytes([k])).hexdigest()[:32] for k in range(count))
    return [asset | {"asset_id": x} for asset, x in zip(rows, ids, strict=True)]


def write(directory: Path, rows: list[dict[str, Any]], max_bytes: int = SIZE) -> None:
    shards = Shards(directory, max_bytes)
    for asset in rows:
        if not shards.has(asset["asset_id"]):
            shards.add(asset)
    shards.close()
    shards.abandon()


def samples(directory: Path) -> dict[str, dict[str, bytes]]:
    """What a WebDataset reader makes of the shards: members by key, the name up to its first dot,
    which must follow each other."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(directory.glob("*.tar")):
        members: dict[str, dict[str, bytes]] = defaultdict(dict)
        with tarfile.open(path) as shard:
            for member in shard:
                key, _, extension = member.name.partition(".")
                assert key not in members or key == next(reversed(members))
                stream = shard.extractfile(member)
                assert stream is not None
                members[key][extension] = stream.read()
        assert not members.keys() & found.keys()
        found |= members
    return found


def digests(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
    }


def test_each_asset_is_one_sample(tmp_path: Path) -> None:
    rows = assets(3)
    write(tmp_path, rows, 10**9)
    found = samples(tmp_path)
    assert list(digests(tmp_path)) == ["assets-000000.tar"]
    assert list(found) == [asset["asset_id"] for asset in rows]
    sample = found[rows[0]["asset_id"]]
    plain = dict(asset_files.files(rows[0], Names()))
    assert sample["glb"] == plain["mesh.glb"]
    assert sample["003.depth.png"] == plain["depth/003.png"]
    assert json.loads(sample["json"]) == json.loads(plain["metadata.json"])
    document = json.loads(sample["transforms.json"])
    assert len(document["frames"]) == 8
    for k, frame in enumerate(document["frames"]):
        key, _, extension = frame["file_path"].partition(".")
        assert (key, extension) == (rows[0]["asset_id"], f"{k:03d}.image.png")
        assert sample[extension] == plain[f"images/{k:03d}.png"]
    assert found[rows[1]["asset_id"]].keys() == sample.keys() - {"glb"}


def test_shards_have_a_size_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    rows = assets(5)
    for name in ("first", "second"):
        write(tmp_path / name, rows, 2 * SIZE)
    first, second = digests(tmp_path / "first"), digests(tmp_path / "second")
    assert first == second
    assert len(first) == 3
    sizes = [path.stat().st_size for path in (tmp_path / "first").iterdir()]
    assert max(sizes) <= 2 * SIZE + tarfile.RECORDSIZE
    assert len(samples(tmp_path / "first")) == 5


def test_an_asset_larger_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, assets(3), 1)
    assert len(digests(tmp_path)) == 3
    assert len(samples(tmp_path)) == 3


@pytest.mark.parametrize("killed_after", range(6))
def test_the_same_command_goes_on(tmp_path: Path, killed_after: int) -> None:
    rows = assets(6)
    write(tmp_path / "whole", rows, 2 * SIZE)
    shards = Shards(tmp_path / "killed", 2 * SIZE)
    for asset in rows[:killed_after]:
        shards.add(asset)
    hidden = [path.name for path in (tmp_path / "killed").iterdir() if path.name.startswith(".")]
    assert len(hidden) == (killed_after > 0)
    write(tmp_path / "killed", rows, 2 * SIZE)
    for name in hidden:
        (tmp_path / "killed" / name).unlink()
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    shards.abandon()


def test_later_assets_come_into_further_shards(tmp_path: Path) -> None:
    rows = assets(4)
    write(tmp_path, rows[1:3], 10**9)
    before = digests(tmp_path)
    write(tmp_path, rows, 10**9)
    after = digests(tmp_path)
    assert list(after) == ["assets-000000.tar", "assets-000001.tar"]
    assert after["assets-000000.tar"] == before["assets-000000.tar"]
    assert sorted(samples(tmp_path)) == [asset["asset_id"] for asset in rows]
    write(tmp_path, rows, 10**9)
    assert digests(tmp_path) == after


def test_a_damaged_asset_leaves_nothing(tmp_path: Path) -> None:
    good, bad = assets(2)
    shards = Shards(tmp_path, 10**9)
    shards.add(good)
    with pytest.raises(DamagedAsset):
        shards.add(bad | {"turntable": None})
    shards.close()
    assert list(samples(tmp_path)) == [good["asset_id"]]


def test_what_is_given_up_leaves_no_shard(tmp_path: Path) -> None:
    shards = Shards(tmp_path, 10**9)
    shards.add(ROW)
    assert len(list(tmp_path.iterdir())) == 1
    shards.abandon()
    assert list(tmp_path.iterdir()) == []


def test_two_exports_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    shards = Shards(tmp_path, 10**9)
    shards.add(ROW)
    write(tmp_path, assets(2))
    theirs = digests(tmp_path)
    with pytest.raises(RunError, match="by another export meanwhile: run again"):
        shards.close()
    shards.abandon()
    assert digests(tmp_path) == {k: v for k, v in theirs.items() if not k.startswith(".")}


def test_a_shard_that_is_none_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "assets-000000.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(UserError, match=r"assets-000000.tar is no readable shard .* delete it"):
        Shards(tmp_path, 10**9)


def test_members_say_nothing_of_who_wrote_them_and_when(tmp_path: Path) -> None:
    write(tmp_path, assets(1))
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "assets-000000.tar").read_bytes())) as shard:
        heads = {(x.mtime, x.uid, x.gid, x.uname, x.gname, oct(x.mode)) for x in shard}
    assert heads == {(0, 0, 0, "", "", "0o644")}
