"""The real engine behind the port, with random weights of the real shape."""

from pathlib import Path

import pytest

from engine import recipes
from engine.guidance import files
from pipeline.engine_port import EngineSpec, load_engine


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
    gang = engine.new_gang()
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


def test_other_weights_than_planned_are_refused(tiny_weights: Path) -> None:
    with pytest.raises(ValueError, match="expected weights of digest 000000000000, got"):
        load_engine(spec(tiny_weights, digest="0" * 64))
