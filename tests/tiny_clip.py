"""A random CLIP, small enough for a unit test, of transformers' own classes and saved by them."""

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from tests.tiny_latent_pipeline import letters_tokenizer

SIZE = 32
NUM_TOKENS = 24


def write_tiny_clip(path: Path, *, seed: int = 0) -> Path:
    """Saves model and tokenizer in `path` and returns it; the seed decides the weights."""
    tokenizer = letters_tokenizer(path.parent / f"{path.name}-vocabulary")
    num_words = len(tokenizer)
    common: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    text = CLIPTextConfig(
        **common,
        vocab_size=num_words,
        num_attention_heads=2,
        max_position_embeddings=NUM_TOKENS,
        bos_token_id=num_words - 2,
        eos_token_id=num_words - 1,
        pad_token_id=num_words - 1,
    )
    vision = CLIPVisionConfig(**common, num_attention_heads=2, image_size=SIZE, patch_size=8)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=12
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(config)
        for weights in model.parameters():
            # Transformers' own are so small that all pictures and texts look alike.
            if weights.ndim > 1:
                torch.nn.init.normal_(weights, std=0.4)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
