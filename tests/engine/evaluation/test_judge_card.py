import math
import random

import pytest
import torch
from torch import Tensor

from engine.evaluation import judge_card
from engine.evaluation.judge import Judge
from engine.evaluation.judge_card import (
    Trials,
    card,
    cosines,
    geometry_accuracy,
    geometry_rows,
    retrieval,
    swap_accuracy,
)
from engine.evaluation.stage import BACKGROUND
from engine.primitives.captions import colourless_caption, parse, vocabulary
from engine.primitives.grammar import Spec, geometries
from engine.primitives.pictures import Pictures
from tests.engine.evaluation.judge_fakes import CONVOLUTIONAL, SIZE

SPECS = [
    Spec("mushroom", ("red", "white")),
    Spec("cube", ("red", "blue"), "on", "cylinder"),
    Spec("ball", ("green",), count=3),
    Spec("cup", ("pink", "black")),
]
PLAIN = torch.tensor([False, False, False, True])


class Sage(Judge):
    """Reads the number of a trial off its first pixel, and knows what it shows; or the contrary."""

    def __init__(self, *, honest: bool = True) -> None:
        built = Judge.build(CONVOLUTIONAL, vocabulary(), 0)
        super().__init__(built.network, built.config, built.words)
        self.sign = 1.0 if honest else -1.0
        self.asked: list[str] = []

    def embed_pictures(self, x: Tensor) -> Tensor:
        index = (10 * x[:, 0, 0, 0]).round().long()
        return self.sign * torch.eye(len(SPECS))[index]

    def embed_captions(self, captions) -> Tensor:
        self.asked += captions
        shapes = {colourless_caption(spec.geometry): spec.geometry for spec in SPECS}
        all_shapes = {colourless_caption(geometry) for geometry in geometries()}
        rows: list[list[float]] = []
        for text in captions:
            if text in all_shapes:
                rows.append([float(shapes.get(text) == spec.geometry) for spec in SPECS])
            else:
                rows.append([float(parse(text) == spec) for spec in SPECS])
        return torch.tensor(rows)


def trials() -> Trials:
    x = torch.zeros(len(SPECS), 3, SIZE, SIZE)
    x[:, 0, 0, 0] = 0.1 * torch.arange(len(SPECS))
    return Trials(x=x, specs=SPECS, is_textureless=PLAIN)


def test_trials_lie_over_the_background() -> None:
    rgba = torch.full((2, 4, SIZE, SIZE), 255, dtype=torch.uint8)
    rgba[:, 3, :4] = 0
    pictures = Pictures(
        rgba=rgba,
        captions=["", ""],
        specs=SPECS[:2],
        azimuth_deg=torch.zeros(2),
        elevation_deg=torch.zeros(2),
        is_textureless=PLAIN[:2],
    )
    x = Trials.of(pictures).x
    assert x[:, :, 4:].min() == 1.0
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor(BACKGROUND))
    degraded = Trials.of(pictures, degraded=True).x
    assert degraded.shape == x.shape
    assert (degraded - x).abs().max() > 0.01


def test_trials_are_sorted_by_what_can_be_asked_of_them() -> None:
    assert trials().coloured(2).specs == SPECS[:2]
    assert trials().coloured(1).specs == SPECS[:3]
    assert trials().textureless().specs == SPECS[3:]
    assert trials().textureless().x[0, 0, 0, 0] == pytest.approx(0.3)


def test_cosines_are_those_of_each_trial_s_own_captions() -> None:
    found = cosines(
        Sage(), trials().only([1, 0]), [["a red mushroom", "a red cube on a blue cylinder"]] * 2
    )
    assert found.tolist() == [[0.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(("honest", "expected"), [(True, 1.0), (False, 0.0)])
def test_a_judge_that_knows_is_always_right_and_its_contrary_wrong(
    honest: bool, expected: float
) -> None:
    judge = Sage(honest=honest)
    assert swap_accuracy(judge, trials().coloured(2)) == expected
    assert swap_accuracy(judge, trials().coloured(2), random.Random(0)) == expected
    assert retrieval(judge, trials().coloured(1)) == expected
    assert geometry_accuracy(judge, trials()) == expected


def test_pools_hold_64_captions() -> None:
    judge = Sage()
    retrieval(judge, trials().only([0]))
    assert len(set(judge.asked)) == 64
    assert "a white mushroom with red stem" in judge.asked


@pytest.mark.parametrize("sign", [0.0, math.nan])
def test_a_judge_that_cannot_tell_has_found_nothing(sign: float) -> None:
    judge = Sage()
    judge.sign = sign
    assert swap_accuracy(judge, trials().coloured(2)) == 0.0
    assert retrieval(judge, trials().only([0])) == 0.0
    assert geometry_accuracy(judge, trials()) == 0.0


def test_nothing_to_ask_is_not_a_figure() -> None:
    nothing = trials().only([])
    for figure in (swap_accuracy, retrieval, geometry_accuracy):
        assert math.isnan(figure(Sage(), nothing))


def test_geometries_are_numbered_as_in_the_world() -> None:
    assert [geometries()[i] for i in geometry_rows(SPECS)] == [spec.geometry for spec in SPECS]


def test_the_card_counts_what_stands_behind_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_card, "_MOST_RETRIEVALS", 2)
    pictures = Pictures(
        rgba=torch.randint(255, (4, 4, SIZE, SIZE), dtype=torch.uint8),
        captions=[""] * 4,
        specs=SPECS,
        azimuth_deg=torch.zeros(4),
        elevation_deg=torch.zeros(4),
        is_textureless=PLAIN,
    )
    figures = card(Judge.build(CONVOLUTIONAL, vocabulary(), 0), pictures, seed=1)
    counts = {name: value for name, value in figures.items() if name.startswith("num")}
    assert counts == {"num_swap": 2, "num_retrieval": 2, "num_geometry": 1}
    assert set(figures) - set(counts) == {
        "swap",
        "swap_any_form",
        "swap_degraded",
        "retrieval",
        "geometry",
    }
    assert all(0 <= value <= 1 for name, value in figures.items() if name not in counts)
