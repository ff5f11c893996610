"""The files of a diffusion model on disk: where they are, whether all are there, their digest.

Free of torch, so that a mistake is reported before anything is loaded.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

PRIMITIVES = "primitives"
"""Name of the model that comes with the package."""

_MEND = "give a directory in the layout of DeepFloyd IF (unet/ text_encoder/ tokenizer/ scheduler/)"
_WEIGHTS = {"unet": "diffusion_pytorch_model", "text_encoder": "model"}
_CONFIGS = (
    "model_index.json",
    "unet/config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
)


def resolve(guidance: str) -> Path:
    """Directory of a guidance model: the packaged one by name, any other by its path."""
    if guidance == PRIMITIVES:
        return Path(__file__).parent.parent / "primitives" / "weights"
    return Path(guidance)


def check(path: Path) -> None:
    """Raises ValueError, in one line with the mend, unless every file of the model is there."""
    if not path.is_dir():
        raise ValueError(f"guidance {str(path)!r}: no such directory; {_MEND}")
    for name in _CONFIGS:
        _read_json(path / name)
    if not any((path / "tokenizer" / n).is_file() for n in ("tokenizer.json", "spiece.model")):
        _require(path / "tokenizer" / "tokenizer.json")
    for name in weight_files(path):
        _require(path / name)
    unet = _read_json(path / "unet/config.json")
    channels = (unet.get("in_channels"), unet.get("out_channels"))
    if channels not in ((3, 3), (3, 6)):
        raise ValueError(
            f"guidance {str(path)!r}: expected a pixel-space U-Net with 3 input and 3 or 6 output "
            f"channels, got {channels[0]} and {channels[1]}; {_MEND}"
        )


def weight_files(path: Path) -> list[str]:
    """Relative names of the weight files that are loaded, sorted: an index's shards, or one file.

    Variants that lie beside them, such as `*.fp16.safetensors`, are not loaded and do not count.
    """
    names: set[str] = set()
    for folder, stem in _WEIGHTS.items():
        index = path / folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            shards = _read_json(index).get("weight_map")
            if not isinstance(shards, dict):
                raise ValueError(f"guidance file {index}: expected a weight_map; {_MEND}")
            names.update(f"{folder}/{shard}" for shard in shards.values())
        else:
            names.add(f"{folder}/{stem}.safetensors")
    return sorted(names)


def digest(path: Path) -> str:
    """sha256 over the names and bytes of the weights: the model's identity wherever it lies."""
    total = hashlib.sha256()
    for name in weight_files(path):
        with (path / name).open("rb") as file:
            total.update(f"{name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _require(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"guidance file missing: {path}; {_MEND}")


def _read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError if there is none."""
    _require(path)
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"guidance file {path}: not JSON ({error}); {_MEND}") from None
    if not isinstance(data, dict):
        raise ValueError(f"guidance file {path}: expected a JSON object; {_MEND}")
    return data
