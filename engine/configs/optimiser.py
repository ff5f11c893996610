"""The optimiser and its schedule. Conventions as in `engine.recipe`."""

from dataclasses import dataclass

from engine.configs.common import Span, check


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam (arXiv 1412.6980), its rate annealed by a cosine."""

    lr: Span = (0.02, 0.004)
    """Learning rate, annealed (first, last)."""
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-15

    def __post_init__(self) -> None:
        check(min(self.lr) > 0, self, "learning rates above 0")
        check(all(0 <= b < 1 for b in self.betas), self, "betas in [0, 1)")
