import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.objects import Objects
from pipeline.places import connect
from tests.pipeline.storage import Bucket, CarelessBucket, LockedBucket, objects_in

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["local", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return local(tmp_path) if request.param == "local" else objects_in(Bucket)


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


def test_a_map_keeps_the_order(objects: Objects) -> None:
    assert list(objects.map(str, range(3000))) == [str(k) for k in range(3000)]


def test_remote_work_is_spread_over_threads() -> None:
    both = threading.Barrier(2, timeout=10)
    assert list(objects_in(Bucket).map(lambda _: both.wait() >= 0, range(2))) == [True, True]


def test_an_object_travels_between_processes(objects: Objects) -> None:
    objects.create("x", b"1")
    assert pickle.loads(pickle.dumps(objects)).read("x") == b"1"


def test_the_probe_leaves_nothing_behind(objects: Objects) -> None:
    objects.probe()
    assert objects.names("") == []


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


def test_the_probe_passes_on_what_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        local(tmp_path).probe()
    assert list(tmp_path.iterdir()) == []


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
from pipeline.objects import Objects
from pipeline.places import connect

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
