from pathlib import Path

import pytest
import torch

from engine.guidance import texts
from engine.guidance.latent import LatentGuidance
from engine.guidance.loading import load_guidance
from engine.guidance.pixel import PixelGuidance
from tests.tiny_latent_pipeline import write_tiny_latent_pipeline


def test_the_channels_of_the_u_net_choose_the_class(tiny_weights: Path, tmp_path: Path) -> None:
    latent = write_tiny_latent_pipeline(tmp_path / "latent")
    for path, kind in ((tiny_weights, PixelGuidance), (latent, LatentGuidance)):
        guidance = load_guidance(path, device="cpu", dtype=torch.float32)
        assert type(guidance) is kind
        assert guidance.encode(["a ball"]).shape == (1, 77, 16)


def test_without_texts_no_text_encoder_is_read(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the text encoder was read")

    monkeypatch.setattr(texts.T5EncoderModel, "from_pretrained", refuse)
    monkeypatch.setattr(texts.AutoTokenizer, "from_pretrained", refuse)
    guidance = load_guidance(tiny_weights, device="cpu", with_texts=False)
    assert guidance.size == 64
    with pytest.raises(ValueError, match="loaded without its text encoder"):
        guidance.encode(["a ball"])


def test_a_missing_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such directory; give a directory") as caught:
        load_guidance(tmp_path / "nowhere", device="cpu")
    assert "\n" not in str(caught.value)
