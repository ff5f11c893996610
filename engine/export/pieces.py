"""How much of an export is worked on at a time.

A piece bounds memory. On a CPU small ones stay in its caches; a GPU is done with them before the
host has launched the next and wants larger ones: with small ones the host's launches are the bound.
"""

import torch

_GPU_FACTOR = 4


def size(usual: int, device: torch.device) -> int:
    """A piece's size on the device, where `usual` is right for a CPU."""
    return _GPU_FACTOR * usual if device.type == "cuda" else usual
