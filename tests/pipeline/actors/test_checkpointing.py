"""What is saved when, and that nothing stays behind, with writes that end when they are told to."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from pipeline import retry
from pipeline.actors.assignments import Assignment
from pipeline.actors.checkpointing import Checkpointing, read_checkpoint
from pipeline.records import Attempt
from pipeline.store import Store
from tests.pipeline.fake_engine import FakeGang, Request, Saved
from tests.pipeline.sample_assets import open_store, sample_task

SECONDS = 10


class SlowStore(Store):
    """Its writes wait for `may_write` and fail while `is_down`; so do reads."""

    may_write = threading.Event()
    is_down = False
    num_calls = 0

    def write_checkpoint(self, asset_id: str, data: bytes) -> None:
        assert self.may_write.wait(SECONDS)
        self._fail_if_down()
        super().write_checkpoint(asset_id, data)

    def read_checkpoint(self, asset_id: str) -> bytes | None:
        self._fail_if_down()
        return super().read_checkpoint(asset_id)

    def remove_checkpoint(self, asset_id: str) -> None:
        self._fail_if_down()
        super().remove_checkpoint(asset_id)

    def _fail_if_down(self) -> None:
        self.num_calls += 1
        if self.is_down:
            raise OSError("503 try later")


@pytest.fixture
def store(tmp_path: Path) -> SlowStore:
    open_store(str(tmp_path))
    store = SlowStore.open(str(tmp_path), create=True)
    store.may_write = threading.Event()
    store.may_write.set()
    return store


@pytest.fixture
def checkpointing(store: SlowStore) -> Iterator[Checkpointing]:
    checkpointing = Checkpointing(store, every_seconds=100.0)
    yield checkpointing
    store.may_write.set()
    checkpointing.close()


def assignment(number: int, *, age: float = 0.0, may_resume: bool = False) -> Assignment:
    attempt = Attempt(
        task=sample_task(number),
        attempt_id=f"{number:032x}",
        number=1,
        seed=number,
        may_resume=may_resume,
    )
    return Assignment(attempt=attempt, last_saved=time.monotonic() - age)


def gang_of(*assignments: Assignment) -> FakeGang:
    gang = FakeGang(len(assignments), 0.0)
    for one in assignments:
        prompt = one.attempt.task.prompt
        gang.add(
            Request(key=one.key, prompt=prompt.prompt, negative_prompt="", seed=one.attempt.seed)
        )
    return gang


def written(future: "Future[None] | None") -> None:
    assert future is not None
    future.result(timeout=SECONDS)


def steps_in(store: Store, one: Assignment) -> int | None:
    data = store.read_checkpoint(one.key)
    return None if data is None else json.loads(data)["iterations"]


def test_the_oldest_is_saved_first_and_one_at_a_time(
    store: SlowStore, checkpointing: Checkpointing
) -> None:
    young, old, older = assignment(0, age=5), assignment(1, age=150), assignment(2, age=200)
    gang = gang_of(young, old, older)
    store.may_write.clear()
    assert checkpointing.due([young, old, older]) is older
    first = checkpointing.save(gang, older)
    assert checkpointing.due([young, old, older]) is None, "one is under way"
    store.may_write.set()
    written(first)
    assert checkpointing.due([young, old, older]) is old
    written(checkpointing.save(gang, old))
    assert checkpointing.due([young, old, older]) is None, "none is old enough"
    assert checkpointing.due([]) is None
    assert store.checkpointed() == {old.key, older.key}


def test_what_was_written_is_what_is_kept(store: SlowStore, checkpointing: Checkpointing) -> None:
    one = assignment(0)
    gang = gang_of(one)
    for num_steps in (1, 2):
        gang.step()
        store.may_write.clear()
        future = checkpointing.save(gang, one)
        assert one.kept_seconds == pytest.approx(0.1 * (num_steps - 1))
        store.may_write.set()
        written(future)
        assert steps_in(store, one) == num_steps
        assert one.kept_seconds == pytest.approx(0.1 * num_steps)


def test_an_older_checkpoint_never_comes_last(
    store: SlowStore, checkpointing: Checkpointing
) -> None:
    one = assignment(0)
    gang = gang_of(one)
    store.may_write.clear()
    futures = []
    for _ in range(3):
        gang.step()
        futures.append(checkpointing.save(gang, one))
    time.sleep(0.05)
    assert store.num_calls == 0
    store.may_write.set()
    for future in futures:
        written(future)
    assert steps_in(store, one) == 3


def test_without_an_interval_nothing_is_saved(store: SlowStore) -> None:
    never = Checkpointing(store, every_seconds=None)
    one = assignment(0, age=1e6)
    assert never.due([one]) is None
    assert never.save(gang_of(one), one) is None
    never.close()
    assert store.checkpointed() == set()


def test_errors_are_warnings(
    store: SlowStore, checkpointing: Checkpointing, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(FakeGang):
        def save(self, key: str) -> Saved:
            raise RuntimeError("CUDA out of memory")

    one = assignment(0)
    assert checkpointing.save(Full(1, 0.0), one) is None
    store.is_down = True
    written(checkpointing.save(gang_of(one), one))
    assert one.kept_seconds == 0
    checkpointing.remove(one)
    assert [record.getMessage() for record in caplog.records] == [
        f"asset {one.key} could not be saved",
        f"the checkpoint of asset {one.key} was not written",
        f"the checkpoint of asset {one.key} was not removed",
    ]


@pytest.mark.parametrize("may_resume", [False, True])
def test_what_is_committed_has_no_checkpoint(
    store: SlowStore, checkpointing: Checkpointing, *, may_resume: bool
) -> None:
    """Its own one, or that of an earlier attempt."""
    one = assignment(0, may_resume=may_resume)
    if may_resume:
        store.write_checkpoint(one.key, b"of another actor")
    else:
        written(checkpointing.save(gang_of(one), one))
    assert store.checkpointed() == {one.key}
    checkpointing.remove(one)
    assert store.checkpointed() == set()


def test_a_scene_that_was_never_saved_costs_no_call(
    store: SlowStore, checkpointing: Checkpointing
) -> None:
    checkpointing.remove(assignment(0))
    assert store.num_calls == 0


def test_a_write_that_comes_after_the_commit_is_undone(
    store: SlowStore, checkpointing: Checkpointing
) -> None:
    one, other = assignment(0), assignment(1)
    store.may_write.clear()
    future = checkpointing.save(gang_of(one), one)
    while not one.has_checkpoint:
        time.sleep(0.001)
    checkpointing.remove(one)
    checkpointing.remove(other)
    store.may_write.set()
    written(future)
    assert store.checkpointed() == set()
    assert store.num_calls == 3, "removed before and after the write"


def test_a_write_that_has_not_begun_when_its_asset_is_committed_never_does(
    store: SlowStore, checkpointing: Checkpointing
) -> None:
    one = assignment(0)
    store.may_write.clear()
    futures = [checkpointing.save(gang_of(one), one) for _ in range(2)]
    while not one.has_checkpoint:
        time.sleep(0.001)
    checkpointing.remove(one)
    store.may_write.set()
    for future in futures:
        written(future)
    assert store.num_calls == 3
    assert store.checkpointed() == set()


def test_a_scene_that_has_failed_is_not_written(
    store: SlowStore, checkpointing: Checkpointing
) -> None:
    class Broken(FakeGang):
        def save(self, key: str) -> Saved:
            return NoBytes(seed=0, iterations=3, seconds=0.3)

    class NoBytes(Saved):
        def to_bytes(self) -> bytes | None:
            return None

    one = assignment(0)
    written(checkpointing.save(Broken(1, 0.0), one))
    assert (store.num_calls, one.kept_seconds) == (0, 0.0)


def test_reading(store: SlowStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "STORE_DELAYS_SECONDS", (0.0, 0.0))
    fresh, again = assignment(0), assignment(0, may_resume=True)
    store.write_checkpoint(fresh.key, b"half a ball")
    store.num_calls = 0
    assert read_checkpoint(store, fresh.attempt) is None
    assert store.num_calls == 0, "there can be none"
    assert read_checkpoint(store, again.attempt) == b"half a ball"
    store.num_calls, store.is_down = 0, True
    assert read_checkpoint(store, again.attempt) is None
    assert store.num_calls == 3
