"""Scenes whose shape is known exactly, and small oracles shared by the tests.

`depth` is the signed distance below the surface: positive inside, negative outside. Density rises
linearly from 0 at the surface to `peak` at `RAMP` below it.
"""

import io
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from engine.export import pieces
from engine.export.asset import View
from engine.export.subject import POINTS_AT_ONCE
from engine.export.surface import Surface

RAMP = 0.02
WHITE, RED, GREEN, BLUE = (0.9, 0.9, 0.9), (0.8, 0.1, 0.05), (0.1, 0.7, 0.2), (0.1, 0.2, 0.8)


@dataclass(frozen=True, kw_only=True)
class Ball:
    """A ball of one colour."""

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius: float = 0.5
    colour: tuple[float, float, float] = WHITE

    def depth(self, x: Tensor) -> Tensor:
        return self.radius - (x - torch.tensor(self.centre).to(x)).norm(dim=-1)


@dataclass(frozen=True, kw_only=True)
class Box:
    """An axis-aligned box of one colour."""

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    half: tuple[float, float, float] = (0.4, 0.4, 0.4)
    colour: tuple[float, float, float] = WHITE

    def depth(self, x: Tensor) -> Tensor:
        offset = (x - torch.tensor(self.centre).to(x)).abs() - torch.tensor(self.half).to(x)
        outside = offset.clamp_min(0.0).norm(dim=-1)
        return -(outside + offset.amax(dim=-1).clamp_max(0.0))


@dataclass(kw_only=True)
class Solids:
    """The union of some solids; counts the points it is asked about."""

    parts: tuple[Ball | Box, ...]
    peak: float = 500.0
    bound: float = 1.0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    num_densities: int = 0

    @property
    def radius(self) -> float:
        return self.bound

    def depth(self, x: Tensor) -> Tensor:
        return torch.stack([part.depth(x) for part in self.parts]).amax(dim=0)

    def density(self, x: Tensor) -> Tensor:
        assert 0 < len(x) <= pieces.size(POINTS_AT_ONCE, x.device)
        assert float(x.abs().max()) <= self.bound
        self.num_densities += len(x)
        return self.peak * (self.depth(x) / RAMP).clamp(0.0, 1.0)

    def albedo(self, x: Tensor) -> Tensor:
        assert 0 < len(x) <= pieces.size(POINTS_AT_ONCE, x.device)
        nearest = torch.stack([part.depth(x) for part in self.parts]).argmax(dim=0)
        return torch.tensor([part.colour for part in self.parts]).to(x)[nearest]

    def to_bytes(self) -> bytes:
        return b"solids"


class Soft(Solids):
    """As soft as what a short optimisation leaves: from 0 to 12 over .15, and even below."""

    def density(self, x: Tensor) -> Tensor:
        return 12.0 * (self.depth(x) / 0.15).clamp(0.0, 1.0)


def everywhere(level: float, bound: float = 1.0) -> Surface:
    """A surface wherever the density crosses the level."""
    return Surface(level=level, cells=torch.ones(1, 1, 1, dtype=torch.bool), bound=bound)


def ball() -> Solids:
    """A ball of radius .5 off the centre."""
    return Solids(parts=(Ball(centre=(0.1, -0.05, 0.15)),))


def box() -> Solids:
    """A box with three different sides."""
    return Solids(parts=(Box(half=(0.3, 0.4, 0.5)),))


def figure() -> Solids:
    """Unlike itself from every side: red nose on +X, green arm on +Y, blue hat on +Z."""
    return Solids(
        parts=(
            Ball(radius=0.35),
            Ball(centre=(0.38, 0.0, 0.05), radius=0.12, colour=RED),
            Box(centre=(0.0, 0.45, 0.0), half=(0.08, 0.2, 0.08), colour=GREEN),
            Box(centre=(0.0, 0.0, 0.4), half=(0.2, 0.2, 0.12), colour=BLUE),
        )
    )


def nothing() -> Solids:
    """Space without density."""
    return Solids(parts=(Ball(),), peak=0.0)


def decode(data: bytes) -> np.ndarray:
    """The numbers of a picture file."""
    return np.asarray(Image.open(io.BytesIO(data)))


def z_depth(view: View) -> np.ndarray:
    """Depth picture in scene units."""
    return decode(view.depth).astype(np.float64) * view.depth_scale


def unproject(view: View) -> np.ndarray:
    """World points of the pixels that have a depth, straight from the conventions."""
    z = z_depth(view)
    row, column = np.nonzero(z)
    z = z[row, column]
    x = (column + 0.5 - view.cx) / view.fl_x * z
    y = -(row + 0.5 - view.cy) / view.fl_y * z
    c2w = np.array(view.c2w).reshape(4, 4)
    return np.stack([x, y, -z, np.ones_like(z)], axis=-1) @ c2w.T[:, :3]


def project(view: View, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row (in pixels, unrounded) and z-depth of world points."""
    c2w = np.array(view.c2w).reshape(4, 4)
    local = (points - c2w[:3, 3]) @ c2w[:3, :3]
    z = -local[:, 2]
    return view.cx + view.fl_x * local[:, 0] / z, view.cy - view.fl_y * local[:, 1] / z, z
