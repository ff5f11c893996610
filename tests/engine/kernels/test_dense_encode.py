from collections.abc import Sequence
from itertools import product

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import kernels
from engine.configs.fields import DenseGridConfig
from engine.fields import DenseGrid
from engine.kernels.dense_encode import dense_encode, memory_format, reference
from tests.engine.kernels.checking import assert_close

pytestmark = pytest.mark.usefixtures("fused")

LAYOUTS = [torch.contiguous_format, torch.channels_last_3d]


def naive(grids: Sequence[Tensor], x: Tensor) -> Tensor:
    """By hat functions over whole lattices, in the points' own precision."""
    total = torch.zeros(*x.shape[:2], grids[0].shape[1], dtype=x.dtype)
    for grid in grids:
        n = grid.shape[-1]
        place = ((x + 1) / 2 * (n - 1)).clamp(0, n - 1)
        hats = (1 - (place[..., None] - torch.arange(n, dtype=x.dtype)).abs()).clamp(min=0)
        z, y, x_ = hats[:, :, 2], hats[:, :, 1], hats[:, :, 0]
        total = total + torch.einsum("spk,spj,spi,sckji->spc", z, y, x_, grid)
    return total


def draw(
    sides: Sequence[int],
    num_scenes: int,
    num_points: int,
    num_channels: int,
    device: torch.device,
    layout: torch.memory_format = torch.channels_last_3d,
    reach: float = 1.3,
) -> dict[str, Tensor]:
    """Points some of which lie beyond the cube, and lattices."""
    inputs = {"x": reach * (2 * torch.rand(num_scenes, num_points, 3) - 1)}
    for n in sides:
        grid = torch.randn(num_scenes, num_channels, n, n, n)
        inputs[f"grid{n}"] = grid.contiguous(memory_format=layout)
    return {name: value.to(device) for name, value in inputs.items()}


