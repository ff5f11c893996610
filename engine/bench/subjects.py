"""What a step is measured of: a model, its recipe as it is late in a run, and scenes to fill slots.

Late in a run every level of a hash grid is there and views are shaded. A model of random weights
would tear a scene apart, so that its rate is next to nothing, and the scene stays the blob it
begins as, stirred a little; the embedded model's scenes are optimised as ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float
from torch import Tensor

from engine.bench import shapes
from engine.bench.shapes import Parts
from engine.configs.fields import HashGridConfig
from engine.gang import Gang, SceneRequest
from engine.guidance import files
from engine.guidance.denoiser import load_unet
from engine.guidance.guidance import Guidance
from engine.guidance.prompts import texts_of
from engine.guidance.texts import TextEncoder
from engine.recipe import Recipe

Model = Literal["if", "sd", "primitives"]
MODELS: tuple[Model, ...] = get_args(Model)
RECIPES: dict[Model, str] = {
    "if": "dreamfusion_if",
    "sd": "dreamfusion_sd",
    "primitives": "primitives",
}
"""Of each model, unless another is asked for."""

_STIRRED = 0.02
"""How far a still scene's parameters are off where they begin."""
_ENDLESS = 10**7
"""Iterations: no scene is done while it is measured, or given up."""
PROMPTS = ("a red car", "a blue lamp with purple stand", "a green chair", "a yellow duck")
"""In words that the embedded model knows."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model on a device, and what to ask it."""

    model: Model
    recipe: Recipe
    parts: Parts
    requests: list[SceneRequest]
    """As many as there are slots at most."""

    def filled(self, guidance: Guidance, number: int, *, capture: bool) -> Gang:
        """A gang of the first so many requests."""
        gang = Gang(self.recipe, guidance, num_slots=number, capture=capture)
        for request in self.requests[:number]:
            gang.add(request)
        if is_still(self.model):
            stir(gang)
        return gang


def is_still(model: Model) -> bool:
    """Whether its scenes stay what they begin as."""
    return model != "primitives"


def subject(
    model: Model, recipe: Recipe, views: int | None, num_scenes: int, device: torch.device
) -> Subject:
    """The model's networks on the device, and scenes."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    if model == "primitives":
        found, texts = _embedded(num_scenes, device, dtype)
    else:
        found = shapes.parts(model, device, dtype=dtype)
        width = found.guidance(device).text_width
        texts = [shapes.texts(width, seed, device) for seed in range(num_scenes)]
    return Subject(
        model=model,
        recipe=late(recipe, views, is_still=is_still(model)),
        parts=found,
        requests=[
            SceneRequest(key=str(k), prompt="", seed=k, text=text) for k, text in enumerate(texts)
        ],
    )


def stir(gang: Gang) -> None:
    """Moves every parameter by a draw from [-.02, .02].

    A network that ends in zeros, as it begins, has no gradient before its last layer, and a grey
    scene before a grey backdrop is a picture of rounding alone, which an image encoder of random
    weights makes much of: a gate would compare what comes of nothing.
    """
    for name, t in gang.state().items():
        if name.startswith("parameter "):
            generator = torch.Generator(t.device).manual_seed(0)
            noise = torch.rand(t.shape, generator=generator, device=t.device)
            t.add_(_STIRRED * (2.0 * noise - 1.0))


def late(recipe: Recipe, views: int | None, *, is_still: bool) -> Recipe:
    """The recipe as it is late in a run, for ever; `is_still`: scenes hardly move."""
    field = recipe.field
    if isinstance(field, HashGridConfig):
        field = replace(field, start_level=0)
    optimiser = recipe.optimiser
    if is_still:
        optimiser = replace(optimiser, lr=(1e-9, 1e-9), warmup=0.0)
    return replace(
        recipe,
        iterations=_ENDLESS,
        views=views or recipe.views,
        field=field,
        shading=replace(recipe.shading, albedo_until=0.0),
        optimiser=optimiser,
    )


def _embedded(
    num_scenes: int, device: torch.device, dtype: torch.dtype
) -> tuple[Parts, list[torch.Tensor]]:
    texts = embedded_texts(PROMPTS, torch.device("cpu"))
    return embedded_parts(device, dtype), [texts[k % len(texts)] for k in range(num_scenes)]


def embedded_parts(device: torch.device, dtype: torch.dtype) -> Parts:
    """The embedded model's networks on the device."""
    path = files.resolve(files.PRIMITIVES)
    # diffusers' own stubs know too little of either.
    unet: Any = load_unet(path, device, dtype)
    scheduler: Any = DDPMScheduler.from_pretrained(path / "scheduler")
    return Parts(unet=unet.to(device), scheduler=scheduler)


def embedded_texts(
    prompts: Sequence[str],
    device: torch.device,
    *,
    is_viewed: bool = True,
    path: Path | None = None,
) -> list[Float[Tensor, "texts T D"]]:
    """What `Gang.add` wants of each prompt for the embedded model, or for the one at `path`; see
    `prompts.texts_of`."""
    path = path or files.resolve(files.PRIMITIVES)
    encoder = TextEncoder.load(path, device=device, dtype=torch.float32)
    return [encoder.encode(texts_of(prompt, "", is_viewed=is_viewed)) for prompt in prompts]
