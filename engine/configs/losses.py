"""Regularisers and their weights. Conventions as in `engine.recipe`."""

from dataclasses import dataclass

from engine.configs.common import Span, check


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the regularisers; 0 switches one off. Sources are in `engine.losses`."""

    opacity: float = 0.0
    entropy: Span = (0.0, 0.0)
    """Annealed (first, last)."""
    total_variation: float = 0.0
    orientation: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.opacity, *self.entropy, self.total_variation, self.orientation)
        check(all(w >= 0 for w in weights), self, "weights of 0 or more")
