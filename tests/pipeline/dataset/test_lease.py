import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.lease import Lease, LeaseHeld
from pipeline.storage.objects import Objects
from pipeline.storage.places import connect
from tests import gcs_server, s3_server

TTL = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["local", "gs", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Objects]:
    if request.param == "local":
        yield local(tmp_path)
        return
    with {"gs": gcs_server, "s3": s3_server}[request.param].serve() as server:
        yield server.objects("out")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def local(path: Path) -> Objects:
    fs, root = connect(str(path))
    return Objects(fs, root, url=str(path))


@contextmanager
def held(
    objects: Objects, clock: Callable[[], float], name: str, *, share: bool = False
) -> Iterator[Lease]:
    lease = Lease.acquire(objects, holder=name, share=share, clock=clock)
    try:
        yield lease
    finally:
        lease.release()


def records(objects: Objects) -> list[dict[str, Any]]:
    """What lies in `_lease/`, by number, read without any code of ours."""
    names = sorted(objects.names("_lease"))
    return [json.loads(objects.read(f"_lease/{name}") or b"") for name in names]


def put(objects: Objects, number: int, **fields: object) -> None:
    """The record of a run on another machine."""
    record = {"run_id": "far", "host": "far-away", "pid": 1, "expires_at": 0.0, "released": False}
    objects.publish(f"_lease/{number:08d}.json", json.dumps(record | fields).encode())


def test_one_holds_it_until_it_is_given_back(objects: Objects, clock: Clock) -> None:
    with held(objects, clock, "first"):
        with pytest.raises(LeaseHeld) as caught, held(objects, clock, "second"):
            raise AssertionError
        assert (caught.value.run_id, caught.value.host) == ("first", socket.gethostname())
        assert caught.value.expires_at == clock.now + TTL
        assert f"run first (process {os.getpid()} on " in str(caught.value)
        assert "\n" not in str(caught.value)
    with held(objects, clock, "second"):
        assert [(r["run_id"], r["released"]) for r in records(objects)] == [("second", False)]


def test_a_record_says_who_and_until_when(objects: Objects, clock: Clock) -> None:
    with held(objects, clock, "first"):
        pass
    assert objects.names("_lease") == ["00000001.json"]
    assert records(objects) == [
        {
            "run_id": "first",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "expires_at": clock.now + TTL,
            "released": True,
        }
    ]


def test_those_who_share_hold_it_together(objects: Objects, clock: Clock) -> None:
    with held(objects, clock, "first"), held(objects, clock, "second", share=True):
        assert {r["run_id"] for r in records(objects)} == {"first", "second"}
        with pytest.raises(LeaseHeld), held(objects, clock, "third"):
            raise AssertionError


def test_a_holder_that_renews_keeps_it(objects: Objects, clock: Clock) -> None:
    with held(objects, clock, "first") as first:
        for _ in range(5):
            clock.now += TTL / 3
            first.renew()
        assert len(records(objects)) == 1
        with pytest.raises(LeaseHeld), held(objects, clock, "second"):
            raise AssertionError


def test_it_is_taken_over_when_it_has_expired(tmp_path: Path, clock: Clock) -> None:
    objects = local(tmp_path)
    put(objects, 7, expires_at=clock.now + TTL)
    with pytest.raises(LeaseHeld, match=f"its claim ends in {TTL:.0f} s"):
        Lease.acquire(objects, holder="second", share=False, clock=clock)
    clock.now += TTL
    with held(objects, clock, "second"):
        assert objects.names("_lease") == ["00000008.json"]


def test_clocks_may_differ_by_half_the_time(tmp_path: Path, clock: Clock) -> None:
    """A holder renews each third: its record is good for two thirds at least."""
    objects = local(tmp_path)
    put(objects, 0, expires_at=clock.now + 2 * TTL / 3)
    clock.now += TTL / 2
    with pytest.raises(LeaseHeld), held(objects, clock, "second"):
        raise AssertionError


def test_the_newest_record_of_a_run_counts(tmp_path: Path, clock: Clock) -> None:
    objects = local(tmp_path)
    put(objects, 3, expires_at=clock.now + TTL)
    put(objects, 4, expires_at=clock.now + TTL, released=True)
    with held(objects, clock, "second"):
        assert [(r["run_id"], r["released"]) for r in records(objects)] == [("second", False)]


