import pytest
import torch

from engine.hardware import usual_device


@pytest.mark.parametrize(("is_there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_where_there_is_one(
    is_there: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    assert usual_device() == torch.device(kind)
