"""The teacher's checkpoints: few flat files that travel easily.

    weights-<i>.safetensors   running mean of the U-Net, the text encoder; half, <= 15 MiB each
    checkpoint.json           sizes of the teacher, steps and seconds trained

Neither raw weights nor optimiser moments are kept: a resumed run starts from the running mean with
a short warm-up. `python -m engine.primitives.checkpoint FROM TO` turns one into a pipeline, and
`of_pipeline` a pipeline into one.
"""

import argparse
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import T5EncoderModel

from engine.primitives.teacher import Teacher, TeacherConfig, build, save

SHARD_BYTES = 15 * 2**20 - 65536
"""Bytes of tensors in one file, short of 15 MiB by the room for its header."""

_META = "checkpoint.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A teacher with how long it has been trained."""

    teacher: Teacher
    config: TeacherConfig
    steps: int
    seconds: float


def _shards(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD_BYTES
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = SHARD_BYTES
        shards[-1][name] = tensor
        room -= size
    return shards


def _tensors(teacher: Teacher) -> dict[str, Tensor]:
    """All weights by name; a tensor that two names share is kept under the first."""
    found: dict[str, Tensor] = {}
    for part, network in (("unet", teacher.unet), ("text_encoder", teacher.text_encoder)):
        for name, tensor in network.named_parameters():
            found[f"{part}.{name}"] = tensor.detach().to("cpu", torch.float16).contiguous()
    return found


def write(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint into a folder; each file replaces its predecessor at once."""
    path.mkdir(parents=True, exist_ok=True)
    shards = _shards(_tensors(checkpoint.teacher))
    for number, shard in enumerate(shards, start=1):
        whole = path / f"weights-{number}.safetensors"
        part = whole.with_suffix(".part")
        save_file(shard, part)
        part.replace(whole)
    # Shards of a larger predecessor would be read with the new ones.
    for number in itertools.count(len(shards) + 1):
        stale = path / f"weights-{number}.safetensors"
        if not stale.exists():
            break
        stale.unlink()
    meta = {
        "teacher": asdict(checkpoint.config),
        "steps": checkpoint.steps,
        "seconds": checkpoint.seconds,
    }
    (path / _META).write_text(json.dumps(meta, indent=1) + "\n")


def read(path: Path) -> Checkpoint:
    """Read a checkpoint; the weights come back in single precision.

    Raises ValueError where the folder holds none, or one whose weights do not fit its sizes.
    """
    if not (path / _META).is_file():
        raise ValueError(f"{path} holds no checkpoint: {_META} is missing; train without --resume")
    meta = json.loads((path / _META).read_text())
    sizes = meta["teacher"] | {"channels": tuple(meta["teacher"]["channels"])}
    config = TeacherConfig(**sizes)
    teacher = build(config, seed=0)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(path.glob("weights-*.safetensors")):
        tensors |= load_file(shard)
    wanted = _tensors(teacher).keys()
    if tensors.keys() != wanted:
        strange = sorted(tensors.keys() ^ wanted)[:3]
        raise ValueError(f"weights in {path} do not fit {_META}: first differences {strange}")
    for part, network in (("unet", teacher.unet), ("text_encoder", teacher.text_encoder)):
        for name, parameter in network.named_parameters():
            with torch.no_grad():
                parameter.copy_(tensors[f"{part}.{name}"])
    return Checkpoint(teacher=teacher, config=config, steps=meta["steps"], seconds=meta["seconds"])


def of_pipeline(path: Path, config: TeacherConfig) -> Checkpoint:
    """The teacher in a pipeline directory, in single precision; of its training nothing is known.

    Raises ValueError where it has other sizes than the config says.
    """
    teacher = build(config, seed=0)
    unet = UNet2DConditionModel.from_pretrained(path, subfolder="unet", use_safetensors=True)
    text_encoder = T5EncoderModel.from_pretrained(
        path, subfolder="text_encoder", use_safetensors=True
    )
    for network, found in ((teacher.unet, unet), (teacher.text_encoder, text_encoder)):
        try:
            network.load_state_dict(found.state_dict())
        except RuntimeError as error:
            raise ValueError(f"weights in {path} are of other sizes than {config}") from error
    return Checkpoint(teacher=teacher, config=config, steps=0, seconds=0.0)


def main(arguments: list[str] | None = None) -> None:
    """Turn a checkpoint folder into a pipeline directory."""
    parser = argparse.ArgumentParser(prog="python -m engine.primitives.checkpoint")
    parser.add_argument("source", type=Path, help="folder with a checkpoint")
    parser.add_argument("target", type=Path, help="pipeline directory to write")
    options = parser.parse_args(arguments)
    save(read(options.source).teacher, options.target)


if __name__ == "__main__":
    main()
