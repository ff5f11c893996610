import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.configs.distillation import PerpNegConfig
from engine.guidance import views
from engine.guidance.prompts import VIEWS, view_word

NUMBERS = PerpNegConfig()


def at(azimuth: float, elevation: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[float(azimuth)]]), torch.tensor([[float(elevation)]])


def shares(azimuth: float, elevation: float = 0.0) -> list[float]:
    return views.shares(*at(azimuth, elevation))[0, 0].tolist()


def denied(azimuth: float, elevation: float = 0.0) -> dict[str, float]:
    words, weights = views.denied(*at(azimuth, elevation), NUMBERS)
    names = [VIEWS[k] for k in words[0, 0].tolist()]
    return dict(zip(names, weights[0, 0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [
        (0, 0, [1, 0, 0, 0]),
        (45, 60, [0.5, 0.5, 0, 0]),
        (-45, 0, [0.5, 0.5, 0, 0]),
        (90, 0, [0, 1, 0, 0]),
        (270, 0, [0, 1, 0, 0]),
        (120, 0, [0, 2 / 3, 1 / 3, 0]),
        (180, -10, [0, 0, 1, 0]),
        (-150, 0, [0, 1 / 3, 2 / 3, 0]),
        (30, 61, [0, 0, 0, 1]),
        (180, 90, [0, 0, 0, 1]),
    ],
)
def test_shares_by_where_the_camera_stands(
    azimuth: float, elevation: float, expected: list[float]
) -> None:
    assert shares(azimuth, elevation) == pytest.approx(expected, abs=1e-6)


@given(st.floats(-720, 720, width=32), st.floats(-90, 90, width=32))
def test_shares_add_up_and_the_nearest_word_has_the_most(azimuth: float, elevation: float) -> None:
    found = shares(azimuth, elevation)
    assert sum(found) == pytest.approx(1.0, abs=1e-5)
    assert min(found) >= -1e-6
    ours = found[VIEWS.index(view_word(azimuth, elevation))]
    assert ours >= max(found) - 1e-3


def test_shares_change_smoothly_around_the_object() -> None:
    turn = torch.linspace(0, 360, 3601)[None]
    found = views.shares(turn, torch.zeros_like(turn))
    assert found.diff(dim=1).abs().max() < 0.0012


def expected_of(azimuth: float) -> dict[str, float]:
    """threestudio's weights, with its numbers written out."""
    away = abs((azimuth + 180) % 360 - 180) / 90
    if away < 1:
        front, side = 1 - away, away
        return {
            "front view": -(4 * math.exp(-front / 2) - 2.426),
            "side view": -(4 * math.exp(-side / 2) - 2.426),
        }
    side = 2 - away
    return {
        "side view": -(math.exp(-side / 2) - 0.606),
        "front view": -(math.exp(-side / 2) + 0.967),
    }


@pytest.mark.parametrize("azimuth", [0, 20, -20, 89, 90, 91, 135, 180, 200, 300, 359])
def test_what_is_denied_and_how_strongly(azimuth: float) -> None:
    assert denied(azimuth) == pytest.approx(expected_of(azimuth), abs=1e-5)


@given(st.floats(-360, 360, width=32), st.floats(-90, 60, width=32))
def test_nothing_is_ever_asked_for_by_a_denial(azimuth: float, elevation: float) -> None:
    assert max(denied(azimuth, elevation).values()) <= 1e-3


def test_a_view_does_not_deny_itself_and_the_back_denies_the_front_most() -> None:
    assert denied(0)["front view"] == pytest.approx(0, abs=1e-3)
    assert denied(180)["front view"] < -1.9
    assert set(denied(33, 61).values()) == {0.0}


def test_words_and_weights_are_data_of_each_view() -> None:
    azimuth, elevation = torch.tensor([[10.0, 170.0], [100.0, 0.0]]), torch.zeros(2, 2)
    words, weights = views.denied(azimuth, elevation, NUMBERS)
    assert words.tolist() == [[[0, 1], [1, 0]], [[1, 0], [0, 1]]]
    for s in range(2):
        alone = views.denied(azimuth[s : s + 1], elevation[s : s + 1], NUMBERS)
        assert torch.equal(weights[s], alone[1][0])
