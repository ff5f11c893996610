"""Files of a local disk, written so that a kill leaves all of one or nothing."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

_HIDDEN = re.compile(r"\.(?:.+\.)?[0-9a-f]{32}\.tmp")


@contextmanager
def temporary(path: Path, data: bytes) -> Iterator[Path]:
    """A hidden file beside `path` with `data` safely on disk; gone afterwards."""
    hidden = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    stream = _new_file(hidden)
    try:
        with stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        yield hidden
    finally:
        hidden.unlink(missing_ok=True)


def _new_file(path: Path) -> BinaryIO:
    """A new file in a directory that is made for it. While that is empty, the probe of another run
    that begins at the same moment may remove it: then once more."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")


def link(path: Path, target: Path) -> bool:
    """Give a file a second name unless it is taken; whether it was free."""
    try:
        os.link(path, target)
    except FileExistsError:
        return False
    sync(target.parent)
    return True


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a directory's names, are safe on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale(directory: Path, older_than_seconds: float = 3600.0) -> None:
    """Remove the hidden files and folders right under `directory` that killed writers left; their
    names end with a uuid, as nobody else's do."""
    for path in filter(_is_ours, directory.glob(".*.tmp")):
        with suppress(FileNotFoundError):  # another has just removed it
            if time.time() - path.stat().st_mtime < older_than_seconds:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _is_ours(path: Path) -> bool:
    return _HIDDEN.fullmatch(path.name) is not None
