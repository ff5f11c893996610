"""The promise of the demonstration, measured: a text becomes its object, seen from all sides."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from engine import recipes
from engine.export import Asset, export_asset
from engine.gang import Gang, SceneRequest
from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.guidance.prompts import view_word, with_view
from engine.primitives.grammar import KINDS, Spec, caption
from engine.showcase import optimise

TIMES = (400, 600)


def most_likely_kind(guidance: PixelGuidance, x: torch.Tensor, view: str, colour: str) -> str:
    """The kind whose caption predicts the noise in a picture best, among all of the grammar."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    captions = [with_view(caption(Spec(kind, (colour,))), view) for kind in KINDS]
    text = guidance.encode(captions)
    errors = torch.zeros(len(KINDS))
    for t in TIMES:
        a = guidance.alphas_cumprod[t]
        noisy = (a.sqrt() * x + (1 - a).sqrt() * noise).expand(len(KINDS), -1, -1, -1)
        guess = guidance.predict_noise(noisy, torch.full((len(KINDS),), t), text)
        errors += (guess - noise).square().mean(dim=(1, 2, 3))
    return KINDS[int(errors.argmin())]


def picture(asset: Asset, index: int) -> torch.Tensor:
    """A view on grey, at the diffusion model's size, in [-1, 1]."""
    colours = Image.open(io.BytesIO(asset.views[index].image)).convert("RGBA")
    ground = Image.new("RGBA", colours.size, (128, 128, 128, 255))
    shown = Image.alpha_composite(ground, colours).convert("RGB").resize((64, 64))
    pixels = torch.from_numpy(np.asarray(shown).copy()).permute(2, 0, 1)
    return pixels.float()[None] / 127.5 - 1.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_prompt_becomes_its_object_from_all_sides() -> None:
    torch.set_num_threads(2)
    recipe = recipes.get("primitives_cpu")
    guidance = PixelGuidance.load(files.resolve(recipe.guidance), device="cpu")
    gang = Gang(recipe, guidance, num_slots=1)
    (car,) = optimise(gang, [SceneRequest(key="car", prompt="a purple car", seed=0)])
    assert car.status == "ok"
    export = dataclasses.replace(recipe.export, turntable_frames=4)
    asset = export_asset(car.scene, export, metadata={})
    assert asset.mesh_status == "ok"
    assert len(asset.views) == recipe.export.num_views
    found = [
        most_likely_kind(
            guidance, picture(asset, k), view_word(view.azimuth_deg, view.elevation_deg), "purple"
        )
        for k, view in enumerate(asset.views)
    ]
    # Chance is 1 of 28 for each view.
    assert found.count("car") > len(found) // 2, found
