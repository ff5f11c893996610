import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from engine import kernels
from engine.configs.fields import MipMlpConfig
from engine.fields import MipMlp
from engine.fields.mip_mlp import kept
from engine.kernels.mip_mlp import Weights, mip_mlp, reference
from tests.engine.kernels.checking import assert_close

pytestmark = pytest.mark.usefixtures("fused")

Results = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter has no products of bfloat16."""
    monkeypatch.setattr("engine.kernels.mip_mlp.PRECISION", torch.float32)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def naive(weights: Weights, x: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Scene by scene; the slope from one differentiation of the whole."""
    x = x.detach().requires_grad_()
    scenes = []
    for s in range(len(x)):
        w = Weights(*(v[s] for v in weights))
        num_levels = left.shape[1]
        phase = torch.cat([2.0**level * x[s] for level in range(num_levels)], dim=1)
        remains = left[s].repeat_interleave(3)
        h = silu(torch.cat([remains * phase.sin(), remains * phase.cos()], dim=1) @ w.w_in + w.b_in)
        for k in range(len(w.w1)):
            if k > 0:
                centred = h - h.mean(1, keepdim=True)
                h = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
                h = h * w.gain[k - 1] + w.shift[k - 1]
            h = h + silu(h @ w.w1[k] + w.b1[k]) @ w.w2[k] + w.b2[k]
        scenes.append(silu(h) @ w.w_out + w.b_out)
    raw = torch.stack(scenes)
    (slope,) = torch.autograd.grad(raw[..., 0].sum(), x, create_graph=True)
    return raw, slope


def draw(
    num_scenes: int, num_levels: int, num_blocks: int, width: int, num_outputs: int = 4
) -> Weights:
    s, b, h, d = num_scenes, num_blocks, width, num_outputs
    return Weights(
        w_in=torch.randn(s, 6 * num_levels, h) / (6 * num_levels) ** 0.5,
        b_in=0.3 * torch.randn(s, 1, h),
        w1=torch.randn(s, b, h, h) / h**0.5,
        b1=0.3 * torch.randn(s, b, 1, h),
        w2=torch.randn(s, b, h, h) / h**0.5,
        b2=0.3 * torch.randn(s, b, 1, h),
        gain=1 + 0.3 * torch.randn(s, b - 1, 1, h),
        shift=0.3 * torch.randn(s, b - 1, 1, h),
        w_out=torch.randn(s, h, d) / h**0.5,
        b_out=0.3 * torch.randn(s, 1, d),
    )


def results(f, weights: Weights, x: Tensor, left: Tensor, *cotangents: Tensor | None) -> Results:
    """Outputs, slope, and gradients to all weights."""
    own = Weights(*(v.clone().requires_grad_() for v in weights))
    found = dict(zip(("raw", "slope"), f(own, x, left), strict=True))
    wanted = [(v, g) for v, g in zip(found.values(), cotangents, strict=True) if g is not None]
    total = torch.stack([(v * g.to(v)).sum() for v, g in wanted]).sum()
    slopes = torch.autograd.grad(total, list(own), allow_unused=True)
    gradients = {
        f"gradient of {n}": torch.zeros_like(v) if g is None else g
        for n, v, g in zip(own._fields, own, slopes, strict=True)
    }
    return {n: v.detach() for n, v in found.items()} | gradients


