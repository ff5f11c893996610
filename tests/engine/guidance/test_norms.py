"""An encoder whose norms take over what lies around them is the same encoder."""

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from engine import kernels
from engine.guidance.attention import use_products
from engine.guidance.norms import FusedNorm, fuse_norms


def encoder() -> Any:
    """Frozen, with norms and offsets that are not the identity."""
    torch.manual_seed(0)
    kind: Any = AutoencoderKL
    vae = kind(block_out_channels=(16, 32), down_block_types=("DownEncoderBlock2D",) * 2,
               up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8).eval()  # fmt: skip
    for p in vae.parameters():
        if p.dim() < 2:
            nn.init.normal_(p, 0.3, 0.5)
    use_products(vae)
    return vae.encoder.requires_grad_(False).to(memory_format=torch.channels_last)


def seen(network: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Answer and gradient of three pictures."""
    torch.manual_seed(1)
    x = torch.randn(3, 3, 24, 16, requires_grad=True)
    device = next(network.parameters()).device
    y = network.to(dtype)(x.to(device, dtype, memory_format=torch.channels_last))
    g = torch.randn(y.shape).to(device, dtype, memory_format=torch.channels_last)
    (slope,) = torch.autograd.grad(y, x, g)
    return y.detach().cpu().double(), slope.double()


def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")
    if torch.cuda.is_available():
        pytest.skip("kernels are compiled here, not interpreted")
    monkeypatch.setattr(kernels, "is_fused", lambda x: True)


def test_without_kernels_nothing_else_is_computed() -> None:
    plain = encoder()
    fused = copy.deepcopy(plain)
    fuse_norms(fused)
    norms = [m for m in fused.modules() if isinstance(m, nn.GroupNorm)]
    fuse_norms(fused)  # once more changes nothing
    assert [m for m in fused.modules() if isinstance(m, nn.GroupNorm)] == norms
    assert len(norms) == len([m for m in plain.modules() if isinstance(m, nn.GroupNorm)]) == 10
    assert all(type(norm) is FusedNorm for norm in norms)
    assert sum(not norm.has_silu for norm in norms) == 1
    assert sum(norm.offset is not None for norm in norms) == 4
    for one, other in zip(seen(fused, torch.float64), seen(plain, torch.float64), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_with_kernels_the_same_comes_to_the_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """No further from float64 than twice a plain encoder of the same precision."""
    interpreted(monkeypatch)
    plain = encoder()
    fused = copy.deepcopy(plain)
    fuse_norms(fused)
    exact = seen(copy.deepcopy(plain), torch.float64)
    for dtype in (torch.bfloat16, torch.float16):
        usual = seen(copy.deepcopy(plain), dtype)
        for one, other, true in zip(seen(copy.deepcopy(fused), dtype), usual, exact, strict=True):
            assert off(one, true) < 2.0 * off(other, true) < 2e-3


@pytest.mark.gpu
def test_on_a_gpu_the_same_comes_to_the_rounding() -> None:
    plain = encoder()
    exact = seen(copy.deepcopy(plain), torch.float64)
    usual = seen(copy.deepcopy(plain).cuda(), torch.bfloat16)
    fuse_norms(plain)
    for one, other, true in zip(seen(plain.cuda(), torch.bfloat16), usual, exact, strict=True):
        assert off(one, true) < 2.0 * off(other, true) < 2e-3


def off(one: Tensor, true: Tensor) -> float:
    return 1.0 - float(cosine_similarity(one.flatten(), true.flatten(), dim=0))


def test_channels_lie_side_by_side_wherever_a_convolution_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interpreted(monkeypatch)
    network = encoder()
    fuse_norms(network)
    found = []

    def look(tensors: Any) -> None:
        found.extend(
            t.is_contiguous(memory_format=torch.channels_last) for t in tensors if t is not None
        )

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, x, y: look((*x, y)))
            module.register_full_backward_hook(lambda _, g_x, g_y: look((*g_x, *g_y)))
    seen(network, torch.bfloat16)
    num_convolutions = sum(isinstance(m, nn.Conv2d) for m in network.modules())
    assert found == [True] * (4 * num_convolutions)


def test_a_compiler_sees_one_graph() -> None:
    """In a process of its own, where no call's types are checked: a compiler cannot see into that.

    Whether kernels run is asked as ever, and answered as on a GPU.
    """
    pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")
    if torch.cuda.is_available():
        pytest.skip("kernels are compiled here, not interpreted")
    source = """
import os
os.environ["TRITON_INTERPRET"] = "1"
import torch
from engine import kernels
from engine.guidance.denoiser import compiled
from tests.engine.guidance.test_norms import encoder, fuse_norms, seen
asked = []
kernels.is_wanted = lambda: True
kernels.is_fused_on = lambda device: asked.append(device) or kernels._IS_HELD_OFF.get() is False
network = encoder().bfloat16()
fuse_norms(network)
honest = torch.compile
torch.compile = lambda it, **_: honest(it, backend="aot_eager", fullgraph=True, dynamic=False)
eager = seen(network, torch.bfloat16)
found = seen(compiled(network, torch.device("cpu")), torch.bfloat16)
print(len(asked), all(torch.equal(*pair) for pair in zip(eager, found)))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Of every norm: by the eager forward, and by the compiler.
    assert done.stdout.split() == ["20", "True"]
