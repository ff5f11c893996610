"""How much of its views an asset covers, read from the pictures that are stored."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from engine.export import View


def mean_opacity(views: Sequence[View]) -> float:
    """Mean over all pixels of all views of alpha, 0 (nothing is there) to 1 (nothing shines
    through): sum alpha / (255 P) for P pixels of 8 bits."""
    alphas = [_alpha(view.image) for view in views]
    return float(sum(a.sum(dtype=np.int64) for a in alphas) / (255 * sum(a.size for a in alphas)))


def _alpha(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.getchannel("A"))
