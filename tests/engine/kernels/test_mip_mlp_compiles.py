"""The network's kernels compile for a Hopper GPU at the paper's size, with nothing loaded ahead."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.kernels.hopper import compiled

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")

NARROW = (
    *("x", "kept", "u", "g_raw", "sums", "raw", "slope", "in_shares", "out_shares", "shares"),
    *("gain", "shift", "b_in", "b1", "b2", "b_out"),
)
HALF = ("w_in", "w1", "w2", "w_out", "h", "a", "g_s", "g_n", "g_h", "v", "v_s", "y_a", "y")
"""What pointers lead to float32, and what to half precision."""
SIZES = {"L": 8, "H": 128, "D": 4, "NUM_BLOCKS": 5, "BF": 64, "BH": 128, "BD": 16}
KERNELS = {
    "forward:mip_mlp_fwd_kernel": "FORWARD",
    "backward:mip_mlp_along_kernel": "ALONG",
    "backward:mip_mlp_bwd_kernel": "BACKWARD",
    "products:mip_mlp_ends_kernel": "PRODUCTS",
    "products:mip_mlp_blocks_kernel": "PRODUCTS",
}


def arguments(setting: str) -> dict[str, Any]:
    from engine.kernels.mip_mlp import fused

    pointers = {f"p_{n}": "*fp32" for n in NARROW} | {f"p_{n}": "*bf16" for n in HALF}
    return {**pointers, "num_points": "i32", "IS_SECOND": False, **SIZES, **getattr(fused, setting)}


@pytest.mark.slow
def test_products_are_the_tensor_cores_and_loads_are_awaited(tmp_path: Path) -> None:
    given = [
        (f"engine.kernels.mip_mlp.{name}", arguments(setting)) for name, setting in KERNELS.items()
    ]
    for (name, _), ptx in zip(given, compiled(given, tmp_path), strict=True):
        assert "wgmma.mma_async" in ptx, name
        assert "cp.async" not in ptx, name
