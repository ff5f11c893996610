"""Attention laid out anew is the same attention."""

import copy
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from engine.guidance.attention import TokenNorm, align_texts, use_products


def if_shaped() -> Any:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=3,
        out_channels=6,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        cross_attention_dim=32,
        cross_attention_norm="group_norm",
        attention_head_dim=8,
        norm_num_groups=8,
    ).eval()


def test_texts_are_normalised_as_before_and_lie_token_by_token() -> None:
    old = nn.GroupNorm(4, 16)
    nn.init.normal_(old.weight)
    nn.init.normal_(old.bias)
    new = TokenNorm(4, 16)
    new.load_state_dict(old.state_dict())
    x = torch.randn(2, 7, 16).transpose(1, 2)
    assert torch.equal(new(x), old(x))
    assert new(x).transpose(1, 2).is_contiguous()
    assert not old(x).transpose(1, 2).is_contiguous()


def test_a_network_with_aligned_texts_answers_as_before() -> None:
    unet = if_shaped()
    plain = copy.deepcopy(unet)
    align_texts(unet)
    align_texts(unet)  # once more changes nothing
    norms = [m.norm_cross for m in unet.modules() if isinstance(m, Attention)]
    assert norms
    assert all(type(norm) is TokenNorm for norm in norms)
    assert unet.state_dict().keys() == plain.state_dict().keys()
    x, t, text = torch.randn(2, 3, 8, 8), torch.tensor([3, 500]), torch.randn(2, 7, 32)
    with torch.no_grad():
        torch.testing.assert_close(unet(x, t, text).sample, plain(x, t, text).sample)


def test_an_encoder_that_attends_by_products_answers_and_differentiates_as_before() -> None:
    torch.manual_seed(0)
    kind: Any = AutoencoderKL
    vae = kind(block_out_channels=(16, 32), down_block_types=("DownEncoderBlock2D",) * 2,
               up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8).eval()  # fmt: skip
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    found = []
    for change in (lambda _: None, use_products):
        change(vae)
        y = vae.encoder(x)
        (slope,) = torch.autograd.grad(y.square().sum(), x)
        found.append((y, slope))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    kept = [m.processor for m in vae.encoder.modules() if isinstance(m, Attention)]
    assert [type(p) for p in kept] == [AttnProcessor]


@pytest.mark.gpu
def test_texts_reach_a_gpu_aligned() -> None:
    unet = if_shaped().cuda().bfloat16()
    plain = copy.deepcopy(unet)
    align_texts(unet)
    x, t = torch.randn(2, 3, 8, 8).cuda().bfloat16(), torch.tensor([3, 500]).cuda()
    text = torch.randn(2, 7, 32).cuda().bfloat16()
    with torch.no_grad():
        found, expected = unet(x, t, text).sample, plain(x, t, text).sample
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
