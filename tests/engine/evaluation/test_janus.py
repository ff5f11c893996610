"""The Janus score by hand, and of a duck with one face and with two."""

import pytest
import torch

from engine.evaluation.examiners import looks_of
from engine.evaluation.janus import janus
from engine.evaluation.judge import Judge
from engine.evaluation.stage import show_scenes
from engine.primitives.captions import parse
from tests.true_scenes import true_scene


def test_front_and_back_less_left_and_right() -> None:
    seen = torch.zeros(1, 8, 2)
    for view, vector in ((0, (1.0, 0.0)), (4, (0.6, 0.8)), (2, (0.0, 1.0)), (6, (0.8, 0.6))):
        seen[0, view] = torch.tensor(vector)
    assert float(janus(seen)[0]) == pytest.approx(0.6 - 0.6)
    seen[0, 6] = torch.tensor((1.0, 0.0))
    assert float(janus(seen)[0]) == pytest.approx(0.6 - 0.0)


def test_a_second_face_is_seen() -> None:
    duck = parse("a red duck with yellow beak")
    scenes = [true_scene(duck), true_scene(duck, is_janus=True)]
    one, two = looks_of(Judge.load("j2"), show_scenes(scenes)).janus.tolist()
    assert one < -0.2
    assert abs(two) < 0.02
