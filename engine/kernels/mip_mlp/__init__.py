"""DreamFusion's network: a blurred encoding, residual blocks with layer norms, and its slope."""

import torch
from jaxtyping import Float
from torch import Tensor

from engine import kernels
from engine.kernels.mip_mlp import reference
from engine.kernels.mip_mlp.weights import Weights

__all__ = ["PRECISION", "Weights", "mip_mlp"]

PRECISION = torch.bfloat16
"""Of the kernels' products and of what they keep for the gradient; sums are in float32."""


def mip_mlp(
    weights: Weights, x: Float[Tensor, "S P 3"], kept: Float[Tensor, "S L"]
) -> tuple[Float[Tensor, "S P D"], Float[Tensor, "S P 3"]]:
    """The network's outputs at points, and the gradient of the first to x.

    `kept` is what the blur leaves of each frequency (see `reference.encode`), of which there are L;
    `reference.network` says what follows. Both results can be differentiated to the weights, not to
    x or `kept`; the reference to weights as often as one likes. float64 is left to it.
    """
    if not kernels.is_fused(x) or weights.w_in.dtype == torch.float64:
        return reference.mip_mlp(weights, x, kept)
    from engine.kernels.mip_mlp import fused

    return fused.mip_mlp(weights, x, kept, PRECISION)
