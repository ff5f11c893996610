"""The two storage servers of the tests keep what the real ones promise."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import gcs_server, s3_server
from tests.storage_server import StorageServer

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=[gcs_server.serve, s3_server.serve], ids=["gs", "s3"])
def server(request: pytest.FixtureRequest) -> Iterator[StorageServer]:
    with request.param() as server:
        yield server


@pytest.mark.parametrize("data", [b"", b"x\r", b"\r\n\r\n--==0==", bytes(range(256)) * 99])
def test_bytes_come_back_as_they_were(server: StorageServer, data: bytes) -> None:
    objects = server.objects("a")
    assert objects.create("x", data)
    assert objects.read("x") == data


def test_of_many_creators_one_wins(server: StorageServer) -> None:
    objects, start = server.objects("a"), threading.Barrier(16, timeout=30)

    def contend(thread: int) -> int:
        start.wait()
        return sum(objects.create(f"race/{k}", f"{thread}".encode()) for k in range(20))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(contend, range(16))) == 20
    assert server.num_conflicts == 300


def test_listings_come_in_pages(server: StorageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_server, "PAGE_SIZE", 3)
    names = {f"n{k}" for k in range(8)}
    objects = server.objects("a")
    for name in names:
        objects.create(f"b/{name}", b"x")
    before = server.num_requests["list"]
    assert set(objects.names("b")) == names
    assert server.num_requests["list"] - before == (3 if server.scheme == "gs" else 1)


@pytest.mark.parametrize("status", [503, 429])
def test_failures_happen_as_often_as_ordered(server: StorageServer, status: int) -> None:
    server.fail_next(1, status=status)
    before = server.num_requests.total()
    assert server.objects("a").create("x", b"1")
    assert server.num_pending == 0
    assert server.num_requests.total() - before == 2


def test_an_answer_can_be_lost(server: StorageServer) -> None:
    server.lose_answers(1)
    assert not server.objects("a").create("x", b"1")
    assert (server.num_pending, server.num_conflicts) == (0, 1)
    assert server.objects("a").read("x") == b"1"


def test_answers_can_be_late(server: StorageServer) -> None:
    server.latency_seconds = 0.3
    start = time.monotonic()
    server.objects("a").create("x", b"1")
    assert time.monotonic() - start >= 0.3
    server.heal()
    assert server.latency_seconds == 0


def test_another_process_finds_the_server(server: StorageServer) -> None:
    code = (
        "import sys; from pipeline.store import Store; "
        "Store.open(sys.argv[1], create=True).put_json('x.json', {})"
    )
    environment = {**os.environ, **server.environment()}
    command = [sys.executable, "-c", code, server.url("out")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=60)
    assert server.names() == {"out/x.json"}
    server.clear()
    assert server.names() == set()


def test_a_bucket_that_is_not_there_is_not_found(server: StorageServer) -> None:
    objects = server.objects("a")
    objects._root = "another/a"
    with pytest.raises(FileNotFoundError):
        objects.create("x", b"1")


def test_uploads_in_parts_are_conditional_too(server: StorageServer) -> None:
    fs, part = server.objects("a")._fs, 5 * 2**20
    data = b"0" * (2 * part)
    before = server.num_requests["write"]
    fs.pipe_file("bucket/a/x", data, mode="create", chunksize=part)
    assert server.num_requests["write"] - before >= 3
    with pytest.raises(FileExistsError):
        fs.pipe_file("bucket/a/x", b"1" * len(data), mode="create", chunksize=part)
    assert fs.cat_file("bucket/a/x") == data
