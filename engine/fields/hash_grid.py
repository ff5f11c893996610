"""Multiresolution hash encoding and a small MLP, in plain torch (Instant NGP, arXiv 2201.05989).

Level l has resolution n_l = base g^l with growth g, so that the last level has the finest one.
A cell's corner has entry (x p0 xor y p1 xor z p2) mod T; coarse levels that fit into the table are
indexed directly. Parameters: `tables` S L T F, and the MLP's matrices `w0` S (L F) H,
`b0` S 1 H, `w1` S H 4, `b1` S 1 4 with outputs (raw density, 3 raw colours). Where levels come one
after the other, features of those that are not there yet are zero.
"""

import math
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.fields import HashGridConfig
from engine.fields.field import (
    Parameters,
    Samples,
    blob,
    bounded_exp,
    gaussian_blob,
    he_uniform,
)
from engine.fields.normals import with_normals
from engine.philox import Purpose, uniform

_PRIMES = (1, 2654435761, 805459861)


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
            values = self._network(parameters, x, part)
            return Samples(self._sigma(values[..., 0], x), self._albedo(values[..., 1:]), None)

        if not with_normal:
            return evaluate(x)
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

    def _network(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], part: Float[Tensor, "S"]
    ) -> Float[Tensor, "S P 4"]:
        features = encode(parameters["tables"], x / self.bound, self.resolutions())
        if self.config.start_level:
            is_seen = seen_levels(self.config, part).repeat_interleave(self.config.features, dim=1)
            features = features * is_seen[:, None]
        hidden = torch.relu(torch.baddbmm(parameters["b0"], features, parameters["w0"]))
        return torch.baddbmm(parameters["b1"], hidden, parameters["w1"])


def seen_levels(config: HashGridConfig, part: Float[Tensor, "S"]) -> Float[Tensor, "S L"]:
    """1 for levels that are there, 0 for those to come.

    There are start_level + floor((part - level_from) / level_every) of them.
    """
    # A step that should be just the one may have been rounded to before it.
    added = ((part - config.level_from) / config.level_every + 1e-4).floor().clamp(min=0.0)
    levels = torch.arange(config.num_levels, device=part.device)
    return (levels < config.start_level + added[:, None]).to(part.dtype)


def encode(
    tables: Float[Tensor, "S L T F"], x: Float[Tensor, "S P 3"], resolutions: list[int]
) -> Float[Tensor, "S P L*F"]:
    """Interpolated table entries of all levels, concatenated coarse to fine; x in [-1, 1]^3."""
    num_scenes, _, size, features = tables.shape
    unit = (0.5 * x + 0.5).clamp(0.0, 1.0)
    first_row = size * torch.arange(num_scenes, device=x.device)[:, None]
    levels = []
    for level, resolution in enumerate(resolutions):
        scaled = unit * resolution
        cell = scaled.detach().floor().clamp(max=resolution - 1)
        fraction = scaled - cell
        parts = (1.0 - fraction, fraction)
        x0, y0, z0 = cell.long().unbind(-1)
        table = tables[:, level].reshape(num_scenes * size, features)
        value = torch.zeros(*x.shape[:2], features, device=x.device)
        for i, j, k in product((0, 1), repeat=3):
            row = first_row + _row(x0 + i, y0 + j, z0 + k, resolution, size)
            # Not prod(): its gradient takes another path if any scene has a weight of 0.
            weight = parts[i][..., 0] * parts[j][..., 1] * parts[k][..., 2]
            entry = table.index_select(0, row.flatten()).view(*row.shape, features)
            value = value + weight[..., None] * entry
        levels.append(value)
    return torch.cat(levels, dim=-1)


def _row(
    x: Int[Tensor, "*p"], y: Int[Tensor, "*p"], z: Int[Tensor, "*p"], resolution: int, size: int
) -> Int[Tensor, "*p"]:
    """Row of a lattice corner in its level's table."""
    side = resolution + 1
    if side**3 <= size:
        return (z * side + y) * side + x
    return (x * _PRIMES[0] ^ y * _PRIMES[1] ^ z * _PRIMES[2]) % size
