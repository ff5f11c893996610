"""A view without its colours, made from the view itself when somebody asks.

White, in the light of a lamp at the camera: (ambient + diffuse max(0, n . v)), with n the normal of
the view's own normal picture and v the unit vector from the surface to the camera. Nothing about it
is stored, because nothing new is in it.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from engine.export.images import png

AMBIENT, DIFFUSE = 0.3, 0.7


def textureless(
    image: bytes,
    normal: bytes,
    *,
    c2w: Sequence[float],
    fl_x: float,
    fl_y: float,
    cx: float,
    cy: float,
) -> bytes:
    """PNG, RGBA of 8 bits: grey with straight alpha, the view's own.

    All arguments are as in `engine.export.asset.View`.
    """
    alpha = _decoded(image)[..., 3]
    height, width = alpha.shape
    n = _decoded(normal) / 127.5 - 1.0
    length = np.linalg.norm(n, axis=-1)
    # Eight bits cannot say zero: where there is no normal, they say less than a hundredth.
    has_normal = length > 0.5
    n /= np.where(has_normal, length, 1.0)[..., None]
    x = (np.arange(width) + 0.5 - cx) / fl_x
    y = -(np.arange(height) + 0.5 - cy) / fl_y
    local = np.stack([*np.meshgrid(x, y), np.full((height, width), -1.0)], axis=-1)
    directions = local @ np.array(c2w).reshape(4, 4)[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    cosine = np.where(has_normal, -(n * directions).sum(axis=-1), 0.0)
    grey = np.rint(255.0 * (AMBIENT + DIFFUSE * cosine.clip(0.0))).astype(np.uint8)
    return png(Image.fromarray(np.dstack([grey, grey, grey, alpha])))


def _decoded(picture: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as image:
        return np.asarray(image)
