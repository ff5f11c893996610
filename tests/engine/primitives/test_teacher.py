import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.deepfloyd_if.pipeline_if import IFPipeline
from safetensors.torch import load_file
from torch import nn

from engine.guidance import files
from engine.guidance.pixel import PixelGuidance
from engine.guidance.prompts import VIEWS, with_view
from engine.primitives import teacher as teachers
from engine.primitives.captions import colourless_forms, forms, vocabulary
from engine.primitives.grammar import geometries, specs
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.splits import choose
from engine.primitives.teacher import (
    NUM_TOKENS,
    Teacher,
    TeacherConfig,
    build,
    build_scheduler,
    build_tokenizer,
    encode,
    save,
    tokenize,
)
from engine.primitives.truth import true_views
from tests.engine.primitives.tiny import SIZES

CAPTION = "a red mushroom with white stem, side view"


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    """A tiny untrained one whose last layer is random instead of zero."""
    made = build(SIZES, seed=1)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        made.unet.conv_out.weight.normal_(std=0.1)
    return made


@pytest.fixture(scope="module")
def saved(teacher: Teacher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher")
    save(teacher, path)
    return path


def test_each_word_is_one_token_in_the_vocabulary_s_order() -> None:
    tokenizer = build_tokenizer()
    words = ["<pad>", "</s>", "<unk>", *vocabulary()]
    assert tokenizer.get_vocab() == {word: place for place, word in enumerate(words)}
    ids = tokenizer(CAPTION)["input_ids"]
    expected = ["a", "red", "mushroom", "with", "white", "stem", ",", "side", "view", "</s>"]
    assert tokenizer.convert_ids_to_tokens(ids) == expected


def test_every_caption_of_the_world_is_known() -> None:
    tokenizer = build_tokenizer()
    texts = [
        with_view(words, view) for spec in specs()[::40] for words in forms(spec) for view in VIEWS
    ]
    texts += [words for geometry in geometries() for words in colourless_forms(geometry)]
    unknown = tokenizer.get_vocab()["<unk>"]
    assert not (tokenize(tokenizer, texts) == unknown).any()
    # The check can fail.
    assert (tokenize(tokenizer, ["a red unicorn"]) == unknown).sum() == 1


def test_tokens_are_padded_and_a_text_said_twice_is_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = build_tokenizer()
    found = tokenize(tokenizer, [CAPTION, "", CAPTION])
    assert found.shape == (3, NUM_TOKENS)
    assert torch.equal(found[0], found[2])
    number = tokenizer.get_vocab()
    assert found[1].tolist() == [number["</s>"]] + [number["<pad>"]] * (NUM_TOKENS - 1)
    for row, text in enumerate((CAPTION, "", CAPTION)):
        assert torch.equal(found[row], tokenize(tokenizer, [text])[0])


def test_a_teacher_is_a_pure_function_of_its_sizes_and_seed() -> None:
    before = torch.get_rng_state()
    first, again, other = build(SIZES, 4), build(SIZES, 4), build(SIZES, 5)
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in first.unet.named_parameters():
        assert torch.equal(weight, again.unet.get_parameter(name))
    assert torch.equal(first.text_encoder.shared.weight, again.text_encoder.shared.weight)
    assert not torch.equal(first.text_encoder.shared.weight, other.text_encoder.shared.weight)


@torch.no_grad()
def test_an_untrained_teacher_answers_zero() -> None:
    made = build(SIZES, seed=0)
    text = encode(made.text_encoder, tokenize(made.tokenizer, [CAPTION]))
    answer = made.unet(torch.randn(1, 3, 16, 16), torch.tensor([500]), text).sample
    assert answer.shape == (1, 6, 16, 16)
    assert float(answer.abs().max()) == 0


@pytest.mark.parametrize(
    "changes", [{"channels": (32, 64)}, {"channels": (32, 48, 64)}, {"head_width": 5}]
)
def test_impossible_sizes_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="channels must be at least 3 widths divisible by"):
        replace(TeacherConfig(), **changes)


@torch.no_grad()
def test_encode_equals_the_stock_masked_call(teacher: Teacher) -> None:
    tokens = tokenize(teacher.tokenizer, [CAPTION, "", "a blue cube"])
    mask = (tokens != teacher.tokenizer.get_vocab()["<pad>"]).long()
    expected = teacher.text_encoder(input_ids=tokens, attention_mask=mask)[0]
    torch.testing.assert_close(encode(teacher.text_encoder, tokens), expected)
    # The mask matters: without one the padding would be attended.
    bare = teacher.text_encoder(input_ids=tokens, attention_mask=torch.ones_like(mask))[0]
    assert not torch.allclose(bare[0, :5], expected[0, :5], atol=1e-3)


