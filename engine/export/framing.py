"""How far from the object its cameras stand.

All cameras of an asset stand at one distance from the origin and look at it. What reaches r from
there lies within the picture of every camera at a distance of r / sin(f / 2) or more, wherever it
stands: the cone of the field of view f then holds the ball of radius r.
"""

import dataclasses
import math

import numpy as np

from engine.configs.export import ExportConfig
from engine.export.lattice import Lattice, centres
from engine.export.solid import Solid

_MARGIN = 1.04
"""Around the mesh is a soft edge; it shall be in the picture, too."""


def framed(config: ExportConfig, samples: Lattice, found: Solid | None) -> ExportConfig:
    """The config with a `view_radius` from which all that was found in the lattice is seen."""
    if found is None:
        return config
    fitting = _MARGIN * _reach(samples, found) / math.sin(math.radians(0.5 * config.view_fov_deg))
    return dataclasses.replace(config, view_radius=max(config.view_radius, fitting))


def _reach(samples: Lattice, found: Solid) -> float:
    """Distance from the origin that no vertex of the solid's surface exceeds.

    A vertex lies less than a cell's side from a cell inside.
    """
    square = centres(samples.size, samples.bound, samples.density.device).cpu().numpy() ** 2
    squares = square[:, None, None] + square[:, None] + square
    return float(np.sqrt(squares[found.inside].max())) + samples.spacing
