"""Judges and pictures small enough for unit tests."""

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engine.evaluation.judge_captions import CaptionTable, hard_negatives
from engine.evaluation.judge_networks import JudgeConfig
from engine.evaluation.judge_training import Lessons
from engine.primitives.captions import caption, colourless_forms, forms, vocabulary
from engine.primitives.grammar import COLOURS, Geometry, Spec, specs
from engine.primitives.pictures import Pictures

SIZE = 16
CONVOLUTIONAL = JudgeConfig(
    architecture="convolutional",
    picture_width=8,
    picture_depth=1,
    caption_width=32,
    caption_depth=2,
    embedding=16,
    size=SIZE,
)
TRANSFORMER = replace(CONVOLUTIONAL, architecture="transformer", picture_width=32)
SMALL = {"j1": CONVOLUTIONAL, "j2": TRANSFORMER}

GEOMETRIES = (Geometry("cube", "on", "cylinder"), Geometry("ball"), Geometry("ball", count=2))
SCENES = tuple(
    spec
    for spec in specs()
    if spec.geometry in GEOMETRIES and set(spec.colours) <= {"red", "green", "white"}
)


def draw(spec: Spec) -> Tensor:
    """RGBA of a flat picture: the first colour above the second; a row has a gap."""
    rgba = torch.zeros(4, SIZE, SIZE)
    rgba[3, 3:13, 3:13] = 1.0
    for half, colour in zip((slice(0, 8), slice(8, 16)), spec.slot_colours * 2, strict=False):
        rgba[:3, half] = torch.tensor(COLOURS[colour])[:, None, None]
    if spec.relation:
        rgba[3, 3:8, [3, 4, 11, 12]] = 0.0
    if spec.count > 1:
        rgba[3, :, 7:9] = 0.0
    return (255 * rgba).round().to(torch.uint8)


def flat_pictures(count: int, seed: int) -> Pictures:
    """Flat pictures of random scenes, every fourth white, in the form of rendered ones."""
    drawn = random.Random(seed).choices(SCENES, k=count)
    rgba = torch.stack([draw(spec) for spec in drawn])
    rgba[::4, :3] = 250
    return Pictures(
        rgba=rgba,
        captions=[caption(spec) for spec in drawn],
        specs=drawn,
        azimuth_deg=torch.zeros(count),
        elevation_deg=torch.zeros(count),
        is_textureless=torch.arange(count) % 4 == 0,
    )


def geometry_rows(found: Sequence[Spec]) -> Tensor:
    """The number of each scene's geometry in `GEOMETRIES`."""
    return torch.tensor([GEOMETRIES.index(spec.geometry) for spec in found])


def lessons() -> Lessons:
    """One flat picture of each of `SCENES`, and a white one of each geometry."""
    white = [next(s for s in SCENES if s.geometry == g) for g in GEOMETRIES]
    rgba = torch.stack([draw(spec) for spec in (*SCENES, *white)])
    rgba[len(SCENES) :, :3] = 250
    scene = [*range(len(SCENES)), *(SCENES.index(spec) for spec in white)]
    return Lessons(
        rgba=rgba,
        scene=torch.tensor(scene),
        geometry=geometry_rows([SCENES[i] for i in scene]),
        is_textureless=torch.arange(len(rgba)) >= len(SCENES),
        captions=CaptionTable.of([forms(spec) for spec in SCENES], vocabulary()),
        geometries=CaptionTable.of([colourless_forms(g) for g in GEOMETRIES], vocabulary()),
        negatives=hard_negatives(SCENES, seed=0),
    )
