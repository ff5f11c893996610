"""Backgrounds: what lies behind a scene while it is optimised. Conventions as in `engine.recipe`.

An asset has no background: its pictures are RGBA.
"""

from dataclasses import dataclass
from typing import Literal

from engine.configs.common import check


@dataclass(frozen=True, kw_only=True)
class BackgroundConfig:
    """A random plain colour a view, or an environment map that is optimised with the scene."""

    kind: Literal["plain", "mlp"] = "plain"
    """plain: uniform in [0, 1]^3. mlp: a network of the ray's direction (DreamFusion, 3.1)."""
    num_frequencies: int = 4
    """Sines and cosines of 2^0 .. 2^(n-1) times the unit direction (mip-NeRF's for directions;
    DreamFusion does not say)."""
    num_layers: int = 3
    """Matrices of the network; 3 of width 64 is what stable-dreamfusion says of the paper's."""
    width: int = 64
    activation: Literal["sigmoid", "shifted"] = "sigmoid"
    """From raw colour to colour; shifted is threestudio's (raw + 1) / 2, which has no bounds."""
    plain_chance: float = 0.0
    """Probability that a view gets a plain colour nevertheless (threestudio's `random_aug`, which
    flips one coin for all views)."""

    def __post_init__(self) -> None:
        check(self.kind in ("plain", "mlp"), self, "kind to be plain or mlp")
        check(self.num_frequencies >= 1, self, "at least one frequency")
        check(self.num_layers >= 1 and self.width >= 1, self, "at least one layer and unit")
        known = ("sigmoid", "shifted")
        check(self.activation in known, self, "activation to be sigmoid or shifted")
        check(0 <= self.plain_chance <= 1, self, "plain_chance in [0, 1]")
