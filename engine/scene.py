"""One optimised scene, frozen: a field and its parameters, without the scene axis."""

import dataclasses
import json

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor

from engine import fields
from engine.configs.fields import FieldConfig
from engine.fields import Parameters
from engine.recipe import Recipe


class Scene:
    """Density and albedo in [-bound, bound]^3."""

    bound = 1.0

    def __init__(self, config: FieldConfig, parameters: Parameters) -> None:
        """`parameters` keep their scene axis, of length 1."""
        assert all(p.shape[0] == 1 for p in parameters.values())
        self._config = config
        self._field = fields.build(config)
        self._parameters = parameters

    @property
    def device(self) -> torch.device:
        """Where the parameters live and points are expected."""
        return next(iter(self._parameters.values())).device

    @torch.no_grad()
    def density(self, x: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Density per scene unit."""
        return self._field.density(self._parameters, x[None])[0]

    @torch.no_grad()
    def albedo(self, x: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Display-referred colour in [0, 1]."""
        return self._field.query(self._parameters, x[None], with_normal=False).albedo[0]

    def to(self, device: torch.device | str) -> "Scene":
        """The same scene on another device."""
        return Scene(self._config, {n: p.to(device) for n, p in self._parameters.items()})

    def to_bytes(self) -> bytes:
        """safetensors in half precision; the metadata holds the field's configuration."""
        tensors = {n: p[0].half().contiguous().cpu() for n, p in self._parameters.items()}
        return save(tensors, metadata={"field": json.dumps(dataclasses.asdict(self._config))})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Scene":
        """The scene that `to_bytes` stored, on the CPU."""
        header_length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + header_length])
        config = Recipe.field_from_dict(json.loads(header["__metadata__"]["field"]))
        return cls(config, {n: p.float()[None] for n, p in load(data).items()})
