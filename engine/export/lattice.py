"""The density of a scene on a regular lattice.

The lattice is cell-centred: sample (i, j, k) stands for a cube of side h = 2 bound / n around the
point -bound + (i + .5, j + .5, k + .5) h, and the cubes fill [-bound, bound]^3. Axes are x, y, z.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.export.subject import Subject, density_at


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Density samples at the centres of n^3 cells of the cube [-bound, bound]^3."""

    density: Float[Tensor, "n n n"]
    bound: float

    @property
    def size(self) -> int:
        """Cells per side, n."""
        return self.density.shape[0]

    @property
    def spacing(self) -> float:
        """Side of a cell, h."""
        return 2.0 * self.bound / self.size


def centres(size: int, bound: float, device: torch.device) -> Float[Tensor, "n"]:
    """Coordinates of the cell centres along one axis: -bound + (i + .5) h."""
    index = torch.arange(size, device=device, dtype=torch.float32)
    return (index + 0.5) * (2.0 * bound / size) - bound


def sample(scene: Subject, size: int) -> Lattice:
    """The scene's density at the centres of size^3 cells.

    Raises ValueError where a density is not finite: such a scene has diverged and has no shape.
    """
    axis = centres(size, scene.bound, scene.device)
    x = torch.cartesian_prod(axis, axis, axis)
    density = density_at(scene, x).reshape(size, size, size)
    bad = int((~density.isfinite()).sum())
    if bad:
        raise ValueError(
            f"scene density: expected finite numbers, got {bad} of {size**3} samples that are not; "
            "the optimisation diverged, so export an earlier state or lower the learning rate"
        )
    return Lattice(density=density, bound=scene.bound)
