"""Which of a prompt's views a camera asks for, and which it denies, by where it stands.

The prompt's texts are front, side, back and overhead, in the order of `prompts.VIEWS`. Azimuth 0 is
the object's front; left and right are the same. Above `OVERHEAD_ELEVATION_DEG` a view is overhead,
whatever its azimuth. Between two of the others, r is the share of one of them:

|azimuth|   0 to 90     r of front = 1 - |azimuth| / 90, the rest is side
            90 to 180   r of side  = 2 - |azimuth| / 90, the rest is back

Perp-Neg (arXiv 2304.04968) denies the views that would show the object's face elsewhere, in the
form and with the functions of threestudio (`get_text_embeddings_perp_neg`).

Axes: S scenes, V views of a scene, W = 4 view words, N = 2 denied ones.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.configs.distillation import Decay, PerpNegConfig
from engine.guidance.prompts import OVERHEAD_ELEVATION_DEG

FRONT, SIDE, BACK, OVERHEAD = range(4)


def shares(
    azimuth_deg: Float[Tensor, "S V"], elevation_deg: Float[Tensor, "S V"]
) -> Float[Tensor, "S V W"]:
    """How much of each view word a camera's prompt has; they add up to 1."""
    turn = _from_front(azimuth_deg) / 90.0
    front, back = (1.0 - turn).clamp(min=0.0), (turn - 1.0).clamp(min=0.0)
    around = torch.stack([front, 1.0 - front - back, back, torch.zeros_like(turn)], dim=-1)
    above = torch.zeros_like(around)
    # In place: a constant from the host would make a GPU wait.
    above[..., OVERHEAD] = 1.0
    return torch.where(_is_overhead(elevation_deg)[..., None], above, around)


def denied(
    azimuth_deg: Float[Tensor, "S V"], elevation_deg: Float[Tensor, "S V"], config: PerpNegConfig
) -> tuple[Int[Tensor, "S V N"], Float[Tensor, "S V N"]]:
    """The view words that a camera denies, and their weights: 0 or less, and 0 from overhead."""
    turn = _from_front(azimuth_deg) / 90.0
    is_front = turn < 1.0
    # r of the front before the object, and of the side behind it.
    share = torch.where(is_front, 1.0 - turn, 2.0 - turn)
    first = torch.where(is_front, _decay(config.front, share), _decay(config.side_behind, share))
    second = torch.where(
        is_front, _decay(config.side, 1.0 - share), _decay(config.front_behind, share)
    )
    words = torch.stack([(~is_front).long() * SIDE, is_front.long() * SIDE], dim=-1)
    weights = -torch.stack([first, second], dim=-1)
    return words, torch.where(_is_overhead(elevation_deg)[..., None], 0.0, weights)


def _from_front(azimuth_deg: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Degrees between the camera and the object's front, 0 to 180."""
    return ((azimuth_deg + 180.0) % 360.0 - 180.0).abs()


def _is_overhead(elevation_deg: Float[Tensor, "*b"]) -> Tensor:
    return elevation_deg > OVERHEAD_ELEVATION_DEG


def _decay(numbers: Decay, share: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    a, b, c = numbers
    return a * torch.exp(-b * share) + c
