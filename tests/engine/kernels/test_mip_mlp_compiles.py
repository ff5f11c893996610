"""The network's kernels compile for a Hopper GPU at the paper's size, to what they say."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.engine.kernels.hopper import compiled

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")

NARROW = (
    *("x", "kept", "u", "g_raw", "sums", "raw", "slope", "shares"),
    *("gain", "shift", "b_in", "b1", "b2", "b_out"),
)
HALF = ("w_in", "w1", "w2", "w_out", "h", "a", "g_s", "g_n", "g_h", "v", "v_s", "y_a", "y")
"""What pointers lead to float32, and what to half precision."""
SIZES = {"L": 8, "H": 128, "D": 4, "NUM_BLOCKS": 5, "BF": 64, "BH": 128}
KERNELS = {
    "forward:mip_mlp_fwd_kernel": "FORWARD",
    "backward:mip_mlp_along_kernel": "ALONG",
    "backward:mip_mlp_bwd_kernel": "BACKWARD",
    "products:mip_mlp_in_kernel": "ENTRY",
    "products:mip_mlp_blocks_kernel": "PRODUCTS",
}


def arguments(setting: str) -> dict[str, Any]:
    from engine.kernels.mip_mlp import fused

    pointers = {f"p_{n}": "*fp32" for n in NARROW} | {f"p_{n}": "*bf16" for n in HALF}
    return {**pointers, "num_points": "i32", "IS_SECOND": False, **SIZES, **getattr(fused, setting)}


def kernels() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"engine.kernels.mip_mlp.{name}", arguments(setting)) for name, setting in KERNELS.items()
    ]


def unwritten(sass: str) -> set[str]:
    """Uniform registers that are read before any instruction of the listing has written them.

    A product reads the place of its matrix from two of the four registers that it names.
    """
    written, found = set(), set()
    for instruction in re.findall(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", sass):
        operation, _, rest = re.sub(r"^@!?U?P\w+\s+", "", instruction).partition(" ")
        rest = re.sub(r"^(\s*U?P\w+,)+", "", rest)
        target = re.match(r"\s*UR(\d+)\b", rest) if "SETP" not in operation else None
        sources = rest[target.end() :] if target else rest
        place = re.search(r"gdesc\[UR(\d+)\]", sources)
        read = {int(k) + 2 + j for k in place.groups() for j in (0, 1)} if place else set()
        if not place:
            read = {int(k) for k in re.findall(r"\bUR(\d+)\b", sources)}
        found |= read - written
        if target:
            first, is_pair = int(target[1]), re.search(r"\.(64|WIDE)\b", operation)
            written |= {first, first + 1} if is_pair else {first}
    return {f"UR{k}" for k in found}


@pytest.mark.slow
def test_products_know_where_their_matrices_are(tmp_path: Path) -> None:
    """See README.md, of ptxas 12.8."""
    for (name, _), sass in zip(kernels(), compiled(kernels(), tmp_path, "sass"), strict=True):
        assert "MMA" in sass, name
        assert not unwritten(sass), name


def test_a_register_that_nobody_wrote_is_seen() -> None:
    """As it was: of four places in memory only the first is known."""
    sass = """
        /*0d80*/                   USGXT.U32 UR41, {source}, 0xe ;
        /*1400*/                   UIADD3 UR38, UP0, {low}, 0x20, URZ ;
        /*1450*/              @!P0 UIADD3.X UR39, UR38, -0x3ffffff0, URZ, UP0, !UPT ;
        /*1630*/                   UIADD3.64 UR50, UR38, 0x20, URZ ;
        /*8030*/                   HGMMA.64x16x16.F32.BF16 R120, R24, gdesc[UR48].tnspB, R120 ;
        /*18040*/                  HGMMA.64x16x16.F32.BF16 R120, R28, gdesc[UR{quad}].tnspB, R120 ;
        /*18070*/                  UISETP.GE.AND UP0, UPT, {last}, UR41, UPT ;
    """
    right = {"source": "URZ", "low": "UR41", "quad": 36, "last": "UR51"}
    assert unwritten(sass.format(**right)) == set()
    wrongs = {"source": "UR8", "low": "UR38", "last": "UR52"}
    for name, wrong in wrongs.items():
        assert unwritten(sass.format(**right | {name: wrong})) == {wrong}
    assert unwritten(sass.format(**right | {"quad": 40})) == {"UR42", "UR43"}
