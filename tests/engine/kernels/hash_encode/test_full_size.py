"""Kernels as they are in earnest: on a GPU, at full size."""

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")

from engine.bench import hash_encode as bench
from engine.kernels.hash_encode import fused, reference
from tests.engine.kernels.checking import assert_close


@pytest.mark.gpu
def test_the_gate_holds_at_full_size() -> None:
    """Both precisions of half and fp32 at 16 levels of 2^19 rows, two scenes, at random and in
    ray order, with bands."""
    errors = bench.check(torch.device("cuda"), is_tiny=False)
    assert len(errors) == 5 * len(bench.DTYPES)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", bench.DTYPES, ids=str)
def test_a_million_points_match_the_reference(dtype: torch.dtype) -> None:
    """And one more than blocks hold."""
    device = torch.device("cuda")
    shape = bench.Shape(num_points=2**20 + 1)
    tables = shape.tables(device)
    x = torch.randint(-512, 513, (1, shape.num_points, 3), device=device) / 512
    y = fused.encode(tables, x, shape.resolutions, dtype=dtype)
    g = torch.randn_like(y)
    (d_tables,) = torch.autograd.grad(y, tables, g)
    eps = torch.finfo(dtype).eps
    expected = reference.encode(tables, x, shape.resolutions, dtype=dtype)
    assert_close({"features": y}, {"features": expected}, eps)
    # In half precision the reference sums in it, which is further off than the kernel.
    exact = reference.encode(tables, x, shape.resolutions, dtype=torch.float32)
    (by_tables,) = torch.autograd.grad(exact, tables, g.float())
    # Sums depend on the order in which atomics come.
    assert_close({"d_tables": d_tables}, {"d_tables": by_tables}, max(1e-3, 0.5 * eps))
