"""Assets of the embedded world, optimised for a short while on the CPU, and looked at anew.

An independent eye draws each GLB from the cameras of the asset's own views; an independent reader
puts the depths of views from all around together into one cloud.
"""

import dataclasses

import numpy as np
import pytest
import torch

from engine import recipes
from engine.export import Asset, export_asset, views
from engine.gang import Gang, SceneRequest
from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.scene import Scene
from engine.showcase import optimise

from .drawing import agreement, draw, load
from .structure import parse
from .test_transforms import chamfer, cloud, meshed, transforms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PROMPTS = ["a red mushroom with white stem", "a yellow cone next to a green cube"]
RECIPE = dataclasses.replace(recipes.get("primitives_cpu"), iterations=150)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    torch.set_num_threads(2)
    guidance = PixelGuidance.load(files.resolve("primitives"), device=torch.device("cpu"))
    gang = Gang(RECIPE, guidance, num_slots=1)
    requests = [SceneRequest(key=p, prompt=p, seed=3) for p in PROMPTS]
    finished = optimise(gang, requests)
    torch.set_num_threads(1)
    found = {done.key: done.scene for done in finished if done.scene is not None}
    assert set(found) == set(PROMPTS)
    return [found[prompt] for prompt in PROMPTS]


@pytest.fixture(scope="module")
def assets(scenes: list[Scene]) -> list[Asset]:
    return [export_asset(scene, RECIPE.export, metadata={}) for scene in scenes]


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_the_glb_looks_like_the_views(assets: list[Asset], number: int, capsys):
    asset = assets[number]
    assert asset.mesh_glb is not None
    parse(asset.mesh_glb)
    loaded = load(asset.mesh_glb)
    found = [agreement(view, draw(view, loaded)) for view in asset.views]
    iou = [view.iou for view in found]
    off = float(np.mean([view.colour_error for view in found]))
    with capsys.disabled():
        print(f"\n{PROMPTS[number]}: IoU {min(iou):.3f} or more, colours off by {off:.4f}")
    assert min(iou) >= 0.9
    assert off < 0.05


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_the_depths_of_all_views_are_the_mesh(scenes: list[Scene], number: int, capsys):
    config = dataclasses.replace(RECIPE.export, cameras="sphere", num_views=24)
    points = cloud(transforms(views.render_views(scenes[number], config)))
    found = chamfer(points, meshed(scenes[number], config))
    with capsys.disabled():
        print(f"\n{PROMPTS[number]}: chamfer {100 * found:.2f} % of the box")
    assert found < 0.01
