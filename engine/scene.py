"""One optimised scene, frozen: a field and its parameters, without the scene axis."""

import dataclasses
import json
import math

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from engine import fields
from engine.configs.fields import FieldConfig
from engine.configs.march import Region
from engine.fields import Parameters
from engine.recipe import Recipe


class Scene:
    """Density and albedo in [-bound, bound]^3, as at the end of a run."""

    def __init__(
        self, config: FieldConfig, parameters: Parameters, *, region: Region = "sphere"
    ) -> None:
        """`parameters` keep their scene axis, of length 1; `region` is `MarchConfig`'s."""
        assert all(p.shape[0] == 1 for p in parameters.values())
        self._config = config
        self._field = fields.build(config)
        self._parameters = parameters
        self._region: Region = region
        self._part = torch.ones(1, device=self.device)

    @property
    def bound(self) -> float:
        """Half the side of the cube, in scene units."""
        return self._field.bound

    @property
    def radius(self) -> float:
        """Distance from the origin beyond which the optimisation never looked."""
        return self.bound * (1.0 if self._region == "sphere" else math.sqrt(3.0))

    @property
    def device(self) -> torch.device:
        """Where the parameters live and points are expected."""
        return next(iter(self._parameters.values())).device

    @torch.no_grad()
    def density(self, x: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Density per scene unit."""
        return self._field.density(self._parameters, x[None], self._part)[0]

    @torch.no_grad()
    def albedo(self, x: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Display-referred colour in [0, 1]."""
        samples = self._field.query(self._parameters, x[None], self._part, with_normal=False)
        return samples.albedo[0].clamp(0.0, 1.0)

    def to(self, device: torch.device | str) -> "Scene":
        """The same scene on another device."""
        parameters = {n: p.to(device) for n, p in self._parameters.items()}
        return Scene(self._config, parameters, region=self._region)

    def to_bytes(self) -> bytes:
        """safetensors in half precision; the metadata holds the field's configuration."""
        tensors = {n: p[0].half().contiguous().cpu() for n, p in self._parameters.items()}
        # One entry alone: safetensors writes several in no fixed order.
        described = dataclasses.asdict(self._config) | {"region": self._region}
        return save(tensors, metadata={"field": json.dumps(described)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Scene":
        """The scene that `to_bytes` stored, on the CPU. ValueError for other bytes."""
        try:
            header_length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + header_length])
            described = json.loads(header["__metadata__"]["field"])
            region = described.pop("region", "sphere")
            config = Recipe.field_from_dict(described)
            parameters = {n: p.float()[None] for n, p in load(data).items()}
        except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"expected a field as `Scene.to_bytes` stores it, got {len(data)} bytes of "
                f"something else ({reason})"
            ) from error
        return cls(config, parameters, region=region)
