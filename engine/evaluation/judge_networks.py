"""The networks of the two judges: pairs of encoders, of pictures and of captions, in one space.

    j1   a residual network, and windows of neighbouring words that widen layer by layer
    j2   a transformer over patches of 8 x 8 pixels, and one over words with learned positions

Legend: B pictures or captions, c channels, h = w pixels, T words, P places (words, pixels or
patches), d an encoder's width, D the width of the common space. Word 0 is padding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

NUM_WORDS = 24
"""Most words of a caption."""

HEAD_WIDTH = 32
PATCH = 8
MAX_SCALE = 100.0
"""Largest logit of a perfect match, as in CLIP (arXiv 2103.00020, 2.5)."""

_FIRST_SCALE = 14.0
_NUM_GROUPS = 8
_STAGES = 3


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Sizes of a judge."""

    architecture: Literal["convolutional", "transformer"]
    picture_width: int
    """Channels of the first of three levels, which double; or width of a patch."""
    picture_depth: int
    """Residual blocks of each level; or layers."""
    caption_width: int
    caption_depth: int
    embedding: int = 256
    size: int = 64

    def __post_init__(self) -> None:
        if self.architecture not in ("convolutional", "transformer"):
            raise ValueError(
                f"architecture must be 'convolutional' or 'transformer', got {self.architecture!r}"
            )
        if self.size % PATCH or self.picture_width % 8:
            raise ValueError(
                f"size and picture_width must be multiples of 8, got {self.size} and "
                f"{self.picture_width}"
            )


JUDGES: Mapping[str, JudgeConfig] = {
    "j1": JudgeConfig(
        architecture="convolutional",
        picture_width=48,
        picture_depth=2,
        caption_width=128,
        caption_depth=3,
    ),
    "j2": JudgeConfig(
        architecture="transformer",
        picture_width=192,
        picture_depth=4,
        caption_width=160,
        caption_depth=3,
    ),
}
"""The published judges: different in architecture on both sides."""


