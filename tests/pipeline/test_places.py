import errno
import os

import pytest

from pipeline import places
from pipeline.errors import UserError


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


@pytest.mark.parametrize("url", ["", "nonsense://x", "s3://bucket/x"])
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
    assert places.reason(TimeoutError()) == "TimeoutError"
