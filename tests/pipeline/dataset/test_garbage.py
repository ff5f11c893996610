import itertools
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import compact
from pipeline.dataset import garbage
from pipeline.dataset.lease import Lease
from pipeline.dataset.piles import Collected, Pile
from pipeline.dataset.snapshots import RECENT_SECONDS
from pipeline.errors import RunError
from pipeline.storage.objects import Objects
from pipeline.store import Store, asset_name
from tests.pipeline.packed import fill, seen
from tests.pipeline.sample_assets import open_store
from tests.pipeline.test_records import FAILURE
from tests.storage_server import StorageServer

HOUR = 3600.0
GRACE = 24 * HOUR


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def collected(store: Store, *, hours: float, is_dry: bool = False) -> Collected:
    """Collects as if it were so many hours later."""
    return garbage.collect(
        store, grace_seconds=GRACE, is_dry=is_dry, clock=lambda: time.time() + hours * HOUR
    )


def collect(store: Store, *, hours: float, is_dry: bool = False) -> dict[str, int]:
    """The same; returns the counts of what was removed, by kind."""
    return counts(collected(store, hours=hours, is_dry=is_dry).removed)


def counts(piles: Mapping[str, Pile]) -> dict[str, int]:
    return {kind: pile.count for kind, pile in piles.items()}


def pack(store: Store) -> None:
    compact.compact(store, partition_by="collection")


def everything(store: Store) -> set[str]:
    root = Path(store.url)
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_what_is_packed_leaves_its_own_file_after_the_grace(store: Store) -> None:
    asset_ids = fill(store, range(3))
    assert collect(store, hours=0) == {}
    pack(store)
    assert collect(store, hours=23) == {}
    later = fill(store, [7])
    assert collect(store, hours=25) == {"one-asset files": 3}
    assert store.committed() == asset_ids | later
    assert seen(store) == sorted(asset_ids | later)
    assert collect(store, hours=25) == {}
    assert compact.compact(store).num_assets == 1


def test_a_bucket_is_collected_as_a_disk_is(server: StorageServer) -> None:
    store = open_store(server.url("out"))
    asset_ids = fill(store, range(2))
    pack(store)
    store.publish("_embeddings/0123", b"texts")
    assert collect(store, hours=25) == {"one-asset files": 2, "embeddings": 1}
    assert store.objects.names("assets") == []
    assert store.committed() == asset_ids


def test_a_dry_run_removes_nothing(store: Store) -> None:
    fill(store, range(3))
    pack(store)
    before = everything(store)
    assert collect(store, hours=25, is_dry=True) == {"one-asset files": 3}
    assert everything(store) == before


def test_frequent_compactions_do_not_put_off_collection(store: Store) -> None:
    fill(store, range(2))
    pack(store)
    move_back(store, 1, hours=30)
    fill(store, range(2, 4))
    pack(store)
    assert collect(store, hours=0) == {"one-asset files": 2}
    assert store.assets.snapshots.numbers() == [1, 2]
    assert collect(store, hours=25) == {
        "one-asset files": 2,
        "packed files": 1,
        "snapshots and indices": 2,
    }
    assert Store(store.objects).assets.snapshots.numbers() == [2]
    assert len(seen(Store(store.objects))) == 4


def move_back(store: Store, number: int, *, hours: float) -> None:
    """Makes a snapshot and its files older."""
    name = f"_snapshots/{number:08d}.json"
    document = store.read_json(name)
    assert document
    seconds = time.time() - hours * HOUR
    moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))
    store.put_json(name, document | {"created_at": moment})
    for file in document["files"]:
        os.utime(Path(store.url) / file["name"], (seconds, seconds))