def test_a_process_that_died_here_holds_nothing(tmp_path: Path, clock: Clock) -> None:
    script = (
        "import sys\n"
        "from tests.pipeline.dataset.test_lease import local\n"
        "from pathlib import Path\n"
        "from pipeline.dataset.lease import Lease\n"
        "Lease.acquire(local(Path(sys.argv[1])), holder='dead', share=False)\n"
        "print('acquired', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"acquired\n"
        with pytest.raises(LeaseHeld, match="run dead"):
            Lease.acquire(local(tmp_path), holder="next", share=False)
        child.kill()
        child.wait(timeout=30)
    with held(local(tmp_path), time.time, "next"):
        assert [r["run_id"] for r in records(local(tmp_path))] == ["next"]


def test_of_two_at_the_same_moment_one_gets_it(objects: Objects) -> None:
    start = threading.Barrier(4, timeout=30)

    def acquire(name: str) -> Lease | None:
        start.wait()
        try:
            return Lease.acquire(objects, holder=name, share=False)
        except LeaseHeld:
            return None

    with ThreadPoolExecutor(4) as pool:
        leases = list(pool.map(acquire, "abcd"))
    winners = [lease for lease in leases if lease is not None]
    for lease in winners:
        lease.release()
    assert len(winners) == 1


def test_who_comes_second_between_look_and_write_gives_way(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, write = local(tmp_path), Lease._write

    def late(lease: Lease, **options: bool) -> int:
        if not objects.names("_lease"):
            put(objects, 0, expires_at=clock.now + TTL)
        return write(lease, **options)

    monkeypatch.setattr(Lease, "_write", late)
    with pytest.raises(LeaseHeld, match="run far"):
        Lease.acquire(objects, holder="second", share=False, clock=clock)
    assert [(r["run_id"], r["released"]) for r in records(objects)] == [
        ("far", False),
        ("second", True),
    ]


def test_a_record_that_is_replaced_while_it_is_read_is_followed(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = local(tmp_path)
    put(objects, 0, expires_at=clock.now + TTL)
    read, gone = Objects.read, []

    def replaced(self: Objects, name: str) -> bytes | None:
        if not gone:
            gone.append(name)
            put(objects, 1, expires_at=clock.now + TTL)
            objects.remove(name)
        return read(self, name)

    monkeypatch.setattr(Objects, "read", replaced)
    with pytest.raises(LeaseHeld):
        Lease.acquire(objects, holder="second", share=False, clock=clock)
    assert gone == ["_lease/00000000.json"]


def test_a_lost_lease_is_said_once_and_ends_nothing(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    objects = local(tmp_path)
    with held(objects, clock, "first") as first:
        clock.now += 2 * TTL
        with held(objects, clock, "second") as second:
            with caplog.at_level(logging.WARNING):
                for _ in range(3):
                    first.renew()
                    second.renew()
            said = [record.getMessage() for record in caplog.records]
            assert len(said) == 2
            assert "run second" in said[0]
            assert "run first" in said[1]
            assert {r["run_id"] for r in records(objects)} == {"first", "second"}


def test_a_claim_that_storage_refuses_is_only_spoken_of(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise TimeoutError

    with held(local(tmp_path), clock, "first") as first, monkeypatch.context() as broken:
        broken.setattr(Objects, "create", refuse)
        first.renew()
        assert "is not renewed: no answer in time" in caplog.text
        first.release()
        assert "is not given back: no answer in time" in caplog.text


def test_damaged_and_foreign_files_hold_nothing(tmp_path: Path, clock: Clock) -> None:
    objects = local(tmp_path)
    for name, data in {
        "00000005.json": b'{"run_id": "x"',
        "00000006.json": b"[1]",
        "00000007.json": b'{"run_id": 1, "host": "x", "pid": 1, "expires_at": 1e30}',
        "notes.txt": b"not ours",
    }.items():
        objects.publish(f"_lease/{name}", data)
    with held(objects, clock, "first"):
        assert sorted(objects.names("_lease")) == ["00000008.json", "notes.txt"]


def test_a_thread_renews_and_ends(tmp_path: Path) -> None:
    lease = Lease.acquire(local(tmp_path), holder="first", share=False, ttl_seconds=0.3)
    try:
        end = time.monotonic() + 20
        while local(tmp_path).names("_lease") in ([], ["00000000.json"]):
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        lease.release()
    assert not lease._thread.is_alive()
    assert [r["released"] for r in records(local(tmp_path))] == [True]
