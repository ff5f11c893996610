from itertools import product

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.configs.fields import HashGridConfig
from engine.fields import HashGrid
from engine.kernels.mlp import mlp
from tests.engine.kernels.checking import assert_close

pytestmark = pytest.mark.usefixtures("fused")

NAMES = ("x", "w0", "b0", "w1", "b1")


def naive(x: Tensor, w0: Tensor, b0: Tensor, w1: Tensor, b1: Tensor) -> Tensor:
    """Scene by scene."""
    scenes = []
    for s in range(len(x)):
        before = x[s] @ w0[s] + b0[s]
        scenes.append(torch.where(before > 0, before, 0 * before) @ w1[s] + b1[s])
    return torch.stack(scenes)


def draw(
    num_scenes: int, num_points: int, sizes: tuple[int, int, int], device: torch.device
) -> dict[str, Tensor]:
    num_features, num_units, num_outputs = sizes
    shapes = (
        (num_points, num_features),
        (num_features, num_units),
        (1, num_units),
        (num_units, num_outputs),
        (1, num_outputs),
    )
    return {
        name: torch.randn(num_scenes, *shape, device=device) / shape[0 if "w" in name else 1] ** 0.5
        for name, shape in zip(NAMES, shapes, strict=True)
    }


def both(
    inputs: dict[str, Tensor], dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and gradients of the kernels in a precision, and those of the definition in float64,
    for inputs that the precision can hold."""
    inputs = {n: v if n[0] == "b" else v.to(dtype).float() for n, v in inputs.items()}
    weight = torch.randn(*inputs["x"].shape[:2], inputs["b1"].shape[-1])
    results = []
    for f, own_dtype in ((mlp, torch.float32), (naive, torch.float64)):
        own = {n: v.to(own_dtype).requires_grad_() for n, v in inputs.items()}
        x, *weights = own.values()
        out = f(x.to(dtype) if f is mlp else x, *weights)
        slopes = torch.autograd.grad(out, list(own.values()), weight.to(out))
        results.append(
            {"outputs": out.detach()}
            | {f"gradient of {n}": g for n, g in zip(own, slopes, strict=True)}
        )
    return results[0], results[1]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 1e-3)])
@pytest.mark.parametrize(
    ("num_scenes", "num_points", "sizes"),
    [(1, 1, (1, 1, 1)), (2, 70, (24, 33, 4)), (3, 129, (32, 64, 4)), (1, 31, (40, 20, 17))],
    ids=str,
)
def test_outputs_and_gradients_match_the_definition(
    num_scenes: int,
    num_points: int,
    sizes: tuple[int, int, int],
    dtype: torch.dtype,
    tolerance: float,
    device: torch.device,
) -> None:
    actual, expected = both(draw(num_scenes, num_points, sizes, device), dtype)
    assert len(actual) == 6
    assert_close(actual, expected, tolerance)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    num_scenes=st.integers(1, 3),
    num_points=st.integers(1, 80),
    sizes=st.tuples(st.integers(1, 33), st.integers(1, 65), st.integers(1, 5)),
)
def test_any_shape_does(
    device: torch.device, num_scenes: int, num_points: int, sizes: tuple[int, int, int]
) -> None:
    assert_close(*both(draw(num_scenes, num_points, sizes, device)), 1e-5)


def test_a_few_programs_share_many_tiles(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven tiles of 32 for three programs: the last tile is short, and so is one's share."""
    monkeypatch.setattr("engine.kernels.mlp.fused._PROGRAMS", 3)
    assert_close(*both(draw(2, 200, (8, 16, 4), device)), 1e-6)


def test_a_scene_is_the_same_whoever_its_neighbours_are(device: torch.device) -> None:
    inputs = draw(3, 90, (8, 16, 4), device)
    weight = torch.randn(3, 90, 4, device=device)
    results = []
    for scenes in (slice(1, 2), slice(0, 3)):
        own = [v[scenes].clone().requires_grad_() for v in inputs.values()]
        out = mlp(*own)
        results.append([out, *torch.autograd.grad(out, own, weight[scenes])])
    for name, alone, together in zip(("outputs", *NAMES), *results, strict=True):
        assert torch.equal(alone[0], together[1]), name


def test_features_may_lie_in_memory_as_their_encoding_left_them(device: torch.device) -> None:
    """With points last; their gradients then lie so, too, and their cotangents may."""
    inputs = draw(2, 70, (24, 33, 4), device)
    g, u = torch.randn(2, 70, 4, device=device), torch.randn(2, 24, 70, device=device).mT
    results = []
    for is_turned in (False, True):
        own = {n: v.clone() for n, v in inputs.items()}
        if is_turned:
            own["x"] = own["x"].mT.contiguous().mT
        own = {n: v.requires_grad_() for n, v in own.items()}
        out = mlp(*own.values())
        (slope,) = torch.autograd.grad(out, own["x"], g, create_graph=True)
        second = torch.autograd.grad(
            slope, [own["w0"], own["w1"]], u if is_turned else u.contiguous()
        )
        weights = torch.autograd.grad(mlp(*own.values()), list(own.values()), g)
        results.append([out, slope, *second, *weights])
        assert slope.is_contiguous() != is_turned
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_units_that_never_fire_learn_nothing(device: torch.device) -> None:
    inputs = draw(2, 40, (8, 16, 4), device)
    inputs["b0"][:, :, ::2] = -100.0
    actual, expected = both(inputs)
    assert_close(actual, expected, 1e-6)
    assert actual["gradient of w0"][:, :, ::2].abs().max() == 0
    assert actual["gradient of w1"][:, ::2].abs().max() == 0
    assert actual["gradient of b0"][..., ::2].abs().max() == 0


def test_only_what_is_wanted_is_computed(device: torch.device) -> None:
    inputs = draw(2, 40, (8, 16, 4), device)
    x = inputs.pop("x").requires_grad_()
    (actual,) = torch.autograd.grad(mlp(x, *inputs.values()).sum(), x)
    exact = x.detach().double().requires_grad_()
    wide = [v.double() for v in inputs.values()]
    (expected,) = torch.autograd.grad(naive(exact, *wide).sum(), exact)
    assert_close({"x": actual}, {"x": expected}, 1e-6)
    weights = [v.requires_grad_() for v in inputs.values()]
    out = mlp(x.detach(), *weights)
    assert all(g is not None for g in torch.autograd.grad(out.sum(), weights))


def test_the_second_order_matches_finite_differences(device: torch.device) -> None:
    inputs = draw(2, 3, (4, 6, 2), device) | {"g": torch.randn(2, 3, 2, device=device)}
    u = torch.randn(2, 3, 4)

    def total(values: dict[str, Tensor], f) -> Tensor:
        """<u, dL/dx> with L = <g, outputs>."""
        *own, g = values.values()
        (slope,) = torch.autograd.grad(f(*own), own[0], g, create_graph=True)
        return (u.to(slope) * slope).sum()

    own = {name: v.clone().requires_grad_() for name, v in inputs.items()}
    slopes = torch.autograd.grad(total(own, mlp), list(own.values()), allow_unused=True)
    actual = dict(zip(own, slopes, strict=True))
    # Kinks apart, nothing there depends on these.
    assert [name for name, slope in actual.items() if slope is None] == ["x", "b0", "b1"]
    exact = {n: v.detach().double().cpu().requires_grad_() for n, v in inputs.items()}
    expected = {}
    for name, v in exact.items():
        expected[name] = torch.zeros_like(v)
        for index in product(*map(range, v.shape)):
            pair = []
            for h in (1e-5, -1e-5):
                moved = v.detach().clone()
                moved[index] += h
                pair.append(total(exact | {name: moved.requires_grad_()}, naive).detach())
            expected[name][index] = (pair[0] - pair[1]) / 2e-5
    for name in ("x", "b0", "b1"):
        assert expected.pop(name).abs().max() == 0
        del actual[name]
    assert_close(actual, expected, 1e-5)


def test_memory_in_another_order_loses_no_gradient(device: torch.device) -> None:
    """Of first and of second order, as the same numbers in a row give them."""
    inputs = draw(2, 40, (8, 6, 4), device)
    g, u = torch.randn(2, 40, 4, device=device), torch.randn(2, 40, 8, device=device)
    results = []
    for is_turned in (False, True):
        own = {}
        for name, v in inputs.items():
            stored = v.transpose(1, 2).contiguous() if is_turned else v.clone()
            own[name] = stored.requires_grad_()
        used = [v.transpose(1, 2) if is_turned else v for v in own.values()]
        assert all(v.is_contiguous() != is_turned for v in (used[0], used[1], used[3]))
        first = torch.autograd.grad(mlp(*used), list(own.values()), g, retain_graph=True)
        (slope,) = torch.autograd.grad(mlp(*used), used[0], g, create_graph=True)
        second = torch.autograd.grad((u * slope).sum(), [own["w0"], own["w1"]])
        found = dict(zip((*NAMES, "w0 twice", "w1 twice"), (*first, *second), strict=True))
        results.append({n: v.transpose(1, 2) if is_turned else v for n, v in found.items()})
    assert float(results[0]["w0 twice"].abs().max()) > 0
    assert_close(results[1], results[0], 1e-6)


def test_no_other_gradient_is_differentiated_again(device: torch.device) -> None:
    inputs = {n: v.requires_grad_() for n, v in draw(1, 3, (4, 6, 2), device).items()}
    out = mlp(*inputs.values())
    slopes = torch.autograd.grad(out.sum(), list(inputs.values()), create_graph=True)
    with pytest.raises(NotImplementedError, match="only its gradient to x"):
        slopes[1].sum().backward()


def test_no_points_are_no_work(device: torch.device) -> None:
    inputs = draw(2, 0, (4, 6, 2), device)
    w0 = inputs["w0"].requires_grad_()
    out = mlp(*inputs.values())
    assert out.shape == (2, 0, 2)
    (slope,) = torch.autograd.grad(out.sum(), w0)
    assert slope.tolist() == torch.zeros_like(slope).tolist()


def test_a_field_s_normals_can_be_trained_through_it(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = HashGridConfig(
        num_levels=2, log2_size=6, base_resolution=2, finest_resolution=4, hidden=9
    )
    field = HashGrid(config)
    fresh = field.initial(torch.arange(2, device=device))
    parameters = {name: p + 0.5 * torch.randn_like(p) for name, p in fresh.items()}
    x = 1.6 * torch.rand(2, 12, 3, device=device) - 0.8
    weight = torch.randn(2, 12, 3, device=device)
    results = []
    for is_fused in (True, False):
        monkeypatch.setattr("engine.kernels.is_fused", lambda x, is_fused=is_fused: is_fused)
        own = {name: p.clone().requires_grad_() for name, p in parameters.items()}
        samples = field.query(own, x, torch.ones(2, device=device), with_normal=True)
        assert samples.normal is not None
        total = (weight * (samples.normal + samples.albedo)).sum() + samples.sigma.sum()
        slopes = torch.autograd.grad(total, list(own.values()))
        found = {"sigma": samples.sigma, "albedo": samples.albedo, "normal": samples.normal}
        found = {name: v.detach() for name, v in found.items()}
        results.append(found | dict(zip(own, slopes, strict=True)))
    assert_close(results[0], results[1], 1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)],
)
def test_full_size(dtype: torch.dtype, tolerance: float) -> None:
    assert_close(*both(draw(8, 4096 * 40 + 3, (32, 64, 4), torch.device("cuda")), dtype), tolerance)
