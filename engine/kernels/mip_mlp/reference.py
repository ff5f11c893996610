"""`engine.kernels.mip_mlp` in plain torch."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from engine.kernels.mip_mlp.weights import Weights


def mip_mlp(
    weights: Weights, x: Float[Tensor, "S P 3"], kept: Float[Tensor, "S L"]
) -> tuple[Float[Tensor, "S P D"], Float[Tensor, "S P 3"]]:
    """See the package."""
    trains = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        raw = network(weights, encode(x, kept))
        (slope,) = torch.autograd.grad(
            raw[..., 0].sum(), x, create_graph=trains, retain_graph=trains
        )
    return (raw, slope) if trains else (raw.detach(), slope)


def encode(x: Float[Tensor, "S P 3"], kept: Float[Tensor, "S L"]) -> Float[Tensor, "S P F"]:
    """All kept_l sin(2^l x), then all kept_l cos(2^l x), lowest frequency l first; F = 6 L."""
    scale = (2.0 ** torch.arange(kept.shape[1], device=x.device)).to(x.dtype)
    phase = x[:, :, None] * scale[:, None]
    kept = kept[:, None, :, None]
    return torch.cat([(phase.sin() * kept).flatten(2), (phase.cos() * kept).flatten(2)], dim=-1)


def network(weights: Weights, features: Float[Tensor, "S P F"]) -> Float[Tensor, "S P D"]:
    """Blocks h + W2 silu(W1 h), with a layer norm between one and the next."""
    w = weights
    h = F.silu(torch.baddbmm(w.b_in, features, w.w_in))
    for k in range(w.w1.shape[1]):
        if k > 0:
            h = F.layer_norm(h, h.shape[-1:]) * w.gain[:, k - 1] + w.shift[:, k - 1]
        inner = F.silu(torch.baddbmm(w.b1[:, k], h, w.w1[:, k]))
        h = h + torch.baddbmm(w.b2[:, k], inner, w.w2[:, k])
    return torch.baddbmm(w.b_out, F.silu(h), w.w_out)
