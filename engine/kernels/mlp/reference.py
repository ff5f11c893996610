"""`engine.kernels.mlp` in plain torch."""

import torch
from jaxtyping import Float
from torch import Tensor


def mlp(
    x: Float[Tensor, "S P F"],
    w0: Float[Tensor, "S F H"],
    b0: Float[Tensor, "S 1 H"],
    w1: Float[Tensor, "S H D"],
    b1: Float[Tensor, "S 1 D"],
) -> Float[Tensor, "S P D"]:
    """See the package."""
    hidden = torch.relu(torch.baddbmm(b0, x.to(w0.dtype), w0))
    return torch.baddbmm(b1, hidden, w1)
