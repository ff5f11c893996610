"""Every annotated call of the engine is checked for shapes while its tests run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Before anything of the engine is imported.
install_import_hook("engine", "beartype.beartype")

settings.register_profile("engine", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("engine")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """The same torch.rand in every test, whichever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20220929)
        yield


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a random IF-shaped pipeline; not to be written to."""
    from tests.tiny_pipeline import write_tiny_pipeline

    return write_tiny_pipeline(tmp_path_factory.mktemp("pipeline"))
