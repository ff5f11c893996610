"""URLs: a file system and a path on it, and which of its errors only the user can mend."""

import errno
from typing import Any

from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from pipeline.errors import UserError

_FINAL_ERRNOS = {
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


def connect(url: str, **options: Any) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of a URL and the path on it, without listing caches.

    UserError for an unknown scheme and for one whose package is not installed.
    """
    if not url.strip():
        raise UserError("an empty path: expected a local path or a URL such as gs://bucket/name")
    try:
        return url_to_fs(url, use_listings_cache=False, **options)
    except ImportError as error:
        raise UserError(f"cannot open {url}: {error} (pip install the package it names)") from error
    except ValueError as error:
        raise UserError(f"cannot open {url}: {error}") from error


def is_local(fs: AbstractFileSystem) -> bool:
    """Whether paths of this file system are paths of this machine."""
    protocol = fs.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def is_final(error: Exception) -> bool:
    """Whether trying again cannot help: no permission, no such place, read-only.

    gcsfs raises a bare OSError("Forbidden: ...") for 403, and errors with a `code` for others.
    """
    if isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno in _FINAL_ERRNOS or str(error).startswith("Forbidden")
    return str(getattr(error, "code", None)) in {"401", "403", "404"}


def reason(error: Exception) -> str:
    """An error in one line: what the system says, without the number and the path it repeats."""
    if isinstance(error, FileNotFoundError) and error.strerror is None:
        return "no such file, directory or bucket"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
