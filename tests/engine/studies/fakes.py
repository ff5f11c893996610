"""A judge that needs no weights, a stage that needs no march, and a bench for the commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.evaluation.stage import Staged
from engine.export.subject import Subject

WORDS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class MeanColourJudge:
    """Compares a picture's mean colour with the colours that a caption names."""

    scale = 10.0

    def embed_pictures(self, x: Tensor) -> Tensor:
        """Direction of the mean colour."""
        return F.normalize(x.mean((2, 3)), dim=-1)

    def embed_captions(self, captions: list[str]) -> Tensor:
        """Direction of the sum of the colours; grey without one."""
        rows = [
            [sum(WORDS[w][k] for w in text.split() if w in WORDS) + 0.1 for k in range(3)]
            for text in captions
        ]
        return F.normalize(torch.tensor(rows), dim=-1)


def show_centres(scenes: Sequence[Subject | None]) -> Staged:
    """Every picture is all of the colour in the scene's centre; grey where there is no scene."""
    colour = torch.full((len(scenes), 8, 3, 64, 64), 0.5)
    for row, scene in zip(colour, scenes, strict=True):
        if scene is not None:
            row[:] = scene.albedo(torch.zeros(1, 3))[0, :, None, None]
    is_there = torch.tensor([scene is not None for scene in scenes])
    return Staged(colour=colour, geometry=colour, is_there=is_there)


@dataclass(frozen=True)
class Made:
    """A gang that was run."""

    iterations: int
    num_scenes: int
    num_slots: int
    is_exact: bool
    """Whether kernels were held off."""


class Bench:
    """A tiny diffusion model for the commands, and what became of the gangs that were made."""

    def __init__(self, weights: Path) -> None:
        self.weights = weights
        self.gangs: list[Made] = []

    def flags(self, out: Path) -> list[str]:
        """Of any study of variations: two scenes of the smallest recipe."""
        model = ("--guidance", str(self.weights))
        return ["--recipe", "smoke", "--prompts", "2", *model, "--out", str(out)]
