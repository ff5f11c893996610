"""The kernels against plain torch: values, and every gradient by name.

The interpreter computes as IEEE says, so points fall into the same cells on both sides; on a GPU
they are drawn from a lattice on which the cells are exact.
"""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")

from engine.kernels.hash_encode import fused, launch, reference
from tests.engine.kernels.checking import assert_close
from tests.engine.kernels.hash_encode.cases import RESOLUTIONS, Recorder, double, drawn


def by_name(
    encode: Callable[..., tuple[Tensor, Tensor]],
    tables: Tensor,
    x: Tensor,
    seen: Tensor | None,
    cotangents: tuple[Tensor, Tensor],
) -> dict[str, Tensor]:
    """Values and all gradients of encode_with_slopes."""
    features, slopes = encode(tables, x, RESOLUTIONS[: tables.shape[1]], seen)
    d_tables, d_x = torch.autograd.grad([features, slopes], [tables, x], list(cotangents))
    return {"features": features, "slopes": slopes, "d_tables": d_tables, "d_x": d_x}


@pytest.mark.parametrize(
    ("num_scenes", "num_points", "features", "seen"),
    [(1, 1, 2, None), (2, 21, 2, [3, 1]), (3, 16, 4, [0, 2, 9]), (1, 37, 1, None)],
    ids=["S1-P1-F2", "S2-P21-F2-bands", "S3-P16-F4-bands", "S1-P37-F1"],
)
def test_values_and_gradients_match_the_reference(
    num_scenes: int, num_points: int, features: int, seen: list[int] | None, device: torch.device
) -> None:
    """Held against fp64; levels of which a scene has seen none have neither value nor gradient."""
    tables, x = drawn(num_scenes, num_points, features, device)
    bands = None if seen is None else torch.tensor(seen, device=device)
    columns = len(RESOLUTIONS) * features
    cotangents = (
        torch.randn(num_scenes, num_points, columns, device=device),
        torch.randn(num_scenes, num_points, columns, 3, device=device),
    )
    actual = by_name(fused.encode_with_slopes, tables, x, bands, cotangents)
    tables_64, x_64, *cotangents_64 = double(tables, x, *cotangents)
    expected = by_name(
        reference.encode_with_slopes, tables_64, x_64, bands, (cotangents_64[0], cotangents_64[1])
    )
    assert_close(actual, expected, 2e-6)
    plain = fused.encode(tables, x, RESOLUTIONS, bands)
    assert torch.equal(plain, actual["features"])


def test_borders_faces_and_corners(device: torch.device) -> None:
    """Cells' borders belong to the upper cell, the cube's faces to the last; beyond, no slope."""
    places = [-1.5, -1.0, -1.0 / 3.0, 0.0, 1.0 / 3.0, 0.2, 1.0, 1.25]
    diagonal = torch.tensor([[a, b, b] for a, b in product(places, (-1.0, 1.0, 0.25))])
    x = torch.cat([diagonal, diagonal[:, [1, 0, 2]], diagonal[:, [1, 2, 0]]])[None].to(device)
    x = x.requires_grad_()
    tables = drawn(1, 1, 2, device, num_levels=1)[0]
    cotangents = torch.randn(1, 72, 2, device=device), torch.randn(1, 72, 2, 3, device=device)
    actual = by_name(fused.encode_with_slopes, tables, x, None, cotangents)
    expected = by_name(reference.encode_with_slopes, tables, x, None, cotangents)
    assert_close(actual, expected, 2e-6)
    is_outside = (x.detach().abs() > 1).expand(1, 72, 3)
    assert int(is_outside.sum()) > 10
    assert bool((actual["slopes"].transpose(2, 3)[is_outside] == 0).all())
    assert bool((actual["d_x"][is_outside] == 0).all())


