import pytest
import torch

from engine.primitives.backgrounds import NOISE_SPREAD, SHARES, composite, sample_backgrounds

CPU = torch.device("cpu")
NUM = 3000


def styles(found: torch.Tensor) -> torch.Tensor:
    """The style of each background by looking at it: 0 grey, 1 colour, 2 gradient, 3 noise."""
    is_even_row = (found - found[..., :1]).abs().amax(dim=(1, 2, 3)) < 1e-6
    is_even = is_even_row & ((found - found[:, :, :1]).abs().amax(dim=(1, 2, 3)) < 1e-6)
    is_grey = is_even & ((found - found[:, :1]).abs().amax(dim=(1, 2, 3)) < 1e-6)
    style = torch.full((len(found),), 3)
    style[is_even_row] = 2
    style[is_even] = 1
    style[is_grey] = 0
    return style


def test_every_style_is_drawn_as_often_as_its_share() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    found = sample_backgrounds(NUM, 6, CPU)
    assert found.shape == (NUM, 3, 6, 6)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    style = styles(found)
    for number, name in enumerate(("grey", "colour", "gradient", "noise")):
        share = float((style == number).float().mean())
        assert share == pytest.approx(SHARES[name], abs=0.03), name


def test_a_third_of_the_greys_is_black_or_white() -> None:
    found = sample_backgrounds(NUM, 4, CPU)
    shade = found[styles(found) == 0, 0, 0, 0]
    assert float((shade == 0).float().mean()) == pytest.approx(1 / 6, abs=0.05)
    assert float((shade == 1).float().mean()) == pytest.approx(1 / 6, abs=0.05)


def test_gradients_run_from_top_to_bottom_in_equal_steps() -> None:
    found = sample_backgrounds(NUM, 5, CPU)
    column = found[styles(found) == 2][..., 0]
    torch.testing.assert_close(
        column.diff(dim=2), (column[:, :, -1:] - column[:, :, :1]).expand(-1, -1, 4) / 4
    )


def test_noise_is_as_strong_as_said() -> None:
    found = sample_backgrounds(NUM, 12, CPU)
    noise = found[styles(found) == 3]
    # Where nothing was cut off at 0 or 1.
    spread = noise.flatten(2).std(dim=2)[((noise > 0) & (noise < 1)).all(dim=(2, 3))]
    assert len(spread) > 50
    assert float(spread.min()) > 0.8 * NOISE_SPREAD[0]
    assert float(spread.max()) < 1.2 * NOISE_SPREAD[1]


def test_pictures_hide_what_is_behind_them_by_their_alpha(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    behind = torch.rand(3, 3, 2, 2)
    monkeypatch.setattr(
        "engine.primitives.backgrounds.sample_backgrounds", lambda *arguments: behind
    )
    rgba = torch.randint(0, 256, (3, 4, 2, 2), dtype=torch.uint8)
    rgba[0, 3], rgba[1, 3] = 0, 255
    found = composite(rgba)
    colour = rgba[:, :3] / 255
    torch.testing.assert_close(found[0], 2 * behind[0] - 1)
    torch.testing.assert_close(found[1], 2 * colour[1] - 1)
    alpha = rgba[2, 3:] / 255
    torch.testing.assert_close(
        found[2], 2 * (alpha * colour[2] + (1 - alpha) * behind[2]) - 1, atol=1e-5, rtol=1e-5
    )
