"""Distillation: how the diffusion model is asked. Conventions as in `engine.recipe`."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from engine.configs.common import Span, check

_Form = Literal["interpolate", "extrapolate"]
_Weighting = Literal["sigma_squared", "uniform"]
_Gradient = Literal["score", "full"]
_Schedule = Literal["random", "sqrt"]
_PromptViews = Literal["nearest", "interpolated", "none"]

Decay = tuple[float, float, float]
"""(a, b, c) of a exp(-b r) + c."""


@dataclass(frozen=True, kw_only=True)
class PerpNegConfig:
    """How strongly Perp-Neg (arXiv 2304.04968) denies the views beside a camera's own.

    A weight is a exp(-b r) + c, with r the share of the first-named view in the blend that a camera
    between two views asks for. Numbers: threestudio, `perp_neg_f_*` of its prompt processors.
    """

    front: Decay = (4.0, 0.5, -2.426)
    """Of the front view between side and front; 0 where the camera sees the very front."""
    side: Decay = (4.0, 0.5, -2.426)
    """Of the side view between front and side, r being the side's share."""
    side_behind: Decay = (1.0, 0.5, -0.606)
    """Of the side view between back and side, r being the side's share."""
    front_behind: Decay = (1.0, 0.5, 0.967)
    """Of the front view between back and side, r being the side's share."""


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
    t_schedule: _Schedule = "random"
    """random: t is uniform between `t_min` and the annealed `t_max`. sqrt: nothing is drawn, t goes
    from the first `t_max` to the last with the square root of the part of the run that is done
    (HiFA, arXiv 2305.18766, section 3.2, which ends at its smallest t); `t_min` plays no part."""
    weighting: _Weighting = "sigma_squared"
    """w(t): sigma_t^2, or 1."""
    gradient: _Gradient = "score"
    """score: w (eps_hat - eps). full: the diffusion loss w/2 |eps_hat - eps|^2 differentiated
    through the model, w alpha_t (d eps_hat / d z_t)^T (eps_hat - eps)."""
    clamp: float = 0.0
    """Every number of the gradient is held within this of 0, in the model's space and after w(t)
    (threestudio's `grad_clip`, called score debiasing in arXiv 2303.15413). 0: it is not."""
    prompt_views: _PromptViews = "nearest"
    """Which view words a camera's prompt has. nearest: those of its quadrant, which worked well in
    DreamFusion (A.2). interpolated: the embeddings of front, side and back are blended by azimuth
    (section 3.2); overhead stays overhead. none: no words."""
    perp_neg: bool = False
    """Whether the other views' prompts are denied (Perp-Neg), at twice the model's evaluations."""
    perp_neg_weights: PerpNegConfig = field(default_factory=PerpNegConfig)

    def __post_init__(self) -> None:
        check(0 < self.t_min < min(self.t_max), self, "0 < t_min < t_max")
        check(max(self.t_max) < 1, self, "t_max below 1")
        check(self.clamp >= 0, self, "a clamp of 0 (off) or more")
        is_blended = self.prompt_views == "interpolated"
        check(is_blended or not self.perp_neg, self, "interpolated prompt_views under perp_neg")
        choices = (
            ("form", _Form),
            ("weighting", _Weighting),
            ("gradient", _Gradient),
            ("t_schedule", _Schedule),
            ("prompt_views", _PromptViews),
        )
        for name, hint in choices:
            known = get_args(hint)
            check(getattr(self, name) in known, self, f"{name} to be {' or '.join(known)}")
