"""A scene in mid-optimisation as small bytes, to go on from in another gang, slot or machine.

safetensors, deflated; one entry of metadata says whose it is and how far it has come. A parameter
`p` that began as `p0`, which follows from the seed, with Adam's moments `m` and `v`, is kept in 4
bytes an element instead of 12, and an element that was never touched is zero:

    <name>.change   float16   p - p0
    <name>.spread   uint8     sqrt(v): 0, or 8 codes an octave down from the largest, 31 octaves
    <name>.pace     int8      m / sqrt(v), which Adam's step is made of, linear up to the largest
    <name>.scales   float32   those two largest values
    density         float16   the occupancy estimate
    health          int64     `Health.of`

A root rounded to 8 codes an octave is off by 4.4 % at most, however small it is beside the others;
linear codes would take the small ones for 0 and Adam would leap. Axes: none; one scene.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Int8, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from engine.fields import Parameters
from engine.health import Verdict
from engine.sending import sent

_VERSION = 1
_CODES_PER_OCTAVE = 8
_ZLIB_LEVEL = 1
_LARGEST_HALF = 65504.0
_DAMAGED = "checkpoint: damaged, or not one of ours"
_NONSENSE = (
    zlib.error,
    SafetensorError,
    json.JSONDecodeError,
    UnicodeDecodeError,
    KeyError,
    TypeError,
    AttributeError,
)
"""What bytes raise that `Checkpoint.to_bytes` did not write."""


@dataclass(frozen=True, kw_only=True)
class SceneState:
    """All that a scene's next step depends on, beside its request and the recipe."""

    parameters: Parameters
    first: Parameters
    second: Parameters
    density: Float[Tensor, "cells"]
    health: Int[Tensor, "3"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A scene after `step` steps, packed; its tensors are copies and may lie on any device."""

    key: str
    seed: int
    recipe_digest: str
    step: int
    seconds: float
    """Device time it has cost."""
    tensors: Mapping[str, Tensor]

    def to_bytes(self) -> bytes | None:
        """The bytes that `from_bytes` reads; None if the scene has failed."""
        tensors = {name: t.cpu().contiguous() for name, t in self.tensors.items()}
        if int(tensors["health"][0]) != Verdict.OK:
            return None
        described = {name: getattr(self, name) for name in _DESCRIBED}
        # One entry alone: safetensors writes several in no fixed order.
        document = json.dumps({"version": _VERSION, **described})
        return zlib.compress(save(tensors, metadata={"checkpoint": document}), _ZLIB_LEVEL)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Checkpoint":
        """The checkpoint, on the CPU. Raises ValueError where the bytes are none."""
        try:
            raw = zlib.decompress(data)
            tensors = load(raw)
            header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
            described = json.loads(header["__metadata__"]["checkpoint"])
            if described.pop("version") != _VERSION:
                raise ValueError("checkpoint: written by another version of dreambatch")
            return cls(tensors=tensors, **_checked(described))
        except _NONSENSE as error:
            raise ValueError(f"{_DAMAGED} ({error})") from error

    def expect(self, **expected: Any) -> None:
        """Raises ValueError unless the attributes have these values."""
        for name, value in expected.items():
            if getattr(self, name) != value:
                raise ValueError(f"checkpoint: expected {name} {value}, got {getattr(self, name)}")


_DESCRIBED = {"key": str, "seed": int, "recipe_digest": str, "step": int, "seconds": float}


def pack(state: SceneState, initial: Parameters) -> dict[str, Tensor]:
    """The tensors of a checkpoint, new ones, on the same device; waits for nothing there.

    `initial` are the parameters that the scene began with.
    """
    tensors = {"density": _half(state.density), "health": state.health.clone()}
    for name, p in state.parameters.items():
        root = state.second[name].sqrt()
        top = root.amax()
        spread = _encode_root(root, top)
        root = _decode_root(spread, top)
        pace = torch.where(spread > 0, state.first[name] / root, 0.0)
        widest = pace.abs().amax()
        tensors[f"{name}.change"] = _half(p - initial[name])
        tensors[f"{name}.spread"] = spread
        tensors[f"{name}.pace"] = _encode_pace(pace, widest)
        tensors[f"{name}.scales"] = torch.stack([top, widest])
    return tensors


def unpack(tensors: Mapping[str, Tensor], initial: Parameters, num_cells: int) -> SceneState:
    """The state of a scene that began with `initial`, on their device, which is not waited for.

    Raises ValueError where the tensors do not fit to these parameters and `num_cells` cells.
    """
    device = next(iter(initial.values())).device
    _expect_shapes(tensors, initial, num_cells)
    tensors = {name: sent(t, device) for name, t in tensors.items()}
    parameters, first, second = {}, {}, {}
    for name, p in initial.items():
        top, widest = tensors[f"{name}.scales"]
        root = _decode_root(tensors[f"{name}.spread"], top)
        parameters[name] = p + tensors[f"{name}.change"].float()
        first[name] = tensors[f"{name}.pace"].float() * (widest / 127.0) * root
        second[name] = root.square()
    return SceneState(
        parameters=parameters,
        first=first,
        second=second,
        density=tensors["density"].float(),
        health=tensors["health"],
    )


def _half(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    return x.clamp(-_LARGEST_HALF, _LARGEST_HALF).half()


def _encode_root(root: Float[Tensor, "..."], top: Float[Tensor, ""]) -> UInt8[Tensor, "..."]:
    """255 for `top`, and `_CODES_PER_OCTAVE` fewer for each halving; 0 for nothing but 0."""
    below = _CODES_PER_OCTAVE * torch.log2(root / top)
    code = (255.0 + below).round().clamp(1.0, 255.0)
    return torch.where(root > 0.0, code, 0.0).to(torch.uint8)


def _decode_root(code: UInt8[Tensor, "..."], top: Float[Tensor, ""]) -> Float[Tensor, "..."]:
    root = top * torch.exp2((code.float() - 255.0) / _CODES_PER_OCTAVE)
    return torch.where(code > 0, root, 0.0)


def _encode_pace(pace: Float[Tensor, "..."], widest: Float[Tensor, ""]) -> Int8[Tensor, "..."]:
    part = torch.where(widest > 0.0, pace / widest, 0.0)
    return (127.0 * part).round().to(torch.int8)


def _expect_shapes(tensors: Mapping[str, Tensor], initial: Parameters, num_cells: int) -> None:
    expected: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    expected["density"] = torch.float16, (num_cells,)
    expected["health"] = torch.int64, (3,)
    for name, p in initial.items():
        expected[f"{name}.change"] = (torch.float16, tuple(p.shape))
        expected[f"{name}.spread"] = (torch.uint8, tuple(p.shape))
        expected[f"{name}.pace"] = (torch.int8, tuple(p.shape))
        expected[f"{name}.scales"] = (torch.float32, (2,))
    found = {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    if found != expected:
        wrong = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
        raise ValueError(
            f"checkpoint: {wrong[0]}: expected {expected.get(wrong[0])}, got {found.get(wrong[0])}"
        )
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ValueError(f"{_DAMAGED} (not all its numbers are finite)")


def _checked(described: Mapping[str, Any]) -> dict[str, Any]:
    """The description, if it has all entries and each of its kind."""
    if {name: type(value) for name, value in described.items()} != _DESCRIBED:
        raise ValueError(f"{_DAMAGED} (it describes itself as {str(described)[:200]})")
    return dict(described)
