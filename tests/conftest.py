"""Fixtures of all tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import clusters

# Triton decides on import whether it compiles or interprets, and diffusers imports it: so before
# anything else, whatever is collected first. Nothing but the kernels' own tests runs a kernel.
os.environ.setdefault("TRITON_INTERPRET", "0" if shutil.which("nvidia-smi") else "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped where there is none, with the reason shown."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def ray_head() -> Iterator[clusters.Head]:
    """One small Ray cluster for all tests of a test process that need one."""
    with clusters.head() as head:
        yield head


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a random IF-shaped diffusion model; not to be written to."""
    from tests.tiny_pipeline import write_tiny_pipeline

    return write_tiny_pipeline(tmp_path_factory.mktemp("tiny_weights"))
