from collections.abc import Iterator

import fsspec
import pytest


@pytest.fixture
def memory_url() -> Iterator[str]:
    """An empty place on fsspec's in-memory file system, emptied afterwards."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield "memory://place"
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
