"""The kernels compile for a Hopper GPU, with the accesses they were written for."""

import re
from typing import Any

import pytest

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")

from engine.kernels.hash_encode import launch
from tests.engine.kernels.hopper import compiled


def arguments(half: str, **changes: Any) -> dict[str, Any]:
    """Of all kernels of the op, for a number of points that 16 divides."""
    found: dict[str, Any] = {"p_resolutions": "*i32", "p_seen": "*i32", "first_level": "i32"}
    for name in ("tables", "features", "slopes", "d_features", "d_slopes", "g", "d_g"):
        found[f"p_{name}"] = f"*{half}"
    for name in ("x", "d_x", "d_tables", "out", "d_out"):
        found[f"p_{name}"] = "*fp32"
    for name in ("fs", "fc", "ss", "sc", "sk", "gs", "gc"):
        found[f"stride_{name}"] = "i32 % 16"
    for name in ("fp", "sp", "gp"):
        found[f"stride_{name}"] = 1
    for name in ("levels", "dense", "columns"):
        found[f"num_{name}"] = "i32"
    sizes = {"num_points": "i32 % 16", "F": 2, "SIZE": 2**19, "BLOCK": launch.BLOCK}
    return found | sizes | {"HASHED": True, "MERGED": False} | changes


VARIANTS = {
    "features": ("gather:encode_fwd", arguments("fp16", p_slopes=None, p_seen=None)),
    "slopes": ("gather:encode_fwd", arguments("fp32", HASHED=False)),
    "slopes in half": ("gather:encode_fwd", arguments("bf16", p_seen=None)),
    "scatter": ("scatter:encode_bwd_tables", arguments("fp16", p_d_slopes=None)),
    "merged": (
        "scatter:encode_bwd_tables",
        arguments("bf16", HASHED=False, MERGED=True, BLOCK=launch.RUN_BLOCK, num_warps=1),
    ),
    "positions": ("positions:encode_bwd_positions", arguments("fp16", p_d_slopes=None)),
    "second order": ("positions:encode_bwd_positions", arguments("bf16", p_d_features=None)),
    "pull": ("products:pull_fwd", arguments("bf16", BLOCK=launch.STREAM_BLOCK)),
    "push": ("products:pull_bwd", arguments("bf16", BLOCK=launch.STREAM_BLOCK)),
}


@pytest.fixture(scope="module")
def ptx(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """PTX by variant; every one has passed through ptxas, too."""
    kernels = [
        (f"engine.kernels.hash_encode.{name}_kernel", given) for name, given in VARIANTS.values()
    ]
    found = compiled(kernels, tmp_path_factory.mktemp("triton"))
    return dict(zip(VARIANTS, found, strict=True))


def count(pattern: str, ptx: str) -> int:
    return len(re.findall(pattern, ptx))


def test_an_entry_is_read_at_once(ptx: dict[str, str]) -> None:
    """Two features by one load: of two points a thread, the four corners of one side."""
    for variant in ("features", "slopes in half"):
        assert count(r"ld\.global\.b32", ptx[variant]) >= 8
        assert count(r"ld\.global\.b16", ptx[variant]) == 0
    assert count(r"ld\.global\.v2\.b32", ptx["slopes"]) == 8
    # Both kinds of level.
    assert count(r"ld\.global\.b32", ptx["positions"]) >= 16


def test_neighbouring_threads_have_the_sides_of_a_point(ptx: dict[str, str]) -> None:
    """They read an edge's two ends in one instruction, and join their sums: two points of two
    features, and as much by each axis."""
    for variant, num_columns in (("features", 2), ("slopes", 8), ("slopes in half", 8)):
        shuffles = re.findall(r"shfl\.sync\.(\w+)\.b32\s+\S+ \S+ (\d+),", ptx[variant])
        assert shuffles == [("bfly", "1")] * 2 * num_columns
        # Of a column, 128 threads write as many points.
        assert count(r"st\.global", ptx[variant]) == num_columns


def test_columns_are_written_by_whole_words(ptx: dict[str, str]) -> None:
    assert count(r"st\.global\.b16", ptx["push"]) == 0
    assert count(r"st\.global", ptx["push"]) > 0


def test_an_entry_is_added_to_at_once(ptx: dict[str, str]) -> None:
    for variant in ("scatter", "merged"):
        assert count(r"atom\.global\.gpu\.relaxed\.add\.v2\.f32", ptx[variant]) == 8
        assert count(r"atom\.", ptx[variant]) == 8


def test_scattering_keeps_values_where_they_are(ptx: dict[str, str]) -> None:
    """No shared memory and no barrier; runs are summed by shuffles within a warp."""
    for variant in ("scatter", "merged"):
        assert count(r"\.shared\.", ptx[variant]) == count(r"bar\.sync", ptx[variant]) == 0
    assert count("shfl", ptx["scatter"]) == 0
    assert count("shfl", ptx["merged"]) >= 8 * 5


def test_positions_need_no_atomics(ptx: dict[str, str]) -> None:
    for variant in ("positions", "second order", "pull", "push"):
        assert count(r"atom\.", ptx[variant]) == 0
        assert count(r"\bst\.global", ptx[variant]) > 0
