import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from engine.configs.export import ExportConfig
from engine.export import lattice, turntable
from engine.export.occupancy import Occupancy, occupied

from .subjects import decode, figure

CONFIG = ExportConfig(view_size=48, turntable_frames=8, turntable_size=40)


@pytest.fixture(scope="module")
def figure_occupancy() -> Occupancy:
    return occupied(lattice.sample(figure(), 48))


def _redness(frame: np.ndarray) -> int:
    red, green, blue = (frame[..., k].astype(int) for k in range(3))
    return int(((red > 150) & (green < 90) & (blue < 90)).sum())


def test_one_endless_turn_that_starts_in_front(figure_occupancy: Occupancy):
    with Image.open(io.BytesIO(turntable.turntable(figure(), figure_occupancy, CONFIG))) as webp:
        assert webp.format == "WEBP"
        assert webp.info["loop"] == 0
        frames = []
        for frame in ImageSequence.Iterator(webp):
            frames.append(np.asarray(frame.convert("RGB")))
            assert frame.info["duration"] == 3000 // 8
    assert len(frames) == 8
    assert frames[0].shape == (40, 40, 3)
    assert frames[0][0, 0].min() > 250
    redness = [_redness(frame) for frame in frames]
    assert min(redness[k] for k in (7, 0, 1)) > 5
    assert max(redness[3:6]) == 0


def test_thumb_shows_front_and_left_on_white(figure_occupancy: Occupancy):
    picture = decode(turntable.thumb(figure(), figure_occupancy, CONFIG))
    assert picture.shape == (48, 48, 3)
    assert (picture[0] == 255).all()
    assert _redness(picture) > 5
    red, green, _ = (picture[..., k].astype(int) for k in range(3))
    arm = np.nonzero((green > 130) & (red < 90))[1]
    assert len(arm) > 5
    assert arm.mean() > 28
    nose = np.nonzero((red > 150) & (green < 90))[1]
    assert nose.mean() < 22
