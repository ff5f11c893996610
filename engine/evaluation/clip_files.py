"""The files of a CLIP on disk, in the layout in which transformers saves one.

    config.json  model.safetensors (or shards with an index)
    tokenizer.json, or vocab.json and merges.txt   tokenizer_config.json
    preprocessor_config.json   mean and spread of colours; without it those of OpenAI's CLIP

Free of torch, so that a mistake is reported before anything is loaded.
"""

import hashlib
import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

PATTERNS = (
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)
"""Names of the files of a model's repository that are of use."""

_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_MEND = (
    "give a CLIP in the layout of transformers (config.json, tokenizer.json, model.safetensors), "
    "such as `CLIPModel.save_pretrained` and `CLIPTokenizer.save_pretrained` write it"
)


def check(path: Path) -> None:
    """Raises ValueError, in one line with the mend, unless this is a CLIP with all its files."""
    if not path.is_dir():
        raise ValueError(f"judge {str(path)!r}: no such directory; {_MEND}")
    said = read_json(path / "config.json")
    if said.get("model_type") != "clip":
        raise ValueError(
            f"judge {str(path)!r}: expected a model of type 'clip', got "
            f"{said.get('model_type')!r}; {_MEND}"
        )
    if not any(all((path / name).is_file() for name in names) for names in _VOCABULARIES):
        raise ValueError(f"judge file missing: {path / 'tokenizer.json'}; {_MEND}")
    for name in weight_files(path):
        if not (path / name).is_file():
            raise ValueError(
                f"judge file missing: {path / name}; only safetensors are read; {_MEND}"
            )


def weight_files(path: Path) -> list[str]:
    """Names of the weight files that are loaded, sorted: an index's shards, or one file."""
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"judge file {index}: expected a weight_map; {_MEND}")
    return sorted(set(shards.values()))


def digest(path: Path) -> str:
    """sha256 over the names and bytes of the weights: the model's identity wherever it lies."""
    return digest_of(path, weight_files(path))


def digest_of(path: Path, names: list[str]) -> str:
    """sha256 over the names and bytes of some files of a directory."""
    total = hashlib.sha256()
    for name in names:
        with (path / name).open("rb") as file:
            total.update(f"{name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def wanted(name: str) -> bool:
    """Whether a file of a model's repository is one that loading it may read, by its name."""
    return any(fnmatchcase(name, pattern) for pattern in PATTERNS)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError if there is none."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"judge file missing: {path}; {_MEND}") from None
    except ValueError as error:
        raise ValueError(f"judge file {path}: not JSON ({error}); {_MEND}") from None
    if not isinstance(data, dict):
        raise ValueError(f"judge file {path}: expected a JSON object; {_MEND}")
    return data
