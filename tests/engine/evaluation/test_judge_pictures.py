import pytest
import torch

from engine.evaluation import judge_pictures
from engine.evaluation.judge_pictures import add_floaters, degrade, recolour, soften, warp
from engine.evaluation.stage import BACKGROUND

SIZE = 32
MANY = 64
NEVER, ALWAYS = torch.zeros(MANY), torch.ones(MANY)
COLOURED = torch.zeros(MANY, dtype=torch.bool)


def disc(colour: tuple[float, float, float] = (0.8, 0.2, 0.1)) -> torch.Tensor:
    """Premultiplied RGBA of a disc, many times."""
    place = torch.linspace(-1, 1, SIZE)
    alpha = ((place[:, None] ** 2 + place**2) < 0.3).float()
    rgba = torch.cat([torch.tensor(colour)[:, None, None] * alpha, alpha[None]])
    return rgba.expand(MANY, 4, SIZE, SIZE)


def as_bytes(rgba: torch.Tensor) -> torch.Tensor:
    straight = torch.cat([torch.full_like(rgba[:, :3], 0.6), rgba[:, 3:]], dim=1)
    return (255 * straight).round().to(torch.uint8)


def test_a_picture_without_faults_stays_as_it_is() -> None:
    x = disc()
    torch.testing.assert_close(warp(x, NEVER), x, atol=1e-4, rtol=0)
    torch.testing.assert_close(soften(x, NEVER), x, atol=1e-4, rtol=0)
    torch.testing.assert_close(recolour(x, NEVER, COLOURED), x)
    scene = x[:, :3]
    assert torch.equal(add_floaters(scene, NEVER, COLOURED, 0.8), scene)


def test_a_plain_picture_lies_over_the_stage_s_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_pictures, "PLAIN_SHARE", 1.0)
    monkeypatch.setattr(judge_pictures, "BACKGROUND_SHARE", 1.1)
    rgba = as_bytes(disc())
    alpha = disc()[:, 3:]
    expected = 0.6 * alpha + torch.tensor(BACKGROUND)[:, None, None] * (1 - alpha)
    torch.testing.assert_close(degrade(rgba, COLOURED), expected, atol=1e-4, rtol=0)


def test_each_fault_befalls_some_pictures_and_spares_others() -> None:
    x = disc()
    for changed in (
        warp(x, ALWAYS),
        soften(x, ALWAYS),
        recolour(x, ALWAYS, COLOURED),
        add_floaters(x[:, :3], ALWAYS, COLOURED, 0.8),
    ):
        moved = (changed - x[:, : changed.shape[1]]).abs().amax(dim=(1, 2, 3)) > 1e-3
        assert 0.2 < moved.float().mean() < 0.98


def test_a_picture_is_moved_but_not_out_of_sight() -> None:
    mass = warp(disc(), ALWAYS)[:, 3].sum((1, 2)) / disc()[:, 3].sum((1, 2))
    assert 0.6 < mass.min() < 0.95
    assert 1.05 < mass.max() < 1.6


def test_softening_keeps_what_there_is_of_each_channel() -> None:
    # Lines that sum to one keep a flat picture flat.
    flat = torch.full((MANY, 4, SIZE, SIZE), 0.7)
    torch.testing.assert_close(soften(flat, ALWAYS), flat, atol=1e-4, rtol=0)
    mass = soften(disc(), ALWAYS)[:, 3].sum((1, 2)) / disc()[:, 3].sum((1, 2))
    torch.testing.assert_close(mass, torch.ones(MANY), atol=0.05, rtol=0)


def test_a_softened_picture_is_as_one_of_a_lower_resolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judge_pictures, "SIZES", (32,))
    monkeypatch.setattr(judge_pictures, "BLUR", 0.0)
    judge_pictures._resamplers.cache_clear()
    x = torch.rand(1, 4, SIZE, SIZE).expand(MANY, -1, -1, -1)
    small = torch.nn.functional.interpolate(x[:1], size=16, mode="area")
    expected = torch.nn.functional.interpolate(small, size=SIZE, mode="bilinear")[0]
    found = soften(x, ALWAYS)
    judge_pictures._resamplers.cache_clear()
    is_coarse = (found - x).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 0.2 < is_coarse.float().mean() < 0.8
    for picture in found[is_coarse]:
        torch.testing.assert_close(picture, expected, atol=1e-4, rtol=0)


def test_colours_never_exceed_their_alpha() -> None:
    found = recolour(disc((1.0, 0.9, 0.95)), ALWAYS, COLOURED)
    assert (found[:, :3] <= found[:, 3:] + 1e-6).all()
    assert found.min() >= 0


def test_a_textureless_picture_learns_no_colour() -> None:
    white = disc((0.7, 0.7, 0.7))
    rgba = (255 * torch.cat([white[:, 3:].expand(-1, 3, -1, -1), white[:, 3:]], 1)).to(torch.uint8)
    found = recolour(white, ALWAYS, ~COLOURED)[:, :3]
    assert (found.amax(1) - found.amin(1)).max() < 1e-5
    assert (found - white[:, :3]).abs().max() > 0.01
    scene = add_floaters(white[:, :3], ALWAYS, ~COLOURED, 0.8)
    assert (scene.amax(1) - scene.amin(1)).max() < 1e-5
    assert degrade(rgba, ~COLOURED).shape == (MANY, 3, SIZE, SIZE)


def test_what_a_judge_sees_is_a_picture_whatever_befalls_it() -> None:
    found = degrade(as_bytes(disc()), COLOURED)
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.isfinite(found).all()
    corner = found[:, :, 0, 0]
    fixed = (corner - torch.tensor(BACKGROUND)).abs().amax(1) < 1e-3
    assert 0.1 < fixed.float().mean() < 0.7
