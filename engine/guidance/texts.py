"""The text side of a diffusion model: T5 (DeepFloyd IF) or CLIP (Stable Diffusion).

Texts are padded or cut to the tokenizer's window, as the models' own pipelines do: 77 tokens.
IF's T5 is told which tokens are padding; Stable Diffusion's CLIP is not, unless its configuration
says so. Prompts for T5 are in lower case, as IF's were in its training.
"""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

from engine.guidance import files
from engine.guidance.quiet import no_bars

MAX_TOKENS = 77
_LARGE_BYTES = 4 * 2**30
"""From this size of its files on, as T5-XXL's, a text encoder is held in half precision."""

log = logging.getLogger(__name__)


class TextEncoder:
    """A frozen text encoder with its tokenizer, on one device."""

    def __init__(self, model: Any, tokenizer: Any, *, device: torch.device) -> None:
        """Of transformers, whose stubs know too little of them."""
        self.device = device
        self._is_t5 = model.config.model_type == "t5"
        # CLIP's pipelines pass no mask unless the model's configuration wants one.
        self._has_mask = self._is_t5 or getattr(model.config, "use_attention_mask", False)
        self._tokenizer = tokenizer
        self._model = model.to(device).eval().requires_grad_(False)
        self.dtype: torch.dtype = model.dtype
        """What it computes in, so that embeddings kept in it lose nothing."""

    @classmethod
    @no_bars()
    def load(
        cls, path: str | Path, *, device: torch.device | str, dtype: torch.dtype | None = None
    ) -> "TextEncoder":
        """Loads the text side of a pipeline directory, by default in float32 on a CPU unless it is
        large, and in bf16 elsewhere. Raises ValueError if a file is missing or wrongly shaped."""
        path, device = Path(path), torch.device(device)
        files.check(path)
        weights = [path / name for name in files.weight_files(path) if "text_encoder/" in name]
        is_small = sum(weight.stat().st_size for weight in weights) < _LARGE_BYTES
        is_exact = device.type == "cpu" and is_small
        dtype = dtype or (torch.float32 if is_exact else torch.bfloat16)
        said = json.loads((path / "text_encoder/config.json").read_text())
        kind = T5EncoderModel if said.get("model_type") == "t5" else CLIPTextModel
        return cls(
            kind.from_pretrained(path / "text_encoder", dtype=dtype, use_safetensors=True),
            AutoTokenizer.from_pretrained(path / "tokenizer"),
            device=device,
        )

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Float[Tensor, "B T D"]:
        """Embeddings in float32. A prompt that is cut is logged as a warning."""
        if self._is_t5:
            prompts = [prompt.lower().strip() for prompt in prompts]
        for prompt, ids in zip(prompts, self._tokenizer(prompts).input_ids, strict=True):
            if len(ids) > MAX_TOKENS:
                log.warning("cut to %d of %d tokens: %.60s...", MAX_TOKENS, len(ids), prompt)
        tokens = self._tokenizer(
            prompts,
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        mask = tokens.attention_mask if self._has_mask else None
        return self._model(tokens.input_ids, attention_mask=mask)[0].float()
