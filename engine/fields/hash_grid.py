"""Multiresolution hash encoding and a small MLP, in plain torch (Instant NGP, arXiv 2201.05989).

Level l has resolution n_l = base g^l with growth g, so that the last level has the finest one.
A cell's corner has entry (x p0 xor y p1 xor z p2) mod T; coarse levels that fit into the table are
indexed directly. Parameters: `tables` S L T F, and the MLP's matrices `w0` S (L F) H,
`b0` S 1 H, `w1` S H 4, `b1` S 1 4 with outputs (raw density, 3 raw colours).
"""

import math
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.fields import HashGridConfig
from engine.fields.field import Parameters, Samples, blob, outward
from engine.philox import Purpose, uniform

_PRIMES = (1, 2654435761, 805459861)


@dataclass(frozen=True)
class HashGrid:
    """sigma = softplus(raw + blob), albedo = sigmoid(raw colour)."""

    config: HashGridConfig

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
        weights = uniform(seed, zero + 1, Purpose.INITIAL, (width, c.hidden)) * 2 - 1
        blank = torch.zeros(len(seed), 1, device=seed.device)
        return {
            "tables": tables,
            "w0": weights * math.sqrt(6 / width),
            "b0": blank[..., None].repeat(1, 1, c.hidden),
            "w1": blank[..., None].repeat(1, c.hidden, 4),
            "b1": blank[..., None].repeat(1, 1, 4),
        }

    def density(self, parameters: Parameters, x: Float[Tensor, "S P 3"]) -> Float[Tensor, "S P"]:
        """Density alone."""
        return self._sigma(self._network(parameters, x)[..., 0], x)

    def query(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], *, with_normal: bool
    ) -> Samples:
        """Density, albedo and, if asked for, analytic normals (differentiable once more)."""
        if not with_normal:
            values = self._network(parameters, x)
            return Samples(self._sigma(values[..., 0], x), torch.sigmoid(values[..., 1:]), None)
        trains = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            values = self._network(parameters, x)
            sigma = self._sigma(values[..., 0], x)
            (gradient,) = torch.autograd.grad(sigma.sum(), x, create_graph=trains)
        return Samples(sigma, torch.sigmoid(values[..., 1:]), outward(gradient))

    def total_variation(self, parameters: Parameters) -> Float[Tensor, "S"]:
        """0: neighbours share no parameters that could be compared."""
        tables = parameters["tables"]
        return torch.zeros(tables.shape[0], device=tables.device)

    def _sigma(self, raw: Float[Tensor, "S P"], x: Float[Tensor, "S P 3"]) -> Float[Tensor, "S P"]:
        return F.softplus(raw + blob(x, self.config.blob_density, self.config.blob_radius))

    def _network(self, parameters: Parameters, x: Float[Tensor, "S P 3"]) -> Float[Tensor, "S P 4"]:
        features = encode(parameters["tables"], x, self.resolutions())
        hidden = torch.relu(torch.baddbmm(parameters["b0"], features, parameters["w0"]))
        return torch.baddbmm(parameters["b1"], hidden, parameters["w1"])


def encode(
    tables: Float[Tensor, "S L T F"], x: Float[Tensor, "S P 3"], resolutions: list[int]
) -> Float[Tensor, "S P L*F"]:
    """Interpolated table entries of all levels, concatenated coarse to fine."""
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