def both(inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Values and gradients of the kernels, and those of the definition in float64."""
    results, weight = [], None
    for f, dtype in ((dense_encode, torch.float32), (naive, torch.float64)):
        own = {name: v.detach().to(dtype).requires_grad_() for name, v in inputs.items()}
        if f is naive:
            own = {name: v.detach().cpu().requires_grad_() for name, v in own.items()}
        x, *grids = own.values()
        values = f(grids, x)
        weight = torch.randn(values.shape) if weight is None else weight
        slopes = torch.autograd.grad(values, list(own.values()), weight.to(values))
        results.append(
            {"values": values.detach()}
            | {f"gradient of {n}": g for n, g in zip(own, slopes, strict=True)}
        )
    return results[0], results[1]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels first", "channels last"])
@pytest.mark.parametrize(
    ("sides", "num_scenes", "num_points", "num_channels"),
    [((2,), 1, 1, 1), ((2, 5), 2, 7, 4), ((3, 4, 6), 3, 150, 7)],
    ids=str,
)
def test_values_and_gradients_match_hat_functions(
    sides: tuple[int, ...],
    num_scenes: int,
    num_points: int,
    num_channels: int,
    layout: torch.memory_format,
    device: torch.device,
) -> None:
    inputs = draw(sides, num_scenes, num_points, num_channels, device, layout)
    actual, expected = both(inputs)
    assert_close(actual, expected, 2e-6)
    for n in sides:
        # As the lattice lies, so that an optimiser goes through both alike.
        assert actual[f"gradient of grid{n}"].stride() == inputs[f"grid{n}"].stride()


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sides=st.lists(st.integers(2, 6), min_size=1, max_size=2, unique=True),
    num_scenes=st.integers(1, 2),
    num_points=st.integers(1, 20),
    num_channels=st.integers(1, 5),
)
def test_any_shape_does(
    device: torch.device, sides: list[int], num_scenes: int, num_points: int, num_channels: int
) -> None:
    inputs = draw(sides, num_scenes, num_points, num_channels, device)
    assert_close(*both(inputs), 1e-5)


def test_it_is_what_the_reference_computes(device: torch.device) -> None:
    x, *grids = draw((2, 5, 8), 2, 33, 4, device, torch.contiguous_format).values()
    results = []
    for f in (dense_encode, reference.dense_encode):
        own = [v.detach().requires_grad_() for v in (x, *grids)]
        values = f(own[1:], own[0])
        slopes = torch.autograd.grad(values.square().sum(), own)
        names = ("x", "grid2", "grid5", "grid8")
        results.append({"values": values.detach()} | dict(zip(names, slopes, strict=True)))
    assert_close(results[0], results[1], 2e-6)


def second_order(
    grids: Sequence[Tensor], x: Tensor, g: Tensor, v: Tensor, u: Sequence[Tensor], f
) -> Tensor:
    """<v, dL/dx> + sum <u, dL/dgrid> with L = <g, values>, which can be differentiated again."""
    values = f(grids, x)
    slopes = torch.autograd.grad(values, [x, *grids], g, create_graph=True)
    return torch.stack([(a * b).sum() for a, b in zip(slopes, (v, *u), strict=True)]).sum()


def test_the_second_order_matches_finite_differences(device: torch.device) -> None:
    inputs = draw((2, 3), 2, 3, 2, device)
    # Well within the cells of both lattices, where all is smooth.
    inputs["x"] = (torch.randint(0, 2, (2, 3, 3)) - 0.8 + 0.6 * torch.rand(2, 3, 3)).to(device)
    inputs["g"] = torch.randn(2, 3, 2, device=device)
    v = torch.randn(2, 3, 3)
    u = [torch.randn(2, 2, n, n, n) for n in (2, 3)]

    def total(values: dict[str, Tensor], f) -> Tensor:
        x, *grids, g = values.values()
        own = [t.to(x) for t in (v, *u)]
        return second_order(grids, x, g, own[0], own[1:], f)

    own = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    slopes = torch.autograd.grad(total(own, dense_encode), list(own.values()))
    actual = dict(zip(own, slopes, strict=True))
    exact = {n: value.detach().double().cpu().requires_grad_() for n, value in inputs.items()}
    expected = {}
    for name, value in exact.items():
        expected[name] = torch.zeros_like(value)
        for index in product(*map(range, value.shape)):
            pair = []
            for h in (1e-4, -1e-4):
                moved = value.detach().clone()
                moved[index] += h
                pair.append(total(exact | {name: moved.requires_grad_()}, naive).detach())
            expected[name][index] = (pair[0] - pair[1]) / 2e-4
    assert_close(actual, expected, 1e-5)


def test_beyond_the_cube_the_border_holds_and_nothing_slopes(device: torch.device) -> None:
    inputs = draw((2, 5), 1, 4, 3, device)
    outside = torch.tensor([[1.7, 0.2, -3.0], [1.0, 0.2, -1.0]], device=device)[None]
    x = outside.clone().requires_grad_()
    grids = [inputs["grid2"], inputs["grid5"]]
    values = dense_encode(grids, x)
    (slope,) = torch.autograd.grad(values.sum(), x)
    outer, inner = values.detach().unbind(dim=1)
    assert_close({"values": outer}, {"values": inner}, 1e-6)
    assert slope[..., 0].tolist() == slope[..., 2].tolist() == [[0.0, 0.0]]
    assert float(slope[..., 1].abs().min()) > 0


def test_lattice_points_are_read_exactly(device: torch.device) -> None:
    inputs = draw((5,), 1, 1, 2, device)
    grid = inputs["grid5"]
    x = torch.tensor(list(product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=3)), device=device)[None]
    values = dense_encode([grid], x)
    # Points come with z fastest, the lattice with x fastest.
    expected = grid[0].permute(0, 3, 2, 1).reshape(2, -1).T
    torch.testing.assert_close(values[0], expected, rtol=0, atol=0)


def test_points_without_a_gradient_are_passed_over_but_a_nan_is_not(device: torch.device) -> None:
    inputs = draw((4,), 1, 3, 2, device)
    x = torch.tensor([[[-0.9, -0.9, -0.9], [0.9, 0.9, 0.9], [-0.9, 0.9, 0.0]]], device=device)
    grid = inputs["grid4"].requires_grad_()
    g = torch.tensor([[[0.0, 0.0], [1.0, torch.nan], [0.0, 2.0]]], device=device)
    (slope,) = torch.autograd.grad(dense_encode([grid], x), grid, g)
    assert slope[0, :, :2, :2, :2].abs().max() == 0
    assert slope[0, 1, 2:, 2:, 2:].isnan().all()
    assert slope[0, 0].isfinite().all()
    assert float(slope[0, 1, 1:3, 2:, :2].nansum()) == pytest.approx(2.0)


def test_of_points_without_a_gradient_the_direction_plays_no_part(device: torch.device) -> None:
    inputs = draw((4,), 1, 3, 2, device)
    x, grid = (inputs[name].requires_grad_() for name in ("x", "grid4"))
    g = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]], device=device)
    v = torch.randn(1, 3, 3, device=device)
    results = []
    for nothing in (0.0, torch.nan):
        (slope,) = torch.autograd.grad(dense_encode([grid], x), x, g, create_graph=True)
        v[:, ::2] = nothing
        results.append({"gradient": torch.autograd.grad(slope, grid, v)[0]})
    assert float(results[1]["gradient"].abs().max()) > 0
    assert_close(results[1], results[0], 1e-6)


def test_runs_of_points_in_a_cell_add_up(device: torch.device) -> None:
    """Along rays, of more points than a program has, some of them without a gradient."""
    num_rays, num_samples = 13, 48
    start, end = 2 * torch.rand(2, 2, num_rays, 1, 3) - 1
    x = torch.lerp(start, end, torch.linspace(0, 1, num_samples)[:, None]).flatten(1, 2)
    cells = ((x + 1) / 2 * 3).floor()
    assert (cells[:, 1:] == cells[:, :-1]).all(-1).float().mean() > 0.8
    g = torch.randn(*x.shape[:2], 4) * (torch.rand(*x.shape[:2], 1) > 0.3)
    grids = [torch.zeros(2, 4, n, n, n) for n in (4, 9)]
    results = []
    for f, dtype, where in ((dense_encode, torch.float32, device), (naive, torch.float64, "cpu")):
        own = [grid.to(where, dtype).requires_grad_() for grid in grids]
        values = f(own, x.to(where, dtype))
        slopes = torch.autograd.grad(values, own, g.to(values))
        results.append(dict(zip(("grid4", "grid9"), slopes, strict=True)))
    assert_close(results[0], results[1], 2e-6)


def test_a_lattice_that_lies_otherwise_is_copied_not_misread(device: torch.device) -> None:
    inputs = draw((3,), 2, 9, 2, device, torch.contiguous_format)
    inputs["grid3"] = inputs["grid3"].transpose(2, 4)
    results = []
    for grid in (inputs["grid3"], inputs["grid3"].contiguous()):
        leaf = grid.detach().requires_grad_()
        values = dense_encode([leaf], inputs["x"])
        (slope,) = torch.autograd.grad(values.square().sum(), leaf)
        results.append({"values": values.detach(), "gradient": slope})
    assert float(results[0]["gradient"].abs().max()) > 0.1
    assert_close(results[0], results[1], 1e-6)


def test_one_channel_of_several_is_read_where_it_lies(device: torch.device) -> None:
    inputs = draw((3,), 2, 9, 4, device)
    grid = inputs["grid3"]
    assert grid[:, :1].stride(4) == 4
    everything = dense_encode([grid], inputs["x"])
    assert torch.equal(dense_encode([grid[:, :1]], inputs["x"]), everything[..., :1])


def test_no_points_are_no_work(device: torch.device) -> None:
    inputs = draw((3,), 2, 0, 4, device)
    assert dense_encode([inputs["grid3"]], inputs["x"]).shape == (2, 0, 4)


def test_lattices_lie_as_the_device_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "is_wanted", lambda: True)
    monkeypatch.setattr(kernels, "has_triton", lambda: True)
    assert memory_format(torch.device("cuda")) == torch.channels_last_3d
    monkeypatch.setattr(kernels, "is_wanted", lambda: False)
    assert memory_format(torch.device("cuda")) == torch.contiguous_format
    assert memory_format(torch.device("cpu")) == torch.contiguous_format


@pytest.mark.parametrize("with_normal", [False, True])
def test_the_field_is_the_same_with_kernels(
    with_normal: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = DenseGrid(DenseGridConfig(resolutions=(2, 5), density_gain=3.0, blob_density=4.0))
    shapes = field.initial(torch.arange(2, device=device))
    parameters = {name: torch.randn_like(p) for name, p in shapes.items()}
    x = 2 * torch.rand(2, 40, 3, device=device) - 1
    weight = torch.randn(2, 40, 3, device=device)
    results = []
    for is_fused in (True, False):
        monkeypatch.setattr("engine.kernels.is_fused", lambda x, is_fused=is_fused: is_fused)
        own = {name: p.clone().requires_grad_() for name, p in parameters.items()}
        end = torch.ones(2, device=device)
        samples = field.query(own, x, end, with_normal=with_normal)
        found = {"sigma": samples.sigma, "albedo": samples.albedo}
        total = samples.sigma.sum() + (weight * samples.albedo).sum()
        if samples.normal is not None:
            found["normal"] = samples.normal
            total = total + (weight * samples.normal).sum()
        slopes = torch.autograd.grad(total, list(own.values()))
        found |= dict(zip(own, slopes, strict=True))
        found["density"] = field.density(own, x, end)
        results.append({name: value.detach() for name, value in found.items()})
    assert_close(results[0], results[1], 1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_full_size(dtype: torch.dtype, tolerance: float) -> None:
    inputs = draw((16, 64), 8, 4 * 64 * 64 * 48, 4, torch.device("cuda"))
    # Of these coordinates any arithmetic finds the same cell, and so the same slope.
    inputs["x"] = (1024 * inputs["x"]).round() / 1024
    results = []
    for f, as_type in ((dense_encode, dtype), (reference.dense_encode, torch.float32)):
        x, *grids = (v.detach().requires_grad_() for v in inputs.values())
        values = f([grid.to(as_type) for grid in grids], x)
        slopes = torch.autograd.grad(values.square().mean(), [x, *grids])
        names = ("values", *inputs)
        results.append(dict(zip(names, (values.detach(), *slopes), strict=True)))
    assert_close(results[0], results[1], tolerance)
