"""Group normalisation of pictures, and the SiLU behind it, in two passes each way."""

import torch
from jaxtyping import Float
from torch import Tensor

from engine import kernels
from engine.kernels.group_norm import reference

__all__ = ["group_norm"]

_HALVES = (torch.bfloat16, torch.float16)


def group_norm(
    x: Float[Tensor, "N C *sizes"],
    weight: Float[Tensor, "C"],
    bias: Float[Tensor, "C"],
    offset: Float[Tensor, "C"] | None = None,
    *,
    num_groups: int,
    eps: float,
    has_silu: bool,
) -> Float[Tensor, "N C *sizes"]:
    """silu(weight (x + offset - mean) / sqrt(var + eps) + bias), mean and var of a picture's group.

    The offset is what the convolution in front would have added, which so costs no pass of its own.

    The kernels take half precision, compute in float32, and leave channels side by side in memory;
    their gradient is that to x, once. A picture's numbers do not depend on its neighbours. float32,
    float64 and weights that want a gradient are left to the reference.
    """
    is_frozen = not any(t is not None and t.requires_grad for t in (weight, bias, offset))
    op = reference.group_norm
    if kernels.is_fused(x) and x.dtype in _HALVES and is_frozen:
        from engine.kernels.group_norm import fused

        op = fused.group_norm
    return op(x, weight, bias, offset, num_groups=num_groups, eps=eps, has_silu=has_silu)
