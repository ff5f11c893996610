"""Fixtures of all tests."""

from collections.abc import Iterator

import pytest

from tests import clusters


@pytest.fixture(scope="session")
def ray_head() -> Iterator[clusters.Head]:
    """One small Ray cluster for all tests that need one; mark them `xdist_group("ray")`."""
    with clusters.head() as head:
        yield head
