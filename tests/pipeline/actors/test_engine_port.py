"""The real engine behind the port, with random weights of the real shape."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine import fields, recipes, slots
from engine.export.glb_reader import read
from engine.gang import FinishedScene, SceneRequest
from engine.guidance import files
from engine.scene import Scene
from pipeline.actors.engine_port import EngineSpec, Gang, load_engine


def spec(weights: Path, *, digest: str | None = None) -> EngineSpec:
    return EngineSpec(
        recipe=recipes.get("smoke").to_dict(),
        guidance=str(weights),
        guidance_digest=digest or files.digest(weights),
        num_slots=2,
        num_threads=1,
    )


def test_a_prompt_becomes_an_asset(tiny_weights: Path) -> None:
    engine = load_engine(spec(tiny_weights))
    assert engine.device == "cpu"
    gang = engine.new_gang(num_slots=2)
    for key, prompt in (("k1", "a red ball"), ("k2", "a blue ball")):
        gang.add(engine.request(key=key, prompt=prompt, negative_prompt="", seed=3))
    assert gang.num_free == 0
    finished = []
    while not finished:
        gang.step()
        finished = gang.take_finished()
    assert {scene.key for scene in finished} == {"k1", "k2"}
    assert finished[0].status in {"ok", "empty"}
    asset = engine.export(finished[0], {"prompt": "a red ball"})
    assert len(asset.views) == recipes.get("smoke").export.num_views
    assert engine.peak_memory_bytes() > 10_000_000


def test_the_glb_says_which_prompt_and_which_licence(tiny_weights: Path, tmp_path: Path) -> None:
    """A scene as it starts, which has a mesh for certain; the licence is the model card's."""
    weights = tmp_path / "weights"
    shutil.copytree(tiny_weights, weights)
    (weights / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    engine = load_engine(spec(weights))
    config = recipes.get("smoke").field
    scene = Scene(config, fields.build(config).initial(torch.tensor([0])))
    finished = SimpleNamespace(scene=scene, ready=None)
    asset = engine.export(finished, {"prompt": "a red ball"})
    assert asset.mesh_glb is not None
    assert read(asset.mesh_glb).metadata == {"prompt": "a red ball", "licence": "cc0-1.0"}


def test_other_weights_than_planned_are_refused(tiny_weights: Path) -> None:
    with pytest.raises(ValueError, match="expected weights of digest 000000000000, got"):
        load_engine(spec(tiny_weights, digest="0" * 64))


def test_a_scene_goes_on_in_another_gang_with_less_memory(tiny_weights: Path) -> None:
    """The gang may be a frugal one; the scene is the same."""
    engine = load_engine(spec(tiny_weights))
    assert engine.num_slots == 2
    steps = recipes.get("smoke").iterations

    def run(gang: Gang, num_steps: int) -> list[FinishedScene]:
        finished = []
        for _ in range(num_steps):
            gang.step()
            finished += gang.take_finished()
        return finished

    def request(checkpoint: bytes | None = None) -> SceneRequest:
        return engine.request(
            key="k", prompt="a red ball", negative_prompt="", seed=3, checkpoint=checkpoint
        )

    first = engine.new_gang(num_slots=1)
    assert first.add(request()) == 0
    run(first, 2)
    saved = first.save("k")
    assert saved.seconds == first.seconds()["k"]
    (whole,) = run(first, steps - 2)
    frugal = engine.new_gang(num_slots=1, is_frugal=True)
    with pytest.raises(ValueError, match="damaged"):
        frugal.add(request(b"what is this"))
    assert frugal.add(request(saved.to_bytes())) == 2
    (resumed,) = run(frugal, steps - 2)
    assert (resumed.status, resumed.iterations) == (whole.status, steps)
    points = torch.linspace(-0.5, 0.5, 30).view(10, 3)
    expected = whole.scene.density(points)
    torch.testing.assert_close(resumed.scene.density(points), expected, rtol=0.02, atol=1e-3)


def test_memory_decides_on_the_slots_where_it_is_asked(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fitting(recipe: object, guidance: object, *, most: int) -> int:
        asked.append((recipe, most))
        return 4

    monkeypatch.setattr(slots, "fitting", fitting)
    plain = spec(tiny_weights)
    assert load_engine(plain).num_slots == 2
    assert not asked
    assert load_engine(replace(plain, num_slots=16, measures_slots=True)).num_slots == 4
    assert asked == [(recipes.get("smoke"), 16)]
