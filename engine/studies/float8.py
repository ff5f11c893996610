"""Could the U-Net run in fp8? What that rounding does to score distillation's gradient.

    python -m engine.studies.float8 --out DIR

Scenes are made by the recipe. On their pictures from four sides the gradient is taken at fixed
diffusion times by the U-Net in float32, in bfloat16, and in float32 with the operands of its
convolutions, of its dense layers or of both rounded to e4m3, as fp8 products would see them.
Reported is the mean cosine to float32's gradient. Nothing gets faster here. Writes `results.json`
and `table.md`.

Axes: N scenes, V views, T tokens, D text features, B pictures, P numbers of a picture.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float
from torch import Tensor, nn

from engine import sds
from engine.configs.distillation import DistillationConfig
from engine.evaluation.judge import Judge, directory
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.manner import Manner
from engine.evaluation.stage import AZIMUTHS_DEG, ELEVATION_DEG
from engine.evaluation.trials import Trials
from engine.guidance.denoiser import load_unet
from engine.guidance.guidance import Guidance
from engine.guidance.pixel import PixelGuidance
from engine.hardware import usual_device
from engine.primitives.captions import caption
from engine.primitives.splits import choose
from engine.studies import gradients, order
from engine.studies.report import markdown

KINDS: Mapping[str, tuple[type[nn.Module], ...]] = {
    "dense layers in fp8": (nn.Linear,),
    "convolutions in fp8": (nn.Conv2d,),
    "both in fp8": (nn.Linear, nn.Conv2d),
}

_SPARED = ("conv_in", "conv_out", "time_emb")
"""Parts of the names of layers that nobody would round: the first, the last, and the time's, which
have next to none of the arithmetic."""


class Rounded(nn.Module):
    """A layer whose weights, an output channel at a time, and inputs, a picture at a time, are
    rounded to e4m3."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        assert isinstance(layer.weight, Tensor)
        layer.weight.data = to_float8(layer.weight.data)

    def forward(self, x: Float[Tensor, "B *s"]) -> Float[Tensor, "B *t"]:
        return self.layer(to_float8(x))


def to_float8(x: Float[Tensor, "B *s"]) -> Float[Tensor, "B *s"]:
    """Each row as e4m3 has it, when its largest magnitude is scaled to the largest number there."""
    largest = torch.finfo(torch.float8_e4m3fn).max
    most = x.abs().amax(dim=tuple(range(1, x.dim())), keepdim=True)
    scale = torch.where(most > 0.0, most / largest, 1.0)
    return (x / scale).to(torch.float8_e4m3fn).to(x.dtype) * scale


def rounded(unet: Any, kinds: tuple[type[nn.Module], ...]) -> Any:
    """A copy whose layers of these kinds are `Rounded`."""
    unet = copy.deepcopy(unet)
    for name, layer in list(unet.named_modules()):
        if isinstance(layer, kinds) and not any(part in name for part in _SPARED):
            unet.set_submodule(name, Rounded(layer))
    return unet


def cosines(
    true: Guidance,
    others: Mapping[str, Guidance],
    x: Float[Tensor, "N V 3 H W"],
    text: Float[Tensor, "N V T D"],
    negative: Float[Tensor, "N V T D"],
    config: DistillationConfig,
) -> dict[str, list[float]]:
    """Mean cosine of each guidance's gradient to the true one's, at each of `gradients.TIMES`."""
    seed = torch.arange(len(x), device=x.device)

    def gradient(guidance: Guidance, time: float) -> Float[Tensor, "B P"]:
        times = torch.full(x.shape[:2], time, device=x.device)
        step = torch.zeros_like(seed)
        found = sds.picture_gradient(guidance, x, text, negative, times, seed, step, config)
        return found.flatten(0, 1).flatten(1)

    found: dict[str, list[float]] = {name: [] for name in others}
    for time in gradients.TIMES:
        expected = gradient(true, time)
        for name, guidance in others.items():
            cosine = F.cosine_similarity(gradient(guidance, time), expected, dim=-1)
            found[name].append(float(cosine.mean()))
    return found


def table(found: Mapping[str, Sequence[float]]) -> str:
    """Markdown: a line a way to round, a column a time, and the mean of all."""
    rows = []
    for name, values in found.items():
        times = zip(gradients.TIMES, values, strict=True)
        row = {f"t = {time:g}": f"{value:.4f}" for time, value in times}
        rows.append({"": name, **row, "mean": f"{sum(values) / len(values):.4f}"})
    return markdown(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = order.parser("float8", __doc__, split="dev", judge="j1", prompts=24)
    given = parser.parse_args(arguments)
    with order.mistakes(parser):
        recipe, path = order.base_of(given), order.model_of(given)
        specs = choose(given.split, given.prompts, given.seed)
        manner = Manner(slots=given.slots or len(specs), compiled=given.compile)
        directory(given.judge)
    device = usual_device()
    usual = PixelGuidance.load(path, device=device, compiled=given.compile)
    lexicon = Lexicon(Judge.load(given.judge, device))
    made = Trials(usual, lexicon, specs, seed=given.seed, manner=manner).run("scenes", recipe)
    prompts = [caption(spec) for spec in specs]
    text = gradients.texts_of_views(usual, prompts, AZIMUTHS_DEG[::2], ELEVATION_DEG)
    negative = usual.encode([""])[None].expand(text.shape)
    schedule = DDPMScheduler.from_pretrained(path / "scheduler")

    def guidance(unet: Any, dtype: torch.dtype = torch.float32) -> Guidance:
        return PixelGuidance(unet, schedule, device=device, dtype=dtype)

    unet: Any = load_unet(path, device, torch.float32)
    others = {"bfloat16": guidance(copy.deepcopy(unet), torch.bfloat16)}
    others |= {name: guidance(rounded(unet, kinds)) for name, kinds in KINDS.items()}
    x = 2.0 * made.colour[:, ::2].to(device) - 1.0
    config = replace(recipe.distillation, gradient="score")
    with Manner(is_exact=True).surroundings():
        found = cosines(guidance(unet), others, x, text, negative, config)
    given.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "recipe": recipe.name,
        "prompts": prompts,
        "seed": given.seed,
        "torch": torch.__version__,
    }
    results = {**facts, "times": gradients.TIMES, "cosines": found}
    (given.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (given.out / "table.md").write_text(table(found))
    print(table(found), flush=True)


if __name__ == "__main__":
    main()
