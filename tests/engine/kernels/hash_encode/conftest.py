"""Small blocks for the interpreter, and a record of what is launched."""

import pytest

from tests.engine.kernels.hash_encode.cases import Recorder


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu"):
        return
    from engine.kernels.hash_encode import launch

    for name in ("BLOCK", "RUN_BLOCK", "STREAM_BLOCK"):
        monkeypatch.setattr(launch, name, 16)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorder]:
    """Every kernel of the op, by its name without the prefix and the word."""
    from engine.kernels.hash_encode import launch

    found = {}
    for name in ("encode_fwd", "encode_bwd_tables", "encode_bwd_positions"):
        found[name] = Recorder(getattr(launch, f"{name}_kernel"))
        monkeypatch.setattr(launch, f"{name}_kernel", found[name])
    return found
