"""The names of assets, and where one lies.

An asset's name is a function of what decides it and nothing else, so that the same request has the
same name in any run, on any machine:

    asset_id = first 32 hex digits of sha256(canonical JSON of
        {guidance_digest, negative_prompt, prompt, recipe_digest, seed})

Canonical JSON: keys sorted, no blanks, text in NFC and UTF-8 without escapes for other alphabets.
"""

import hashlib
import json
import unicodedata

from pipeline.records import Prompt

SHARDS = tuple(f"x{byte:02x}" for byte in range(256))

_QUOTE = json.JSONEncoder(ensure_ascii=False).encode


def asset_id(prompt: Prompt, recipe_digest: str, guidance_digest: str) -> str:
    """32 hex digits that name the asset of this prompt under this recipe and these weights."""
    canonical = (
        f'{{"guidance_digest":{_QUOTE(guidance_digest)}'
        f',"negative_prompt":{_QUOTE(unicodedata.normalize("NFC", prompt.negative_prompt))}'
        f',"prompt":{_QUOTE(unicodedata.normalize("NFC", prompt.prompt))}'
        f',"recipe_digest":{_QUOTE(recipe_digest)},"seed":{prompt.seed}}}'
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def shard_of(asset_id: str) -> str:
    """`x` and the first byte in hex: pyarrow would read a bare number as an integer partition."""
    return f"x{asset_id[:2]}"


def asset_name(asset_id: str) -> str:
    """Where a one-asset file lies, relative to its dataset."""
    return f"assets/shard={shard_of(asset_id)}/{asset_id}.parquet"
