"""The Janus score: how alike an object's front and back are, where it has a front.

    janus = cos(front, back) - cos(left, right)

of the embeddings of its coloured views at azimuth 0, 180, 90 and 270. The two sides of an object
with a front are mirror images, and say how alike two views can look through this judge's eyes; its
front and back are less alike than that, so the score is below 0. With a face on either side they
are mirror images too, and it rises to 0. What has no front (a ball, a cube) is about 0 all the
same, with nothing wrong: so scores are compared among assets of one prompt, or with the score of
what the prompt truly looks like.

Axes: N subjects, V views (`stage.AZIMUTHS_DEG`), D features.
"""

from jaxtyping import Float
from torch import Tensor

from engine.evaluation.stage import AZIMUTHS_DEG

FRONT, LEFT, BACK, RIGHT = (AZIMUTHS_DEG.index(angle) for angle in (0.0, 90.0, 180.0, 270.0))


def janus(seen: Float[Tensor, "N V D"]) -> Float[Tensor, "N"]:
    """The Janus scores of subjects, in [-2, 2], by the unit embeddings of their eight views."""
    opposite = (seen[:, FRONT] * seen[:, BACK]).sum(-1)
    mirrored = (seen[:, LEFT] * seen[:, RIGHT]).sum(-1)
    return opposite - mirrored
