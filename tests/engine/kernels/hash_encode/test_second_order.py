"""Second-order terms against float64 differences, and what is made of them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")

from engine import kernels
from engine.configs.fields import HashGridConfig
from engine.fields import HashGrid
from engine.kernels.hash_encode import fused, reference
from tests.engine.kernels.checking import assert_close
from tests.engine.kernels.hash_encode.cases import RESOLUTIONS, SIZE, Recorder, double, drawn


def away_from_borders(num_points: int, resolutions: list[int]) -> Tensor:
    """Points of one scene that stay in their cells, on all levels, if moved by 1e-3."""
    x = torch.rand(400, 3, dtype=torch.float64) * 1.8 - 0.9
    place = (0.5 * x[:, None] + 0.5) * torch.tensor(resolutions)[:, None]
    is_inner = ((place - place.round()).abs() > 0.02).all(dim=2).all(dim=1)
    assert int(is_inner.sum()) >= num_points
    return x[is_inner][None, :num_points]


def normal_loss(by_x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """A loss on the direction of a field's gradient, and on the field's values."""
    normal = by_x / (by_x.square().sum(-1, keepdim=True) + 0.1).sqrt()
    return (normal * v).sum() + y.sin().sum()


def differenced(loss: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of a loss by every entry of `at`."""
    found = torch.zeros_like(at)
    for entry in range(at.numel()):
        nudge = torch.zeros_like(at).view(-1)
        nudge[entry] = step
        nudge = nudge.view_as(at)
        found.view(-1)[entry] = (loss(at + nudge) - loss(at - nudge)) / (2 * step)
    return found


@pytest.mark.parametrize(
    ("coarsest", "num_kinds"), [(3, 1), (1, 2)], ids=["all hashed", "coarsest dense"]
)
@pytest.mark.parametrize("way", ["differentiated twice", "slopes forward"])
def test_second_order_terms_match_finite_differences_in_float64(
    way: str,
    coarsest: int,
    num_kinds: int,
    device: torch.device,
    recorded: dict[str, Recorder],
) -> None:
    """Of a loss on the gradient of sin(W y(x)) to the points, in tables and in points; 8 rows are
    enough for the corners of one cell."""
    tables, weight = torch.randn(1, 3, 8, 2).double(), torch.randn(6).double()
    resolutions = [coarsest, *RESOLUTIONS[1:]]
    x, v = away_from_borders(5, resolutions), torch.randn(1, 5, 3).double()

    def naive_loss(tables: Tensor, x: Tensor) -> Tensor:
        y, slopes = reference.encode_with_slopes(tables, x, resolutions)
        by_x = (slopes * ((y @ weight).cos()[..., None] * weight)[..., None]).sum(2)
        return normal_loss(by_x, y, v)

    expected = {
        "d_tables": differenced(lambda t: naive_loss(t, x), tables),
        "d_x": differenced(lambda x: naive_loss(tables, x), x),
    }

    t, p, w, u = (
        tensor.float().to(device).requires_grad_(wanted)
        for tensor, wanted in ((tables, True), (x, True), (weight, False), (v, False))
    )
    if way == "slopes forward":
        y, slopes = fused.encode_with_slopes(t, p, resolutions)
        (by_y,) = torch.autograd.grad((y @ w).sin().sum(), y, create_graph=True)
        by_x = fused.pull(slopes, by_y)
    else:
        y = fused.encode(t, p, resolutions)
        (by_x,) = torch.autograd.grad((y @ w).sin().sum(), p, create_graph=True)
    before = len(recorded["encode_bwd_tables"].launches)
    d_tables, d_x = torch.autograd.grad(normal_loss(by_x, y, u), (t, p))
    assert_close({"d_tables": d_tables, "d_x": d_x}, expected, 1e-4)
    # A launch for each kind of level, in each pass.
    launches = recorded["encode_bwd_tables"].launches[before:]
    assert len(launches) == num_kinds * (1 if way == "slopes forward" else 2)
    assert len({launch["HASHED"] for launch in launches}) == num_kinds


def test_gradients_of_gradients_to_the_tables(device: torch.device) -> None:
    """The gradient to the tables is itself differentiable, in cotangents and points."""
    tables, x = drawn(1, 9, 2, device)
    g = torch.randn(1, 9, 6, device=device, requires_grad=True)
    u = torch.randn(1, 3, SIZE, 2, device=device)
    found = []
    for encode, (t, p, h, v) in (
        (fused.encode, (tables, x, g, u)),
        (reference.encode, double(tables, x, g, u)),
    ):
        (d_tables,) = torch.autograd.grad(encode(t, p, RESOLUTIONS), t, h, create_graph=True)
        d_g, d_x = torch.autograd.grad((d_tables * v).sum(), (h, p))
        found.append({"d_tables": d_tables, "d_g": d_g, "d_x": d_x})
    assert_close(found[0], found[1], 2e-6)


def test_third_derivatives_are_refused(device: torch.device) -> None:
    tables, x = drawn(1, 2, 1, device)
    _, slopes = fused.encode_with_slopes(tables, x, RESOLUTIONS)
    (d_x,) = torch.autograd.grad(slopes.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivatives"):
        torch.autograd.grad(d_x.sum(), x)


@pytest.mark.usefixtures("fused")
@pytest.mark.parametrize("start_level", [0, 1])
def test_a_field_with_normals_is_the_same_through_the_kernels(
    start_level: int,
    device: torch.device,
    recorded: dict[str, Recorder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values, and the gradients of all parameters of a loss on them and on the normals."""
    config = HashGridConfig(
        num_levels=2,
        log2_size=6,
        base_resolution=3,
        finest_resolution=9,
        hidden=6,
        bound=1.5,
        start_level=start_level,
        level_from=0.5,
    )
    field = HashGrid(config)
    initial = field.initial(torch.arange(2, device=device))
    parameters = {name: torch.randn_like(p).requires_grad_() for name, p in initial.items()}
    x = torch.randint(-700, 701, (2, 9, 3), device=device) / 512
    part = torch.tensor([0.0, 0.61], device=device)
    v = torch.randn(2, 9, 7, device=device)

    def by_name() -> dict[str, Tensor]:
        samples = field.query(parameters, x, part, with_normal=True)
        assert samples.normal is not None
        values = torch.cat([0.1 * samples.sigma[..., None], samples.albedo, samples.normal], -1)
        gradients = torch.autograd.grad((values * v).sum(), list(parameters.values()))
        named = {"sigma": samples.sigma, "albedo": samples.albedo, "normal": samples.normal}
        return named | dict(zip(parameters, gradients, strict=True))

    actual = by_name()
    # Of each kind of level one launch there, and one back with both gradients.
    assert [len(recorded[name].launches) for name in ("encode_fwd", "encode_bwd_tables")] == [2, 2]
    assert not recorded["encode_bwd_positions"].launches
    with torch.no_grad():
        still = field.query(parameters, x, part, with_normal=True)
    monkeypatch.setattr(kernels, "is_fused", lambda x: False)
    expected = by_name()
    assert_close(actual, expected, 2e-5)
    assert still.normal is not None
    assert not still.normal.requires_grad
    assert_close({"normal": still.normal}, {"normal": actual["normal"]}, 1e-6)
