"""A stand-in for CUDA graphs: operations of a CPU are written down, and done again on demand.

As in a graph, every operation finds its operands where they were, with whatever is in them by then;
Python, and with it every branch, ran once. A recording does nothing: what it wrote to is put back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

_Entry = tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]


class Tape(TorchDispatchMode):
    """Operations in their order."""

    def __init__(self, before: dict[int, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._before = before
        self._entries: list[_Entry] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._keep(func, args, kwargs)
        answer = func(*args, **kwargs)
        self._entries.append((func, args, kwargs, _tensors(answer)))
        return answer

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, recorded in self._entries:
                for old, new in zip(recorded, _tensors(func(*args, **kwargs)), strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    def _keep(self, func: Any, args: Any, kwargs: Any) -> None:
        """What is about to be written to for the first time."""
        for argument, value in zip(func._schema.arguments, args, strict=False):
            self._keep_value(argument, value)
        for argument in func._schema.arguments:
            if argument.name in kwargs:
                self._keep_value(argument, kwargs[argument.name])

    def _keep_value(self, argument: Any, value: Any) -> None:
        if argument.alias_info is None or not argument.alias_info.is_write:
            return
        for tensor in _tensors(value):
            storage = tensor.untyped_storage()
            whole = torch.empty(0, dtype=torch.uint8).set_(storage)
            self._before.setdefault(storage.data_ptr(), (whole, whole.clone()))


class TapeRecorder:
    """Counts what it recorded; `breaks` are operations that cannot be."""

    def __init__(self, breaks: str = "") -> None:
        self.num_recordings = 0
        self.tapes: list[Tape] = []
        self._breaks = breaks
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._tape: Tape | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        self.num_recordings += 1
        self._before.clear()
        try:
            yield
        finally:
            if self._tape is not None:
                self._tape.__exit__(None, None, None)
                self._tape = None
            for whole, before in self._before.values():
                whole.copy_(before)

    def begin(self) -> None:
        if self._breaks and self.tapes:
            raise RuntimeError(self._breaks)
        self._tape = Tape(self._before)
        self._tape.__enter__()

    def end(self) -> Tape:
        tape, self._tape = self._tape, None
        assert tape is not None
        tape.__exit__(None, None, None)
        self.tapes.append(tape)
        return tape


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]
