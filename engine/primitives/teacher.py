"""The teacher: a small text-conditioned 64 x 64 pixel diffusion model in DeepFloyd IF's layout.

    unet/ text_encoder/ tokenizer/ scheduler/ model_index.json

It is made of the stock classes of diffusers and transformers, so whatever loads IF loads it. The
U-Net predicts v = alpha_t eps - sigma_t x (Salimans & Ho, arXiv 2202.00512, appendix D), where IF's
predicts eps: at high noise, where the colours of whole parts are decided, v is a picture, and eps
is the input copied to one part in a thousand, which half precision cannot hold. As in IF there are
three more channels for the variance (`learned_range`); here those are not trained: their weights
are zero, which is the geometric middle of the range.
"""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deepfloyd_if.pipeline_if import IFPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float, Int
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from engine.primitives.captions import vocabulary

NUM_STEPS = 1000
"""Steps of the diffusion time."""

NUM_TOKENS = 77
"""Length every caption is padded to; `IFPipeline.encode_prompt` fixes it."""

NOISE_SHIFT = 4.0
"""How much noisier the schedule is than IF's cosine: sigma_t / alpha_t times this.

A part of this world is hundreds of pixels of one colour, which shines through noise that hides a
photograph: under the plain cosine an ideal observer, who knows the shape, tells a picture from its
colour-swapped twin in 98 % of cases at t = .95. A caption would then be needed, and learnt, in the
last twentieth of the time alone; score distillation would hardly meet it. Shifted, it is needed
from t = .8 on (Hoogeboom et al., arXiv 2301.11093, section 3.1, shift for the same reason).
"""

THRESHOLD_SHARE = 0.99
"""Quantile of |x_0| to which a guided picture is scaled down where it exceeds 1 (dynamic
thresholding, Imagen, arXiv 2205.11487, section 2.3; IF's scheduler does so, too). Cut off at 1
instead, guidance at high noise floods the picture with the object's colour."""

_UNBOUNDED = 1e6

MAX_SHARD_SIZE = "15MB"

_PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"
_IMAGE_CHANNELS = 3
_ASIDE = 6.0
"""How little a head that looks at neighbours looks elsewhere, in logits."""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Sizes of the teacher. The defaults are those of the packaged weights."""

    size: int = 64
    channels: tuple[int, ...] = (32, 64, 128, 192)
    """Width of each level; the lower two carry cross-attention."""
    head_width: int = 32
    group_norm_groups: int = 8
    text_width: int = 256
    text_layers: int = 4
    text_heads: int = 8
    text_hidden: int = 640

    def __post_init__(self) -> None:
        if len(self.channels) < 3 or any(width % self.head_width for width in self.channels):
            raise ValueError(
                f"channels must be at least 3 widths divisible by head_width={self.head_width}, "
                f"got {self.channels}"
            )


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The two trained networks and the tokenizer between words and them."""

    unet: UNet2DConditionModel
    text_encoder: T5EncoderModel
    tokenizer: PreTrainedTokenizerFast


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the closed vocabulary; an end token closes each caption."""
    words = [_PAD, _END, _UNKNOWN, *vocabulary()]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, _UNKNOWN))
    core.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    marks = pre_tokenizers.Split(Regex(r"[^\w\s]"), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), marks])
    core.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, words.index(_END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=_PAD,
        eos_token=_END,
        unk_token=_UNKNOWN,
        model_max_length=NUM_TOKENS,
    )


def _build_unet(config: TeacherConfig) -> UNet2DConditionModel:
    levels = len(config.channels)
    down = tuple(
        "CrossAttnDownBlock2D" if i >= levels - 2 else "DownBlock2D" for i in range(levels)
    )
    up = tuple("CrossAttnUpBlock2D" if i < 2 else "UpBlock2D" for i in range(levels))
    unet = UNet2DConditionModel(
        sample_size=config.size,
        in_channels=_IMAGE_CHANNELS,
        out_channels=2 * _IMAGE_CHANNELS,
        block_out_channels=config.channels,
        layers_per_block=1,
        down_block_types=down,
        up_block_types=up,
        cross_attention_dim=config.text_width,
        # diffusers reads this field as the number of heads of each level and annotates it as one.
        attention_head_dim=cast(
            Any, tuple(width // config.head_width for width in config.channels)
        ),
        norm_num_groups=config.group_norm_groups,
        addition_embed_type="text",
        addition_embed_type_num_heads=config.text_heads,
    )
    with torch.no_grad():
        unet.conv_out.weight.zero_()
        assert unet.conv_out.bias is not None
        unet.conv_out.bias.zero_()
    return unet


def _look_at_neighbours(text_encoder: T5EncoderModel) -> None:
    """Half of the heads start out by looking at the word before, or at the word after.

    Which colour belongs to which word is a matter of neighbours. T5 keeps one bias a bucket of
    distances, exact for the first of them, those of words after behind those of words before.
    """
    first: Any = text_encoder.encoder.block[0]
    bias = first.layer[0].SelfAttention.relative_attention_bias.weight
    buckets, heads = bias.shape
    exact = torch.arange(buckets // 4)
    with torch.no_grad():
        bias.zero_()
        for head in range(heads // 2):
            near, far = (0, buckets // 2) if head % 2 == 0 else (buckets // 2, 0)
            bias[:, head] = -_ASIDE
            bias[near + exact, head] = -(exact - 1.0).abs().clamp(max=_ASIDE)
            bias[far + exact, head] = -(exact + 1.0).clamp(max=_ASIDE)


def build(config: TeacherConfig, seed: int) -> Teacher:
    """An untrained teacher, a pure function of its sizes and the seed."""
    tokenizer = build_tokenizer()
    number = tokenizer.get_vocab()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = T5EncoderModel(
            T5Config(
                vocab_size=len(tokenizer),
                d_model=config.text_width,
                d_kv=config.text_width // config.text_heads,
                d_ff=config.text_hidden,
                num_layers=config.text_layers,
                num_heads=config.text_heads,
                feed_forward_proj="gated-gelu",
                dropout_rate=0.0,
                pad_token_id=number[_PAD],
                eos_token_id=number[_END],
                use_cache=False,
            )
        )
        unet = _build_unet(config)
    _look_at_neighbours(text_encoder)
    return Teacher(unet=unet, text_encoder=text_encoder, tokenizer=tokenizer)


def _betas() -> list[float]:
    """beta_i = 1 - abar_i / abar_(i-1) with abar / (1 - abar) = cot^2(pi t / 2) / shift^2."""
    t = torch.arange(1, NUM_STEPS + 1, dtype=torch.float64) / (NUM_STEPS + 1)
    odds = (NOISE_SHIFT * torch.tan(0.5 * torch.pi * t)).square()
    kept = 1.0 / (1.0 + odds)
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    return (1.0 - kept / before).tolist()


def build_scheduler() -> DDPMScheduler:
    """1000 steps, a cosine shifted by `NOISE_SHIFT`, v predicted; samples are thresholded."""
    return DDPMScheduler(
        num_train_timesteps=NUM_STEPS,
        # The stock class wants the numbers; under a name it knows the plain cosine only.
        trained_betas=_betas(),
        prediction_type="v_prediction",
        variance_type="learned_range",
        clip_sample=False,
        thresholding=True,
        dynamic_thresholding_ratio=THRESHOLD_SHARE,
        sample_max_value=_UNBOUNDED,
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Int[Tensor, "N T"]:
    """Token ids of captions, padded to `NUM_TOKENS`; each distinct caption is read once."""
    number = {text: i for i, text in enumerate(dict.fromkeys(captions))}
    encoded = tokenizer(list(number), padding="max_length", max_length=NUM_TOKENS, truncation=True)
    return torch.tensor(encoded["input_ids"])[[number[text] for text in captions]]


def encode(text_encoder: T5EncoderModel, tokens: Int[Tensor, "N T"]) -> Float[Tensor, "N T d"]:
    """Text embeddings as `IFPipeline.encode_prompt` computes them: padding is attended by no one.

    The mask is given in its final additive form, for transformers would otherwise read it on the
    host, and wait for the device.
    """
    is_padding = tokens == text_encoder.config.pad_token_id
    mask = torch.zeros(tokens.shape, device=tokens.device).masked_fill(is_padding, -3e38)
    mask = mask[:, None, None, :].expand(-1, 1, tokens.shape[1], -1)
    return text_encoder(input_ids=tokens, attention_mask=mask).last_hidden_state


def save(teacher: Teacher, path: Path | str) -> None:
    """Write the pipeline directory: half precision safetensors in shards of at most 15 MiB.

    The teacher itself keeps its precision, and so does whoever loads the directory: without being
    told otherwise diffusers loads in single precision, transformers as the config says.
    """
    pipeline = IFPipeline(
        # IF's annotation is narrower than what it takes.
        tokenizer=cast(Any, teacher.tokenizer),
        text_encoder=deepcopy(teacher.text_encoder).half(),
        unet=deepcopy(teacher.unet).half(),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(path, safe_serialization=True, max_shard_size=MAX_SHARD_SIZE)
    text_config = Path(path) / "text_encoder" / "config.json"
    said = json.loads(text_config.read_text()) | {"dtype": "float32"}
    text_config.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")
