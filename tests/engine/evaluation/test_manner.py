from pathlib import Path

import pytest
import torch

from engine import kernels
from engine.evaluation.manner import Manner
from engine.guidance.pixel import PixelGuidance

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(autouse=True)
def _kernels_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "is_wanted", lambda: True)
    monkeypatch.setattr(kernels, "has_triton", lambda: True)


def now() -> tuple[bool, bool]:
    return kernels.is_fused_on(CUDA), torch.backends.cudnn.allow_tf32


def test_an_exact_manner_keeps_kernels_and_tf32_out_while_it_lasts() -> None:
    assert now() == (True, True)
    with Manner().surroundings():
        assert now() == (True, True)
    with Manner(is_exact=True).surroundings():
        assert now() == (False, False)
    assert now() == (True, True)
    with pytest.raises(OSError, match="broke off"), Manner(is_exact=True).surroundings():
        raise OSError("broke off")
    assert now() == (True, True)


def test_an_exact_manner_s_model_is_in_float32(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PixelGuidance, "_faster_dtype", lambda _: torch.bfloat16)
    assert Manner().load(tiny_weights, CPU).dtype == torch.bfloat16
    assert Manner(is_exact=True).load(tiny_weights, CPU).dtype == torch.float32


def test_a_manner_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="slots: expected 1 or more, got 0"):
        Manner(slots=0)
