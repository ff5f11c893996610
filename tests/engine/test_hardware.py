from pathlib import Path

import pytest
import torch

from engine.hardware import usual_device


@pytest.mark.parametrize(("is_there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_where_there_is_one(
    is_there: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    assert usual_device() == torch.device(kind)


def test_nobody_else_asks() -> None:
    root = Path(__file__).parents[2]
    paths = [path for package in ("engine", "pipeline") for path in (root / package).rglob("*.py")]
    asking = [path for path in paths if "cuda.is_available" in path.read_text()]
    assert [str(path.relative_to(root)) for path in asking] == ["engine/hardware.py"]
