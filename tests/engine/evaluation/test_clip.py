"""A tiny random CLIP gives what transformers itself gives for the same pictures and texts."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from engine.evaluation import clip_files
from engine.evaluation.clip import Clip
from engine.evaluation.lexicon import Encoder
from tests.tiny_clip import NUM_TOKENS, SIZE, write_tiny_clip

TEXTS = ["a red car", "a tree, green", "b"]
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


def logits(path: Path, pictures: Tensor, mean: tuple = MEAN, std: tuple = STD) -> np.ndarray:
    """What CLIPModel.forward says, pictures along the rows."""
    model, tokenizer = CLIPModel.from_pretrained(path), CLIPTokenizer.from_pretrained(path)
    colours = [torch.tensor(values)[:, None, None] for values in (mean, std)]
    with torch.no_grad():
        said = model(
            pixel_values=(pictures - colours[0]) / colours[1],
            **tokenizer(TEXTS, padding=True, return_tensors="pt"),
        )
    return said.logits_per_image.numpy()


def test_logits_are_those_of_transformers(path: Path) -> None:
    clip = Clip.load(path, device="cpu")
    assert isinstance(clip, Encoder)
    assert clip.size == SIZE
    pictures = torch.rand(70, 3, SIZE, SIZE)
    seen, read = clip.embed_pictures(pictures), clip.embed_captions(TEXTS)
    np.testing.assert_allclose(seen.norm(dim=-1), 1.0, rtol=1e-5)
    found = clip.scale * (seen @ read.T).numpy()
    np.testing.assert_allclose(found, logits(path, pictures), rtol=1e-4, atol=1e-4)
    assert found.std() > 0.1, "the oracle could not tell a wrong picture"


def test_a_model_s_own_colours_are_used(path: Path, tmp_path: Path) -> None:
    own = {"image_mean": [0.1, 0.5, 0.2], "image_std": [0.5, 0.25, 1.0]}
    for file in path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    clip, pictures = Clip.load(tmp_path, device="cpu"), torch.rand(2, 3, SIZE, SIZE)
    found = clip.scale * (clip.embed_pictures(pictures) @ clip.embed_captions(TEXTS).T).numpy()
    expected = logits(path, pictures, (0.1, 0.5, 0.2), (0.5, 0.25, 1.0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_larger_pictures_are_brought_to_size(path: Path) -> None:
    clip = Clip.load(path, device="cpu")
    slope = torch.linspace(0.0, 1.0, SIZE)[None, None, None].expand(1, 3, SIZE, SIZE)
    steep = torch.linspace(0.0, 1.0, 2 * SIZE)[None, None, None].expand(1, 3, 2 * SIZE, -1)
    together = clip.embed_pictures(slope) @ clip.embed_pictures(steep).T
    noise = clip.embed_pictures(torch.rand(1, 3, SIZE, SIZE)) @ clip.embed_pictures(steep).T
    assert float(together) > 0.99 > float(noise)


def test_a_caption_beyond_the_window_is_cut_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = Clip.load(path, device="cpu")
    cut = "a b c d e f g h i j k l m n o p q r s t u v"
    assert len(cut.split()) + 2 == NUM_TOKENS
    with caplog.at_level(logging.WARNING, "engine.evaluation.clip"):
        fits, beyond, _ = clip.embed_captions([cut, f"{cut} w x y z", f"{cut} z"])
    torch.testing.assert_close(fits, beyond)
    assert [record.getMessage()[:22] for record in caplog.records] == ["cut to 24 of 28 tokens"]


def test_files_are_checked_in_one_line(path: Path, tmp_path: Path) -> None:
    def fails(match: str) -> None:
        with pytest.raises(ValueError, match=match) as caught:
            clip_files.check(tmp_path / "x")
        assert "\n" not in str(caught.value)

    fails("no such directory")
    (tmp_path / "x").mkdir()
    fails(r"missing: .*config\.json")
    config = tmp_path / "x/config.json"
    config.write_text("[")
    fails("not JSON")
    config.write_text("[]")
    fails("expected a JSON object")
    config.write_text('{"model_type": "siglip"}')
    fails("type 'clip', got 'siglip'")
    config.write_text('{"model_type": "clip"}')
    fails(r"missing: .*tokenizer\.json")
    (tmp_path / "x/vocab.json").write_text("{}")
    (tmp_path / "x/merges.txt").write_text("")
    fails(r"missing: .*model\.safetensors; only safetensors")
    (tmp_path / "x/model.safetensors.index.json").write_text("{}")
    fails("expected a weight_map")
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (tmp_path / "x/model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "x/model-1-of-2.safetensors").write_bytes(b"1")
    fails("model-2-of-2")
    (tmp_path / "x/model-2-of-2.safetensors").write_bytes(b"2")
    clip_files.check(tmp_path / "x")
    clip_files.check(path)


def test_the_digest_is_of_the_weights(path: Path, tmp_path: Path) -> None:
    first = clip_files.digest(path)
    again = clip_files.digest(write_tiny_clip(tmp_path / "again"))
    other = clip_files.digest(write_tiny_clip(tmp_path / "other", seed=1))
    assert first == again != other


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("config.json", True),
        ("model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("pytorch_model.bin", False),
        ("onnx/model.onnx", False),
        ("open_clip_model.safetensors", False),
    ],
)
def test_files_of_use_are_told_by_their_names(name: str, expected: bool) -> None:
    assert clip_files.wanted(name) == expected
