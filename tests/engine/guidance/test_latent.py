from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from torch import nn

from engine import sds, viewpoints
from engine.configs.losses import LossConfig
from engine.gang import Gang, SceneRequest
from engine.guidance.frozen import FrozenConv
from engine.guidance.latent import LatentGuidance
from engine.guidance.prompts import texts_of
from engine.philox import Purpose, normal
from tests.engine.guidance.test_frozen import kept
from tests.engine.test_gang import assert_identical, recipe
from tests.tiny_latent_pipeline import WIDTH, write_tiny_latent_pipeline


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_latent_pipeline(tmp_path_factory.mktemp("latent") / "model")


@pytest.fixture(scope="module")
def guidance(weights: Path) -> LatentGuidance:
    return LatentGuidance.load(weights, device="cpu", dtype=torch.float32)


def test_what_the_distillation_asks_about_the_model(
    weights: Path, guidance: LatentGuidance
) -> None:
    assert guidance.size == 64
    scheduler: Any = PNDMScheduler.from_pretrained(weights / "scheduler")
    torch.testing.assert_close(guidance.alphas_cumprod, scheduler.alphas_cumprod)


def test_latents_are_the_scaled_mean_of_the_encoder(
    weights: Path, guidance: LatentGuidance
) -> None:
    vae: Any = AutoencoderKL.from_pretrained(weights / "vae").eval()
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        posterior = vae.encode(x).latent_dist
    latents = guidance.represent(x)
    assert latents.shape == (2, 4, 8, 8)
    torch.testing.assert_close(latents, 0.18215 * posterior.mode(), rtol=1e-4, atol=1e-6)


def test_pictures_receive_the_gradient_of_their_latents(guidance: LatentGuidance) -> None:
    """Several pictures at once, whose activations are made anew, as each by differences."""
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    weight = torch.randn(2, 4, 8, 8)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((guidance.represent(leaf) * weight).sum(), leaf)
    for k in range(2):
        alone = x[k : k + 1].clone().requires_grad_()
        (expected,) = torch.autograd.grad((guidance.represent(alone) * weight[k]).sum(), alone)
        torch.testing.assert_close(gradient[k : k + 1], expected, rtol=1e-4, atol=1e-6)
    direction = gradient / gradient.norm()
    ends = [
        float((guidance.represent(x + h * direction).double() * weight).sum()) for h in (-0.3, 0.3)
    ]
    slope = (ends[1] - ends[0]) / 0.6
    np.testing.assert_allclose(slope, float((gradient * direction).sum()), rtol=0.03)


def test_no_convolution_s_input_is_kept(weights: Path) -> None:
    """Only what a norm is given as well, which keeps its own, as shortcuts are."""
    guidance = LatentGuidance.load(weights, device="cpu", dtype=torch.float32, with_texts=False)
    given: dict[type, list[torch.Tensor]] = {FrozenConv: [], nn.GroupNorm: []}
    for module in guidance._vae.modules():
        assert not isinstance(module, nn.Conv2d) or type(module) is FrozenConv
        if type(module) in given:
            module.register_forward_pre_hook(
                lambda it, inputs: given[type(it)].append(inputs[0].detach())
            )
    x = (torch.rand(1, 3, 64, 64) * 2 - 1).requires_grad_()
    found = kept(guidance.represent, x)
    of_convolutions, of_norms = ({t.data_ptr() for t in some} for some in given.values())
    of_all = {t.data_ptr() for t in found}
    assert len(of_norms & of_all) > 5
    assert len(of_convolutions - of_norms) > 10
    assert not (of_convolutions - of_norms) & of_all


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_noise_is_the_u_net_s_answer(
    tmp_path: Path, prediction: Literal["epsilon", "v_prediction"]
) -> None:
    path = write_tiny_latent_pipeline(tmp_path / "m", prediction_type=prediction)
    guidance = LatentGuidance.load(path, device="cpu", dtype=torch.float32, with_texts=False)
    unet = UNet2DConditionModel.from_pretrained(path / "unet").eval()
    z, t, text = torch.randn(3, 4, 8, 8), torch.tensor([3, 500, 999]), torch.randn(3, 77, WIDTH)
    found = guidance.predict_noise(z, t, text)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    for k, step in enumerate(t.tolist()):
        with torch.no_grad():
            said = unet(z[k : k + 1], step, text[k : k + 1]).sample[0]
        alpha_squared = float(np.cumprod(1 - betas)[step])
        if prediction == "v_prediction":
            said = alpha_squared**0.5 * said + (1 - alpha_squared) ** 0.5 * z[k]
        torch.testing.assert_close(found[k], said, rtol=1e-3, atol=1e-4)


