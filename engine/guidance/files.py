"""The files of a diffusion model on disk: where they are, whether all are there, their digest.

Free of torch, so that a mistake is reported before anything is loaded.
"""

import hashlib
import json
from pathlib import Path

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
        _require(path / name)
        try:
            json.loads((path / name).read_text())
        except ValueError as error:
            raise ValueError(f"guidance file {path / name}: not JSON ({error})") from None
    if not any((path / "tokenizer" / n).is_file() for n in ("tokenizer.json", "spiece.model")):
        _require(path / "tokenizer" / "tokenizer.json")
    for name in weight_files(path):
        _require(path / name)
    unet = json.loads((path / "unet/config.json").read_text())
    channels = (unet.get("in_channels"), unet.get("out_channels"))
    if channels not in ((3, 3), (3, 6)):
        raise ValueError(
            f"guidance {str(path)!r}: expected a pixel-space U-Net with 3 input and 3 or 6 output "
            f"channels, got {channels[0]} and {channels[1]}; {_MEND}"
        )


def weight_files(path: Path) -> list[str]:
    """Relative names of all weight files, those that an index promises included; sorted."""
    names: set[str] = set()
    for folder, stem in _WEIGHTS.items():
        indices = sorted((path / folder).glob(f"{stem}.safetensors.index*.json"))
        for index in indices:
            shards = json.loads(index.read_text())["weight_map"].values()
            names.update(f"{folder}/{shard}" for shard in shards)
        if not indices:
            single = sorted((path / folder).glob(f"{stem}*.safetensors"))
            names.update(f"{folder}/{f.name}" for f in single)
            if not single:
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
