"""A look at numbers on the device that never waits for them."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

T = TypeVar("T")


class Lookout(Generic[T]):
    """One table at a time on its way from the device, with the owners its rows had when sent."""

    def __init__(self) -> None:
        self._owners: list[T] | None = None
        self._table: Tensor | None = None
        self._arrival: torch.cuda.Event | None = None

    def send(self, table: Float[Tensor, "S K"], owners: Sequence[T]) -> None:
        """Sends a table off, unless another is under way."""
        if self._owners is not None:
            return
        self._owners = list(owners)
        if not table.is_cuda:
            self._table = table
            return
        if self._table is None:
            # Once only: pinning memory makes the host wait.
            self._table = torch.empty(table.shape, dtype=table.dtype, pin_memory=True)
            self._arrival = torch.cuda.Event()
        assert self._arrival is not None
        self._table.copy_(table, non_blocking=True)
        self._arrival.record(torch.cuda.current_stream(table.device))

    def receive(self) -> tuple[list[T], list[list[float]]] | None:
        """The owners and the rows of a table that has arrived, each table once; else None."""
        if self._owners is None or (self._arrival is not None and not self._arrival.query()):
            return None
        assert self._table is not None
        owners, self._owners = self._owners, None
        return owners, self._table.tolist()
