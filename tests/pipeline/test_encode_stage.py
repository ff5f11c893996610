"""From manifest to dataset with an encode stage, on a real cluster with the real engine."""

import json
import subprocess
from pathlib import Path

from engine import recipes
from tests.clusters import Head
from tests.pipeline.runs import dreambatch, rows, summary, write_hollow_weights, write_manifest
from tests.tiny_latent_pipeline import write_tiny_latent_pipeline


def run(
    head: Head, tmp_path: Path, weights: Path, *more: object
) -> subprocess.CompletedProcess[str]:
    manifest = write_manifest(
        tmp_path / "m.parquet",
        ["a red ball", "a blue ball", "a red ball"],
        negative_prompt=["", "ugly", ""],
        seed=[1, 2, 3],
    )
    common = ["--guidance", weights, "--metrics-port", 0, "--slots", 1]
    words = ["run", "--manifest", manifest, "--output", tmp_path / "out", *common, *more]
    return dreambatch(*words, environment=head.environment(), engine="real")


def test_prompts_become_assets_and_no_embedding_is_left(ray_head: Head, tmp_path: Path) -> None:
    """In latent space, with everything on that asks for more texts than one; for pixels see
    test_ray_job."""
    weights = write_tiny_latent_pipeline(tmp_path / "weights")
    recipe = recipes.get("smoke").to_dict()
    recipe["distillation"] |= {"perp_neg": True, "prompt_views": "interpolated", "clamp": 1.0}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    stale = tmp_path / "out" / "_embeddings" / "stale"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of a run that was killed")
    done = run(ray_head, tmp_path, weights, "--recipe", tmp_path / "recipe.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(tmp_path / "out", "guidance", "negative_prompt", "seed")
    assert {(row["prompt"], row["seed"]) for row in found} == {
        ("a blue ball", 2),
        ("a red ball", 1),
        ("a red ball", 3),
    }
    assert {row["guidance"] for row in found} == {str(weights)}
    assert summary(tmp_path / "out")["exit_code"] == 0
    assert not (tmp_path / "out" / "_embeddings").exists()


def test_a_text_encoder_that_cannot_be_loaded_ends_the_run(ray_head: Head, tmp_path: Path) -> None:
    weights = write_hollow_weights(tmp_path / "weights")
    done = run(ray_head, tmp_path, weights, "--recipe", "smoke")
    assert done.returncode == 1, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "the text encoder cannot be loaded: " in said or "no actor is left to work: " in said
    assert not (tmp_path / "out" / "_failures").exists()
