import errno
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RunError, UserError
from pipeline.storage import places
from pipeline.storage.objects import Objects
from pipeline.storage.places import StorageError, connect
from tests.clusters import free_ports
from tests.pipeline.buckets import (
    Bucket,
    CarelessBucket,
    LockedBucket,
    make_impatient,
    objects_in,
)
from tests.storage_server import StorageServer

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["local", "bucket", "gs", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "local":
        return local(tmp_path)
    if request.param == "bucket":
        return objects_in(Bucket)
    server = request.getfixturevalue(request.param)
    server.clear()
    return server.objects("place")


def local(path: Path) -> Objects:
    fs, root = connect(str(path))
    return Objects(fs, root, url=str(path))


def test_a_name_is_created_once_and_for_ever(objects: Objects) -> None:
    assert objects.read("a/b/x") is None
    assert objects.create("a/b/x", b"first")
    assert not objects.create("a/b/x", b"second")
    assert objects.read("a/b/x") == b"first"


def test_publishing_replaces(objects: Objects) -> None:
    assert objects.publish("a/x", b"first") == f"{objects.url}/a/x"
    objects.publish("a/x", b"second")
    assert objects.read("a/x") == b"second"
    with objects.open("a/x") as stream:
        assert stream.read() == b"second"


def test_listings_show_names_and_sizes_and_nothing_hidden(objects: Objects) -> None:
    objects.create("a/x", b"123")
    objects.create("a/deeper/y", b"")
    objects.publish("a/.hidden", b"")
    assert sorted(objects.names("a")) == ["deeper", "x"]
    assert objects.sizes("a")["x"] == 3
    assert ".hidden" not in objects.sizes("a")
    assert (objects.names("absent"), objects.sizes("absent")) == ([], {})
    assert (objects.exists("a"), objects.exists("a/x"), objects.exists("b")) == (True, True, False)


def test_an_object_is_no_directory(objects: Objects) -> None:
    objects.create("a/x", b"1")
    assert (objects.names("a/x"), objects.sizes("a/x"), objects.entries("a/x")) == ([], {}, {})


def test_an_entry_says_when_it_was_written(objects: Objects) -> None:
    before = time.time()
    objects.create("a/x", b"123")
    objects.create("a/deeper/y", b"")
    (entry,) = objects.entries("a").values()
    assert entry.num_bytes == 3
    assert before - 2 <= entry.modified <= time.time() + 2


def test_a_directorys_own_object_is_not_in_it(server: StorageServer) -> None:
    objects = server.objects("place")
    objects.create("a/x", b"1")
    fs, _ = connect(server.url(""))
    fs.pipe_file("bucket/place/a/", b"")
    assert "place/a/" in server.names()
    assert objects.names("a") == ["x"]
    assert objects.names("") == ["a"]


def test_a_map_keeps_the_order(objects: Objects) -> None:
    assert list(objects.map(str, range(3000))) == [str(k) for k in range(3000)]


def test_remote_work_is_spread_over_threads() -> None:
    both = threading.Barrier(2, timeout=10)
    assert list(objects_in(Bucket).map(lambda _: both.wait() >= 0, range(2))) == [True, True]


def test_few_results_wait_to_be_taken() -> None:
    made: list[int] = []
    results = objects_in(Bucket).map(lambda k: made.append(k) or k, range(50), ahead=3)
    for taken, k in enumerate(results):
        assert k == taken
        assert len(made) <= taken + 3
    assert sorted(made) == list(range(50))


def test_an_object_travels_between_processes(objects: Objects) -> None:
    objects.create("x", b"1")
    assert pickle.loads(pickle.dumps(objects)).read("x") == b"1"


def test_the_probe_leaves_nothing_behind(objects: Objects) -> None:
    objects.probe()
    assert objects.names("") == []


def test_the_probe_makes_no_directory(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    local(tmp_path / "there").probe()
    local(tmp_path / "new" / "out").probe()
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_an_empty_directory_may_go_while_an_object_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe of another run removes the directory it made, after we have seen it."""
    calls = []
    make = Path.mkdir

    def make_and_lose(path: Path, *arguments: Any, **options: Any) -> None:
        make(path, *arguments, **options)
        if not calls:
            path.rmdir()
        calls.append(path)

    monkeypatch.setattr(Path, "mkdir", make_and_lose)
    assert local(tmp_path / "out").create("name", b"data")
    assert (tmp_path / "out" / "name").read_bytes() == b"data"
    assert len(calls) >= 2


def test_the_probe_refuses_a_place_that_overwrites() -> None:
    with pytest.raises(UserError, match="overwrites what is to be created once"):
        objects_in(CarelessBucket).probe()


def test_the_probe_tells_of_missing_rights() -> None:
    with pytest.raises(UserError, match=r"cannot write to locked://place: Forbidden: .*create"):
        objects_in(LockedBucket).probe()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_the_probe_refuses_a_disk_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UserError, match="a mounted bucket has no hard links, name its URL"):
        local(tmp_path).probe()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    objects, mount = local(tmp_path / "out"), tmp_path.resolve()
    while not os.path.ismount(mount):
        mount = mount.parent
    expected = rf"{os.strerror(number)}: the disk at {mount} has [\d.]+ GB free of [\d.]+ GB"
    monkeypatch.setattr(os, "fsync", fail)
    for write in (objects.create, objects.publish):
        with pytest.raises(OSError, match=expected) as caught:
            write("a/x", b"1")
        assert caught.value.errno == number
        assert list((tmp_path / "out" / "a").iterdir()) == []
    with pytest.raises(RunError, match=rf"cannot write to {tmp_path}/out: {expected}"):
        objects.probe()


def test_a_bucket_that_is_not_there_is_a_users_mistake(server: StorageServer) -> None:
    fs, _ = connect(server.url(""))
    with pytest.raises(UserError, match=r"no such file, directory or bucket; name a bucket that"):
        Objects(fs, "absent/place", url=f"{server.scheme}://absent/place").probe()


@pytest.mark.parametrize(
    ("scheme", "options"),
    [("gs", {"token": "anon", "project": "test"}), ("s3", {"key": "x", "secret": "y"})],
)
def test_a_place_out_of_reach_is_told_in_time(
    monkeypatch: pytest.MonkeyPatch, scheme: str, options: dict[str, str]
) -> None:
    monkeypatch.setattr("pipeline.storage.objects._PROBE_SECONDS", 1)
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    fs, root = connect(f"{scheme}://bucket/x", endpoint_url=endpoint, **options)
    start = time.monotonic()
    with pytest.raises(RunError, match=rf"^cannot write to {scheme}://bucket/x: .*$"):
        Objects(fs, root, url=f"{scheme}://bucket/x").probe()
    assert time.monotonic() - start < 10


def test_a_server_that_does_not_answer_is_given_up(server: StorageServer) -> None:
    server.latency_seconds = 3
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        server.objects("late").within(0.3).create("x", b"1")
    assert time.monotonic() - start < 2.5
    server.heal()


def test_an_observer_hears_of_each_operation(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, str]] = []
    objects.observe = lambda *what: heard.append((what[0], what[1]))
    objects.create("a/x", b"1")
    objects.create("a/x", b"2")
    objects.publish("a/y", b"1")
    objects.read("a/x")
    objects.read("a/z")
    objects.names("a")
    objects.sizes("a")
    objects.exists("a/x")
    with objects.open("a/x") as stream:
        assert stream.read() == b"1"
    objects.remove("a/x")
    words = "create create publish read read list list exists open remove"
    assert heard == [(word, "ok") for word in words.split()]
    assert pickle.loads(pickle.dumps(objects)).observe is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "full"),
        (PermissionError(errno.EACCES, "Permission denied"), "refused"),
        (OSError(errno.EIO, "Input/output error"), "passing"),
    ],
)
def test_an_observer_hears_of_the_kind_of_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, kind: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    heard: list[tuple[str, str, float]] = []
    objects = local(tmp_path)
    objects.observe = lambda *what: heard.append(what)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        objects.create("a/x", b"1")
    ((operation, result, seconds),) = heard
    assert (operation, result) == ("create", kind)
    assert 0 <= seconds < 10


@pytest.mark.parametrize("num_bytes", [6 * 2**20, 25 * 2**20])
def test_large_objects_are_created_in_one_conditional_request(
    server: StorageServer, monkeypatch: pytest.MonkeyPatch, num_bytes: int
) -> None:
    monkeypatch.setattr("pipeline.storage.objects._PART_BYTES", 2**20)
    objects, before = server.objects("place"), server.num_requests["write"]
    data = os.urandom(2**20) * (num_bytes // 2**20)
    assert objects.create("x", data)
    assert not objects.create("x", bytes(num_bytes))
    assert server.num_requests["write"] - before == 2
    assert objects.read("x") == data


def test_a_lost_answer_to_a_large_creation_is_met_again(server: StorageServer) -> None:
    objects, data = server.objects("place"), os.urandom(6 * 2**20)
    server.lose_answers(1)
    before = server.num_conflicts
    assert not objects.create("x", data)
    assert server.num_conflicts - before == 1
    assert objects.read("x") == data


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_server_is_asked_again(server: StorageServer, status: int) -> None:
    server.fail_next(1, status=status)
    assert server.objects("place").create("x", b"1")
    assert server.num_pending == 0


OPERATIONS: dict[str, Callable[[Objects], object]] = {
    "create": lambda objects: objects.create("y", b"1"),
    "publish": lambda objects: objects.publish("y", b"1"),
    "read": lambda objects: objects.read("x"),
    "names": lambda objects: objects.names(""),
    "entries": lambda objects: objects.entries(""),
    "exists": lambda objects: objects.exists("x"),
    "remove": lambda objects: objects.remove("x"),
    "open": lambda objects: objects.open("x"),
    "sha256": lambda objects: objects.sha256("x"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_stays_busy_is_an_error_of_the_system(
    server: StorageServer, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    make_impatient(server, monkeypatch)
    objects = server.objects("place")
    objects.create("x", b"1")
    server.fail_next(1000)
    with pytest.raises(OSError, match=r"503|Service Unavailable") as caught:
        OPERATIONS[operation](objects)
    server.heal()
    assert places.kind(caught.value) == "passing"
    assert isinstance(caught.value, StorageError) == (server.scheme == "gs")
    assert (
        server.url("place") in [caught.value.filename, *getattr(caught.value, "__notes__", [])][-1]
    )


def test_a_file_that_was_opened_fails_as_its_place_does(
    server: StorageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_impatient(server, monkeypatch)
    objects = server.objects("place")
    objects.create("x", b"12345")
    with objects.open("x") as stream:
        assert stream.read(2) == b"12"
        server.fail_next(1000)
        with pytest.raises(OSError, match="503"):
            stream.read(2)
        server.heal()
        assert stream.seek(-1, os.SEEK_END) == 4
        assert (stream.read(), stream.tell()) == (b"5", 5)


def test_a_digest_is_of_all_bytes(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.storage.objects._READ_BYTES", 7)
    data = os.urandom(100)
    objects.create("x", data)
    assert objects.sha256("x") == hashlib.sha256(data).hexdigest()
    assert objects.sha256("absent") is None


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_server_that_is_not_there_is_an_error_of_the_system(
    scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue(scheme)
    make_impatient(server, monkeypatch)
    (port,) = free_ports(1)
    options = {**server.options(), "endpoint_url": f"http://127.0.0.1:{port}"}
    fs, root = connect(f"{scheme}://bucket/x", **options)
    with pytest.raises(OSError, match="connect") as caught:
        Objects(fs, root, url=f"{scheme}://bucket/x").read("x")
    assert places.kind(caught.value) == "passing"


def test_a_path_through_a_file_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write to .*/file/out: "):
        local(tmp_path / "file" / "out").probe()


def test_a_file_in_the_place_of_the_output_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write to .*/file: .*; it is no directory"):
        local(tmp_path / "file").probe()
    assert (tmp_path / "file").read_text() == "x"


def race(objects: Objects, num_threads: int, num_names: int) -> list[str]:
    """The names that some thread created, one entry for each success."""
    start = threading.Barrier(num_threads, timeout=30)

    def contend(thread: int) -> list[str]:
        start.wait()
        names = [f"shard/{k}" for k in range(num_names)]
        return [name for name in names if objects.create(name, f"{name} {thread}".encode() * 500)]

    with ThreadPoolExecutor(num_threads) as pool:
        return [name for won in pool.map(contend, range(num_threads)) for name in won]


def test_of_sixteen_threads_one_creates_each_name(objects: Objects) -> None:
    won = race(objects, num_threads=16, num_names=20)
    assert sorted(won) == sorted(f"shard/{k}" for k in range(20))
    assert sorted(objects.names("shard")) == sorted(str(k) for k in range(20))
    for k in range(20):
        data = objects.read(f"shard/{k}") or b""
        assert len(set(data.decode().split("shard/")[1:])) == 1


_CHILD = """
import os, pathlib, signal, sys
from pipeline.storage.objects import Objects
from pipeline.storage.places import connect

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

step, root = sys.argv[1:]
if step == "before the write":
    pathlib.Path.open = die
elif step == "in the write":
    os.fsync = die
elif step == "before the name":
    os.link = os.replace = die
elif step == "after the name":
    pathlib.Path.unlink = die
fs, path = connect(root)
objects = Objects(fs, path, url=root)
objects.create("a/x", b"new" * 1000)
objects.publish("a/y", b"new" * 1000)
"""


def killed_at(step: str, root: Path) -> None:
    command = [sys.executable, "-c", _CHILD, step, str(root)]
    child = subprocess.run(command, cwd=ROOT, check=False)
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("step", "num_left", "is_there"),
    [
        ("before the write", 0, False),
        ("in the write", 1, False),
        ("before the name", 1, False),
        ("after the name", 1, True),
    ],
)
def test_a_killed_writer_leaves_all_or_nothing(
    tmp_path: Path, step: str, num_left: int, is_there: bool
) -> None:
    objects = local(tmp_path)
    killed_at(step, tmp_path)
    assert objects.names("a") == (["x"] if is_there else [])
    assert objects.read("a/x") == (b"new" * 1000 if is_there else None)
    hidden = list((tmp_path / "a").glob(".*"))
    assert len(hidden) == num_left
    assert objects.remove_stale(older_than_seconds=60) == 0
    assert objects.remove_stale(older_than_seconds=0) == num_left
    assert objects.create("a/x", b"again") is not is_there


@pytest.mark.parametrize("step", ["in the write", "before the name"])
def test_a_killed_publisher_leaves_the_old_bytes(tmp_path: Path, step: str) -> None:
    objects = local(tmp_path)
    objects.create("a/x", b"there")
    objects.publish("a/y", b"old")
    script = _CHILD.replace('objects.create("a/x", b"new" * 1000)\n', "")
    command = [sys.executable, "-c", script, step, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    assert objects.read("a/y") == b"old"


def test_a_failed_write_leaves_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        local(tmp_path).create("a/x", b"1")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_bucket_has_no_temporaries() -> None:
    objects = objects_in(Bucket)
    objects.publish("a/.x.1.tmp", b"not ours")
    assert objects.remove_stale(older_than_seconds=0) == 0
    assert objects.read("a/.x.1.tmp") == b"not ours"
