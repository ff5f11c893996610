"""What the host hands to a device that is busy, without waiting for it."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def sent(tensor: Shaped[Tensor, "..."], device: torch.device) -> Shaped[Tensor, "..."]:
    """The tensor on the device; whatever is asked of the current stream next finds it there.

    A CUDA device fetches only memory that stays where it is; from any other a copy is made while
    the host waits, behind all that is queued. torch keeps the pinned copy until it is fetched, and
    then for the next one of its size.
    """
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
