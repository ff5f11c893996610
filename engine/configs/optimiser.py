"""The optimiser and its schedule. Conventions as in `engine.recipe`."""

from dataclasses import dataclass

from engine.configs.common import Span, check


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam (arXiv 1412.6980), its rate warmed up linearly and annealed by a cosine.

    Adam also stands in for DreamFusion's Distributed Shampoo, which no library offers for stacked
    scenes. Shampoo was grafted to SQRT_N there: a step moves a tensor of N entries by lr sqrt(N),
    as far as Adam moves it. But its authors' code sums steps to a momentum where Adam takes their
    mean, and the paper does not say which it had: with the sum the same rate goes 1 / (1 - b1)
    times as far. `engine.studies.optimisers` holds the two side by side.
    """

    lr: Span = (0.02, 0.004)
    """Learning rate, annealed (first, last) after the warm-up."""
    warmup: float = 0.0
    """Part of the run during which the rate rises."""
    warmup_lr: float = 1e-9
    """Where it rises from."""
    background_rate: float = 1.0
    """Factor on the rate for the background's parameters."""
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-15

    def __post_init__(self) -> None:
        check(min(self.lr) > 0, self, "learning rates above 0")
        check(0 <= self.warmup < 1, self, "warmup in [0, 1)")
        check(self.warmup_lr >= 0, self, "a warmup_lr of 0 or more")
        check(self.background_rate >= 0, self, "a background_rate of 0 or more")
        check(all(0 <= b < 1 for b in self.betas), self, "betas in [0, 1)")
