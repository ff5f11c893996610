"""Training pictures as blurred as a scene rendered at half the teacher's size looks to it."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def soften(x: Float[Tensor, "B 3 h w"], share: float) -> Float[Tensor, "B 3 h w"]:
    """With probability `share` each picture loses half its resolution.

    Means over squares of 2 x 2 pixels, enlarged again bilinearly, as a recipe that renders small
    enlarges its pictures (`align_corners=False`). Drawn from the default generator of the device;
    shapes and control flow do not depend on data, so a CUDA graph can capture it.
    """
    coarse = functional.avg_pool2d(x, 2)
    soft = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    is_soft = torch.rand(len(x), 1, 1, 1, device=x.device) < share
    return torch.where(is_soft, soft, x)