class _Head(nn.Module):
    """From the mean and the maximum over places to the common space."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * width)
        self.layers = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, embedding)
        )

    def forward(
        self, x: Float[Tensor, "B P d"], is_there: Bool[Tensor, "B P"] | None = None
    ) -> Float[Tensor, "B D"]:
        if is_there is None:
            mean, most = x.mean(1), x.amax(1)
        else:
            weight = is_there.to(x.dtype)[..., None]
            mean = (x * weight).sum(1) / weight.sum(1).clamp_min(1.0)
            most = (x - 1e4 * (1.0 - weight)).amax(1)
        return self.layers(self.norm(torch.cat([mean, most], dim=1)))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(_NUM_GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(_NUM_GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "B c h w"]) -> Float[Tensor, "B c h w"]:
        return x + self.layers(x)


class ConvolutionalPictures(nn.Module):
    """Three levels of residual blocks at 1/2, 1/4 and 1/8 of the size."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        width = config.picture_width
        layers: list[nn.Module] = [nn.Conv2d(3, width, 5, stride=2, padding=2)]
        for level in range(_STAGES):
            layers += [_Residual(width) for _ in range(config.picture_depth)]
            if level < _STAGES - 1:
                layers.append(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1))
                width *= 2
        layers += [nn.GroupNorm(_NUM_GROUPS, width), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.head = _Head(width, config.embedding)

    def forward(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        return self.head(self.layers(2.0 * x - 1.0).flatten(2).mT)


class _Window(nn.Module):
    """Each word with its neighbours `reach` words to the left and to the right."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.GELU())
        self.out = nn.Linear(2 * width, width)

    def forward(
        self, x: Float[Tensor, "B T d"], is_word: Float[Tensor, "B T 1"]
    ) -> Float[Tensor, "B T d"]:
        here = self.norm(x) * is_word
        left = F.pad(here, (0, 0, self.reach, 0))[:, : here.shape[1]]
        right = F.pad(here, (0, 0, 0, self.reach))[:, self.reach :]
        return x + self.out(self.mix(torch.cat([left, here, right], dim=-1)))


class WindowedCaptions(nn.Module):
    """Windows of 1, 2, 4, ... words to either side. Knows no position."""

    def __init__(self, config: JudgeConfig, num_words: int) -> None:
        super().__init__()
        width = config.caption_width
        self.words = nn.Embedding(num_words, width)
        self.layers = nn.ModuleList(_Window(width, 2**i) for i in range(config.caption_depth))
        self.head = _Head(width, config.embedding)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        x = self.words(tokens)
        is_word = tokens > 0
        for layer in self.layers:
            x = layer(x, is_word[..., None].to(x.dtype))
        return self.head(x, is_word)


class _Attention(nn.Module):
    """A pre-norm transformer layer; `bias` is added to what a word asks of another."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.num_heads = width // HEAD_WIDTH
        self.norm = nn.LayerNorm(width)
        self.question = nn.Linear(width, 3 * width)
        self.answer = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(
        self, x: Float[Tensor, "B T d"], bias: Float[Tensor, "#B #H T T"] | None = None
    ) -> Float[Tensor, "B T d"]:
        heads = self.question(self.norm(x)).unflatten(-1, (3, self.num_heads, HEAD_WIDTH))
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        if bias is None:
            found = F.scaled_dot_product_attention(q, k, v)
        else:
            # Not every fused attention has a gradient for a bias, and captions are short.
            found = (HEAD_WIDTH**-0.5 * q @ k.mT + bias).softmax(dim=-1) @ v
        x = x + self.answer(found.transpose(1, 2).flatten(2))
        return x + self.feed(x)


class PatchPictures(nn.Module):
    """A transformer over patches of 8 x 8 pixels (arXiv 2010.11929).

    The patches overlap a little: three strided convolutions make them (arXiv 2106.14881).
    """

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        width = config.picture_width
        layers: list[nn.Module] = []
        for inner, outer in ((3, width // 4), (width // 4, width // 2), (width // 2, width)):
            layers += [nn.Conv2d(inner, outer, 3, stride=2, padding=1), nn.SiLU()]
            layers.append(nn.GroupNorm(_NUM_GROUPS, outer))
        self.patches = nn.Sequential(*layers)
        self.positions = nn.Parameter(0.3 * torch.randn((config.size // PATCH) ** 2, width))
        self.layers = nn.ModuleList(
            _Attention(width, 3 * width) for _ in range(config.picture_depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = _Head(width, config.embedding)

    def forward(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        found = self.patches(2.0 * x - 1.0).flatten(2).mT + self.positions
        for layer in self.layers:
            found = layer(found)
        return self.head(self.norm(found))


class AttentiveCaptions(nn.Module):
    """A transformer over words with learned positions, absolute and relative.

    Each head starts out by looking near, half of them to the left and half to the right: which
    colour belongs to which word is a matter of neighbours.
    """

    def __init__(self, config: JudgeConfig, num_words: int) -> None:
        super().__init__()
        width = config.caption_width
        self.words = nn.Embedding(num_words, width)
        nn.init.normal_(self.words.weight, std=0.3)
        self.positions = nn.Parameter(0.3 * torch.randn(NUM_WORDS, width))
        self.layers = nn.ModuleList(
            _Attention(width, 4 * width) for _ in range(config.caption_depth)
        )
        apart = torch.arange(1.0 - NUM_WORDS, NUM_WORDS)
        side = torch.arange(width // HEAD_WIDTH)[:, None] % 2 * 2 - 1
        self.apart = nn.Parameter(-(apart - side).abs())
        self.norm = nn.LayerNorm(width)
        self.head = _Head(width, config.embedding)

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        is_word = tokens > 0
        here = torch.arange(tokens.shape[1], device=tokens.device)
        bias = self.apart[:, here - here[:, None] + NUM_WORDS - 1]
        bias = bias.masked_fill(~is_word[:, None, None, :], -1e4)
        x = self.words(tokens) + self.positions[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, bias)
        return self.head(self.norm(x), is_word)


class DualEncoder(nn.Module):
    """Pictures and captions as unit vectors p, c of one space; their logit is scale p.c."""

    def __init__(self, config: JudgeConfig, num_words: int) -> None:
        super().__init__()
        is_convolutional = config.architecture == "convolutional"
        self.pictures = (ConvolutionalPictures if is_convolutional else PatchPictures)(config)
        words = WindowedCaptions if is_convolutional else AttentiveCaptions
        self.captions = words(config, num_words)
        self.log_scale = nn.Parameter(torch.tensor(_FIRST_SCALE).log())

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The logit of a perfect match."""
        return self.log_scale.exp().clamp(max=MAX_SCALE)

    def embed_pictures(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        """Unit vectors of pictures in [0, 1]."""
        return F.normalize(self.pictures(x).float(), dim=-1)

    def embed_captions(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """Unit vectors of captions given as numbers of words."""
        return F.normalize(self.captions(tokens).float(), dim=-1)
