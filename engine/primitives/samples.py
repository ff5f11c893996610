"""How well a teacher draws: a sheet of samples, and whether it binds colours to parts."""

from pathlib import Path
from typing import Any, cast

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from engine.guidance.prompts import VIEWS, view_word, with_view
from engine.primitives.backgrounds import composite
from engine.primitives.captions import caption
from engine.primitives.pictures import Pictures
from engine.primitives.splits import Split, choose
from engine.primitives.teacher import Teacher, build_scheduler, encode, tokenize


def _precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _velocity(
    teacher: Teacher,
    x: Float[Tensor, "B 3 h w"],
    t: Int[Tensor, "B"],
    text: Float[Tensor, "B T d"],
) -> Float[Tensor, "B 3 h w"]:
    return teacher.unet(x, t, text, return_dict=False)[0][:, :3].float()


@torch.no_grad()
def sample(
    teacher: Teacher, captions: list[str], seed: int, steps: int = 50, guidance: float = 3.0
) -> Float[Tensor, "B 3 h w"]:
    """Pictures in [-1, 1] by DDIM; guided v = uncond + guidance (cond - uncond)."""
    device = teacher.unet.device
    # from_config is annotated with a tuple that it returns only when asked to.
    scheduler = cast(Any, DDIMScheduler.from_config(build_scheduler().config))
    scheduler.set_timesteps(steps)
    size = int(teacher.unet.config["sample_size"])
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(captions), 3, size, size, generator=generator).to(device)
    tokens = tokenize(teacher.tokenizer, captions + [""] * len(captions)).to(device)
    with _precision(device):
        text = encode(teacher.text_encoder, tokens)
        for t in scheduler.timesteps:
            time = t.to(device).expand(2 * len(x))
            cond, uncond = _velocity(teacher, torch.cat([x, x]), time, text).chunk(2)
            guess = uncond + guidance * (cond - uncond)
            x = scheduler.step(guess, int(t), x, use_clipped_model_output=True).prev_sample
    return x.clamp(-1.0, 1.0)


def sheet_captions(split: Split, count: int, seed: int) -> list[str]:
    """Captions of `count` random scenes of a split."""
    return [caption(spec) for spec in choose(split, count, seed)]


def write_sheet(teacher: Teacher, captions: list[str], path: Path, seed: int) -> None:
    """Draw each caption from the four views, one row a caption, and save the picture."""
    texts = [with_view(text, view) for text in captions for view in VIEWS]
    pictures = sample(teacher, texts, seed)
    rows = pictures.reshape(len(captions), len(VIEWS), *pictures.shape[1:])
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    pixels = ((sheet + 1.0) * 127.5).round().to(torch.uint8).permute(1, 2, 0)
    Image.fromarray(pixels.cpu().numpy()).save(path)


def _own_and_swapped(pictures: Pictures) -> tuple[list[int], list[str], list[str]]:
    """Rows of several colours, their captions, and the captions with two colours exchanged."""
    rows = [
        row
        for row, spec in enumerate(pictures.specs)
        if len(spec.colours) > 1 and not pictures.is_textureless[row]
    ]
    views = [
        view_word(float(pictures.azimuth_deg[row]), float(pictures.elevation_deg[row]))
        for row in rows
    ]
    pairs = [(pictures.specs[row], view) for row, view in zip(rows, views, strict=True)]
    own = [with_view(caption(spec), view) for spec, view in pairs]
    return rows, own, [with_view(caption(spec.swapped()), view) for spec, view in pairs]


@torch.no_grad()
def binding(
    teacher: Teacher, pictures: Pictures, seed: int, time: tuple[int, int] = (800, 980)
) -> Bool[Tensor, "N"]:
    """Whether each picture of several colours is explained better by its caption than by its swap.

    Both captions predict v of the same noised picture, at a time when the caption is needed (see
    `engine.primitives.teacher.NOISE_SHIFT`); the smaller error wins. Pictures of one colour and
    textureless ones are left out; N counts the others.
    """
    device = teacher.unet.device
    rows, own, swapped = _own_and_swapped(pictures)
    generator = torch.Generator().manual_seed(seed)
    x = composite(pictures.rgba[rows].to(device))
    t = torch.randint(*time, (len(rows),), generator=generator).to(device)
    noise = torch.randn(x.shape, generator=generator).to(device)
    a = build_scheduler().alphas_cumprod.to(device)[t][:, None, None, None]
    noisy = a.sqrt() * x + (1.0 - a).sqrt() * noise
    velocity = a.sqrt() * noise - (1.0 - a).sqrt() * x
    errors: list[Tensor] = []
    with _precision(device):
        for texts in (own, swapped):
            tokens = tokenize(teacher.tokenizer, texts).to(device)
            guess = _velocity(teacher, noisy, t, encode(teacher.text_encoder, tokens))
            errors.append((guess - velocity).square().mean(dim=(1, 2, 3)))
    return errors[0] < errors[1]
