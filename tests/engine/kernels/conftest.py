"""Kernels are tested on a GPU where there is one, and by Triton's interpreter elsewhere.

The interpreter takes milliseconds for what a GPU does in nanoseconds: sizes in the hundreds.
`tests/conftest.py` switches it on before Triton is imported.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine import kernels


@pytest.fixture
def device() -> torch.device:
    """Where kernels run."""
    pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if os.environ["TRITON_INTERPRET"] != "1":
        pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1")
    return torch.device("cpu")


@pytest.fixture
def fused(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Public functions run their kernels on any device."""
    monkeypatch.setattr(kernels, "is_fused", lambda x: True)


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that nobody has written is full of NaN (the greatest number, where there is none)."""

    def poison(allocate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def allocated(*args: Any, **kwargs: Any) -> torch.Tensor:
            x = allocate(*args, **kwargs)
            if x.is_floating_point():
                return x.fill_(torch.nan)
            return x.fill_(True if x.dtype == torch.bool else torch.iinfo(x.dtype).max)

        return allocated

    for owner, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch.Tensor, "new_empty"),
    ):
        monkeypatch.setattr(owner, name, poison(getattr(owner, name)))