def test_the_u_net_is_not_differentiated_and_the_encoder_is(
    guidance: LatentGuidance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    honest = LatentGuidance.predict_noise

    def predict(self: LatentGuidance, *question: torch.Tensor) -> torch.Tensor:
        answer = honest(self, *question)
        asked.append((question[0].shape, torch.is_grad_enabled(), answer.requires_grad))
        return answer

    monkeypatch.setattr(LatentGuidance, "predict_noise", predict)
    # Without regularisers nothing but the encoder's gradient can move the scene.
    gang = Gang(replace(recipe(), losses=LossConfig()), guidance, num_slots=1)
    gang.add(SceneRequest(key="a", prompt="a red ball", seed=3))
    before = {name: p.clone() for name, p in gang._parameters.items()}
    gang.step()
    assert asked == [((4, 4, 8, 8), False, False)]
    for name, p in gang._parameters.items():
        assert (p - before[name]).abs().max() > 1e-3


def test_a_scene_is_bit_identical_beside_others_and_with_texts_embedded_elsewhere(
    weights: Path, guidance: LatentGuidance
) -> None:
    """The second gang's model has no text encoder."""
    textless = LatentGuidance.load(weights, device="cpu", dtype=torch.float32, with_texts=False)

    def optimise(keys: str, model: LatentGuidance) -> dict:
        gang = Gang(recipe(), model, num_slots=2)
        for key in keys:
            prompt = f"a {key} ball"
            text = None if model is guidance else guidance.encode(texts_of(prompt, ""))
            gang.add(SceneRequest(key=key, prompt=prompt, seed=ord(key), text=text))
        for _ in range(gang.recipe.iterations):
            gang.step()
        return {scene.key: scene for scene in gang.take_finished()}

    assert_identical(optimise("ab", guidance)["a"], optimise("a", textless)["a"])
    with pytest.raises(ValueError, match="loaded without its text encoder"):
        Gang(recipe(), textless, num_slots=1).add(SceneRequest(key="a", prompt="a", seed=1))


def test_distillation_moves_pictures_by_the_noise_s_residual_in_latents(
    guidance: LatentGuidance,
) -> None:
    """dL/dx = (dz/dx)^T w (eps_hat - eps), summed over latents and averaged over views."""
    r = recipe()
    gang = Gang(r, guidance, num_slots=1)
    gang.add(SceneRequest(key="a", prompt="a red ball", seed=3))
    picture = torch.rand(1, r.views, 3, r.render_size, r.render_size, requires_grad=True)
    seed, step, part = torch.tensor([3]), torch.tensor([0]), torch.zeros(1)
    views = viewpoints.sample(r, seed, step, part)
    _, found = gang._objective.distil(picture, views, seed, step, part)

    leaf = picture.detach().clone().requires_grad_()
    large = torch.nn.functional.interpolate(leaf[0], size=(64, 64), mode="bilinear")
    z = guidance.represent(2 * large - 1)
    time = sds.draw_time(r.distillation, seed, step, part, r.views)[0]
    index = (time * 1000).long()
    a = guidance.alphas_cumprod[index][:, None, None, None]
    eps = normal(seed, step, Purpose.NOISE, (r.views, 4, 8, 8))[0]
    noised = (a.sqrt() * z + (1 - a).sqrt() * eps).detach()
    texts = guidance.encode(texts_of("a red ball", ""))
    uncond = guidance.predict_noise(noised, index, texts[:1].expand(r.views, -1, -1))
    cond = guidance.predict_noise(noised, index, texts[1:][views.word[0]])
    eps_hat = uncond + r.distillation.scale * (cond - uncond)
    (expected,) = torch.autograd.grad(z, leaf, (1 - a) * (eps_hat - eps) / r.views)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_a_pixel_model_is_refused(tiny_weights: Path) -> None:
    with pytest.raises(ValueError, match="expected a latent model, got a pixel one"):
        LatentGuidance.load(tiny_weights, device="cpu")


def test_activations_that_are_kept_give_the_same_gradient(weights: Path) -> None:
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    found = []
    for recomputes in (True, False):
        guidance = LatentGuidance.load(weights, device="cpu", dtype=torch.float32, with_texts=False)
        guidance.recomputes = recomputes
        given = x.clone().requires_grad_()
        made = []
        # The encoder runs once a picture and again for the gradient, or once for all.
        guidance._vae.encoder.register_forward_hook(lambda *_, made=made: made.append(1))
        z = guidance.represent(given)
        (slope,) = torch.autograd.grad(z.square().sum(), given)
        found.append((z.detach(), slope, len(made)))
    assert (found[0][2], found[1][2]) == (6, 1)
    torch.testing.assert_close(found[0][:2], found[1][:2], rtol=1e-4, atol=1e-5)
