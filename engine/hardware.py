"""What this machine has to compute with."""

import torch


def usual_device() -> torch.device:
    """The GPU where torch sees one, else the CPU: where a command works unless told otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
