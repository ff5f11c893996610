"""Peers: processes that train one network together, each on a GPU and on pictures of its own.

Started by `torchrun`, which says in the environment who is who; without it there is one process,
and nothing is sent. Every peer calls every method, in the same order.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed
from torch import Tensor

# torch's optimisers are built on these functions, but its stubs do not export them.
_foreach = cast(Any, torch)


@dataclass(frozen=True, kw_only=True)
class Peers:
    """This process among its peers."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: str) -> "Peers":
        """Meets the others, if there are any; on GPUs, takes the one of its own."""
        if "WORLD_SIZE" not in os.environ:
            return cls()
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        return cls(rank=torch.distributed.get_rank(), count=torch.distributed.get_world_size())

    def leave(self) -> None:
        """Parts from the others."""
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    @torch.no_grad()
    def align(self, tensors: Sequence[Tensor]) -> None:
        """Gives every peer the values of the first."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, 0)

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Gives every peer the mean over all."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= self.count
        parts = flat.split([tensor.numel() for tensor in tensors])
        views = [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
        _foreach._foreach_copy_(list(tensors), views)

    def agree(self, value: float, device: torch.device) -> float:
        """The first's value."""
        said = torch.tensor(value, dtype=torch.float64, device=device)
        self.align([said])
        return float(said)
