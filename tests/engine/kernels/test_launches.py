"""Every launch compiles for a Hopper GPU with the arguments that it gives."""

from pathlib import Path

import pytest

from engine.bench.ops import OPS
from tests.engine.kernels.launches import compiled

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")

FIELDS = {
    "step of primitives": {"dense_gather_kernel", "dense_spread_kernel"},
    "step of dreamfusion_if": {
        "encode_fwd_kernel",
        "encode_bwd_tables_kernel",
        "mlp_fwd_kernel",
        "mlp_bwd_kernel",
    },
    "step of dreamfusion_paper": {
        "mip_mlp_fwd_kernel",
        "mip_mlp_along_kernel",
        "mip_mlp_bwd_kernel",
        "mip_mlp_blocks_kernel",
        "mip_mlp_in_kernel",
    },
}


def test_what_is_measured_and_what_a_step_launches_compiles(tmp_path: Path) -> None:
    found = {subject: set(names) for subject, names in compiled(tmp_path).items()}
    for op in OPS:
        assert found.pop(op), op
    assert found.keys() == FIELDS.keys()
    for subject, names in found.items():
        common = {"march_kernel", "composite_fwd_kernel", "composite_bwd_kernel", "adam_kernel"}
        assert names >= FIELDS[subject] | common, subject
