"""Multiresolution hash encoding and a small MLP (Instant NGP, arXiv 2201.05989).

Level l has resolution n_l = base g^l with growth g, so that the last level has the finest one; the
encoding is `engine.kernels.hash_encode`. Parameters: `tables` S L T F, and the MLP's matrices `w0`
S (L F) H, `b0` S 1 H, `w1` S H 4, `b1` S 1 4 with outputs (raw density, 3 raw colours). Where
levels come one after the other, features of those that are not there yet are zero.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine import kernels
from engine.configs.fields import HashGridConfig
from engine.fields.field import (
    Parameters,
    Samples,
    blob,
    bounded_exp,
    gaussian_blob,
    he_uniform,
    outward,
)
from engine.fields.normals import with_normals
from engine.kernels.hash_encode import encode, encode_with_slopes, pull
from engine.kernels.mlp import mlp
from engine.philox import Purpose, uniform


@dataclass(frozen=True)
class HashGrid:
    """sigma = activation(raw + blob), albedo = sigmoid(raw colour), or as the config says."""

    config: HashGridConfig

    @property
    def bound(self) -> float:
        """Half the side of the cube."""
        return self.config.bound

    def resolutions(self) -> list[int]:
        """Cells per side of each level."""
        c = self.config
        growth = math.log(c.finest_resolution / c.base_resolution) / (c.num_levels - 1)
        return [round(c.base_resolution * math.exp(growth * k)) for k in range(c.num_levels)]

    def initial(self, seed: Int[Tensor, "S"]) -> Parameters:
        """Tables from U(-1e-4, 1e-4), hidden weights from He's uniform, output weights at zero."""
        c = self.config
        width = c.num_levels * c.features
        table_shape = (c.num_levels, 2**c.log2_size, c.features)
        zero = torch.zeros_like(seed)
        tables = uniform(seed, zero, Purpose.INITIAL, table_shape) * 2e-4 - 1e-4
        blank = torch.zeros(len(seed), 1, device=seed.device)
        return {
            "tables": tables,
            "w0": he_uniform(seed, 1, (width, c.hidden)),
            "b0": blank[..., None].repeat(1, 1, c.hidden),
            "w1": blank[..., None].repeat(1, c.hidden, 4),
            "b1": blank[..., None].repeat(1, 1, 4),
        }

    def density(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], part: Float[Tensor, "S"]
    ) -> Float[Tensor, "S P"]:
        """Density alone."""
        return self._sigma(self._network(parameters, x, part)[..., 0], x)

    def query(
        self,
        parameters: Parameters,
        x: Float[Tensor, "S P 3"],
        part: Float[Tensor, "S"],
        *,
        with_normal: bool,
    ) -> Samples:
        """Density, albedo and, if asked for, normals that can be trained through."""

        def evaluate(x: Float[Tensor, "S P 3"]) -> Samples:
            return self._samples(self._network(parameters, x, part), x)

        if not with_normal:
            return evaluate(x)
        if self.config.normals == "analytic" and kernels.is_fused(x):
            return self._with_slopes(parameters, x, part)
        return with_normals(evaluate, x, self.config.normals, self.config.normal_step)

    def total_variation(self, parameters: Parameters) -> Float[Tensor, "S"]:
        """0: neighbours share no parameters that could be compared."""
        tables = parameters["tables"]
        return torch.zeros(tables.shape[0], device=tables.device)

    def _sigma(self, raw: Float[Tensor, "S P"], x: Float[Tensor, "S P 3"]) -> Float[Tensor, "S P"]:
        c = self.config
        bias = blob if c.blob == "linear" else gaussian_blob
        activation = F.softplus if c.activation == "softplus" else bounded_exp
        return activation(raw + bias(x, c.blob_density, c.blob_radius))

    def _albedo(self, raw: Float[Tensor, "S P 3"]) -> Float[Tensor, "S P 3"]:
        return torch.sigmoid(raw) if self.config.albedo == "sigmoid" else 0.5 * raw + 0.5

    def _samples(self, values: Float[Tensor, "S P 4"], x: Float[Tensor, "S P 3"]) -> Samples:
        return Samples(self._sigma(values[..., 0], x), self._albedo(values[..., 1:]), None)

    def _with_slopes(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], part: Float[Tensor, "S"]
    ) -> Samples:
        """As `with_normals` by analysis, with slopes that came with the features.

        The tables are read once, and one pass takes back both gradients. Differentiating twice
        would read them thrice, and make a gradient to them, for nothing, on the way to the normal.
        """
        trains = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            unit = x.detach() / self.bound
            features, slopes = encode_with_slopes(
                parameters["tables"],
                unit,
                self.resolutions(),
                self._seen(part),
                dtype=kernels.network_dtype(unit),
            )
            if not features.requires_grad:
                features.requires_grad_()
            samples = self._samples(self._mlp(parameters, features), x)
            by_features, by_x = torch.autograd.grad(
                samples.sigma.sum(), (features, x), create_graph=trains, retain_graph=trains
            )
            normal = outward(pull(slopes, by_features) / self.bound + by_x)
        if not trains:
            return Samples(samples.sigma.detach(), samples.albedo.detach(), normal.detach())
        return replace(samples, normal=normal)

    def _network(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], part: Float[Tensor, "S"]
    ) -> Float[Tensor, "S P 4"]:
        unit = x / self.bound
        dtype = kernels.network_dtype(unit)
        features = encode(
            parameters["tables"], unit, self.resolutions(), self._seen(part), dtype=dtype
        )
        return self._mlp(parameters, features)

    def _mlp(
        self, parameters: Parameters, features: Float[Tensor, "S P C"]
    ) -> Float[Tensor, "S P 4"]:
        return mlp(features, *(parameters[name] for name in ("w0", "b0", "w1", "b1")))

    def _seen(self, part: Float[Tensor, "S"]) -> Int[Tensor, "S"] | None:
        """Levels that are there; None where all are from the start."""
        return seen_levels(self.config, part) if self.config.start_level else None


def seen_levels(config: HashGridConfig, part: Float[Tensor, "S"]) -> Int[Tensor, "S"]:
    """How many levels are there: start_level + floor((part - level_from) / level_every)."""
    # A step that should be just the one may have been rounded to before it.
    added = ((part - config.level_from) / config.level_every + 1e-4).floor().clamp(min=0.0)
    return (config.start_level + added).clamp(max=config.num_levels).int()
