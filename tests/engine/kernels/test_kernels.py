import subprocess
import sys
from typing import no_type_check

import pytest
import torch

from engine import kernels
from tests.engine.kernels.checking import assert_close

triton = pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")
tl = triton.language


# Shapes' checks are not for what Triton compiles.
@triton.jit
@no_type_check
def sum_kernel(p_x, p_total, length, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    b_x = tl.load(p_x + o, mask=o < length, other=0.0)
    tl.store(p_total, tl.sum(b_x, 0))


def test_kernels_run_here(device: torch.device) -> None:
    """Library functions included, which is what fails if Triton came before its interpreter."""
    x = torch.rand(11, device=device)
    total = torch.empty(1, device=device)
    assert bool(total.isnan())
    sum_kernel[(1,)](x, total, 11, BLOCK=16)
    torch.testing.assert_close(total[0], x.sum())


def test_memory_that_nobody_wrote_is_poisoned() -> None:
    assert bool(torch.empty(3).isnan().all())
    assert bool(torch.empty_like(torch.ones(2, dtype=torch.float16)).isnan().all())
    assert torch.ones(2).new_empty(3, dtype=torch.int32).tolist() == [2**31 - 1] * 3
    assert bool(torch.empty(2, dtype=torch.bool).all())


def test_references_compute_on_the_cpu() -> None:
    assert not kernels.is_fused(torch.ones(1))


@pytest.mark.parametrize("said", ["1", "0", None])
def test_kernels_compute_on_a_gpu_unless_they_are_switched_off(
    said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    monkeypatch.setattr(kernels, "is_wanted", kernels.is_wanted.__wrapped__)
    monkeypatch.delenv("DREAMBATCH_KERNELS", raising=False)
    if said is not None:
        monkeypatch.setenv("DREAMBATCH_KERNELS", said)
    assert kernels.is_fused_on(torch.device("cuda")) == (said != "0")
    assert not kernels.is_fused_on(torch.device("cpu"))


def test_the_engine_needs_no_triton() -> None:
    source = """
import sys
sys.modules["triton"] = None
import torch
from engine.configs.fields import HashGridConfig
from engine.fields import HashGrid
field = HashGrid(HashGridConfig(num_levels=2, log2_size=4))
parameters = field.initial(torch.arange(1))
print(field.density(parameters, torch.zeros(1, 5, 3), torch.ones(1)).shape)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[1, 5]" in done.stdout


def test_a_difference_is_named() -> None:
    right = {"features": torch.ones(4), "tables": torch.ones(2)}
    assert_close(right, right, 0.0)
    with pytest.raises(AssertionError, match=r"tables: relative error 1.0e\+00"):
        assert_close(right | {"tables": torch.zeros(2)}, right, 1e-6)
    with pytest.raises(AssertionError, match="features has NaN"):
        assert_close(right | {"features": torch.full((4,), torch.nan)}, right, 1e-6)
    with pytest.raises(AssertionError, match="tables is missing"):
        assert_close(right | {"tables": None}, right, 1e-6)