def test_the_schedule_is_a_cosine_with_four_times_the_noise() -> None:
    scheduler = build_scheduler()
    assert scheduler.config["num_train_timesteps"] == len(scheduler.alphas_cumprod) == 1000
    kept = scheduler.alphas_cumprod.double()
    t = torch.arange(1, 1001, dtype=torch.float64) / 1001
    plain = (t * torch.pi / 2).cos().square()
    # Signal to noise, as logarithms: the plain cosine's less 2 log 4.
    found, expected = torch.logit(kept), torch.logit(plain) - 2 * math.log(4)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)
    assert float(kept[-1]) < 1e-6


@torch.no_grad()
def test_an_ideal_observer_needs_the_caption_above_four_fifths_and_not_below_half() -> None:
    specs = [spec for spec in choose("dev", 24, seed=2) if len(spec.colours) > 1][:12]
    proportions = torch.full((len(specs), NUM_PROPORTIONS), 0.5)
    sides = torch.tensor([30.0])
    pictures = [
        true_views(chosen, proportions, sides, 20.0, textureless=False, size=64, device="cpu")
        for chosen in (specs, [spec.swapped() for spec in specs])
    ]
    own, other = (2 * rgba[:, 0, :3] * rgba[:, 0, 3:] for rgba in pictures)
    apart = (own - other).square().sum((1, 2, 3)).sqrt()
    kept = build_scheduler().alphas_cumprod
    # Of two known pictures in white noise the right one is told by a chance of Phi(d' / 2).
    sensitivity = (kept / (1 - kept)).sqrt()[:, None] * apart
    chance = torch.special.ndtr(sensitivity / 2).median(dim=1).values
    assert float(chance[500]) > 0.999
    assert float(chance[800]) < 0.99
    assert float(chance[900]) < 0.8


@torch.no_grad()
def test_a_saved_teacher_is_the_same_for_the_unmodified_pipeline(
    teacher: Teacher, saved: Path
) -> None:
    pipeline = IFPipeline.from_pretrained(saved)
    assert pipeline.scheduler.config["prediction_type"] == "v_prediction"
    text, _ = pipeline.encode_prompt(CAPTION, False, device=torch.device("cpu"))
    mine = encode(teacher.text_encoder, tokenize(teacher.tokenizer, [CAPTION]))
    # Saved in half precision.
    torch.testing.assert_close(text.float(), mine, atol=0.01, rtol=0.01)
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([400])
    answer, expected = pipeline.unet(x, t, mine).sample, teacher.unet(x, t, mine).sample
    assert float(expected.abs().mean()) > 0.05
    torch.testing.assert_close(answer, expected, atol=0.01, rtol=0.01)


def test_a_saved_teacher_is_sampled_by_the_unmodified_pipeline(saved: Path) -> None:
    pipeline = IFPipeline.from_pretrained(saved)
    # transformers and diffusers agree on the precision without being told.
    assert pipeline.unet.dtype == pipeline.text_encoder.dtype == torch.float32
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    (pictures, *_) = pipeline(
        prompt=CAPTION,
        num_inference_steps=2,
        output_type="pt",
        generator=generator,
        return_dict=False,
    )
    assert isinstance(pictures, torch.Tensor)
    assert pictures.shape == (1, 3, 16, 16)
    assert bool(torch.isfinite(pictures).all())
    assert float(pictures.std()) > 0.01


def test_a_saved_teacher_serves_as_guidance(teacher: Teacher, saved: Path) -> None:
    guidance = PixelGuidance.load(saved, device="cpu", dtype=torch.float32)
    assert guidance.size == SIZES.size
    text = guidance.encode([CAPTION])
    mine = encode(teacher.text_encoder, tokenize(teacher.tokenizer, [CAPTION]))
    torch.testing.assert_close(text, mine, atol=0.01, rtol=0.01)


def test_saving_halves_the_files_and_not_the_teacher(teacher: Teacher, saved: Path) -> None:
    for network in (teacher.unet, teacher.text_encoder):
        assert isinstance(network, nn.Module)
        assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    for name in files.weight_files(saved):
        assert {tensor.dtype for tensor in load_file(saved / name).values()} == {torch.float16}


def test_a_large_teacher_is_cut_into_shards(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.fullmatch(r"\d+MB", teachers.MAX_SHARD_SIZE)
    assert int(teachers.MAX_SHARD_SIZE[:-2]) * 10**6 <= 15 * 2**20
    monkeypatch.setattr(teachers, "MAX_SHARD_SIZE", "100KB")
    save(teacher, tmp_path)
    shards = [name for name in files.weight_files(tmp_path) if name.startswith("unet/")]
    assert len(shards) > 1
    files.check(tmp_path)
    PixelGuidance.load(tmp_path, device="cpu", dtype=torch.float32)
