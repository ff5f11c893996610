from pathlib import Path

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from engine.guidance.pixel import PixelGuidance
from engine.guidance.texts import TextEncoder
from tests.tiny_latent_pipeline import WIDTH, write_tiny_latent_pipeline


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_latent_pipeline(tmp_path_factory.mktemp("latent") / "model")


def test_clip_embeds_as_the_unmodified_pipeline_does(weights: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(weights)
    texts = TextEncoder.load(weights, device="cpu")
    for prompt in ("a red ball, side view", "A Red BALL", "", "ball " * 90):
        expected, _ = pipeline.encode_prompt(prompt, torch.device("cpu"), 1, False)
        found = texts.encode([prompt])
        assert found.shape == (1, 77, WIDTH)
        torch.testing.assert_close(found, expected)


def test_a_text_side_alone_embeds_as_the_whole_model_does(tiny_weights: Path) -> None:
    prompts = ["a red ball, front view", ""]
    whole = PixelGuidance.load(tiny_weights, device="cpu", dtype=torch.float32)
    alone = TextEncoder.load(tiny_weights, device="cpu")
    assert torch.equal(alone.encode(prompts), whole.encode(prompts))


def test_a_missing_file_is_reported(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such directory"):
        TextEncoder.load(tmp_path / "nowhere", device="cpu")
