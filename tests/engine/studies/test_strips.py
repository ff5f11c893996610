"""Strips and sheets: which pixel is where."""

from pathlib import Path

import torch
from PIL import Image

from engine.studies import strips


def shades(scenes: int, base: int) -> torch.Tensor:
    """A grey of its own for every scene and view."""
    value = base + 10 * torch.arange(scenes)[:, None] + torch.arange(8)[None]
    return (value / 255.0)[:, :, None, None, None].expand(-1, -1, 3, 64, 64)


def test_a_strip_has_a_scene_a_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "strip.png"
    strips.write(path, shades(3, 100))
    with Image.open(path) as image:
        assert image.size == (8 * 64, 3 * 64)
        assert image.getpixel((64 * 5 + 3, 64 * 2 + 60)) == (125, 125, 125)


def test_a_sheet_shows_two_views_of_every_variation(tmp_path: Path) -> None:
    for name, scenes, base in (("a", 2, 20), ("b", 1, 200)):
        strips.write(tmp_path / f"{name}.png", shades(scenes, base))
    paths = {name: tmp_path / f"{name}.png" for name in ("a", "missing", "b")}
    strips.write_sheet(tmp_path / "sheet.png", ["a car", "a cup"], paths)
    with Image.open(tmp_path / "sheet.png") as image:
        line = [image.convert("L").getpixel((8 + 64 + 128 * k, 80)) for k in range(4)]
        one_tile = image.height
    # Views 1 and 5 of the first scene of either; the second scene is not in both.
    assert line == [21, 25, 201, 205]
    assert one_tile < 2 * 128


def test_no_strips_no_sheet(tmp_path: Path) -> None:
    strips.write_sheet(tmp_path / "sheet.png", ["a car"], {"a": tmp_path / "a.png"})
    assert not (tmp_path / "sheet.png").exists()
