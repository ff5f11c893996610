from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from engine.guidance.prompts import VIEWS, view_word, with_view
from engine.primitives import samples
from engine.primitives.captions import caption, parse
from engine.primitives.pictures import Pictures, render_pictures
from engine.primitives.samples import binding, sample, sheet_captions, write_sheet
from engine.primitives.splits import specs_of
from engine.primitives.teacher import Teacher, build, tokenize
from tests.engine.primitives.tiny import SIZES


def velocity_to(target: Tensor, noised: Tensor, level: Tensor) -> Tensor:
    """The v of a noised picture whose clean one is known; `level` is alpha squared."""
    noise = (noised - level.sqrt() * target) / (1 - level).sqrt()
    return level.sqrt() * noise - (1 - level).sqrt() * target


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return build(SIZES, seed=1)


def test_samples_are_pictures_and_a_pure_function_of_the_seed(teacher: Teacher) -> None:
    captions = ["a red cube", "a blue cube, side view"]
    found = sample(teacher, captions, seed=1, steps=3)
    assert found.shape == (2, 3, 16, 16)
    assert float(found.abs().max()) <= 1
    assert torch.equal(found, sample(teacher, captions, seed=1, steps=3))
    assert not torch.equal(found, sample(teacher, captions, seed=2, steps=3))


def test_a_perfect_model_of_one_picture_samples_that_picture(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = torch.linspace(-0.9, 0.9, 3 * 16 * 16).reshape(1, 3, 16, 16)
    a = samples.build_scheduler().alphas_cumprod

    def velocity(teacher: Teacher, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return velocity_to(target, x, a[t][:, None, None, None])

    monkeypatch.setattr(samples, "_velocity", velocity)
    found = sample(teacher, ["a red cube"], seed=4, steps=20)
    torch.testing.assert_close(found, target, atol=0.02, rtol=0)


def test_guidance_moves_away_from_the_empty_caption(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def encode(text_encoder: object, tokens: Tensor) -> Tensor:
        seen.append(tokens)
        return torch.zeros(*tokens.shape, SIZES.text_width)

    monkeypatch.setattr(samples, "encode", encode)
    sample(teacher, ["a red cube", "a blue cube"], seed=4, steps=1)
    expected = tokenize(teacher.tokenizer, ["a red cube", "a blue cube", "", ""])
    assert torch.equal(seen[0], expected)


def test_a_sheet_has_a_row_a_caption_and_a_column_a_view(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def draw(teacher: Teacher, captions: list[str], seed: int) -> Tensor:
        asked.extend(captions)
        shades = torch.linspace(-1, 1, len(captions))
        return shades[:, None, None, None].expand(-1, 3, 16, 16)

    monkeypatch.setattr(samples, "sample", draw)
    captions = ["a red cube", "a blue car", "a pink cup"]
    write_sheet(teacher, captions, tmp_path / "sheet.png", seed=1)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 16, 3 * 16)
        pixels = np.asarray(sheet).astype(int)
    for place, words in enumerate(asked):
        row, column = divmod(place, 4)
        cell = pixels[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
        assert abs(cell - 255 * place / 11).max() <= 1
        assert words == f"{captions[row]}, {VIEWS[column]}"


def test_sheet_captions_are_distinct_and_of_their_split() -> None:
    captions = sheet_captions("dev", 12, seed=3)
    assert len(set(captions)) == 12
    assert {parse(words) for words in captions} <= set(specs_of("dev"))
    assert captions == sheet_captions("dev", 12, seed=3)
    assert captions != sheet_captions("dev", 12, seed=4)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return render_pictures(40, 5, size=SIZES.size, split="dev")


@pytest.mark.parametrize(("trusts_the_caption", "expected"), [(True, 1.0), (False, 0.0)])
def test_binding_compares_each_caption_with_its_swap(
    teacher: Teacher,
    pictures: Pictures,
    trusts_the_caption: bool,
    expected: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []
    honest = samples.tokenize

    def tokens(tokenizer: object, captions: list[str]) -> Tensor:
        asked.append(captions)
        return honest(teacher.tokenizer, captions)

    def velocity(teacher: Teacher, x: Tensor, t: Tensor, text: Tensor) -> Tensor:
        # Right about the picture under one of the two captions only.
        is_first = len(asked) == 1
        assert 800 <= int(t.min()) <= int(t.max()) < 980
        target = torch.full_like(x, 0.5 if is_first == trusts_the_caption else -0.5)
        return velocity_to(target, x, a[t][:, None, None, None])

    a = samples.build_scheduler().alphas_cumprod
    monkeypatch.setattr(samples, "tokenize", tokens)
    monkeypatch.setattr(samples, "_velocity", velocity)
    monkeypatch.setattr(samples, "composite", lambda rgba: torch.full((len(rgba), 3, 16, 16), 0.5))
    found = binding(teacher, pictures, seed=1)
    chosen = [
        row
        for row, spec in enumerate(pictures.specs)
        if len(spec.colours) >= 2 and not pictures.is_textureless[row]
    ]
    assert len(found) == len(chosen) > 15
    assert float(found.float().mean()) == expected
    own, swapped = asked
    for true, other, row in zip(own, swapped, chosen, strict=True):
        spec = pictures.specs[row]
        place = float(pictures.azimuth_deg[row]), float(pictures.elevation_deg[row])
        assert true == with_view(caption(spec), view_word(*place))
        assert other == with_view(caption(spec.swapped()), view_word(*place))
