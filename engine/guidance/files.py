"""The files of a diffusion model on disk: where they are, whether all are there, their digest.

Two layouts of diffusers are known, both with `unet/ text_encoder/ tokenizer/ scheduler/`:

pixel    DeepFloyd IF: a U-Net from 3 channels, a T5 text encoder
latent   Stable Diffusion: a U-Net from 4 channels and its autoencoder `vae/`, a CLIP text encoder

Free of torch, so that a mistake is reported before anything is loaded.
"""

import hashlib
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

Space = Literal["pixel", "latent"]

PRIMITIVES = "primitives"
"""Name of the model that comes with the package."""

_LAYOUTS: dict[Space, str] = {
    "pixel": "DeepFloyd IF (unet/ text_encoder/ tokenizer/ scheduler/)",
    "latent": "Stable Diffusion (unet/ vae/ text_encoder/ tokenizer/ scheduler/)",
}
_MEND = f"give a directory in the layout of {_LAYOUTS['pixel']} or {_LAYOUTS['latent']}"
_WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "text_encoder": "model",
    "vae": "diffusion_pytorch_model",
}
_PARTS: dict[Space, tuple[str, ...]] = {
    "pixel": ("unet", "text_encoder"),
    "latent": ("unet", "text_encoder", "vae"),
}
_CHANNELS: dict[tuple[Any, Any], Space] = {(3, 3): "pixel", (3, 6): "pixel", (4, 4): "latent"}
_CONFIGS = (
    "model_index.json",
    "unet/config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
)
CARD = "README.md"
PATTERNS = (
    "model_index.json",
    CARD,
    "tokenizer/*.json",
    "tokenizer/*.txt",
    "tokenizer/*.model",
    "scheduler/*.json",
    *(f"{folder}/config.json" for folder in _WEIGHTS),
    *(f"{folder}/{stem}.safetensors" for folder, stem in _WEIGHTS.items()),
    *(f"{folder}/{stem}.safetensors.index.json" for folder, stem in _WEIGHTS.items()),
    *(f"{folder}/{stem}-*-of-*.safetensors" for folder, stem in _WEIGHTS.items()),
)
"""Names of the files of a model's repository that are of use; others hold the same weights in
another format or precision, or parts that nobody asks. The card tells the licence."""

_CARD_HEAD = re.compile(r"---\n(.*?\n)---\n", re.DOTALL)
_CARD_LINE = re.compile(r"^(license|license_name): *['\"]?([^'\"\n]+?)['\"]? *$", re.MULTILINE)

_VOCABULARIES = (("tokenizer.json",), ("spiece.model",), ("vocab.json", "merges.txt"))
_TEXT_ENCODERS = ("t5", "clip_text_model", None)


def resolve(guidance: str) -> Path:
    """Directory of a guidance model: the packaged one by name, any other by its path."""
    if guidance == PRIMITIVES:
        return Path(__file__).parent.parent / "primitives" / "weights"
    return Path(guidance)


def space_of(path: Path) -> Space:
    """What the model works on: pixels, or latents of them. Raises ValueError as `check`."""
    if not path.is_dir():
        raise ValueError(f"guidance {str(path)!r}: no such directory; {_MEND}")
    unet = _read_json(path / "unet/config.json")
    channels = (unet.get("in_channels"), unet.get("out_channels"))
    if channels not in _CHANNELS:
        raise ValueError(
            f"guidance {str(path)!r}: expected a U-Net from 3 channels to 3 or 6 (pixels) or from "
            f"4 to 4 (latents), got {channels[0]} and {channels[1]}; {_MEND}"
        )
    return _CHANNELS[channels]


def check(path: Path, *, space: Space | None = None) -> None:
    """Raises ValueError, in one line with the mend, unless every file of the model is there and
    its parts fit together; with `space`, unless it works in that."""
    found = space_of(path)
    if space is not None and space != found:
        raise ValueError(
            f"guidance {str(path)!r}: expected a {space} model, got a {found} one; "
            f"give a directory in the layout of {_LAYOUTS[space]}"
        )
    for name in _CONFIGS:
        _read_json(path / name)
    if not any(all((path / "tokenizer" / n).is_file() for n in v) for v in _VOCABULARIES):
        _require(path / "tokenizer" / "tokenizer.json")
    _check_parts(path, found)
    for name in weight_files(path):
        _require(path / name)


def weight_files(path: Path) -> list[str]:
    """Relative names of the weight files that are loaded, sorted: an index's shards, or one file.

    Variants that lie beside them, such as `*.fp16.safetensors`, are not loaded and do not count.
    """
    names: set[str] = set()
    for folder in _PARTS[space_of(path)]:
        stem = _WEIGHTS[folder]
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


def licence(path: Path) -> str:
    """What the model's card says of its licence, by the hub's names; `unknown` if it says nothing.

    A licence that the hub has no short name for (`other`) has one of its own in the card.
    """
    card = path / CARD
    head = _CARD_HEAD.match(card.read_text(errors="replace")) if card.is_file() else None
    said = dict(_CARD_LINE.findall(head[1])) if head else {}
    name = said.get("license", "unknown")
    return said.get("license_name", name) if name == "other" else name


def wanted(name: str) -> bool:
    """Whether a file of a model's repository is one that loading it may read, by its name."""
    return any(fnmatchcase(name, pattern) for pattern in PATTERNS)


def _check_parts(path: Path, space: Space) -> None:
    """Raises ValueError where the parts cannot work together, by what their configurations say."""
    unet, texts = (
        _read_json(path / "unet/config.json"),
        _read_json(path / "text_encoder/config.json"),
    )
    if unet.get("addition_embed_type") not in (None, "text"):
        raise ValueError(
            f"guidance {str(path)!r}: expected a U-Net that wants one text alone, got one that "
            f"wants {unet['addition_embed_type']!r} besides (Stable Diffusion XL?); {_MEND}"
        )
    if texts.get("model_type") not in _TEXT_ENCODERS:
        raise ValueError(
            f"guidance {str(path)!r}: expected a T5 or CLIP text encoder, got "
            f"{texts['model_type']!r}; {_MEND}"
        )
    width = texts.get("d_model") or texts.get("hidden_size")
    wide = unet.get("encoder_hid_dim") or unet.get("cross_attention_dim")
    if width and wide and width != wide:
        raise ValueError(
            f"guidance {str(path)!r}: expected texts of {wide} features, as its U-Net reads them, "
            f"got a text encoder of {width}; {_MEND}"
        )
    if space == "latent":
        channels = _read_json(path / "vae/config.json").get("latent_channels", 4)
        if channels != unet["in_channels"]:
            raise ValueError(
                f"guidance {str(path)!r}: expected an autoencoder of {unet['in_channels']} latent "
                f"channels, as its U-Net reads them, got {channels}; {_MEND}"
            )


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
