"""Regularisers and their weights. Conventions as in `engine.recipe`."""

from dataclasses import dataclass

from engine.configs.common import Span, check


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the regularisers; 0 switches one off. Sources are in `engine.losses`."""

    opacity: float = 0.0
    entropy: Span = (0.0, 0.0)
    """Annealed linearly (first, last) over the run."""
    distortion: float = 0.0
    total_variation: float = 0.0
    orientation: Span = (0.0, 0.0)
    """Annealed linearly (first, last) until `orientation_until`, then constant."""
    orientation_until: float = 1.0
    """Part of the run."""

    def __post_init__(self) -> None:
        single = (self.opacity, self.distortion, self.total_variation)
        weights = (*single, *self.entropy, *self.orientation)
        check(all(w >= 0 for w in weights), self, "weights of 0 or more")
        check(0 < self.orientation_until <= 1, self, "orientation_until in (0, 1]")
