"""`engine.kernels.group_norm` in plain torch."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


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
    """See the package."""
    if offset is not None:
        x = x + offset.view(-1, *[1] * (x.dim() - 2))
    y = F.group_norm(x, num_groups, weight, bias, eps)
    return F.silu(y) if has_silu else y
