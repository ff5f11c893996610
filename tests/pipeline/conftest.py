from collections.abc import Iterator

import fsspec
import pytest

from tests import gcs_server, s3_server
from tests.storage_server import StorageServer


@pytest.fixture
def memory_url() -> Iterator[str]:
    """An empty place on fsspec's in-memory file system, emptied afterwards."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield "memory://place"
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def gs() -> Iterator[StorageServer]:
    """A Google Cloud Storage of the module's own."""
    with gcs_server.serve() as server:
        yield server


@pytest.fixture(scope="module")
def s3() -> Iterator[StorageServer]:
    """An S3 of the module's own."""
    with s3_server.serve() as server:
        yield server


@pytest.fixture(params=["gs", "s3"])
def server(request: pytest.FixtureRequest) -> StorageServer:
    """A storage server with an empty bucket."""
    server = request.getfixturevalue(request.param)
    server.clear()
    server.heal()
    return server
