"""The packaged weights: whole, small, and a model of the embedded world."""

import pytest
import torch
from diffusers.pipelines.deepfloyd_if.pipeline_if import IFPipeline
from safetensors.torch import load_file
from torch import Tensor

from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.guidance.prompts import view_word, with_view
from engine.primitives.backgrounds import composite
from engine.primitives.captions import caption
from engine.primitives.pictures import render_pictures
from engine.primitives.samples import binding
from engine.primitives.splits import SHARES, family
from engine.primitives.teacher import NUM_TOKENS, Teacher, TeacherConfig, build, build_tokenizer

WEIGHTS = files.resolve(files.PRIMITIVES)
NUM = 32


@pytest.fixture(scope="module")
def guidance() -> PixelGuidance:
    return PixelGuidance.load(WEIGHTS, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def known() -> tuple[Tensor, list[str]]:
    """Pictures of unseen scenes of every family, and their captions."""
    found = render_pictures(2 * NUM, 77, split="dev")
    first = {spec: row for row, spec in reversed(list(enumerate(found.specs)))}
    rows = sorted(row for row in first.values() if not found.is_textureless[row])[:NUM]
    assert len({family(found.specs[row]) for row in rows}) == len(SHARES)
    captions = [
        with_view(
            caption(found.specs[row]),
            view_word(float(found.azimuth_deg[row]), float(found.elevation_deg[row])),
        )
        for row in rows
    ]
    return found.rgba[rows], captions


def test_the_right_part_has_the_right_colour() -> None:
    pipeline = IFPipeline.from_pretrained(WEIGHTS)
    teacher = Teacher(
        unet=pipeline.unet, text_encoder=pipeline.text_encoder, tokenizer=pipeline.tokenizer
    )
    found = binding(teacher, render_pictures(3 * NUM, 78, split="dev"), seed=2)
    # Chance is one half.
    assert len(found) > NUM
    assert float(found.float().mean()) > 0.8


def test_the_files_are_complete_and_small() -> None:
    files.check(WEIGHTS)
    sizes = {path: path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 40 * 10**6
    assert max(sizes.values()) <= 15 * 2**20
    # Nothing lies there that is not loaded.
    tensors = {str(p.relative_to(WEIGHTS)) for p in sizes if p.suffix == ".safetensors"}
    assert tensors == set(files.weight_files(WEIGHTS))


@pytest.mark.parametrize("name", files.weight_files(WEIGHTS))
def test_every_weight_is_a_finite_half(name: str) -> None:
    for key, tensor in load_file(WEIGHTS / name).items():
        assert tensor.dtype == torch.float16, key
        assert bool(torch.isfinite(tensor).all()), key


def test_the_unmodified_pipeline_loads_the_very_teacher() -> None:
    pipeline = IFPipeline.from_pretrained(WEIGHTS)
    assert pipeline.unet.dtype == pipeline.text_encoder.dtype == torch.float32
    fresh = build(TeacherConfig(), seed=0)
    for network, expected in (
        (pipeline.unet, fresh.unet),
        (pipeline.text_encoder, fresh.text_encoder),
    ):
        shapes = {name: weight.shape for name, weight in network.named_parameters()}
        assert shapes == {name: weight.shape for name, weight in expected.named_parameters()}
    assert pipeline.tokenizer.get_vocab() == build_tokenizer().get_vocab()


def test_the_variance_channels_are_zero(guidance: PixelGuidance) -> None:
    text = guidance.encode(["a red car, front view"])
    answer = guidance._unet(torch.randn(1, 3, 64, 64), torch.tensor([100]), text).sample
    assert float(answer[:, 3:].abs().max()) == 0
    assert float(answer[:, :3].std()) > 0.3


class Examination:
    """Noised pictures at t in (400, 800), and the error of a guess at their noise."""

    def __init__(self, guidance: PixelGuidance, rgba: Tensor) -> None:
        self._guidance = guidance
        self._t = torch.linspace(401, 799, NUM).long()
        a = guidance.alphas_cumprod[self._t][:, None, None, None]
        x = composite(rgba)
        self._noise = torch.randn_like(x)
        self._noisy = a.sqrt() * x + (1 - a).sqrt() * self._noise

    def errors(self, captions: list[str]) -> Tensor:
        text = self._guidance.encode(captions)
        assert text.shape[1] == NUM_TOKENS
        guess = self._guidance.predict_noise(self._noisy, self._t, text)
        return (guess - self._noise).square().mean(dim=(1, 2, 3))


def test_the_true_caption_explains_a_picture_best(
    guidance: PixelGuidance, known: tuple[Tensor, list[str]]
) -> None:
    rgba, captions = known
    examination = Examination(guidance, rgba)
    one, other = captions[1:] + captions[:1], captions[7:] + captions[:7]
    assert all(a != b for a, b in zip(captions, one, strict=True))
    true = examination.errors(captions)
    false, false_too = examination.errors(one), examination.errors(other)
    # A guess of nothing has error 1.
    assert float(true.mean()) < 0.02
    assert int((true < false).sum()) >= 29
    assert int((true < false_too).sum()) >= 29
    assert float((true / false).log().mean()) < -0.3
    # Between two false captions the examination is undecided.
    assert 6 <= int((false < false_too).sum()) <= 26