def both(weights: Weights, num_points: int, device: torch.device) -> tuple[Results, Results]:
    num_scenes = len(weights.w_in)
    x = 2 * torch.rand(num_scenes, num_points, 3) - 1
    left = torch.rand(num_scenes, weights.w_in.shape[1] // 6)
    cotangents = torch.randn(num_scenes, num_points, 4), torch.randn(num_scenes, num_points, 3)
    on_device = Weights(*(v.to(device) for v in weights))
    actual = results(mip_mlp, on_device, x.to(device), left.to(device), *cotangents)
    wide = Weights(*(v.double() for v in weights))
    return actual, results(naive, wide, x.double(), left.double(), *cotangents)


@pytest.mark.parametrize(
    ("num_points", "sizes"),
    [
        (1, (1, 1, 1, 1)),
        (70, (2, 3, 3, 12)),
        (65, (1, 8, 5, 33)),
        (129, (3, 4, 2, 16)),
        (5, (2, 2, 1, 20)),
    ],
    ids=str,
)
def test_outputs_slope_and_gradients_match_the_definition(
    num_points: int, sizes: tuple[int, int, int, int], device: torch.device
) -> None:
    actual, expected = both(draw(*sizes), num_points, device)
    assert len(actual) == 12
    assert_close(actual, expected, 2e-5)


def test_each_result_s_gradient_comes_alone(device: torch.device) -> None:
    weights = draw(2, 2, 2, 8)
    x, left = torch.rand(2, 9, 3), torch.rand(2, 2)
    on_device = Weights(*(v.to(device) for v in weights))
    wide = Weights(*(v.double() for v in weights))
    for cotangents in ((torch.randn(2, 9, 4), None), (None, torch.randn(2, 9, 3))):
        actual = results(mip_mlp, on_device, x.to(device), left.to(device), *cotangents)
        expected = results(naive, wide, x.double(), left.double(), *cotangents)
        assert_close(actual, expected, 2e-5)


def test_a_few_programs_share_many_tiles(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five tiles for two programs: the last tile is short, and so is one's share."""
    for name in ("_BLOCK_PROGRAMS", "_IN_PROGRAMS"):
        monkeypatch.setattr(f"engine.kernels.mip_mlp.fused.{name}", 2)
    assert_close(*both(draw(2, 2, 2, 8), 300, device), 2e-5)


def test_each_kernel_has_its_own_tiles(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in {
        "FORWARD": 128,
        "ALONG": 16,
        "BACKWARD": 64,
        "PRODUCTS": 32,
        "ENTRY": 16,
    }.items():
        setting = {"BP": size, "num_warps": 4, "num_stages": 1}
        monkeypatch.setattr(f"engine.kernels.mip_mlp.fused.{name}", setting)
    assert_close(*both(draw(2, 2, 2, 8), 150, device), 2e-5)


def test_a_scene_is_the_same_whoever_its_neighbours_are(device: torch.device) -> None:
    weights = draw(3, 2, 2, 8)
    x, left = torch.rand(3, 90, 3, device=device), torch.rand(3, 2, device=device)
    cotangents = torch.randn(3, 90, 4, device=device), torch.randn(3, 90, 3, device=device)
    alone, together = (
        results(
            mip_mlp,
            Weights(*(v[own].to(device) for v in weights)),
            *(v[own] for v in (x, left, *cotangents)),
        )
        for own in (slice(1, 2), slice(0, 3))
    )
    for name, value in alone.items():
        assert torch.equal(value[0], together[name][1]), name


def test_no_points_are_no_work(device: torch.device) -> None:
    own = Weights(*(v.to(device).requires_grad_() for v in draw(2, 2, 2, 8)))
    raw, slope = mip_mlp(own, torch.rand(2, 0, 3, device=device), torch.rand(2, 2, device=device))
    assert raw.shape == (2, 0, 4)
    assert slope.shape == (2, 0, 3)
    for g in torch.autograd.grad(raw.sum() + slope.sum(), list(own)):
        assert not g.any()


def test_what_is_kept_goes_where_a_step_recomputes(device: torch.device) -> None:
    """As `ray_chunk` does: nothing of the first pass stays, and the gradient is the same."""
    weights = draw(1, 2, 2, 8)
    inputs = torch.rand(1, 40, 3, device=device), torch.rand(1, 2, device=device)
    cotangents = torch.randn(1, 40, 4, device=device), torch.randn(1, 40, 3, device=device)
    on_device = Weights(*(v.to(device) for v in weights))

    def frugal(w: Weights, x: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        return checkpoint(mip_mlp, w, x, left, use_reentrant=False)

    actual = results(frugal, on_device, *inputs, *cotangents)
    expected = results(mip_mlp, on_device, *inputs, *cotangents)
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def field_results(
    field: MipMlp, parameters: Results, x: Tensor, part: Tensor, weight: Tensor
) -> Results:
    own = {name: p.clone().requires_grad_() for name, p in parameters.items()}
    samples = field.query(own, x, part, with_normal=True)
    assert samples.normal is not None
    found = {"sigma": samples.sigma, "albedo": samples.albedo, "normal": samples.normal}
    total = (weight * (samples.normal + samples.albedo)).sum() + (samples.sigma).tanh().sum()
    slopes = torch.autograd.grad(total, list(own.values()))
    return {n: v.detach() for n, v in found.items()} | {
        f"gradient of {n}": g for n, g in zip(own, slopes, strict=True)
    }


def test_a_field_s_normals_can_be_trained_through_it(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = MipMlp(MipMlpConfig(num_frequencies=3, num_blocks=2, width=12))
    fresh = field.initial(torch.arange(2, device=device))
    parameters = {name: p + 0.3 * torch.randn_like(p) for name, p in fresh.items()}
    x, weight = 1.6 * torch.rand(2, 37, 3, device=device) - 0.8, torch.randn(2, 37, 3).to(device)
    part = torch.tensor([0.0, 0.2], device=device)
    actual = field_results(field, parameters, x, part, weight)
    monkeypatch.setattr(kernels, "is_fused", lambda x: False)
    expected = field_results(field, parameters, x, part, weight)
    assert len(actual) == 13
    assert_close(actual, expected, 1e-4)


def cosines(actual: Results, expected: Results) -> Results:
    """Between values and what they should be, by name."""
    return {
        name: torch.cosine_similarity(actual[name].flatten().double(), v.flatten().double(), dim=0)
        for name, v in expected.items()
    }


@pytest.mark.gpu
@pytest.mark.parametrize("blur", [0.05, 0.002])
def test_full_size(blur: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's network at a step's 2^20 points and some, in bfloat16: cosines to float32.

    Not of normals: where density is all but flat, those of any half precision point elsewhere, and
    their gradients are the greatest of all.
    """
    monkeypatch.setattr("engine.kernels.mip_mlp.PRECISION", torch.bfloat16)
    num_points = 2**20 + 3
    weights = Weights(*(v.cuda() for v in draw(1, 8, 5, 128)))
    x = 2.0 * torch.rand(1, num_points, 3, device="cuda") - 1.0
    left = kept(torch.full((1,), blur, device="cuda"), 8)
    q, u = (torch.randn(1, num_points, size, device="cuda") for size in (4, 3))
    # Apart: the slope's part of a sum can be so much the greater that nobody misses the other.
    for part, cotangents in {"outputs": (q, None), "slope": (None, u)}.items():
        given = (weights, x, left, *cotangents)
        actual, expected = results(mip_mlp, *given), results(reference.mip_mlp, *given)
        if part == "slope":
            assert not actual.pop("gradient of b_out").any()
            del expected["gradient of b_out"]
        for name, cosine in cosines(actual, expected).items():
            least = 0.99 if "gradient" in name else 0.999
            assert float(cosine) > least, f"{name}, from the {part}: {cosine}"


@pytest.mark.gpu
def test_full_size_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORWARD", "ALONG", "BACKWARD", "PRODUCTS", "ENTRY"):
        setting = {"BP": 16, "num_warps": 4, "num_stages": 1}
        monkeypatch.setattr(f"engine.kernels.mip_mlp.fused.{name}", setting)
    assert_close(*both(draw(2, 8, 5, 64), 4096 * 4 + 3, torch.device("cuda")), 1e-4)


def test_the_slope_s_gradients_match_finite_differences_in_float64(device: torch.device) -> None:
    """Of each weight along a few random directions."""
    weights, u = draw(1, 2, 2, 6), torch.randn(1, 3, 3).double()
    x, left = 2 * torch.rand(1, 3, 3) - 1, torch.rand(1, 2)
    on_device = Weights(*(v.to(device) for v in weights))
    found = results(mip_mlp, on_device, x.to(device), left.to(device), None, u)
    wide = Weights(*(v.double() for v in weights))

    def loss(name: str, moved: Tensor) -> Tensor:
        _, slope = naive(wide._replace(**{name: moved}), x.double(), left.double())
        return (slope * u).sum().detach()

    actual, expected, h = {}, {}, 1e-5
    for name, value in wide._asdict().items():
        along = torch.randn(3, *value.shape, dtype=torch.double)
        gradient = found[f"gradient of {name}"].cpu().double()
        actual[name] = torch.stack([(gradient * d).sum() for d in along])
        ends = [[loss(name, value + s * d) for d in along] for s in (-h, h)]
        expected[name] = (torch.tensor(ends[1]) - torch.tensor(ends[0])) / (2 * h)
    assert_close(actual, expected, 1e-4)
    assert sorted(name for name, slopes in expected.items() if not slopes.any()) == ["b_out"]
