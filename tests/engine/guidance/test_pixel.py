import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deepfloyd_if.pipeline_if import IFPipeline

from engine import sds
from engine.configs.distillation import DistillationConfig
from engine.gang import Gang, SceneRequest
from engine.guidance.pixel import PixelGuidance
from engine.philox import Purpose, normal
from tests.engine.test_gang import assert_identical, recipe
from tests.tiny_pipeline import WIDTH, WORDS, write_tiny_pipeline


@pytest.fixture(scope="module")
def guidance(tiny_weights: Path) -> PixelGuidance:
    return PixelGuidance.load(tiny_weights, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def unet(tiny_weights: Path) -> UNet2DConditionModel:
    """The U-Net as diffusers alone loads it."""
    return UNet2DConditionModel.from_pretrained(tiny_weights / "unet").eval()


def question(num: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.randn(num, 3, 64, 64),
        torch.tensor([3, 500, 999])[:num],
        torch.randn(num, 77, WIDTH),
    )


def test_what_the_distillation_asks_about_the_model(guidance: PixelGuidance) -> None:
    assert guidance.size == 64
    assert guidance.device == torch.device("cpu")
    assert guidance.alphas_cumprod.shape == (1000,)
    assert (guidance.alphas_cumprod.diff() < 0).all()


def test_noise_is_the_first_three_channels_of_the_u_net(
    guidance: PixelGuidance, unet: UNet2DConditionModel
) -> None:
    x_t, t, text = question()
    noise = guidance.predict_noise(x_t, t, text)
    for k in range(3):
        with torch.no_grad():
            everything = unet(x_t[k : k + 1], t[k], text[k : k + 1]).sample
        assert everything.shape == (1, 6, 64, 64)
        torch.testing.assert_close(noise[k], everything[0, :3], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(noise[k], everything[0, 3:], atol=0.01)


def test_the_text_matters(guidance: PixelGuidance) -> None:
    x_t, t, text = question()
    other = guidance.predict_noise(x_t, t, text + 1)
    assert not torch.allclose(guidance.predict_noise(x_t, t, text), other, atol=1e-3)


def test_only_pictures_that_want_a_gradient_are_differentiated(guidance: PixelGuidance) -> None:
    x_t, t, text = question()
    assert not guidance.encode(["a red ball"]).requires_grad
    assert not guidance.predict_noise(x_t, t, text).requires_grad
    noise = guidance.predict_noise(x_t.requires_grad_(), t, text)
    (gradient,) = torch.autograd.grad(noise.square().sum(), x_t)
    assert gradient.abs().max() > 0


@pytest.fixture(scope="module")
def v_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pipeline, its U-Net's answer understood as v."""
    return write_tiny_pipeline(tmp_path_factory.mktemp("v"), prediction_type="v_prediction")


@pytest.mark.parametrize("t", [(0, 1, 2), (999, 999, 999), (3, 500, 999), (700,)])
def test_v_becomes_noise_by_the_schedule_that_noised_the_pictures(
    v_weights: Path, unet: UNet2DConditionModel, t: tuple[int, ...]
) -> None:
    guidance = PixelGuidance.load(v_weights, device="cpu", dtype=torch.float32)
    x_t, _, text = question(len(t))
    noise = guidance.predict_noise(x_t, torch.tensor(t), text)
    for k, step in enumerate(t):
        with torch.no_grad():
            v = unet(x_t[k : k + 1], step, text[k : k + 1]).sample[0, :3]
        expected = noise_of_v(v.double().numpy(), x_t[k].double().numpy(), step)
        np.testing.assert_allclose(noise[k].numpy(), expected, rtol=1e-4, atol=1e-5)


def cosine_schedule() -> list[float]:
    """alpha_t^2 by Nichol and Dhariwal, arXiv 2102.09672, eq. 17: a product of clipped steps."""

    def bar(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    alpha_squared, product = [], 1.0
    for k in range(1000):
        product *= 1 - min(1 - bar((k + 1) / 1000) / bar(k / 1000), 0.999)
        alpha_squared.append(product)
    return alpha_squared


def noise_of_v(v: np.ndarray, x_t: np.ndarray, step: int) -> np.ndarray:
    """eps of every pixel, solved from x_t = alpha x + sigma eps and v = alpha eps - sigma x."""
    alpha, sigma = math.sqrt(cosine_schedule()[step]), math.sqrt(1 - cosine_schedule()[step])
    known = np.stack([x_t.ravel(), v.ravel()])
    return np.linalg.solve([[alpha, sigma], [-sigma, alpha]], known)[1].reshape(v.shape)


def test_v_is_converted_in_float32_whatever_the_u_net_s_precision(v_weights: Path) -> None:
    guidance = PixelGuidance.load(v_weights, device="cpu", dtype=torch.bfloat16)
    _, t, text = question()
    # Where all is noise, the noise is x_t itself, to float32's precision and not bfloat16's.
    x_t = torch.randn(3, 3, 64, 64)
    noise = guidance.predict_noise(x_t, torch.full_like(t, 999), text)
    assert noise.dtype == torch.float32
    torch.testing.assert_close(noise, x_t, rtol=0, atol=1e-3)
    assert guidance.predict_noise(x_t.requires_grad_(), t, text).requires_grad


def test_a_u_net_of_three_channels_serves_as_well(tmp_path: Path) -> None:
    path = write_tiny_pipeline(tmp_path, out_channels=3)
    guidance = PixelGuidance.load(path, device="cpu", dtype=torch.float32)
    assert guidance.predict_noise(*question()).shape == (3, 3, 64, 64)


def test_bfloat16_agrees_and_answers_in_float32(
    tiny_weights: Path, guidance: PixelGuidance
) -> None:
    rounded = PixelGuidance.load(tiny_weights, device="cpu", dtype=torch.bfloat16)
    x_t, t, text = question()
    noise, exact = rounded.predict_noise(x_t, t, text), guidance.predict_noise(x_t, t, text)
    assert noise.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(noise.flatten(), exact.flatten(), dim=0)
    assert float(cosine) > 0.999
    assert not torch.equal(noise, exact)


@pytest.mark.parametrize("faster", [torch.float32, torch.bfloat16])
def test_the_dtype_is_the_one_measured_to_be_faster(
    tiny_weights: Path,
    guidance: PixelGuidance,
    faster: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[torch.dtype] = []
    honest = PixelGuidance.predict_noise

    def predict(self: PixelGuidance, *question: torch.Tensor) -> torch.Tensor:
        asked.append(self.dtype)
        return honest(self, *question)

    def clock() -> float:
        """Seconds that pass only while the slower one is asked."""
        return float(sum(dtype != faster for dtype in asked))

    monkeypatch.setattr(PixelGuidance, "predict_noise", predict)
    monkeypatch.setattr("engine.guidance.denoiser.time.perf_counter", clock)
    chosen = PixelGuidance.load(tiny_weights, device="cpu")
    assert set(asked) == {torch.float32, torch.bfloat16}
    assert chosen.dtype == faster
    if faster == torch.float32:
        # To the bit: measuring bfloat16 has not rounded the weights.
        asked_again = question()
        expected = guidance.predict_noise(*asked_again)
        assert torch.equal(chosen.predict_noise(*asked_again), expected)


@pytest.mark.parametrize(
    "prompts", [[""], ["a red ball, front view"], ["a", "a blue ball", "words never heard"]]
)
def test_texts_are_padded_to_77_tokens(guidance: PixelGuidance, prompts: list[str]) -> None:
    assert guidance.encode(prompts).shape == (len(prompts), 77, WIDTH)


def test_a_text_that_is_cut_is_warned_of(
    guidance: PixelGuidance, caplog: pytest.LogCaptureFixture
) -> None:
    guidance.encode(["red " * 20])
    assert not caplog.messages
    guidance.encode(["red " * 200])
    assert "cut to 77 of 20" in caplog.text


def test_a_sentencepiece_tokenizer_as_if_has_it_is_loaded(tmp_path: Path) -> None:
    path = write_tiny_pipeline(tmp_path / "weights")
    (path / "tokenizer/tokenizer.json").unlink()
    (tmp_path / "text").write_text("a b ab ba\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(path / "tokenizer/spiece"),
        vocab_size=7,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    (path / "tokenizer/tokenizer_config.json").write_text(json.dumps(config))
    text = PixelGuidance.load(path, device="cpu", dtype=torch.float32).encode(["a", "b"])
    assert text.shape == (2, 77, WIDTH)
    assert not torch.equal(text[0], text[1])


def test_a_text_too_long_is_cut_to_77_tokens(guidance: PixelGuidance) -> None:
    assert guidance.encode(["red ball " * 100]).shape == (1, 77, WIDTH)


def test_texts_are_embedded_as_the_unmodified_pipeline_embeds_them(
    tiny_weights: Path, guidance: PixelGuidance
) -> None:
    pipeline = IFPipeline.from_pretrained(tiny_weights)
    for prompt in ("a red ball, side view", " A Red BALL ", "", "ball " * 90):
        expected, _ = pipeline.encode_prompt(prompt, False, device=torch.device("cpu"))
        torch.testing.assert_close(guidance.encode([prompt]), expected)


def test_a_text_is_the_same_in_any_company(guidance: PixelGuidance) -> None:
    together = guidance.encode(["a", "a red ball, front view", ""])
    torch.testing.assert_close(together[1], guidance.encode(["a red ball, front view"])[0])


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_the_full_gradient_is_the_slope_of_the_loss_through_a_u_net(
    prediction: str, tiny_weights: Path, v_weights: Path
) -> None:
    path = v_weights if prediction == "v" else tiny_weights
    guidance = PixelGuidance.load(path, device="cpu", dtype=torch.float32)
    config = DistillationConfig(scale=2.0, weighting="uniform", gradient="full")
    x = torch.rand(1, 1, 3, 64, 64) * 2 - 1
    text, negative = torch.randn(2, 1, 1, 77, WIDTH)
    seed, step = torch.tensor([3]), torch.tensor([8])
    time = torch.tensor([[0.5005]])
    eps = normal(seed, step, Purpose.NOISE, (1, 3, 64, 64))[:, 0]
    alpha = math.sqrt(cosine_schedule()[500])

    def loss(shift: float) -> float:
        z = alpha * (x + shift * direction)[:, 0] + math.sqrt(1 - alpha**2) * eps
        with torch.no_grad():
            unguided, asked = (
                guidance.predict_noise(z, torch.tensor([500]), words[:, 0]).double()
                for words in (negative, text)
            )
        return float((unguided + 2.0 * (asked - unguided) - eps).square().sum() / 2)

    gradient = sds.picture_gradient(guidance, x, text, negative, time, seed, step, config)
    # Along itself: there the slope stands out from the loss's rounding in single precision.
    direction = gradient / gradient.square().mean().sqrt()
    expected = (loss(3e-3) - loss(-3e-3)) / 6e-3
    assert expected > 100.0
    np.testing.assert_allclose(float((gradient * direction).sum()), expected, rtol=1e-3)


def test_another_prediction_type_is_refused(tmp_path: Path) -> None:
    path = write_tiny_pipeline(tmp_path, prediction_type="sample")
    with pytest.raises(ValueError, match=r"expected prediction_type epsilon or .*, got 'sample'"):
        PixelGuidance.load(path, device="cpu")


def test_a_compiled_u_net_is_asked_for(
    tiny_weights: Path, guidance: PixelGuidance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compile_nothing(
        model: torch.nn.Module, options: dict[str, bool], dynamic: bool
    ) -> Callable:
        assert options == {"force_layout_optimization": False}
        assert not dynamic

        def compiled(*question: torch.Tensor) -> object:
            asked.append(len(question))
            return model(*question)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_nothing)
    for is_compiled in (False, True):
        loaded = PixelGuidance.load(
            tiny_weights, device="cpu", dtype=torch.float32, compiled=is_compiled
        )
        once = question()
        assert torch.equal(loaded.predict_noise(*once), guidance.predict_noise(*once))
        assert len(asked) == is_compiled


def test_a_missing_file_is_reported_before_anything_is_loaded(tmp_path: Path) -> None:
    path = write_tiny_pipeline(tmp_path)
    (path / "unet/config.json").unlink()
    with pytest.raises(ValueError, match="guidance file missing"):
        PixelGuidance.load(path, device="cpu")


def test_the_seed_decides_the_tiny_pipeline_s_weights(
    tmp_path: Path, guidance: PixelGuidance
) -> None:
    other = PixelGuidance.load(
        write_tiny_pipeline(tmp_path, seed=1), device="cpu", dtype=torch.float32
    )
    x_t, t, text = question()
    same, different = guidance.predict_noise(x_t, t, text), other.predict_noise(x_t, t, text)
    assert not torch.allclose(same, different, atol=1e-3)
    assert len(set(WORDS)) == len(WORDS)


def test_a_scene_is_bit_identical_beside_others_under_a_u_net(guidance: PixelGuidance) -> None:
    def optimise(keys: str) -> dict:
        gang = Gang(recipe(), guidance, num_slots=2)
        for key in keys:
            gang.add(SceneRequest(key=key, prompt=f"a {key} ball", seed=ord(key)))
        for _ in range(gang.recipe.iterations):
            gang.step()
        return {scene.key: scene for scene in gang.take_finished()}

    assert_identical(optimise("ab")["a"], optimise("a")["a"])
