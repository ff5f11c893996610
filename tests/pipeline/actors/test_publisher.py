"""From a finished scene to the store, with the store's bad days."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.export.asset import Asset
from pipeline.actors.publisher import Publisher, StageError
from pipeline.records import Attempt, CommitResult
from pipeline.store import Store, asset_name
from tests.pipeline.fake_engine import FakeEngine, Request, Scene
from tests.pipeline.sample_assets import open_store, sample_asset, sample_task

TASK = sample_task(3)
ATTEMPT = Attempt(task=TASK, attempt_id="b" * 32, number=2, seed=77)


def finished(prompt: str = TASK.prompt.prompt) -> Scene:
    request = Request(key=TASK.asset_id, prompt=prompt, negative_prompt="", seed=77)
    return Scene(request=request, iterations=5)


class MoodyStore(Store):
    """Refuses the first `num_refusals` commits, and counts them all."""

    num_refusals = 0
    num_commits = 0

    def commit(self, asset_id: str, table_bytes: bytes) -> CommitResult:
        self.num_commits += 1
        if self.num_commits <= self.num_refusals:
            raise OSError("503 try later")
        return super().commit(asset_id, table_bytes)


def moody(tmp_path: Path, num_refusals: int) -> MoodyStore:
    open_store(str(tmp_path))
    store = MoodyStore.open(str(tmp_path), create=True)
    store.num_refusals = num_refusals
    return store


def test_a_scene_becomes_one_row(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    engine = FakeEngine()
    published = Publisher(engine, store).publish(ATTEMPT, finished())
    path = tmp_path / asset_name(TASK.asset_id)
    assert (published.result, published.num_bytes) == ("committed", path.stat().st_size)
    (row,) = pq.read_table(path).to_pylist()
    assert row["attempt_id"] == ATTEMPT.attempt_id
    assert (row["seed"], row["seed_used"], row["attempts"]) == (TASK.prompt.seed, 77, 2)
    assert (row["device"], row["iterations"], row["gpu_seconds"]) == (engine.device, 5, 0.5)
    assert row["collection"] == "demo"
    assert (published.mesh_status, published.mesh_faces) == ("ok", row["mesh_faces"])
    assert published.mesh_faces > 0
    # A sample's square fills a quarter of each of its pictures.
    assert published.opacity == 0.25


def test_the_second_attempt_finds_the_place_taken(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    publisher = Publisher(FakeEngine(), store)
    publisher.publish(ATTEMPT, finished())
    late = Attempt(task=TASK, attempt_id="c" * 32, number=1, seed=3)
    published = publisher.publish(late, finished())
    assert (published.result, published.num_bytes) == ("duplicate", 0)


def test_a_store_that_recovers_costs_nothing_but_time(tmp_path: Path) -> None:
    store = moody(tmp_path, num_refusals=2)
    publisher = Publisher(FakeEngine(), store, store_delays=(0.0, 0.0))
    assert publisher.publish(ATTEMPT, finished()).result == "committed"
    assert store.num_commits == 3


def test_a_store_that_stays_closed_is_an_error_of_the_store(tmp_path: Path) -> None:
    store = moody(tmp_path, num_refusals=99)
    publisher = Publisher(FakeEngine(), store, store_delays=(0.0, 0.0))
    with pytest.raises(StageError, match="OSError: 503 try later") as caught:
        publisher.publish(ATTEMPT, finished())
    assert caught.value.kind == "store"
    assert store.num_commits == 3
    assert store.committed() == set()


def test_a_failing_export_is_an_error_of_the_export(tmp_path: Path) -> None:
    class Unclosed(FakeEngine):
        def export(self, finished: Scene, metadata: Mapping[str, str]) -> Asset:
            raise ValueError("the mesh is not closed")

    with pytest.raises(StageError, match="not closed") as caught:
        Publisher(Unclosed(), open_store(str(tmp_path))).publish(ATTEMPT, finished())
    assert caught.value.kind == "export"


def test_an_export_takes_as_long_as_the_try_that_made_it(tmp_path: Path) -> None:
    """Neither the wait for a berth counts nor a try that was refused."""

    class Busy(FakeEngine):
        num_tries = 0
        are_two = threading.Barrier(2)

        def export(self, finished: Scene, metadata: Mapping[str, str]) -> Asset:
            self.num_tries += 1
            number = self.num_tries
            if number <= 2:
                self.are_two.wait(20)
            time.sleep(0.3)
            if number == 2:
                raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
            return super().export(finished, metadata)

    engine = Busy()
    publisher = Publisher(engine, open_store(str(tmp_path)), num_exports=2)
    with ThreadPoolExecutor(2) as pool:
        start = time.monotonic()
        both = list(pool.map(lambda _: publisher.publish(ATTEMPT, finished()), range(2)))
        seconds = time.monotonic() - start
    assert engine.num_tries == 3
    # With one berth left, the try that counts begins when the other's is over.
    assert 0.6 <= sum(published.export_seconds for published in both) <= seconds


def test_the_glb_is_told_what_it_is(tmp_path: Path) -> None:
    class Curious(FakeEngine):
        metadata: Mapping[str, str] = {}

        def export(self, finished: Scene, metadata: Mapping[str, str]) -> Asset:
            self.metadata = metadata
            return sample_asset(is_empty=True)

    engine = Curious()
    published = Publisher(engine, open_store(str(tmp_path))).publish(ATTEMPT, finished())
    assert (published.mesh_status, published.mesh_faces) == ("empty", 0)
    assert engine.metadata["prompt"] == TASK.prompt.prompt
    assert engine.metadata["seed"] == "77"
    assert engine.metadata["asset_id"] == TASK.asset_id
    assert set(engine.metadata) >= {"recipe", "recipe_digest", "guidance", "guidance_digest"}
