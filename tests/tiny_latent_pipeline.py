"""A random Stable-Diffusion-shaped pipeline, small enough for a unit test.

Made of diffusers' and transformers' own classes and saved by `StableDiffusionPipeline`, so that
whatever loads it would load the real one. Pictures of 64x64, latents of 8x8.
"""

import json
from pathlib import Path
from typing import Any, Literal, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WIDTH = 16
"""Features of a text embedding."""


def write_tiny_latent_pipeline(
    path: Path,
    *,
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon",
    seed: int = 0,
) -> Path:
    """Saves a pipeline with random weights in `path` and returns it; the seed decides the weights.

    1000 steps of the schedule of Stable Diffusion, whose scheduler is not the one of DeepFloyd IF.
    """
    path.mkdir(parents=True, exist_ok=True)
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    tokenizer = letters_tokenizer(path.parent / f"{path.name}-vocabulary")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline(
            vae=_vae(),
            text_encoder=_text_encoder(len(tokenizer)),
            tokenizer=tokenizer,
            unet=_unet(),
            # Annotations here and below are narrower than what diffusers takes.
            scheduler=cast(Any, scheduler),
            safety_checker=cast(Any, None),
            feature_extractor=cast(Any, None),
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(path)
    return path


def letters_tokenizer(folder: Path) -> CLIPTokenizer:
    """Every letter is a word, and nothing is merged but one pair."""
    letters = "abcdefghijklmnopqrstuvwxyz,"
    words = [*letters, *(f"{c}</w>" for c in letters), "re", "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def _text_encoder(num_words: int) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=num_words,
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=num_words - 2,
            eos_token_id=num_words - 1,
            pad_token_id=num_words - 1,
        )
    )


def _vae() -> AutoencoderKL:
    kind: Any = AutoencoderKL
    return kind(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=WIDTH,
    )