@pytest.mark.parametrize("damage", ["absent", "cut", "changed"])
def test_an_asset_whose_packed_file_is_not_whole_stays(
    store: Store, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    fill(store, range(2), ("a",))
    pack(store)
    fill(store, range(2, 5), ("b",))
    pack(store)
    snapshot = store.assets.snapshots.newest()
    assert snapshot is not None
    (bad,) = [file for file in snapshot.files if "=a/" in file.name]
    data = store.objects.read(bad.name) or b""
    store.objects.remove(bad.name)
    if damage == "cut":
        store.objects.publish(bad.name, data[:-1])
    if damage == "changed":
        middle = len(data) // 2
        changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        store.objects.publish(bad.name, changed)
    assert collect(store, hours=25)["one-asset files"] == 3
    assert f"{bad.name} is not there as it was packed" in caplog.text
    assert sum(len(shard.loose) for shard in store.shards()) == 2


def test_a_pack_stays_while_what_replaces_it_is_damaged(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    asset_ids = fill(store, range(2))
    pack(store)
    for asset_id in asset_ids:
        store.objects.remove(asset_name(asset_id))
    fill(store, range(2, 4))
    pack(store)
    snapshot = store.assets.snapshots.newest()
    assert snapshot is not None
    (file,) = snapshot.files
    assert file.rows == 4
    data = store.objects.read(file.name) or b""
    store.objects.publish(file.name, data[:-9] + b"x" + data[-8:])
    assert collect(store, hours=25) == {"snapshots and indices": 2}
    assert f"{file.name} is not there as it was packed" in caplog.text
    store.objects.publish(file.name, data)
    assert collect(store, hours=25) == {"one-asset files": 2, "packed files": 1}
    assert len(seen(Store(store.objects))) == 4


def test_packs_are_read_once_and_only_while_they_replace_something(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, range(4), ("a", "b"))
    pack(store)
    read: list[str] = []
    plain = Objects.sha256
    monkeypatch.setattr(
        Objects, "sha256", lambda self, name: read.append(name) or plain(self, name)
    )
    assert collect(store, hours=23) == {}
    assert read == []
    assert collect(store, hours=25) == {"one-asset files": 4}
    assert sorted(name.split("/")[1] for name in read) == ["collection=a", "collection=b"]
    assert collect(store, hours=25) == {}
    assert len(read) == 2


def test_packed_files_that_no_snapshot_names_go_after_a_day(store: Store) -> None:
    fill(store, range(2))
    pack(store)
    orphan = f"packed/collection=demo/{'0' * 32}.parquet"
    foreign = "packed/collection=demo/notes.parquet"
    index = "_snapshots/00000002.0123456789abcdef.ids.parquet"
    for name in (orphan, foreign, index):
        store.publish(name, b"x")
    assert collect(store, hours=23) == {}
    assert collect(store, hours=25) == {
        "one-asset files": 2,
        "packed files": 1,
        "snapshots and indices": 1,
    }
    assert [store.objects.exists(name) for name in (orphan, foreign, index)] == [0, 1, 0]
    assert len(seen(store)) == 2


@pytest.mark.parametrize(("seconds", "num_removed"), [(2 * RECENT_SECONDS - 5, 0), (125, 2)])
def test_no_grace_is_shorter_than_a_commit_s_view_is_old(
    store: Store, seconds: float, num_removed: int
) -> None:
    """A writer that looked just before the packing still takes the assets for absent."""
    fill(store, range(2))
    pack(store)
    done = garbage.collect(
        store, grace_seconds=0, is_dry=False, clock=lambda: time.time() + seconds
    )
    assert sum(counts(done.removed).values()) == num_removed


def test_a_grace_of_nothing_spares_what_a_compactor_is_writing(store: Store) -> None:
    orphan = f"packed/collection=demo/{'0' * 32}.parquet"
    store.publish(orphan, b"x")
    garbage.collect(store, grace_seconds=0, is_dry=False)
    assert store.objects.exists(orphan)


def test_checkpoints_that_nobody_resumes_go(store: Store) -> None:
    (made,) = fill(store, [0])
    (packed,) = fill(store, [1])
    compact.compact(store)
    store.objects.remove(asset_name(packed))
    given_up, wanted = "d" * 32, "e" * 32
    store.write_failure(replace(FAILURE, asset_id=given_up, quarantined=True))
    for asset_id in (made, packed, given_up, wanted):
        store.write_checkpoint(asset_id, b"state")
    store.publish("_checkpoints/notes.txt", b"x")
    assert collect(store, hours=0) == {"checkpoints": 3}
    assert store.checkpointed() == {wanted}
    assert collect(store, hours=31 * 24)["checkpoints"] == 1
    assert store.objects.names("_checkpoints") == ["notes.txt"]


def test_what_killed_runs_left_goes(store: Store) -> None:
    fill(store, [0])
    root = Path(store.url)
    temporary = root / "assets" / ".x.parquet.1.tmp"
    temporary.write_bytes(b"half")
    os.utime(temporary, (0, time.time() - 200))
    (root / f"_probe-{'0' * 32}").write_bytes(b"first")
    (root / "_probe-mine").write_bytes(b"x")
    store.write_embedding("0123", b"texts")
    before = everything(store)
    done = garbage.collect(store, grace_seconds=0, is_dry=False, clock=lambda: time.time() + 200)
    assert counts(done.removed) == {"temporaries": 1, "embeddings": 1, "probes": 1}
    sizes = {kind: pile.num_bytes for kind, pile in done.removed.items()}
    assert sizes == {"temporaries": 4, "embeddings": 5, "probes": 5}
    gone = {"assets/.x.parquet.1.tmp", f"_probe-{'0' * 32}", "_embeddings/0123"}
    kept = {name for name in everything(store) if not name.startswith("_lease/")}
    assert kept == before - gone


def test_nothing_is_removed_while_a_run_is_open(store: Store) -> None:
    fill(store, range(2))
    pack(store)
    lease = Lease.acquire(store.objects, holder="run-1", share=False)
    try:
        before = everything(store)
        with pytest.raises(RunError, match=r"run-1 .* is at work in .*: nothing is removed"):
            collect(store, hours=25)
        assert everything(store) == before
        assert collect(store, hours=25, is_dry=True) == {"one-asset files": 2}
    finally:
        lease.release()
    assert collect(store, hours=25) == {"one-asset files": 2}


class Killed(BaseException):
    """The process ends here."""


def test_a_collector_killed_at_any_removal_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 0
    store = open_store(str(tmp_path / "0"))
    asset_ids = fill(store, range(1), ("a",))
    pack(store)
    asset_ids |= fill(store, range(1, 2), ("a",))
    pack(store)
    for step in itertools.count(1):
        shutil.copytree(tmp_path / "0", tmp_path / f"{step}")
        store = Store.open(str(tmp_path / f"{step}"), create=False)
        remove, count = Objects.remove, itertools.count(1)

        def watched(self: Objects, name: str, remove=remove, count=count, step: int = step) -> None:
            if not name.startswith("_lease") and next(count) == step:
                raise Killed
            remove(self, name)

        was_killed = False
        with monkeypatch.context() as context:
            context.setattr(Objects, "remove", watched)
            try:
                collect(store, hours=25)
            except Killed:
                was_killed = True
        assert Store(store.objects).committed() == asset_ids
        assert seen(Store(store.objects)) == sorted(asset_ids)
        collect(store, hours=25)
        assert {len(shard.loose) for shard in store.shards()} == {0}
        assert seen(Store(store.objects)) == sorted(asset_ids)
        assert collect(store, hours=25) == {}
        if not was_killed:
            break
    assert step == 6, "2 one-asset files, 1 packed file, 1 snapshot and its index"


@pytest.mark.parametrize("is_dry", [False, True])
def test_what_waits_is_told_with_the_moment_when_it_goes(store: Store, is_dry: bool) -> None:
    fill(store, range(3))
    pack(store)
    move_back(store, 1, hours=30)
    fill(store, range(3, 5))
    pack(store)
    store.write_checkpoint("e" * 32, b"state")
    store.write_embedding("0123", b"texts")
    done = collected(store, hours=0, is_dry=is_dry)
    assert counts(done.removed) == {"one-asset files": 3}
    assert counts(done.waiting) == {
        "one-asset files": 2,
        "packed files": 1,
        "snapshots and indices": 2,
        "checkpoints": 1,
        "embeddings": 1,
    }
    days = {kind: (pile.due - time.time()) / GRACE for kind, pile in done.waiting.items()}
    assert days.pop("checkpoints") == pytest.approx(30, abs=0.01)
    assert list(days.values()) == pytest.approx([1, 1, 1, 1], abs=0.01)


def test_what_waits_goes_when_it_was_said_to(store: Store) -> None:
    fill(store, range(2))
    pack(store)
    fill(store, range(2, 4))
    pack(store)
    store.write_embedding("0123", b"texts")
    orphan = f"packed/collection=demo/{'0' * 32}.parquet"
    store.publish(orphan, b"x")
    waiting = collected(store, hours=0).waiting
    latest = max(pile.due for pile in waiting.values())
    before = min(pile.due for pile in waiting.values()) - 1

    def at(moment: float) -> Collected:
        return garbage.collect(store, grace_seconds=GRACE, is_dry=True, clock=lambda: moment)

    assert counts(at(before).waiting) == counts(waiting)
    assert counts(at(latest + 1).removed) == counts(waiting)
    assert at(latest + 1).waiting == {}


def test_what_an_open_run_has_waits_for_it(store: Store) -> None:
    with store.objects.scratch("assets/x") as path:
        path.write_bytes(b"half")
        done = collected(store, hours=0, is_dry=True)
        assert counts(done.waiting) == {"temporaries": 1}
