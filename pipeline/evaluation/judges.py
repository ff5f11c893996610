"""Judges by their names: where their weights are, what identifies them, how they are loaded.

j1, j2     come with the package and know the embedded world
clip:NAME  a CLIP of transformers: hub id, directory or URL, found as diffusion models are
else       the directory of a judge of the embedded world
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline import models
from pipeline.dataset.scores import Metric
from pipeline.errors import UserError

if TYPE_CHECKING:
    import torch

    from engine.evaluation.examiners import Examiner

CLIP = "clip:"
VERSION = 1
"""Of what the scores mean: another formula is another version, and so another metric."""

_LABEL = 40
_UNFIT = (KeyError, RuntimeError, TypeError, ValueError, OSError)
"""What torch and transformers raise for files that do not fit together."""


@dataclass(frozen=True, kw_only=True)
class JudgeChoice:
    """A judge on this machine. Its scores are called `score_<label>_...`."""

    name: str
    label: str
    kind: Literal["clip", "embedded"]
    path: Path
    digest: str

    def metric(self, captions: list[str]) -> Metric:
        """What it measures in a pool."""
        from engine.evaluation.examiners import LARGEST
        from engine.evaluation.stage import AZIMUTHS_DEG, BACKGROUND, ELEVATION_DEG

        return Metric(
            label=self.label,
            kind=self.kind,
            judge=self.name,
            weights_digest=self.digest,
            protocol={
                "version": VERSION,
                "azimuths_deg": list(AZIMUTHS_DEG),
                "elevation_deg": ELEVATION_DEG,
                "background": list(BACKGROUND),
                "largest": LARGEST,
                "cameras": "the asset's" if self.kind == "clip" else "the embedded world's",
            },
            captions=captions,
        )

    def load(self) -> "Examiner":
        """The judge itself, on the GPU where there is one. UserError for weights that do not fit
        their configuration."""
        from safetensors import SafetensorError

        from engine.hardware import usual_device

        load = _load_clip if self.kind == "clip" else _load_embedded
        try:
            return load(self.path, usual_device())
        except (*_UNFIT, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"judge {self.name!r} cannot be loaded: {reason}") from error


def find(name: str) -> JudgeChoice:
    """The judge of that name, fetched if it is elsewhere. UserError if it cannot be."""
    from engine.evaluation import clip_files, judge

    if name.startswith(CLIP):
        model = models.find(name.removeprefix(CLIP), models.CLIP)
        return JudgeChoice(
            name=f"{CLIP}{model.name}",
            label=label_of(name.removeprefix(CLIP)),
            kind="clip",
            path=model.path,
            digest=clip_files.digest(model.path),
        )
    try:
        path = judge.directory(name)
        digest = judge.digest(name)
    except (OSError, ValueError) as error:
        raise UserError(f"--judge {name}: {error}; a CLIP is named `clip:{name}`") from None
    return JudgeChoice(
        name=name if name in judge.PUBLISHED else str(path.absolute()),
        label=label_of(name),
        kind="embedded",
        path=path,
        digest=digest,
    )


def label_of(name: str) -> str:
    """A word for column names: the last part of a name without its revision, in small letters,
    digits and single underscores."""
    last = name.partition("@")[0].rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9]+", "_", last).strip("_")[:_LABEL].rstrip("_") or "judge"


def _load_clip(path: Path, device: "torch.device") -> "Examiner":
    from engine.evaluation.clip import Clip
    from engine.evaluation.examiners import ClipExaminer

    return ClipExaminer.of(Clip.load(path, device=device))


def _load_embedded(path: Path, device: "torch.device") -> "Examiner":
    from engine.evaluation.examiners import EmbeddedExaminer
    from engine.evaluation.judge import Judge
    from engine.evaluation.lexicon import Lexicon

    judge = Judge.load(path, device)
    return EmbeddedExaminer(Lexicon(judge))
