"""The ops that can be measured. A new one is a module with `check` and `cases`, and a line here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, runtime_checkable

import torch

OPS = {
    "adam": "engine.bench.adam",
    "composite": "engine.bench.composite",
    "dense_encode": "engine.bench.dense_encode",
    "field": "engine.bench.field",
    "group_norm": "engine.bench.group_norm",
    "hash_encode": "engine.bench.hash_encode",
    "march": "engine.bench.march",
    "mip_mlp": "engine.bench.mip_mlp",
    "mlp": "engine.bench.mlp",
    "philox": "engine.bench.philox",
}
"""Module by the name of the op. It may import triton; this one may not."""

PLAIN_ON_CPU = frozenset({"field"})
"""Ops that run nothing but references there, and so need no Triton."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to time."""

    part: str
    """What of the op: "forward", "backward tables", ..."""
    setting: str
    """What else tells two cases apart: shapes, order, dtype."""
    num_samples: int
    num_bytes: int
    """The fewest that have to pass through device memory: each input and output once."""
    run: Callable[[], object]
    num_flops: int = 0
    """0 where bytes are what counts."""


@runtime_checkable  # for the checks of types in tests
class Op(Protocol):
    """The module of an op. `is_tiny` asks for sizes at which the interpreter is quick."""

    def check(self, device: torch.device, *, is_tiny: bool) -> dict[str, float]:
        """Relative error of every output and gradient, by name; raises GateError if one is off."""
        ...

    def cases(self, device: torch.device, *, is_tiny: bool) -> Iterator[Case]:
        """What to time, one at a time, so that memory is free again before the next."""
        ...


def load(name: str) -> Op:
    """The op of this name."""
    return import_module(OPS[name])  # pyright: ignore[reportReturnType]
