"""How much of an export is worked on at a time.

A piece bounds memory. On a CPU small ones stay in its caches; a GPU, which is done with them before
the host has launched the next, wants larger ones, and the host's time is then the exports' bound.
"""

import torch

_GPU_FACTOR = 4


def at_once(usual: int, device: torch.device) -> int:
    """So many, of which `usual` are right for a CPU."""
    return _GPU_FACTOR * usual if device.type == "cuda" else usual
