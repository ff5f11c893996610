"""Dense lattices, coarse to fine, summed and read by trilinear interpolation.

The fastest field on a CPU: one native operation a lattice. The outermost points of a lattice lie on
the cube's faces; parameters `grid<n>` have axes S C Z Y X with C = (raw density, 3 raw colours).
Where the channels lie in memory is the device's choice.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.fields import DenseGridConfig
from engine.fields.field import Parameters, Samples, blob, outward
from engine.kernels.dense_encode import dense_encode, memory_format


@dataclass(frozen=True)
class DenseGrid:
    """sigma = softplus(gain raw + blob), albedo = sigmoid(raw colour)."""

    config: DenseGridConfig

    @property
    def bound(self) -> float:
        """Half the side of the cube."""
        return self.config.bound

    def initial(self, seed: Int[Tensor, "S"]) -> Parameters:
        """Zeros: the blob alone, grey all over. The seed plays no part."""
        layout = memory_format(seed.device)
        return {
            f"grid{n}": torch.zeros(len(seed), 4, n, n, n, device=seed.device).contiguous(
                memory_format=layout
            )
            for n in self.config.resolutions
        }

    def density(
        self, parameters: Parameters, x: Float[Tensor, "S P 3"], part: Float[Tensor, "S"]
    ) -> Float[Tensor, "S P"]:
        """Density alone, the same at any time of the run."""
        raw = dense_encode([grid[:, :1] for grid in self._grids(parameters)], x / self.bound)
        return self._sigma(raw[..., 0], x)

    def query(
        self,
        parameters: Parameters,
        x: Float[Tensor, "S P 3"],
        part: Float[Tensor, "S"],
        *,
        with_normal: bool,
    ) -> Samples:
        """Density, albedo and, if asked for, normals from the lattices' central differences."""
        grids = self._grids(parameters)
        if with_normal:
            grids = [torch.cat([grid, _differences(grid[:, :1])], dim=1) for grid in grids]
        values = dense_encode(grids, x / self.bound)
        normal = None
        if with_normal:
            slope = (self.config.density_gain / self.bound) * values[..., 4:7]
            gradient = slope + self._blob_gradient(x)
            normal = outward(gradient)
        return Samples(
            sigma=self._sigma(values[..., 0], x),
            albedo=torch.sigmoid(values[..., 1:4]),
            normal=normal,
        )

    def total_variation(self, parameters: Parameters) -> Float[Tensor, "S"]:
        """Mean squared difference of neighbours, over axes, channels and lattices."""
        return torch.stack([_roughness(grid) for grid in self._grids(parameters)]).sum(0)

    def _grids(self, parameters: Parameters) -> list[Float[Tensor, "S C n n n"]]:
        return [parameters[f"grid{n}"] for n in self.config.resolutions]

    def _sigma(self, raw: Float[Tensor, "S P"], x: Float[Tensor, "S P 3"]) -> Float[Tensor, "S P"]:
        bias = blob(x, self.config.blob_density, self.config.blob_radius)
        return F.softplus(self.config.density_gain * raw + bias)

    def _blob_gradient(self, x: Float[Tensor, "S P 3"]) -> Float[Tensor, "S P 3"]:
        slope = self.config.blob_density / self.config.blob_radius
        return -slope * F.normalize(x, dim=-1)


def _differences(grid: Float[Tensor, "S 1 Z Y X"]) -> Float[Tensor, "S 3 Z Y X"]:
    """Central differences along x, y, z, where the cube's side is 2; one-sided on the faces."""
    spacing = 2.0 / (grid.shape[-1] - 1)
    return torch.cat(torch.gradient(grid, spacing=spacing, dim=(4, 3, 2)), dim=1)


def _roughness(grid: Float[Tensor, "S C Z Y X"]) -> Float[Tensor, "S"]:
    squares = [grid.diff(dim=dim).square().mean(dim=(1, 2, 3, 4)) for dim in (2, 3, 4)]
    return torch.stack(squares).sum(0)
