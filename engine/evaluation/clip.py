"""A CLIP (arXiv 2103.00020) as a judge of pictures and captions: any that transformers loads.

Pictures are brought to the size that the model looks at (bicubic, with antialiasing) and to its
mean and spread of colours; square ones need no cropping. Captions are cut to its window, 77 tokens
as a rule. Embeddings are unit vectors, so that an inner product is a cosine; all in float32.

Legend: B pictures, C captions, D the width of the common space.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel

from engine.evaluation import clip_files
from engine.guidance.quiet import no_bars

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
"""OpenAI's, for models that bring none along."""

_PICTURES_AT_ONCE = 64

log = logging.getLogger(__name__)


class Clip:
    """A frozen CLIP with its tokenizer, on one device; an `engine.evaluation.lexicon.Encoder`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        mean: Sequence[float] = _MEAN,
        std: Sequence[float] = _STD,
    ) -> None:
        """Of transformers, whose stubs know too little of them."""
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._mean, self._std = (
            torch.tensor(values, device=model.device)[:, None, None] for values in (mean, std)
        )
        self.size: int = model.config.vision_config.image_size
        """Side of the pictures it looks at, in pixels."""
        self._num_tokens: int = model.config.text_config.max_position_embeddings
        self._has_cut = False

    @classmethod
    @no_bars()
    def load(cls, path: Path, *, device: torch.device | str) -> "Clip":
        """Reads a directory. Raises ValueError, in one line with the mend, where there is none."""
        clip_files.check(path)
        colours: dict[str, Any] = {}
        if (path / "preprocessor_config.json").is_file():
            colours = clip_files.read_json(path / "preprocessor_config.json")
        model: Any = CLIPModel.from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        return cls(
            model.to(device),
            AutoTokenizer.from_pretrained(path, local_files_only=True),
            mean=colours.get("image_mean", _MEAN),
            std=colours.get("image_std", _STD),
        )

    @property
    def scale(self) -> float:
        """The logit of a perfect match."""
        return float(self._model.logit_scale.exp())

    @torch.no_grad()
    def embed_pictures(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        """Unit vectors of square RGB pictures in [0, 1], of any size."""
        parts = [self._seen(part) for part in x.split(_PICTURES_AT_ONCE)]
        return F.normalize(torch.cat(parts), dim=-1)

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Float[Tensor, "C D"]:
        """Unit vectors of any texts. The first one that is cut is logged as a warning."""
        for text, ids in zip(captions, self._tokenizer(list(captions)).input_ids, strict=True):
            if len(ids) > self._num_tokens and not self._has_cut:
                self._has_cut = True
                cut = "cut to %d of %d tokens, as others may be: %.60s..."
                log.warning(cut, self._num_tokens, len(ids), text)
        tokens = self._tokenizer(
            list(captions),
            padding=True,
            truncation=True,
            max_length=self._num_tokens,
            return_tensors="pt",
        ).to(self._model.device)
        found = self._model.get_text_features(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
        )
        return F.normalize(found.pooler_output, dim=-1)

    def _seen(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        x = x.to(self._model.device)
        if x.shape[-1] != self.size:
            size = (self.size, self.size)
            x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0.0, 1.0)
        found = self._model.get_image_features(pixel_values=(x - self._mean) / self._std)
        return found.pooler_output
