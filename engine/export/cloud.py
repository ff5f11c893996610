"""A field as coloured points, where it lets no light through: what there is without any surface."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from engine.export.lattice import Lattice, centres
from engine.export.subject import Subject, albedo_at


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Points of the world and their display-referred colours."""

    points: Float[np.ndarray, "P 3"]
    colours: UInt8[np.ndarray, "P 3"]


def cloud(scene: Subject, samples: Lattice, *, level: float, most: int = 200_000) -> Cloud:
    """The centres of the cells whose density is above `level`, per scene unit.

    Cells of which all six neighbours are as dense are left out: nobody sees them. Of more than
    `most` points every k-th is taken.
    """
    above = samples.density > level
    axis = centres(samples.size, samples.bound, samples.density.device)
    index = (above & ~_enclosed(above)).nonzero()
    index = index[:: max(1, -(-len(index) // most))]
    points = axis[index]
    colours = albedo_at(scene, points.to(scene.device))
    as_bytes = (colours.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return Cloud(points=points.cpu().numpy(), colours=as_bytes.cpu().numpy())


def _enclosed(above: torch.Tensor) -> torch.Tensor:
    """Cells with all six neighbours above; one on the border has not all."""
    padded = torch.nn.functional.pad(above, (1, 1, 1, 1, 1, 1))
    middle = slice(1, -1)
    sides = [
        padded[
            tuple(
                slice(1 + step, above.shape[0] + 1 + step) if a == axis else middle
                for a in range(3)
            )
        ]
        for axis in range(3)
        for step in (-1, 1)
    ]
    return torch.stack(sides).all(dim=0)
