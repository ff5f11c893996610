"""A random DeepFloyd-IF-shaped pipeline, small enough for a unit test (about 240 kB).

Made of diffusers' and transformers' own classes and saved by `IFPipeline`, so that whatever loads
it would load the real one.
"""

from pathlib import Path
from typing import Any, Literal, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deepfloyd_if.pipeline_if import IFPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

WORDS = ("<pad>", "</s>", "<unk>", ",", "a", "red", "blue", "ball", "view", "front", "side", "back")
"""The vocabulary; a word's place is its token."""

WIDTH = 16
"""Features of a text embedding."""


def write_tiny_pipeline(
    path: Path,
    *,
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon",
    out_channels: int = 6,
    seed: int = 0,
) -> Path:
    """Saves a pipeline with random weights in `path` and returns it; the seed decides the weights.

    64x64 pixels, 1000 steps of a cosine schedule, 6 output channels as IF's U-Net has.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = IFPipeline(
            # IF's annotation is narrower than what it takes.
            tokenizer=cast(Any, _tokenizer()),
            text_encoder=_text_encoder(),
            unet=_unet(out_channels),
            scheduler=DDPMScheduler(
                beta_schedule="squaredcos_cap_v2",
                variance_type="learned_range",
                prediction_type=prediction_type,
            ),
            safety_checker=None,
            feature_extractor=None,
            watermarker=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(path)
    return path


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    tokenizer.post_processor = TemplateProcessing(  # type: ignore[assignment]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def _text_encoder() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(WORDS),
            d_model=WIDTH,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


def _unet(out_channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=64,
        in_channels=3,
        out_channels=out_channels,
        down_block_types=("DownBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        cross_attention_dim=WIDTH,
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="text_proj",
    )
