"""A judge: says how well a caption of the embedded world fits a picture.

    judge = Judge.load("j1")
    logits = judge.scale * judge.embed_pictures(pictures) @ judge.embed_captions(captions).T

A judge is a directory: `config.json` (sizes and words) and `weights.safetensors` (half precision);
the published ones, "j1" and "j2", travel with the package. Legend: B pictures, C captions, D the
width of the common space.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.evaluation.clip_files import digest_of
from engine.evaluation.judge_networks import NUM_WORDS, DualEncoder, JudgeConfig

WEIGHTS = Path(__file__).parent / "weights"
PUBLISHED = ("j1", "j2")

_CONFIG, _WEIGHTS = "config.json", "weights.safetensors"
_CHUNK = 1024


def words_of(text: str) -> list[str]:
    """The words of a caption; a comma is one of them."""
    return text.lower().replace(",", " ,").split()


def numbers(captions: Sequence[str], words: Sequence[str]) -> Int[Tensor, "C T"]:
    """Captions as numbers of words, counted from 1 and padded with 0.

    Raises ValueError for a word that the judge does not know: its score would mean nothing.
    """
    number = {word: i for i, word in enumerate(words, start=1)}
    rows: list[list[int]] = []
    for text in captions:
        found = words_of(text)
        unknown = [word for word in found if word not in number]
        if unknown or not 1 <= len(found) <= NUM_WORDS:
            raise ValueError(
                f"cannot judge the caption {text!r}: expected 1 to {NUM_WORDS} words of the "
                f"embedded world, got {len(found)}, of them unknown: {unknown}"
            )
        rows.append([number[word] for word in found])
    length = max((len(row) for row in rows), default=0)
    padded = [row + [0] * (length - len(row)) for row in rows]
    return torch.tensor(padded, dtype=torch.long).reshape(len(rows), length)


def directory(name: str | Path) -> Path:
    """Where a judge lies: "j1", "j2" or a directory. Raises ValueError where there is none."""
    path = WEIGHTS / name if isinstance(name, str) and name in PUBLISHED else Path(name)
    if not (path / _CONFIG).is_file():
        raise ValueError(
            f"{path} holds no judge: {_CONFIG} is missing; expected 'j1', 'j2' or a directory "
            "that `python -m engine.evaluation.train_judges` wrote"
        )
    return path


def digest(name: str | Path) -> str:
    """sha256 over the sizes, the words and the weights of a judge. ValueError as `directory`."""
    return digest_of(directory(name), [_CONFIG, _WEIGHTS])


class Judge:
    """A trained pair of encoders with the words it knows. It only measures: no gradients."""

    def __init__(self, network: DualEncoder, config: JudgeConfig, words: Sequence[str]) -> None:
        self.network, self.config, self.words = network.eval(), config, tuple(words)

    @classmethod
    def build(cls, config: JudgeConfig, words: Sequence[str], seed: int) -> "Judge":
        """An untrained judge, a pure function of sizes, words and seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(DualEncoder(config, 1 + len(words)), config, words)

    @classmethod
    def load(cls, name: str | Path, device: torch.device | str = "cpu") -> "Judge":
        """Read "j1", "j2" or a directory; the weights come back in single precision.

        Raises ValueError where there is none, or one whose weights do not fit its sizes.
        """
        path = directory(name)
        said = json.loads((path / _CONFIG).read_text())
        judge = cls.build(JudgeConfig(**said["sizes"]), said["words"], seed=0)
        weights = {k: v.float() for k, v in load_file(path / _WEIGHTS).items()}
        try:
            judge.network.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"weights in {path} do not fit {_CONFIG}: {error}") from error
        judge.network.to(device)
        return judge

    def save(self, path: Path) -> None:
        """Write the directory, weights in half precision."""
        path.mkdir(parents=True, exist_ok=True)
        weights = self.network.state_dict()
        half = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in weights.items()}
        save_file(half, path / _WEIGHTS)
        said = {"sizes": asdict(self.config), "words": self.words}
        (path / _CONFIG).write_text(json.dumps(said, indent=1) + "\n")

    @property
    def device(self) -> torch.device:
        """Where the judge computes."""
        return self.network.log_scale.device

    @property
    def scale(self) -> float:
        """The logit of a perfect match; a picture's logits are `scale` times its cosines."""
        return float(self.network.scale.detach())

    @torch.no_grad()
    def embed_pictures(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        """Unit vectors of RGB pictures in [0, 1]. Raises ValueError for pictures of another size.

        Captions are scored by their cosines: `scale * embed_pictures(x) @ embed_captions(c).T`.
        """
        size = self.config.size
        if x.shape[2:] != (size, size):
            raise ValueError(
                f"this judge looks at pictures of {size} x {size}, got {tuple(x.shape[2:])}; "
                "resize them first"
            )
        parts = [self.network.embed_pictures(part.to(self.device)) for part in x.split(_CHUNK)]
        return torch.cat(parts) if parts else torch.empty(0, self.config.embedding)

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Float[Tensor, "C D"]:
        """Unit vectors of captions in any of their forms, with or without a view word.

        Raises ValueError for a caption with words from outside the embedded world.
        """
        tokens = numbers(captions, self.words).to(self.device)
        return torch.cat([self.network.embed_captions(part) for part in tokens.split(_CHUNK)])
