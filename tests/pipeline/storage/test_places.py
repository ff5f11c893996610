import errno
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest

from pipeline.errors import RunError, UserError
from pipeline.storage import places


class CloudError(Exception):
    def __init__(self, code: object) -> None:
        super().__init__("denied")
        self.code = code


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (FileNotFoundError("bucket/x"), True),
        (PermissionError("Access Denied"), True),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), True),
        (OSError("Forbidden: https://storage.googleapis.com/b/o"), True),
        (CloudError(401), True),
        (CloudError("403"), True),
        (CloudError(503), False),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), False),
        (ConnectionResetError("reset"), False),
        (TimeoutError(), False),
        (ValueError("something else"), False),
    ],
)
def test_only_what_trying_again_cannot_help_is_final(error: Exception, is_final: bool) -> None:
    assert places.is_final(error) is is_final


class NoCredentialsError(Exception):
    """As botocore calls it."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "full"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "full"),
        (PermissionError("Access Denied"), "refused"),
        (NoCredentialsError("Unable to locate credentials"), "refused"),
        (CloudError(503), "passing"),
        (CloudError(429), "passing"),
        (OSError(errno.EIO, "Input/output error"), "passing"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "passing"),
    ],
)
def test_an_error_is_of_one_kind(error: Exception, kind: str) -> None:
    assert places.kind(error) == kind
    line = places.one_line("cannot write to x", error, "; mend it")
    assert str(line).startswith("cannot write to x: ")
    assert isinstance(line, UserError if kind == "refused" else RunError)
    assert str(line).endswith("; mend it") == (kind == "refused")


@pytest.mark.parametrize(
    ("error", "kind"), [(CloudError(503), "passing"), (CloudError(403), "refused")]
)
def test_what_a_client_raises_becomes_one_family(error: Exception, kind: str) -> None:
    with (
        pytest.raises(places.StorageError, match="denied") as caught,
        places.client_errors("gs://bucket/out"),
    ):
        raise error
    assert caught.value.__cause__ is error
    assert (places.kind(caught.value), places.reason(caught.value)) == (kind, "denied")
    assert caught.value.filename == "gs://bucket/out"
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, places.StorageError)
    assert (str(again), places.kind(again)) == (str(caught.value), kind)


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), PermissionError("x"), UserError("x"), RunError("x")]
)
def test_errors_that_say_more_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, places.client_errors("gs://bucket/out"):
        raise error
    assert caught.value is error


def s3_error(**response: str) -> OSError:
    """As s3fs raises it: an OSError whose cause has the server's answer."""
    cause = CloudError(412)
    setattr(cause, "response", {"Error": response})  # noqa: B010
    error = OSError(errno.EINVAL, "At least one of the pre-conditions did not hold")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_taken"),
    [
        (FileExistsError("bucket/x"), True),
        (s3_error(Code="PreconditionFailed"), True),
        (s3_error(Code="412"), True),
        (s3_error(Code="SlowDown"), False),
        (OSError(errno.EINVAL, "Invalid argument"), False),
        (CloudError(503), False),
    ],
)
def test_a_name_is_taken_where_the_server_says_so(error: Exception, is_taken: bool) -> None:
    assert places.is_taken(error) is is_taken


def test_a_place_that_cannot_be_opened_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionResetError("reset\nby peer")

    monkeypatch.setattr(places, "url_to_fs", fail)
    with pytest.raises(RunError, match=r"^cannot open gs://x/y: reset by peer$"):
        places.connect("gs://x/y")


def test_a_full_disk_is_that_of_the_nearest_directory(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    error = places.with_disk(full, tmp_path / "not" / "yet")
    assert (error.errno, error.filename) == (errno.ENOSPC, str(tmp_path))
    free, total = (value / 1e9 for value in (shutil.disk_usage(tmp_path)[k] for k in (2, 0)))
    said = re.fullmatch(
        r"No space left on device: the disk at (/.*) has (\S+) GB free of (\S+) GB",
        places.reason(error),
    )
    assert said
    assert os.stat(said[1]).st_dev == os.stat(tmp_path).st_dev
    assert float(said[2]) == pytest.approx(free, rel=0.05)
    assert float(said[3]) == pytest.approx(total, rel=0.01)


@pytest.mark.parametrize("url", ["", "nonsense://x", "adl://bucket/x"])
def test_a_url_that_nothing_opens_is_a_users_mistake(url: str) -> None:
    with pytest.raises(UserError):
        places.connect(url)


@pytest.mark.parametrize("url", ["relative/path", "/tmp/x", "file:///tmp/x", "~/x"])
def test_paths_and_file_urls_are_local(url: str) -> None:
    fs, path = places.connect(url)
    assert places.is_local(fs)
    assert os.path.isabs(path)


def test_a_reason_is_one_line() -> None:
    assert places.reason(FileNotFoundError(errno.ENOENT, "No such file", "/x")) == "No such file"
    assert places.reason(OSError("Forbidden: /x\nno access")) == "Forbidden: /x no access"
    assert places.reason(FileNotFoundError("b/x")) == "no such file, directory or bucket"
    assert places.reason(TimeoutError()).startswith("no answer in time")
    assert places.reason(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    ("url", "dataset"),
    [
        ("OUT", "OUT"),
        ("OUT/", "OUT"),
        ("OUT/gallery", "OUT/"),
        ("OUT/../out/x", "OUT"),
        ("file://OUT/x", "OUT"),
        ("LINK/x", "OUT"),
        ("memory://b/out/x", "memory://b/out"),
    ],
)
def test_what_is_written_into_a_dataset_is_a_mistake(
    tmp_path: Path, url: str, dataset: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    found = [_placed(text, tmp_path) for text in (url, dataset)]
    with pytest.raises(UserError, match=r"^--to .*: lies in the dataset .*; name a directory"):
        places.expect_apart("--to", *found)


@pytest.mark.parametrize(
    ("url", "dataset"),
    [
        ("OUT-gallery", "OUT"),
        ("TMP", "OUT"),
        ("memory://b/out-gallery", "memory://b/out"),
        ("memory://OUT/x", "OUT"),
        ("OUT/x", "memory://OUT"),
    ],
)
def test_beside_a_dataset_there_is_room(tmp_path: Path, url: str, dataset: str) -> None:
    places.expect_apart("--to", *(_placed(text, tmp_path) for text in (url, dataset)))


def _placed(text: str, path: Path) -> str:
    names = {"OUT": path / "out", "LINK": path / "link", "TMP": path}
    for name, place in names.items():
        text = text.replace(name, str(place))
    return text
