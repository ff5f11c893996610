from typing import Any

import pytest
import torch

from engine.bench import shapes
from engine.guidance.guidance import Guidance
from engine.guidance.prompts import VIEWS
from engine.guidance.texts import MAX_TOKENS

CPU = torch.device("cpu")


def size(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("config", "expected"),
    # DeepFloyd's card says 4.3 G, Stability's 866 M (865.91 M of the checkpoint's tensors).
    [(shapes.IF_UNET, 4_304_695_110), (shapes.SD_UNET, 865_910_724)],
    ids=["if", "sd"],
)
def test_a_u_net_has_the_real_size(config: dict[str, Any], expected: int) -> None:
    unet = shapes.meta_unet(config)
    assert size(unet) == expected
    assert not list(unet.buffers())
    assert {p.device.type for p in unet.parameters()} == {"meta"}


def test_the_image_encoder_has_the_real_size_and_no_decoder() -> None:
    vae = shapes.meta_vae(shapes.SD_VAE)
    # The encoder's, and those of the 1x1 convolution behind it: 8 x 8 and 8 biases.
    assert size(vae) == 34_163_592 + 72
    assert vae.decoder is None


SMALL_UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 3,
    "out_channels": 6,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 2,
    "encoder_hid_dim": 32,
    "encoder_hid_dim_type": "text_proj",
    "cross_attention_norm": "group_norm",
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
}
SMALL_LATENT: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 32,
    "attention_head_dim": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
SMALL_VAE = shapes.SD_VAE | {
    "block_out_channels": (4, 4, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "IF_UNET", SMALL_UNET)
    monkeypatch.setattr(shapes, "SD_UNET", SMALL_LATENT)
    monkeypatch.setattr(shapes, "SD_VAE", SMALL_VAE)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("model", ["if", "sd"])
def test_random_weights_answer_with_numbers_of_their_own_size(model: Any) -> None:
    found = shapes.parts(model, CPU, dtype=torch.float32)
    guidance = found.guidance(CPU)
    assert isinstance(guidance, Guidance)
    text = shapes.texts(guidance.text_width, 7, CPU)
    assert text.shape == (1 + len(VIEWS), MAX_TOKENS, 32)
    x = torch.rand(2, 3, guidance.size, guidance.size) * 2 - 1
    z = guidance.represent(x)
    noise = guidance.predict_noise(z, torch.tensor([20, 900]), text[:2])
    assert noise.shape == z.shape
    assert noise.isfinite().all()
    assert 1e-3 < noise.std() < 1e2
    other = guidance.predict_noise(z, torch.tensor([20, 900]), text[2:4])
    assert not torch.allclose(noise, other, rtol=1e-2), "the text must count"


@pytest.mark.usefixtures("_small")
def test_weights_follow_the_seed_and_are_shared_by_guidances() -> None:
    first, again, other = (shapes.parts("sd", CPU, seed=seed) for seed in (0, 0, 5))
    assert {p.dtype for p in first.unet.parameters()} == {torch.bfloat16}
    names = [name for name, p in first.unet.named_parameters() if p.dim() > 1]
    weights, same, different = (dict(x.unet.named_parameters()) for x in (first, again, other))
    assert all(torch.equal(weights[name], same[name]) for name in names)
    assert not any(torch.equal(weights[name], different[name]) for name in names)
    one, two = first.guidance(CPU), first.guidance(CPU, recomputes=True)
    assert one._unet is two._unet is first.unet
