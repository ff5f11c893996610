"""Distances of a variation's scenes: each to its own true shape, and none where there is none."""

import math
from dataclasses import replace

import pytest
import torch

from engine import recipes
from engine.evaluation import variations
from engine.evaluation.chamfer import Chamfer
from engine.evaluation.trials import Outcome
from engine.primitives.grammar import Spec
from engine.scene import Scene
from tests.true_scenes import true_scene

SPECS = [Spec("cube", ("red",)), Spec("ball", ("blue",)), Spec("cone", ("red",))]


def test_each_scene_is_held_against_its_own_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes: list[Scene | None] = [
        true_scene(SPECS[0], size=16),
        None,
        true_scene(SPECS[2], size=16),
    ]
    recipe = replace(recipes.get("smoke"), name="tried")
    asked = []

    def distance(scene: Scene | None, spec: Spec, ruler: object, config: object) -> float:
        asked.append(config)
        return math.inf if scene is None else float(len(spec.kind)) + scenes.index(scene) / 10

    monkeypatch.setattr(variations, "distance", distance)
    outcome = Outcome(
        name="tried",
        recipe=recipe,
        seconds=1.0,
        num_steps=1,
        peak_bytes=None,
        scenes=scenes,
        losses=[],
        colour=torch.zeros(3, 8, 3, 64, 64),
        verdicts=[],
        caption_score=0.0,
    )
    ruler = Chamfer(torch.device("cpu"))
    assert variations.chamfers(outcome, SPECS, ruler) == [4.0, math.inf, 4.2]
    assert asked == [recipe.export] * 3
