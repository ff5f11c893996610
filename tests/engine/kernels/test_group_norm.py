import math
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.kernels.group_norm import fused, group_norm, reference
from tests.engine.kernels.checking import assert_close

pytestmark = pytest.mark.usefixtures("fused")

EPS = 1e-6
# The interpreter cuts bfloat16 off, where a GPU rounds.
ROUNDING = {torch.float16: 5e-4, torch.bfloat16: 5e-3}


def draw(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, *, mean: float = 1.0
) -> dict[str, Tensor]:
    torch.manual_seed(0)
    found = {"x": mean + torch.randn(shape), "g": torch.randn(shape)}
    found |= {name: torch.randn(shape[1]) for name in ("weight", "bias", "offset")}
    return {name: t.to(device, dtype) for name, t in found.items()}


def found(given: dict[str, Tensor], num_groups: int, has_silu: bool) -> dict[str, Tensor]:
    x = given["x"].detach().requires_grad_()
    others = {name: t for name, t in given.items() if name not in ("x", "g")}
    y = group_norm(x, **others, num_groups=num_groups, eps=EPS, has_silu=has_silu)
    (g_x,) = torch.autograd.grad(y, x, given["g"])
    return {"y": y.detach(), "g_x": g_x}


def textbook(given: dict[str, Tensor], num_groups: int, has_silu: bool) -> dict[str, Tensor]:
    """Group by group, with the gradient by the chain rule through mean and variance."""
    own = {name: t.double().cpu() for name, t in given.items()}
    x, g = own["x"], own["g"]
    y, g_x = torch.empty_like(x), torch.empty_like(x)
    depth = x.shape[1] // num_groups
    for n in range(len(x)):
        for first in range(0, x.shape[1], depth):
            at = slice(first, first + depth)
            column = [depth] + [1] * (x.dim() - 2)
            w, b = own["weight"][at].view(column), own["bias"][at].view(column)
            v = x[n, at] + (own["offset"][at].view(column) if "offset" in own else 0.0)
            centred = v - v.mean()
            scale = 1.0 / math.sqrt(float(centred.square().mean()) + EPS)
            z = w * centred * scale + b
            s = 1.0 / (1.0 + torch.exp(-z)) if has_silu else torch.ones_like(z)
            y[n, at] = z * s
            k = w * g[n, at] * (s + (z * s * (1.0 - s) if has_silu else 0.0))
            g_var = (k * centred).sum() * -0.5 * scale**3
            g_x[n, at] = (k - k.mean()) * scale + 2.0 * g_var * centred / centred.numel()
    return {"y": y, "g_x": g_x}


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("has_silu", [True, False])
@pytest.mark.parametrize("has_offset", [True, False])
@pytest.mark.parametrize(
    ("shape", "num_groups"),
    [((2, 24, 7, 13), 4), ((1, 64, 3, 5), 32), ((3, 20, 11), 2), ((2, 12, 1, 1), 3)],
)
def test_values_and_gradients_are_the_textbook_s(
    shape: tuple[int, ...],
    num_groups: int,
    has_offset: bool,
    has_silu: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    given = draw(shape, dtype, device)
    if not has_offset:
        del given["offset"]
    actual = found(given, num_groups, has_silu)
    assert_close(actual, textbook(given, num_groups, has_silu), ROUNDING[dtype])


def test_the_reference_is_the_textbook_s(device: torch.device) -> None:
    given = {name: t.double() for name, t in draw((2, 24, 7, 13), torch.float16, device).items()}
    assert_close(found(given, 4, True), textbook(given, 4, True), 1e-12)


def test_more_pixels_than_a_program_s_are_summed_by_several(device: torch.device) -> None:
    given = draw((2, 256, 17, 19), torch.float16, device)
    assert fused._num_programs(given["x"]) == 3
    assert_close(found(given, 32, True), textbook(given, 32, True), ROUNDING[torch.float16])


def test_a_mean_of_a_thousand_deviations_is_no_trouble(device: torch.device) -> None:
    given = draw((1, 16, 9, 9), torch.float16, device, mean=1000.0)
    assert_close(found(given, 4, False), textbook(given, 4, False), 1e-3)


def test_a_group_of_one_number_alone_is_normed_to_its_bias(device: torch.device) -> None:
    given = draw((1, 8, 5, 5), torch.float16, device)
    given["x"][:] = 3.0
    del given["offset"]
    actual = found(given, 2, False)
    assert torch.equal(actual["y"], given["bias"].view(1, 8, 1, 1).expand(1, 8, 5, 5))
    assert bool(actual["g_x"].isfinite().all())


def test_a_picture_does_not_depend_on_its_neighbours_or_on_the_day(device: torch.device) -> None:
    given = draw((3, 64, 30, 31), torch.bfloat16, device)
    alone = {name: t[1:2] if t.dim() > 1 else t for name, t in given.items()}
    together, again = (found(given, 32, True) for _ in range(2))
    for name, expected in found(alone, 32, True).items():
        assert torch.equal(together[name][1:2], expected)
        assert torch.equal(again[name], together[name])


def test_channels_stay_side_by_side_whatever_comes(device: torch.device) -> None:
    given = draw((2, 24, 7, 13), torch.float16, device)
    beside = dict(given, x=given["x"].contiguous(memory_format=torch.channels_last))
    expected = found(given, 4, True)
    for name, t in found(beside, 4, True).items():
        assert torch.equal(t, expected[name])
        assert t.is_contiguous(memory_format=torch.channels_last)
    texts = draw((2, 24, 9), torch.float16, device)
    texts["x"] = texts["x"].transpose(1, 2).contiguous().transpose(1, 2)
    assert found(texts, 4, False)["y"].transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("case", ["weight", "offset", "float32"])
def test_what_the_kernels_do_not_do_is_left_to_the_reference(
    case: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = draw((1, 8, 4, 4), torch.float16, device)
    g = given.pop("g")
    if case == "float32":
        given = {name: t.float() for name, t in given.items()}
    else:
        given[case].requires_grad_()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the kernel was asked")

    setting: dict[str, Any] = {"num_groups": 2, "eps": EPS, "has_silu": True}
    monkeypatch.setattr(fused, "group_norm", never)
    y = group_norm(**given, **setting)
    assert torch.equal(y, reference.group_norm(**given, **setting))
    if case != "float32":
        (slope,) = torch.autograd.grad(y, given[case], g)
        assert bool(slope.isfinite().all())
    monkeypatch.undo()


def test_nothing_is_no_mistake(device: torch.device) -> None:
    assert found(draw((0, 8, 4, 4), torch.float16, device), 2, True)["y"].shape == (0, 8, 4, 4)


def test_the_ops_keep_what_they_promise_to_a_compiler(device: torch.device) -> None:
    """Schema, fake results' strides and the gradient's registration."""
    given = draw((2, 16, 6, 6), torch.float16, device)
    x = given["x"].contiguous(memory_format=torch.channels_last)
    others = [given[name] for name in ("weight", "bias", "offset")]
    for leaf in (x, x.clone(memory_format=torch.preserve_format).requires_grad_()):
        torch.library.opcheck(fused._forward, (leaf, *others, 4, EPS, True))
    moments = fused._forward(x, *others, 4, EPS, True)[1]
    g = given["g"].contiguous(memory_format=torch.channels_last)
    torch.library.opcheck(fused._backward, (g, x, *others, moments, 4, EPS, True))
