"""Distillation: how the diffusion model is asked. Conventions as in `engine.recipe`."""

from dataclasses import dataclass
from typing import Literal, get_args

from engine.configs.common import Span, check

_Form = Literal["interpolate", "extrapolate"]
_Weighting = Literal["sigma_squared", "uniform"]
_Gradient = Literal["score", "full"]


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Score distillation (DreamFusion, eq. 3) with classifier-free guidance."""

    scale: float = 20.0
    """Guidance scale s."""
    form: _Form = "interpolate"
    """interpolate: uncond + s (cond - uncond). extrapolate: cond + s (cond - uncond), the paper's
    (1 + w) form, which means one more at the same number."""
    t_min: float = 0.02
    t_max: Span = (0.98, 0.5)
    """Largest t, annealed linearly (first, last) over the run."""
    weighting: _Weighting = "sigma_squared"
    """w(t): sigma_t^2, or 1."""
    gradient: _Gradient = "score"
    """score: w (eps_hat - eps). full: the diffusion loss w/2 |eps_hat - eps|^2 differentiated
    through the model, w alpha_t (d eps_hat / d z_t)^T (eps_hat - eps)."""

    def __post_init__(self) -> None:
        check(0 < self.t_min < min(self.t_max), self, "0 < t_min < t_max")
        check(max(self.t_max) < 1, self, "t_max below 1")
        choices = (("form", _Form), ("weighting", _Weighting), ("gradient", _Gradient))
        for name, hint in choices:
            known = get_args(hint)
            check(getattr(self, name) in known, self, f"{name} to be {' or '.join(known)}")
