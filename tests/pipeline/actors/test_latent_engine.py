"""The real engine under an actor's threads, with what the smallest recipe has not: latents, a model
that predicts v, a hash grid in bands, shading and a background that is trained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from engine import recipes
from engine.configs.fields import HashGridConfig
from engine.guidance import files
from engine.scene import Scene
from pipeline.actors.checkpointing import Checkpointing
from pipeline.actors.engine_port import EngineSpec, load_engine, load_texts, texts_asked
from pipeline.actors.publisher import Publisher
from pipeline.actors.worker import Worker
from pipeline.records import Attempt
from tests.pipeline.sample_assets import open_store, sample_task
from tests.tiny_latent_pipeline import write_tiny_latent_pipeline

PROMPTS = ("a red ball", "a blue ball")
STEPS = 8


def write_recipe(path: Path) -> Path:
    """`dreamfusion_sd`, cut to a few steps at the sizes of `smoke`."""
    whole, small = recipes.get("dreamfusion_sd"), recipes.get("smoke")
    field = whole.field
    assert isinstance(field, HashGridConfig)
    cut = replace(
        whole,
        iterations=STEPS,
        views=2,
        render_size=small.render_size,
        field=replace(
            field, num_levels=4, log2_size=9, finest_resolution=40, hidden=8, start_level=2
        ),
        march=small.march,
        background=replace(whole.background, width=8),
        export=small.export,
    )
    path.write_text(json.dumps(cut.to_dict()))
    return path


def attempt(number: int, prompt: str) -> Attempt:
    task = sample_task(number, prompt=prompt)
    return Attempt(task=task, attempt_id=f"{number:032x}", number=1, seed=number)


def spec_of(tmp_path: Path, prediction: Literal["epsilon", "v_prediction"]) -> EngineSpec:
    path = write_tiny_latent_pipeline(tmp_path / prediction, prediction_type=prediction)
    return EngineSpec(
        recipe=recipes.find(str(write_recipe(tmp_path / "recipe.json"))).to_dict(),
        guidance=str(path),
        guidance_digest=files.digest(path),
        num_slots=2,
        num_threads=1,
        has_text_encoder=False,
    )


def made(tmp_path: Path, prediction: Literal["epsilon", "v_prediction"]) -> dict[str, Any]:
    """Two assets' rows by prompt, of a worker with a gang of two and texts embedded elsewhere."""
    spec = spec_of(tmp_path, prediction)
    attempts = [attempt(k, prompt) for k, prompt in enumerate(PROMPTS)]
    texts = load_texts(spec).encode([texts_asked(spec, a.task.prompt) for a in attempts])
    store = open_store(str(tmp_path / f"{prediction} assets"))
    engine = load_engine(spec)
    worker = Worker(engine, Publisher(engine, store), Checkpointing(store, every_seconds=None))
    try:
        futures = [worker.submit(a, text=text) for a, text in zip(attempts, texts, strict=True)]
        outcomes = [future.result(timeout=60) for future in futures]
    finally:
        worker.stop()
    assert [(o.status, o.message) for o in outcomes] == [("committed", None)] * 2
    assert all(np.isfinite(value) for o in outcomes for value in o.losses.values())
    tables = store.read_assets([o.asset_id for o in outcomes], ["prompt", "iterations", "field"])
    return {row["prompt"]: row for table in tables for row in table.to_pylist()}


def test_scenes_of_a_model_that_predicts_v(tmp_path: Path) -> None:
    """And what it says is not taken for noise: one of the same weights that predicts noise makes
    another scene."""
    rows = made(tmp_path, "v_prediction")
    assert set(rows) == set(PROMPTS)
    scenes = [Scene.from_bytes(rows[prompt]["field"]) for prompt in PROMPTS]
    for prompt, scene in zip(PROMPTS, scenes, strict=True):
        assert rows[prompt]["iterations"] == STEPS
        assert "tables" in scene._parameters
    x = torch.linspace(-0.5, 0.5, 300).view(100, 3)
    assert not torch.allclose(scenes[0].albedo(x), scenes[1].albedo(x), atol=1e-3)
    other = Scene.from_bytes(made(tmp_path, "epsilon")[PROMPTS[0]]["field"])
    assert not torch.allclose(scenes[0].albedo(x), other.albedo(x), atol=1e-3)


def test_a_frugal_gang_keeps_no_activations(tmp_path: Path) -> None:
    """The encoder sees a picture at a time, and again on the way back; else all of them, once."""
    spec = spec_of(tmp_path, "epsilon")
    engine: Any = load_engine(spec)
    (text,) = load_texts(spec).encode([texts_asked(spec, attempt(0, PROMPTS[0]).task.prompt)])
    seen: list[int] = []
    engine._guidance._vae.encoder.register_forward_hook(lambda _, x, __: seen.append(len(x[0])))
    for is_frugal, pictures in ((True, [1, 1, 1, 1]), (False, [2])):
        gang = engine.new_gang(num_slots=1, is_frugal=is_frugal)
        gang.add(engine.request(key="a", prompt="", negative_prompt="", seed=1, text=text))
        seen.clear()
        gang.step()
        assert seen == pictures
