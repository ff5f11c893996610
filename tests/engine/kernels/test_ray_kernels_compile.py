"""Compositing, dense lattices, the march, the network and group norms compile for a Hopper GPU,
with the accesses they were written for."""

import re
from typing import Any

import pytest

from tests.engine.kernels.hopper import compiled

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")

F32 = "*fp32"
RAYS = {
    "p_sigma": F32,
    "p_delta": F32,
    "p_values": [F32],
    "p_weights": F32,
    "p_opacity": F32,
    "p_sums": [F32],
    "p_g_weights": None,
    "p_g_opacity": F32,
    "p_g_sums": [F32],
    "p_g_sigma": F32,
    "p_g_values": [F32],
    "num_rays": "i32 % 16",
    "num_samples": "i32 % 16",
    "stride_ray": 1,
    "stride_sample": "i32",
    "CHANNELS": [3],
    "BR": 16,
    "BN": 64,
}
SIDES = [16, 64]
RUNS = {"BP": 16, "RUN": 16}


def lattices(*, is_last: bool, **changes: Any) -> dict[str, Any]:
    """Four channels, side by side or one after the other."""
    found: dict[str, Any] = {"p_grids": [F32, F32], "p_x": F32, "p_v": None, "p_out": F32}
    found |= {"p_g": F32, "num_points": "i32 % 16", "SIDES": SIDES, "C": 4, "BC": 4, "BP": 128}
    found["SCENE_STEPS"] = [4 * n**3 for n in SIDES]
    found["CHANNEL_STEPS"] = [1 if is_last else n**3 for n in SIDES]
    found["POINT_STEPS"] = [4 if is_last else 1 for _ in SIDES]
    return found | changes


def network(kind: str, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {f"p_{name}": F32 for name in ("w0", "b0", "w1", "b1", "out", "g")}
    found |= {f"p_{name}": f"*{kind}" for name in ("x", "u", "g_x")} | {"p_shares": F32}
    sizes = {"F": 32, "H": 64, "D": 4, "BF": 32, "BH": 64, "BD": 16, "BP": 64}
    # As the encoding leaves its features: points side by side.
    found |= {f"stride_{t}{axis}": 1 if axis == "p" else "i32" for t in "xug" for axis in "spf"}
    return found | {"num_points": "i32"} | sizes | changes


MARCH = {
    f"p_{name}": F32 for name in ("origins", "directions", "near", "length", "u", "distance")
} | {
    "p_cells": "*u8",
    "p_delta": F32,
    "num_rays": "i32 % 16",
    "num_samples": "i32 % 16",
    "bound": "fp32",
    "scale": "fp32",
    "NUM_BINS": 96,
    "G": 32,
    "BR": 16,
    "BN": 64,
}
PICTURES: dict[str, Any] = {
    **{f"p_{name}": "*bf16" for name in ("x", "y", "g", "g_x", "w", "b", "offset")},
    **{f"p_{name}": F32 for name in ("shares", "moments", "slopes")},
    **{"num_pixels": "i32 % 16", "eps": "fp32", "C": 128, "D": 4, "HAS_SILU": True},
    **{"BP": 32, "BC": 128, "TILES": 8, "num_warps": 8},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "composite": ("composite.fused:composite_fwd_kernel", RAYS),
    "composite back": ("composite.fused:composite_bwd_kernel", RAYS),
    "gather": ("dense_encode.fused:dense_gather_kernel", lattices(is_last=True)),
    "gather apart": ("dense_encode.fused:dense_gather_kernel", lattices(is_last=False)),
    "spread": ("dense_encode.fused:dense_spread_kernel", lattices(is_last=True, **RUNS)),
    "spread along": (
        "dense_encode.fused:dense_spread_kernel",
        lattices(is_last=True, p_v=F32, **RUNS),
    ),
    "slope along": ("dense_encode.fused:dense_slope_kernel", lattices(is_last=True, p_v=F32)),
    "network": ("mlp.fused:mlp_fwd_kernel", network("bf16", p_u=None)),
    "network back": ("mlp.fused:mlp_bwd_kernel", network("bf16", p_u=None)),
    "network along": ("mlp.fused:mlp_bwd_kernel", network("fp16", p_g_x=None)),
    "network back in float32": ("mlp.fused:mlp_bwd_kernel", network("fp32", p_u=None, BP=32)),
    "march": ("march.fused:march_kernel", MARCH),
    "norm's sums": ("group_norm.forward:group_norm_fwd_sums_kernel", PICTURES),
    "norm": ("group_norm.forward:group_norm_fwd_kernel", PICTURES),
    "norm's sums back": ("group_norm.backward:group_norm_bwd_sums_kernel", PICTURES),
    "norm back": ("group_norm.backward:group_norm_bwd_kernel", PICTURES),
}


@pytest.fixture(scope="module")
def ptx(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """PTX by variant; every one has passed through ptxas, too."""
    kernels = [(f"engine.kernels.{name}", given) for name, given in VARIANTS.values()]
    found = compiled(kernels, tmp_path_factory.mktemp("triton"))
    return dict(zip(VARIANTS, found, strict=True))


def count(pattern: str, ptx: str) -> int:
    return len(re.findall(pattern, ptx))


def test_a_corner_s_channels_are_read_and_added_at_once(ptx: dict[str, str]) -> None:
    """Eight corners of two lattices for a thread's one point; a thread adds to one corner, when
    the cell changes and in the end, and no value changes its thread."""
    assert count(r"ld\.global\.v4\.b32", ptx["gather"]) == 16
    assert count(r"ld\.global\.b32", ptx["gather apart"]) >= 64
    assert count(r"ld\.global\.v4\.b32", ptx["slope along"]) == 17
    for variant in ("spread", "spread along"):
        assert count(r"atom\.global\.gpu\.relaxed\.add\.v4\.f32", ptx[variant]) == 4
        assert count(r"atom\.", ptx[variant]) == 4
        assert count(r"\.shared\.|shfl|bar\.sync", ptx[variant]) == 0


def test_only_the_lattices_gradient_needs_atomics(ptx: dict[str, str]) -> None:
    for variant in VARIANTS.keys() - {"spread", "spread along"}:
        assert count(r"atom\.|\bred\.", ptx[variant]) == 0, variant


def test_products_are_made_by_tensor_cores(ptx: dict[str, str]) -> None:
    for variant, kind in (("network", "bf16"), ("network back", "bf16"), ("network along", "f16")):
        assert count(rf"wgmma\.mma_async.*\.f32\.{kind}\.{kind}", ptx[variant]) > 0, variant
    assert count(r"mma.*\.f32\.tf32\.tf32", ptx["network back in float32"]) > 0


def test_samples_of_a_ray_are_read_four_at_a_time(ptx: dict[str, str]) -> None:
    for variant in ("composite", "composite back", "march"):
        assert count(r"ld\.global\.v4\.b32", ptx[variant]) >= 2, variant
        assert count(r"st\.global\.v4\.b32", ptx[variant]) >= 2, variant


def test_channels_of_a_pixel_are_read_and_written_eight_at_a_time(ptx: dict[str, str]) -> None:
    """16 numbers of each tensor for a thread."""
    for variant, tensors in (("norm's sums", 1), ("norm", 1), ("norm's sums back", 2)):
        assert count(r"ld\.global\.v4\.b32", ptx[variant]) >= 2 * tensors, variant
    for variant in ("norm", "norm back"):
        assert count(r"st\.global\.v4\.b32", ptx[variant]) == 2, variant
        assert count(r"st\.global\.(?!v4)", ptx[variant]) == 0, variant
