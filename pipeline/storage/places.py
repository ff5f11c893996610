"""URLs: a file system and a path on it, and what its errors mean.

Storage clients have no common family of errors: what is no OSError becomes a StorageError where it
is met, so that all others need to know of OSError alone. An error is judged by what the clients
share: `errno`, a status `code`, or the name of its class. Three kinds:

    full     the disk, or the share of it that we may use, is full: every write fails until a person
             makes room, and then the same command goes on
    refused  no permission, no credentials, no such place, read-only: only the user can mend it
    passing  all others: a busy or unreachable server, a lost connection; trying again may help
"""

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from pipeline.errors import RunError, UserError

ErrorKind = Literal["full", "refused", "passing"]

_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
_REFUSED_ERRNOS = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSYS,
    errno.ENOTDIR,
    errno.ENOTSUP,
    errno.EPERM,
    errno.EROFS,
}
_REFUSED_CODES = {"401", "403", "404"}
_REFUSED_NAMES = {
    "DefaultCredentialsError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
}


class StorageError(OSError):
    """What a storage client raised that is no OSError, which is its cause: the kind, the reason in
    one line, and as `filename` the URL that was in use. Picklable, without its cause."""

    def __init__(self, kind: ErrorKind, reason: str, url: str) -> None:
        super().__init__(errno.EIO, reason, url)
        self.kind: ErrorKind = kind

    def __reduce__(self) -> tuple[type[Self], tuple[ErrorKind, str, str]]:
        return type(self), (self.kind, self.strerror or "", self.filename)


# gcsfs logs a traceback of each error that it raises as well; here it would be said twice, the
# first time at length. Whoever sets up logging still gets it.
logging.getLogger("gcsfs").addHandler(logging.NullHandler())


def connect(url: str, **options: Any) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of a URL and the path on it, without listing caches.

    UserError for an unknown scheme, for one whose package is not installed, and for credentials
    that are not there. RunError where the place is out of reach.
    """
    if not url.strip():
        raise UserError("an empty path: expected a local path or a URL such as gs://bucket/name")
    try:
        return url_to_fs(url, use_listings_cache=False, **options)
    except ImportError as error:
        raise UserError(f"cannot open {url}: {error} (pip install the package it names)") from error
    except ValueError as error:
        raise UserError(f"cannot open {url}: {error}") from error
    except Exception as error:
        raise one_line(f"cannot open {url}", error) from error


def expect_apart(what: str, url: str, dataset: str) -> None:
    """UserError where a directory that is to be written is a dataset's own, or lies in it."""
    (fs, path), (owner, root) = connect(url), connect(dataset)
    if is_local(fs) and is_local(owner):
        path, root = os.path.realpath(path), os.path.realpath(root)
    elif fs.protocol != owner.protocol:
        return
    if f"{path}/".startswith(f"{root.rstrip('/')}/"):
        raise UserError(
            f"{what} {url}: lies in the dataset {dataset}, which is no place for other files; "
            "name a directory beside it"
        )


@contextmanager
def client_errors(url: str) -> Iterator[None]:
    """Around calls of a storage client: what is no OSError becomes a StorageError, and other
    OSErrors get a note of the URL. Ours pass through."""
    try:
        yield
    except OSError as error:
        if not isinstance(error, StorageError):
            error.add_note(f"in {url}")
        raise
    except (UserError, RunError):
        raise
    except Exception as error:
        raise StorageError(kind(error), reason(error), url) from error


def is_local(fs: AbstractFileSystem) -> bool:
    """Whether paths of this file system are paths of this machine."""
    protocol = fs.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def kind(error: Exception) -> ErrorKind:
    """What an error of a file system means; the kinds are told at the top."""
    if is_full(error):
        return "full"
    return "refused" if is_final(error) else "passing"


def is_full(error: Exception) -> bool:
    """Whether there is no room left: every write will fail until somebody makes some."""
    return isinstance(error, OSError) and error.errno in _FULL_ERRNOS


def is_final(error: Exception) -> bool:
    """Whether trying again cannot help: no permission, no credentials, no such place, read-only.

    gcsfs raises a bare OSError("Forbidden: ...") for 403, and errors with a `code` for others.
    """
    if isinstance(error, StorageError):
        return error.kind == "refused"
    if isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno in _REFUSED_ERRNOS or str(error).startswith("Forbidden")
    code = str(getattr(error, "code", None))
    return code in _REFUSED_CODES or type(error).__name__ in _REFUSED_NAMES


def is_taken(error: Exception) -> bool:
    """Whether an object could not be created because there is one of that name.

    s3fs says so only where the server names the condition that failed, which not all do.
    """
    response = getattr(error.__cause__, "response", {})
    is_refused = response.get("Error", {}).get("Code") in {"412", "PreconditionFailed"}
    return isinstance(error, FileExistsError) or is_refused


def one_line(what: str, error: Exception, hint: str = "") -> UserError | RunError:
    """An error of a file system for the user to read: a mistake of theirs if only they can mend it,
    else one that the same command may outlive."""
    text = f"{what}: {reason(error)}"
    return UserError(text + hint) if kind(error) == "refused" else RunError(text)


def reason(error: Exception) -> str:
    """An error in one line: what the system says, without the number and the path it repeats."""
    if isinstance(error, FileNotFoundError) and error.strerror is None:
        return "no such file, directory or bucket"
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time; can it be reached from here?"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def with_disk(error: OSError, path: Path) -> OSError:
    """The error of a full disk, saying which disk that is. `path` lies on it, or will."""
    while not path.exists():
        path = path.parent
    usage, mount = shutil.disk_usage(path), path.resolve()
    while not os.path.ismount(mount):
        mount = mount.parent
    return OSError(
        error.errno,
        f"{error.strerror}: the disk at {mount} has {usage.free / 1e9:.3g} GB free of "
        f"{usage.total / 1e9:.3g} GB",
        str(path),
    )