@settings(max_examples=6)
@given(
    num_scenes=st.integers(1, 3),
    num_points=st.integers(1, 40),
    features=st.sampled_from([1, 2, 4]),
    resolutions=st.lists(st.integers(1, 30), min_size=1, max_size=3, unique=True).map(sorted),
    log2_size=st.integers(3, 10),
    seed=st.integers(0, 999),
)
def test_any_shape(
    num_scenes: int,
    num_points: int,
    features: int,
    resolutions: list[int],
    log2_size: int,
    seed: int,
) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    random = torch.Generator().manual_seed(seed)
    shape = (num_scenes, len(resolutions), 2**log2_size, features)
    tables = torch.randn(shape, generator=random).to(device).requires_grad_()
    x = torch.randint(-600, 601, (num_scenes, num_points, 3), generator=random).to(device) / 512
    seen = torch.randint(0, len(resolutions) + 1, (num_scenes,), generator=random).to(device)
    found = {}
    for name, encode, values in (("actual", fused.encode, tables),
                                 ("expected", reference.encode, double(tables)[0])):  # fmt: skip
        y = encode(values, x.to(values.dtype), resolutions, seen)
        found[name] = {
            "features": y,
            "d_tables": torch.autograd.grad(y.square().sum(), values)[0],
        }
    assert_close(found["actual"], found["expected"], 2e-6)


