"""Is the U-Net's Jacobian worth its price? Score distillation leaves it out; this puts it back.

    python -m engine.studies.full_gradient --out DIR --recipe primitives --prompts 24

score   the recipe as it is, and without regularisers, so that neither is compared across that line
full    the gradient of the diffusion loss itself (`engine.sds`), with other settings tried, since
        the recipe was tuned for the score: guidance (the recipe's, a fifth, and none beyond the
        caption: the plain loss); then, with the best of these, a third of the learning rate, and
        no regularisers. Elsewhere these are scaled by the ratio of the two gradients' sizes.

Each try of full takes as long as score does, in fewer steps. The best by the judge's mean logit
then runs as many steps as score: an equal number of evaluations, each with a backward pass more.
Full is thus chosen on the very scenes that are reported, which is to its advantage. Writes
`results.json`, `table.md` and `pictures.png`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from engine.configs.common import Span
from engine.configs.distillation import DistillationConfig
from engine.evaluation.judge import Judge, directory
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.manner import Manner
from engine.evaluation.stage import AZIMUTHS_DEG, ELEVATION_DEG
from engine.evaluation.trials import Outcome, Trials
from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.hardware import usual_device
from engine.primitives.captions import caption
from engine.primitives.splits import choose
from engine.recipe import Recipe
from engine.studies import full_gradient_report, order
from engine.studies.gradients import Comparison, compare, ratio_of_sizes, texts_of_views

_FEWER = 5.0
_SLOWER = 3.0


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that was run."""

    score: Outcome
    bare_score: Outcome
    """Without regularisers."""
    tries: list[Outcome]
    """Full in as much time as score."""
    full: Outcome
    """The best try's settings with as many evaluations as score."""
    comparisons: list[Comparison]
    """Of the gradients, under the recipe's guidance, on what score made."""


def best_of(tries: Sequence[Outcome]) -> Outcome:
    """The outcome of the highest caption score."""
    return max(tries, key=lambda outcome: outcome.caption_score)


def plain_scale(config: DistillationConfig) -> float:
    """The guidance scale at which eps_hat is the conditional prediction alone."""
    return 1.0 if config.form == "interpolate" else 0.0


def with_regularisers(recipe: Recipe, factor: float) -> Recipe:
    """The recipe, its regularisers weighing `factor` times as much; 0 switches them off."""
    losses = recipe.losses
    scaled = replace(
        losses,
        opacity=factor * losses.opacity,
        entropy=_times(factor, losses.entropy),
        distortion=factor * losses.distortion,
        total_variation=factor * losses.total_variation,
        orientation=_times(factor, losses.orientation),
    )
    return replace(recipe, losses=scaled)


def _times(factor: float, span: Span) -> Span:
    return factor * span[0], factor * span[1]


def with_slower_rate(recipe: Recipe) -> Recipe:
    """The recipe with a third of its learning rate."""
    first, last = recipe.optimiser.lr
    slower = replace(recipe.optimiser, lr=(first / _SLOWER, last / _SLOWER))
    return replace(recipe, optimiser=slower)


def study(trials: Trials, recipe: Recipe, num_steps: int) -> Findings:
    """Runs everything. Score takes `num_steps` steps of the recipe."""
    recipe = replace(recipe, iterations=num_steps)
    full = replace(recipe, distillation=replace(recipe.distillation, gradient="full"))
    score = _run(trials, "score", recipe)
    bare_score = _run(trials, "score, no regularisers", with_regularisers(recipe, 0.0))
    share = trials.seconds_a_step(recipe) / trials.seconds_a_step(full)
    fewer = replace(full, iterations=max(1, round(num_steps * share)))
    usual = recipe.distillation.scale
    tries, comparisons = [], []
    for scale in (usual, usual / _FEWER, plain_scale(recipe.distillation)):
        distillation = replace(full.distillation, scale=scale)
        rows = _compared(trials, score, distillation)
        comparisons = comparisons or rows
        weighed = with_regularisers(fewer, ratio_of_sizes(rows))
        tried = replace(weighed, distillation=distillation)
        tries.append(_run(trials, f"full, guidance {scale:g}", tried))
    best = best_of(tries)
    tries += [
        _run(trials, f"{best.name}, rate / {_SLOWER:g}", with_slower_rate(best.recipe)),
        _run(trials, f"{best.name}, no regularisers", with_regularisers(best.recipe, 0.0)),
    ]
    best = best_of(tries)
    longer = replace(best.recipe, iterations=num_steps)
    return Findings(
        score=score,
        bare_score=bare_score,
        tries=tries,
        full=_run(trials, f"{best.name}, equal evaluations", longer),
        comparisons=comparisons,
    )


def _run(trials: Trials, name: str, recipe: Recipe) -> Outcome:
    """What came of it, and a line that says so."""
    outcome = trials.run(name, recipe)
    print(f"{name}: {outcome.seconds:.1f} s, score {outcome.caption_score:.2f}", flush=True)
    return outcome


def _compared(trials: Trials, score: Outcome, full: DistillationConfig) -> list[Comparison]:
    """Both gradients on the pictures of what score made, seen from four sides."""
    azimuths = AZIMUTHS_DEG[::2]
    prompts = [caption(spec) for spec in trials.specs]
    text = texts_of_views(trials.guidance, prompts, azimuths, ELEVATION_DEG)
    x = 2.0 * score.colour[:, ::2].to(trials.guidance.device) - 1.0
    return compare(trials.guidance, x, text, score.recipe.distillation, full)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = order.parser("full_gradient", __doc__, split="dev", judge="j1", prompts=24)
    told = "of score (default: %(default)s)"
    parser.add_argument("--steps", type=int, default=300, help=told)
    given = parser.parse_args(arguments)
    with order.mistakes(parser):
        base = replace(order.base_of(given), iterations=given.steps)
        path = order.model_of(given)
        specs = choose(given.split, given.prompts, given.seed)
        manner = Manner(slots=len(specs) if given.slots is None else given.slots)
        directory(given.judge)
    device = usual_device()
    guidance = PixelGuidance.load(path, device=device, compiled=given.compile)
    lexicon = Lexicon(Judge.load(given.judge, device))
    trials = Trials(guidance, lexicon, specs, seed=given.seed, manner=manner)
    findings = study(trials, base, given.steps)
    facts: dict[str, Any] = {
        **{name: value for name, value in vars(given).items() if name != "out"},
        "slots": manner.slots,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "unet_dtype": str(guidance.dtype),
        "guidance_digest": files.digest(path),
    }
    outcomes = [findings.score, findings.bare_score, *findings.tries, findings.full]
    shown = [findings.score, findings.full, best_of(findings.tries)]
    full_gradient_report.write(given.out, facts, outcomes, findings.comparisons, shown)


if __name__ == "__main__":
    main()
