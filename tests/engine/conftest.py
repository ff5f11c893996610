"""Every annotated call of the engine is checked for shapes while its tests run."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

from tests.engine import checking

# Before anything of the engine is imported.
install_import_hook("engine", f"{checking.__name__}.check")

settings.register_profile("engine", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("engine")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """The same torch.rand in every test, whichever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20220929)
        yield