@pytest.mark.parametrize("is_merged", [True, False])
def test_runs_of_points_in_one_cell(
    is_merged: bool,
    device: torch.device,
    recorded: dict[str, Recorder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ray through a coarse level: runs that end within a block, and one over two blocks."""
    monkeypatch.setattr(launch, "IS_MERGED", is_merged)
    steps = torch.linspace(-1.1, 1.0, 43)
    x = torch.stack([steps, 0.1 * steps, -0.3 * steps], dim=-1)[None].to(device)
    cell = ((0.5 * x[0] + 0.5).clamp(0, 1) * RESOLUTIONS[0]).floor()
    changes = ((cell[1:] != cell[:-1]).any(dim=1).nonzero().flatten() + 1).tolist()
    assert 2 <= len(changes) <= 8
    assert {change % 16 for change in changes} - {0}
    assert not {16, 32} <= set(changes)
    tables = drawn(1, 1, 2, device)[0]
    cotangents = (
        torch.randn(1, 43, 6, device=device),
        torch.randn(1, 43, 6, 3, device=device),
    )
    x = x.requires_grad_()
    actual = by_name(fused.encode_with_slopes, tables, x, None, cotangents)
    expected = by_name(reference.encode_with_slopes, tables, x, None, cotangents)
    assert_close(actual, expected, 2e-6)
    launched = [
        (kwargs["HASHED"], kwargs["MERGED"]) for kwargs in recorded["encode_bwd_tables"].launches
    ]
    assert launched == [(False, is_merged), (True, False)]


def test_levels_to_come_are_not_read(device: torch.device) -> None:
    tables, x = drawn(2, 9, 2, device)
    with torch.no_grad():
        tables[0, 1:] = torch.nan
        tables[1] = torch.nan
    seen = torch.tensor([1, 0], device=device)
    features, slopes = fused.encode_with_slopes(tables, x, RESOLUTIONS, seen)
    assert bool((features[0, :, 2:] == 0).all())
    assert bool((features[1] == 0).all())
    assert bool(features[0, :, :2].all())
    assert bool((slopes[1] == 0).all())
    d_tables, d_x = torch.autograd.grad((features.sum(), slopes.sum()), (tables, x))
    assert bool((d_tables[0, 1:] == 0).all())
    assert bool((d_tables[1] == 0).all())
    assert bool(d_x.isfinite().all())
    assert bool(d_tables[0, 0].any())


def test_a_gradient_that_is_not_a_number_is_not_lost(device: torch.device) -> None:
    tables, x = drawn(1, 5, 2, device)
    g = torch.zeros(1, 5, 6, device=device)
    g[0, 3, 0] = torch.nan
    (d_tables,) = torch.autograd.grad(fused.encode(tables, x, RESOLUTIONS), tables, g)
    assert bool(d_tables[0, 0].isnan().any())
    assert not bool(d_tables[0, 1:].isnan().any())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_reads_rounded_entries_and_sums_in_fp32(
    dtype: torch.dtype, device: torch.device
) -> None:
    """Against the same rounded entries and cotangents in fp64: only the results are rounded."""
    tables, x = drawn(2, 19, 2, device)
    unit = torch.finfo(dtype).eps
    y = fused.encode(tables, x, RESOLUTIONS, dtype=dtype)
    assert y.dtype == dtype
    g = torch.randn_like(y)
    d_tables, d_x = torch.autograd.grad(y, (tables, x), g)
    assert d_tables.dtype == d_x.dtype == torch.float32
    rounded, x_64, g_64 = double(tables.detach().to(dtype), x, g)
    rounded.requires_grad_()
    expected = reference.encode(rounded, x_64, RESOLUTIONS)
    by_tables, by_x = torch.autograd.grad(expected, (rounded, x_64), g_64)
    assert_close({"features": y}, {"features": expected}, unit)
    assert_close({"d_tables": d_tables, "d_x": d_x}, {"d_tables": by_tables, "d_x": by_x}, 2e-6)


def test_tables_of_half_precision_get_gradients_of_theirs(device: torch.device) -> None:
    tables, x = drawn(1, 7, 2, device)
    halves = tables.detach().to(torch.float16).requires_grad_()
    y = fused.encode(halves, x.detach(), RESOLUTIONS)
    (d_halves,) = torch.autograd.grad(y.sum(), halves)
    assert y.dtype == d_halves.dtype == torch.float16
    (expected,) = torch.autograd.grad(
        reference.encode(tables, x.detach(), RESOLUTIONS).sum(), tables
    )
    assert_close({"d_halves": d_halves}, {"d_halves": expected}, 1e-3)


def test_pull_and_its_gradients(device: torch.device) -> None:
    slopes = torch.randn(2, 3, 6, 21, device=device).permute(0, 3, 2, 1).requires_grad_()
    g = torch.randn(2, 21, 6, device=device, requires_grad=True)
    v = torch.randn(2, 21, 3, device=device)
    found = []
    for pull, inputs in ((fused.pull, (slopes, g)), (reference.pull, double(slopes, g))):
        pulled = pull(*inputs)
        d_slopes, d_g = torch.autograd.grad(pulled, inputs, v.to(pulled.dtype))
        found.append({"pulled": pulled, "d_slopes": d_slopes, "d_g": d_g})
    assert_close(found[0], found[1], 1e-6)


def test_cotangents_may_have_any_strides(device: torch.device) -> None:
    """That of a sum has none at all."""
    tables, x = drawn(2, 7, 2, device)
    y, slopes = fused.encode_with_slopes(tables, x, RESOLUTIONS)
    summed = torch.autograd.grad((y.sum(), slopes.sum()), (tables, x))
    y, slopes = fused.encode_with_slopes(tables, x, RESOLUTIONS)
    ones = (torch.ones(2, 7, 6, device=device), torch.ones(2, 7, 6, 3, device=device))
    written = torch.autograd.grad((y, slopes), (tables, x), ones)
    for a, b in zip(summed, written, strict=True):
        torch.testing.assert_close(a, b)


def test_no_points_are_no_work(device: torch.device, recorded: dict[str, Recorder]) -> None:
    tables, x = drawn(2, 0, 2, device)
    y, slopes = fused.encode_with_slopes(tables, x, RESOLUTIONS)
    assert y.shape == (2, 0, 6)
    assert fused.pull(slopes, y).shape == (2, 0, 3)
    d_tables, d_x = torch.autograd.grad((y.sum(), slopes.sum()), (tables, x))
    assert not bool(d_tables.any())
    assert d_x.shape == (2, 0, 3)
    assert all(not kernel.launches for kernel in recorded.values())
