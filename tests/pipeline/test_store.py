import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from pipeline.compact import compact
from pipeline.errors import InvalidStore, UserError
from pipeline.records import Rejection
from pipeline.store import Store, asset_name
from tests.pipeline.buckets import ForgetfulBucket, objects_in
from tests.pipeline.sample_assets import (
    CARRIED,
    open_store,
    sample_bytes,
    sample_run,
    sample_task,
)
from tests.pipeline.test_records import FAILURE, SUMMARY
from tests.storage_server import StorageServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["local", "gs", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place of each kind that a run may write to."""
    if request.param == "local":
        return str(tmp_path / "out")
    server = request.getfixturevalue(request.param)
    server.clear()
    server.heal()
    return server.url("out")


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)


def attempt(number: int) -> str:
    return f"{number:032x}"


def test_the_first_attempt_wins_for_ever(store: Store) -> None:
    task = sample_task()
    assert store.commit(task.asset_id, sample_bytes(task, attempt(1))) == "committed"
    assert store.commit(task.asset_id, sample_bytes(task, attempt(2))) == "duplicate"
    (kept,) = store.read_assets([task.asset_id], ["attempt_id", "prompt"])
    assert kept.to_pylist() == [{"attempt_id": attempt(1), "prompt": "a red ball, number 0"}]


def test_a_repeated_commit_of_the_winner_is_committed(store: Store) -> None:
    task = sample_task()
    data = sample_bytes(task, attempt(1))
    assert [store.commit(task.asset_id, data) for _ in range(3)] == ["committed"] * 3


def test_a_commit_whose_answer_was_lost_is_committed() -> None:
    store, task = Store(objects_in(ForgetfulBucket)), sample_task()
    assert store.commit(task.asset_id, sample_bytes(task, attempt(1))) == "committed"
    assert store.commit(task.asset_id, sample_bytes(task, attempt(2))) == "duplicate"


def test_a_lost_answer_is_not_a_lost_race(server: StorageServer) -> None:
    store, task = open_store(server.url("out")), sample_task()
    server.lose_answers(1)
    before = server.num_conflicts
    assert store.commit(task.asset_id, sample_bytes(task, attempt(1))) == "committed"
    assert (server.num_pending, server.num_conflicts - before) == (0, 1)
    assert store.commit(task.asset_id, sample_bytes(task, attempt(2))) == "duplicate"


def test_bytes_of_another_asset_are_never_committed(store: Store) -> None:
    with pytest.raises(AssertionError, match="bytes of another asset"):
        store.commit("0" * 32, sample_bytes(sample_task()))
    assert store.committed() == set()


def test_what_is_committed_is_what_is_listed(store: Store) -> None:
    tasks = [sample_task(k) for k in range(12)]
    assert store.committed() == set()
    for task in tasks:
        store.commit(task.asset_id, sample_bytes(task))
    assert store.committed() == {task.asset_id for task in tasks}
    sizes = {x: size for shard in store.shards() for x, size in shard.loose.items()}
    assert sizes == {task.asset_id: len(sample_bytes(task)) for task in tasks}
    found = [table["asset_id"][0].as_py() for table in store.read_assets(sorted(sizes))]
    assert found == sorted(sizes)


def test_only_names_of_assets_count_as_assets(store: Store) -> None:
    for name in (
        "assets/shard=x00/_notes.parquet",
        f"assets/shard=x00/.{'0' * 32}.parquet.1.tmp",
        f"assets/shard=x00/{'0' * 31}.parquet",
        f"assets/shard=x00/{'0' * 32}.parquet.crc",
        f"assets/{'0' * 32}.parquet",
    ):
        store.publish(name, b"x")
    assert store.committed() == set()
    assert not any(shard.loose for shard in store.shards())


def test_a_damaged_asset_is_named(store: Store) -> None:
    task = sample_task()
    store.publish(asset_name(task.asset_id), b"PAR1 no more")
    with pytest.raises(InvalidStore, match=rf"{task.asset_id}.parquet is no readable asset"):
        store.commit(task.asset_id, sample_bytes(task))


def test_a_packed_asset_is_committed_for_ever(store: Store) -> None:
    tasks = [sample_task(k) for k in range(3)]
    for task in tasks:
        store.commit(task.asset_id, sample_bytes(task, attempt(1)))
    compact(store)
    for task in tasks[:2]:
        store.objects.remove(asset_name(task.asset_id))
    assert store.committed() == {task.asset_id for task in tasks}
    for task in tasks:
        assert store.commit(task.asset_id, sample_bytes(task, attempt(2))) == "duplicate"
        assert store.commit(task.asset_id, sample_bytes(task, attempt(1))) == "committed"
    assert [store.objects.exists(asset_name(task.asset_id)) for task in tasks] == [0, 0, 1]


def test_of_sixteen_threads_one_commits_each_asset(store: Store) -> None:
    tasks = [sample_task(k) for k in range(20 if store.objects.is_local else 4)]
    start = threading.Barrier(16, timeout=60)

    def contend(thread: int) -> list[str]:
        data = [sample_bytes(task, attempt(thread)) for task in tasks]
        start.wait()
        return [store.commit(t.asset_id, d) for t, d in zip(tasks, data, strict=True)]

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(contend, range(16)))
    assert Counter(result for row in results for result in row) == {
        "committed": len(tasks),
        "duplicate": 15 * len(tasks),
    }
    for k, task in enumerate(tasks):
        (kept,) = store.read_assets([task.asset_id], ["attempt_id"])
        winner = kept["attempt_id"][0].as_py()
        assert results[int(winner, 16)][k] == "committed"


_WRITER = """
import sys
from pipeline.store import Store
from tests.pipeline.sample_assets import sample_bytes, sample_task

store = Store.open(sys.argv[1], create=True)
tasks = [sample_task(k) for k in range(30)]
data = [sample_bytes(task, sys.argv[2]) for task in tasks]
print("ready", flush=True)
sys.stdin.readline()
for task, one in zip(tasks, data):
    store.commit(task.asset_id, one)
    print(task.asset_id, flush=True)
sys.stdin.readline()
"""


def test_killed_processes_leave_whole_assets_only(tmp_path: Path) -> None:
    open_store(str(tmp_path))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), attempt(k)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for k in range(3)
    ]
    acknowledged: set[str] = set()
    for child, num_commits in zip(children, (1, 3, 9), strict=True):
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.stdin.write("go\n")
        child.stdin.flush()
        acknowledged |= {child.stdout.readline().strip() for _ in range(num_commits)}
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=60)
        assert child.returncode == -signal.SIGKILL
    store = Store.open(str(tmp_path), create=False)
    committed = store.committed()
    assert acknowledged <= committed
    assert 9 <= len(committed) <= 30
    found = ds.dataset(tmp_path / "assets", partitioning="hive").to_table(columns=["asset_id"])
    assert set(found["asset_id"].to_pylist()) == committed
    assert {p.stem for p in tmp_path.glob("assets/**/*.parquet")} == committed


def test_documents_are_kept_and_replaced(store: Store) -> None:
    assert store.read_json("a/x.json") is None
    assert store.put_json("a/x.json", {"text": "é"}, create=True)
    assert not store.put_json("a/x.json", {"text": "other"}, create=True)
    assert store.read_json("a/x.json") == {"text": "é"}
    store.put_json("a/x.json", {"text": "other"})
    assert store.read_json("a/x.json") == {"text": "other"}


def test_a_run_is_started_once_and_finished_again(store: Store) -> None:
    assert (store.runs(), store.latest_run()) == ([], None)
    late = sample_run("a-later-run", created_at="2026-11-24T00:00:00+00:00")
    early = sample_run("run-1")
    assert store.start_run(late)
    assert store.start_run(early)
    assert not store.start_run(replace(early, num_prompts=99))
    assert store.runs() == [early, late]
    assert store.latest_run() == late
    assert store.read_run("run-1") == early
    assert store.read_summary("run-1") is None
    store.finish_run(replace(SUMMARY, exit_code=1))
    store.finish_run(SUMMARY)
    assert store.read_summary("run-1") == SUMMARY


def test_stray_files_are_no_runs_and_no_failures(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for name in ("_runs/.DS_Store", "_runs/notes.txt", "_failures/notes.txt"):
        store.publish(name, b"not ours")
    assert store.runs() == []
    assert list(store.failures()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"arrow_schema": 1}',
        b'{"arrow_schema": "not base 64"}',
        b'{"arrow_schema": "/////w=="}',
        b'{"arrow_schema": "AAAA"}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_schema_is_a_users_mistake(tmp_path: Path, data: bytes) -> None:
    store = open_store(str(tmp_path))
    store.publish("_schema.json", data)
    with pytest.raises(InvalidStore, match=r"/_schema\.json is damaged or not ours: ") as caught:
        store.claim_schema(CARRIED)
    assert "\n" not in str(caught.value)


def test_checkpoints_are_kept_replaced_and_removed(store: Store) -> None:
    one, other = (sample_task(k).asset_id for k in range(2))
    assert store.checkpointed() == set()
    assert store.read_checkpoint(one) is None
    store.write_checkpoint(one, b"half")
    store.write_checkpoint(other, b"")
    store.write_checkpoint(one, b"more")
    store.publish("_checkpoints/notes.txt", b"not ours")
    assert store.checkpointed() == {one, other}
    assert (store.read_checkpoint(one), store.read_checkpoint(other)) == (b"more", b"")
    store.remove_checkpoint(one)
    store.remove_checkpoint(one)
    assert store.checkpointed() == {other}
    assert store.read_checkpoint(one) is None


@pytest.mark.parametrize("damage", [lambda x: x[:-1], lambda x: x[:3], lambda x: b"", bytes.upper])
def test_a_damaged_checkpoint_counts_as_none(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    store, asset_id = open_store(str(tmp_path)), sample_task().asset_id
    store.write_checkpoint(asset_id, b"half a scene")
    (path,) = (tmp_path / "_checkpoints").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert store.read_checkpoint(asset_id) is None
    assert f"{path} is damaged and is left out" in caplog.text


def test_what_is_pardoned_counts_no_longer(store: Store) -> None:
    second = replace(FAILURE, attempt_id=attempt(2), quarantined=True)
    third = replace(FAILURE, attempt_id=attempt(3))
    for failure in (FAILURE, second):
        store.write_failure(failure)
    store.pardon([FAILURE.attempt_id, second.attempt_id], kind="diverged")
    store.write_failure(third)
    assert list(store.failures()) == [third]


def test_failures_tell_who_is_quarantined(store: Store) -> None:
    assert list(store.failures()) == []
    second = replace(FAILURE, attempt_id=attempt(2), quarantined=True)
    other = replace(FAILURE, asset_id="c" * 32)
    for failure in (FAILURE, second, other, other):
        store.write_failure(failure)
    found = sorted(store.failures(), key=lambda x: (x.asset_id, x.attempt_id))
    assert found == sorted([FAILURE, second, other], key=lambda x: (x.asset_id, x.attempt_id))
    assert {x.asset_id for x in found if x.quarantined} == {FAILURE.asset_id}


def test_rejections_are_a_table(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert store.write_rejections("run-0", []) == 0
    assert not (tmp_path / "_rejected").exists()
    many = (
        Rejection(row=k, prompt_id=None, prompt="" if k else None, reason="prompt is empty")
        for k in range(20_000)
    )
    assert store.write_rejections("run-1", many) == 20_000
    frame = pd.read_parquet(tmp_path / "_rejected")
    assert list(frame.columns) == ["row", "prompt_id", "prompt", "reason"]
    assert frame["row"].tolist() == list(range(20_000))
    assert frame["prompt"].isna().tolist() == [True] + [False] * 19_999
    assert [x.row for x in store.rejections("run-1")] == list(range(20_000))
    assert list(store.rejections("run-0")) == []


def test_carried_columns_are_fixed_by_the_first_run(store: Store) -> None:
    store.claim_schema(CARRIED)
    assert store.carried_schema() == CARRIED
    document = store.read_json("_schema.json")
    assert document
    assert document["carried"] == {"collection": "string"}


@pytest.mark.parametrize(
    ("carried", "message"),
    [
        (
            pa.schema([("collection", pa.int64())]),
            "column 'collection' is int64 in this manifest and string in ",
        ),
        (pa.schema([]), "column 'collection' is absent in this manifest and string in "),
        (
            pa.schema([*CARRIED, pa.field("extra", pa.bool_())]),
            "column 'extra' is bool in this manifest and absent in ",
        ),
    ],
)
def test_a_manifest_that_disagrees_is_a_users_mistake(
    store: Store, carried: pa.Schema, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        store.claim_schema(carried)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.carried_schema() == CARRIED


def test_the_order_of_carried_columns_is_that_of_the_first_run(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path), create=True)
    columns = [pa.field("b", pa.timestamp("ns", tz="UTC")), pa.field("a", pa.list_(pa.float32()))]
    store.claim_schema(pa.schema(columns))
    store.claim_schema(pa.schema(columns[::-1]))
    assert store.carried_schema() == pa.schema(columns)


def test_of_two_first_runs_one_fixes_the_columns(tmp_path: Path) -> None:
    schemas = [pa.schema([("x", kind)]) for kind in (pa.int64(), pa.string())] * 4
    start = threading.Barrier(8, timeout=30)

    def claim(schema: pa.Schema) -> bool:
        store = Store.open(str(tmp_path), create=True)
        start.wait()
        try:
            store.claim_schema(schema)
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(claim, schemas))
    assert results in ([True, False] * 4, [False, True] * 4)


def test_a_place_without_a_dataset_cannot_be_read(tmp_path: Path) -> None:
    for url in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InvalidStore, match=f"no dataset at {url}: "):
            Store.open(str(url), create=False)
    with pytest.raises(InvalidStore, match=r"has no _schema\.json"):
        Store.open(str(tmp_path), create=True).carried_schema()


def test_opening_for_a_run_leaves_nothing(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "a" / "out"), create=True)
    assert list(tmp_path.iterdir()) == []
    store.claim_schema(CARRIED)
    assert Store.open(str(tmp_path / "a" / "out"), create=False).carried_schema() == CARRIED


def test_memory_is_refused_for_a_run() -> None:
    with pytest.raises(UserError, match="memory://x is private to each process"):
        Store.open("memory://x", create=True)


def test_a_file_urls_dataset_is_that_of_its_path(tmp_path: Path) -> None:
    store = Store.open(f"file://{tmp_path}/out/", create=True)
    store.claim_schema(CARRIED)
    assert json.loads((tmp_path / "out" / "_schema.json").read_text())["version"] == 1
    assert store.url == f"file://{tmp_path}/out"


def test_a_read_only_place_is_a_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=rf"cannot write to {tmp_path}/out: Permission denied"):
        Store.open(str(tmp_path / "out"), create=True)
    assert list(tmp_path.iterdir()) == []


def test_a_store_travels_to_an_actor(store: Store) -> None:
    task = sample_task()
    assert (
        pickle.loads(pickle.dumps(store)).commit(task.asset_id, sample_bytes(task)) == "committed"
    )
    assert store.committed() == {task.asset_id}


def test_stale_temporaries_are_removed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    old = tmp_path / "assets" / "shard=x00" / f".{'0' * 32}.parquet.1.tmp"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"half")
    assert store.remove_stale() == 0
    os.utime(old, (0, 0))
    assert store.remove_stale() == 1
    assert not old.exists()
