"""Recipes tried on the same scenes of the embedded world: what each costs and what a judge says.

Axes: N scenes, V views of the stage.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine import replay
from engine.evaluation.judging import verdicts
from engine.evaluation.lexicon import Lexicon, spec_places
from engine.evaluation.manner import Manner
from engine.evaluation.progress import Progress
from engine.evaluation.stage import show_scenes
from engine.evaluation.verdict import Verdict, figures
from engine.gang import Gang, SceneRequest
from engine.guidance.guidance import Guidance
from engine.optimiser import Optimiser
from engine.primitives.captions import caption
from engine.primitives.grammar import Spec
from engine.recipe import Recipe
from engine.scene import Scene
from engine.showcase import optimise

_WARM_UP = replay.WARM_UP + 1
"""Steps; the last is recorded, where steps are."""
_TIMED = 10


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one recipe."""

    name: str
    recipe: Recipe
    seconds: float
    """Of optimisation, all scenes together."""
    num_steps: int
    """Of the gang: the recipe's, as often as its slots are filled."""
    peak_bytes: int | None
    """Most memory of the GPU in use, the models included; None on a CPU."""
    scenes: list[Scene | None]
    """None for one that diverged or ended empty."""
    losses: list[dict[str, float]]
    """Each scene's, of its last step."""
    colour: Float[Tensor, "N V 3 h w"]
    verdicts: list[Verdict]
    caption_score: float
    """Mean logit of the own caption: finer than shares of few scenes, but of this judge only."""

    @property
    def num_ok(self) -> int:
        """Scenes that neither diverged nor ended empty."""
        return sum(scene is not None for scene in self.scenes)

    @property
    def ms_a_step(self) -> float:
        """Time of a step of the gang; too short where a scene that fails lets the next in early."""
        return 1000.0 * self.seconds / self.num_steps

    def as_row(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        recipe = self.recipe
        return {
            "name": self.name,
            "gradient": recipe.distillation.gradient,
            "guidance_scale": recipe.distillation.scale,
            "lr": recipe.optimiser.lr,
            "losses": asdict(recipe.losses),
            "steps": recipe.iterations,
            "evaluations_a_scene": recipe.evaluations,
            "seconds": round(self.seconds, 2),
            "ms_a_step": round(self.ms_a_step, 2),
            "peak_bytes": self.peak_bytes,
            "ok": self.num_ok,
            "caption_score": round(self.caption_score, 4),
            "figures": asdict(figures(self.verdicts)),
            "scenes": [verdict.as_row() for verdict in self.verdicts],
        }


class Trials:
    """Scenes, the diffusion model that makes them and the judge that looks at them."""

    def __init__(
        self,
        guidance: Guidance,
        lexicon: Lexicon,
        specs: Sequence[Spec],
        *,
        seed: int,
        manner: Manner | None = None,
    ) -> None:
        """`guidance` is loaded in the same manner; by default all scenes are in one plain gang."""
        self.guidance, self.specs = guidance, specs
        self._lexicon, self._manner = lexicon, manner or Manner()
        self._requests = [
            SceneRequest(key=f"{k:04d}", prompt=caption(spec), seed=seed + k)
            for k, spec in enumerate(specs)
        ]

    def run(self, name: str, recipe: Recipe, optimiser: Optimiser | None = None) -> Outcome:
        """Makes every scene by a recipe, shows them to the judge and keeps what it cost.

        `optimiser` is the gang's.
        """
        is_gpu = self.guidance.device.type == "cuda"
        if is_gpu:
            torch.cuda.reset_peak_memory_stats(self.guidance.device)
        with self._manner.surroundings():
            gang = self._gang(recipe, optimiser)
            num_steps = math.ceil(len(self.specs) / gang.num_slots) * recipe.iterations
            finished = optimise(gang, self._requests, Progress(name, num_steps).stepped)
        finished.sort(key=lambda scene: scene.key)
        peak = torch.cuda.max_memory_allocated(self.guidance.device) if is_gpu else None
        scenes = [scene.scene if scene.status == "ok" else None for scene in finished]
        staged = show_scenes(scenes)
        own = [spec_places()[spec] for spec in self.specs]
        return Outcome(
            name=name,
            recipe=recipe,
            seconds=sum(scene.seconds for scene in finished),
            num_steps=num_steps,
            peak_bytes=peak,
            scenes=scenes,
            losses=[scene.losses for scene in finished],
            colour=staged.colour,
            verdicts=verdicts(staged, self.specs, self._lexicon),
            caption_score=float(self._lexicon.scores(staged.colour)[range(len(own)), own].mean()),
        )

    def seconds_a_step(self, recipe: Recipe) -> float:
        """Time of one step of the gang, all its slots busy as far as there are scenes."""
        with self._manner.surroundings():
            gang = self._gang(recipe)
            for request in self._requests[: gang.num_slots]:
                gang.add(request)
            for _ in range(_WARM_UP):
                gang.step()
            start = self._now()
            for _ in range(_TIMED):
                gang.step()
            return (self._now() - start) / _TIMED

    def _gang(self, recipe: Recipe, optimiser: Optimiser | None = None) -> Gang:
        return Gang(
            recipe,
            self.guidance,
            num_slots=self._manner.slots or len(self.specs),
            capture=self._manner.captured,
            optimiser=optimiser,
        )

    def _now(self) -> float:
        """The time when the device has done all that was asked of it."""
        if self.guidance.device.type == "cuda":
            torch.cuda.synchronize(self.guidance.device)
        return time.perf_counter()
