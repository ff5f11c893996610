"""Which side of the true shape a picture shows."""

import pytest
import torch
from torch import Tensor

from engine.evaluation import view_words
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.stage import BACKGROUND, over_background
from engine.evaluation.verdict import share
from engine.evaluation.view_words import any_views, are_shown, judged, references
from engine.guidance.prompts import VIEWS, view_word
from engine.primitives.grammar import Spec
from engine.primitives.kinds import NUM_PROPORTIONS
from engine.primitives.truth import true_views

CPU = torch.device("cpu")
CAR = Spec("car", ("red", "blue"))
TELEVISION = Spec("television", ("red", "blue"))


class Painter:
    """Stands for the renderer: a picture is plain, its colour azimuth, elevation and shape."""

    def __init__(self) -> None:
        self.seen: list[tuple[Spec, float, float, float]] = []

    def __call__(
        self,
        specs: list[Spec],
        proportions: Tensor,
        azimuth_deg: Tensor,
        elevation_deg: Tensor,
        *,
        textureless: bool,
        size: int,
        device: torch.device,
    ) -> Tensor:
        assert not textureless
        angles = zip(azimuth_deg.tolist(), elevation_deg.tolist(), strict=True)
        rows = []
        for spec, u, (azimuth, elevation) in zip(
            specs, proportions[:, 0].tolist(), angles, strict=True
        ):
            self.seen.append((spec, u, azimuth, elevation))
            rows.append([azimuth % 360.0 / 360.0, elevation / 90.0, u, 1.0])
        flat = torch.tensor(rows, device=device)[:, :, None, None]
        return flat.expand(-1, -1, size, size)


class Blind:
    """Embeds a picture as noise that has nothing to do with its view."""

    scale = 1.0

    def embed_pictures(self, x: Tensor) -> Tensor:
        mixed = x[:, :, 0, 0].double() @ torch.tensor([[3e4], [5e4], [7e4]]).double()
        noise = (mixed * torch.arange(1, 9)).sin().float()
        return torch.nn.functional.normalize(noise, dim=-1)

    def embed_captions(self, captions: list[str]) -> Tensor:
        return torch.zeros(len(captions), 8)


class Perfect(Blind):
    """Knows the view word of the painter's pictures."""

    def embed_pictures(self, x: Tensor) -> Tensor:
        words = [view_word(360.0 * a, 90.0 * e) for a, e, _ in x[:, :, 0, 0].tolist()]
        return torch.tensor([[float(word == view) for view in VIEWS] for word in words])


class Raster(Blind):
    """Sees a coarse picture: what is not background on 8 x 8 fields."""

    def embed_pictures(self, x: Tensor) -> Tensor:
        there = x - torch.tensor(BACKGROUND)[:, None, None]
        coarse = torch.nn.functional.adaptive_avg_pool2d(there, 8).flatten(1)
        return torch.nn.functional.normalize(coarse, dim=-1)


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Painter:
    found = Painter()
    monkeypatch.setattr(view_words, "true_pictures", found)
    monkeypatch.setattr(view_words, "SIZE", 2)
    return found


def painted(*cameras: tuple[float, float]) -> Tensor:
    """A scene's four pictures from four cameras."""
    rows = [[azimuth / 360.0, elevation / 90.0, 0.5] for azimuth, elevation in cameras]
    return torch.tensor(rows)[:, :, None, None].expand(-1, -1, 2, 2)


@pytest.mark.usefixtures("painter")
def test_a_picture_is_right_where_it_shows_its_own_word() -> None:
    front, side, back, above = (30.0, 0.0), (250.0, 40.0), (200.0, 10.0), (190.0, 70.0)
    pictures = [
        painted(front, side, back, above),
        painted(back, front, side, above),
        painted(back, above, front, side),
        painted(above, above, above, above),
    ]
    right, ceiling = judged(torch.stack(pictures), [CAR] * 4, Lexicon(Perfect()))
    assert [right[k : k + 4] for k in (0, 4, 8, 12)] == [
        [True] * 4,
        [False, False, False, True],
        [False] * 4,
        [False, False, False, True],
    ]
    assert ceiling == [True] * 16


def test_the_ceiling_is_asked_of_other_shapes_from_anywhere_under_the_word(
    painter: Painter,
) -> None:
    specs = [CAR, TELEVISION] * 8
    pictures = any_views(specs, CPU)
    of_ceiling, painter.seen = painter.seen, []
    references(specs, Lexicon(Perfect()), CPU)
    assert pictures.shape == (16, 4, 3, 2, 2)
    assert [spec for spec, *_ in of_ceiling] == [spec for spec in specs for _ in VIEWS]
    assert [view_word(a, e) for _, _, a, e in of_ceiling] == list(VIEWS) * 16
    fronts = [(a + 180.0) % 360.0 - 180.0 for _, _, a, _ in of_ceiling[::4]]
    assert min(fronts) < -25.0
    assert max(fronts) > 25.0
    shapes = {u for _, u, *_ in of_ceiling}
    assert len(shapes) == 16
    assert shapes.isdisjoint(u for _, u, *_ in painter.seen)
    assert torch.equal(any_views(specs, CPU), pictures)


def test_a_reference_is_the_mean_over_the_words_cameras_and_shapes(painter: Painter) -> None:
    blind = Blind()
    found = references([CAR, TELEVISION], Lexicon(blind), CPU)
    assert found.shape == (2, 4, 8)
    for row, spec in enumerate((CAR, TELEVISION)):
        for column, view in enumerate(VIEWS):
            own = [s for s in painter.seen if s[0] == spec and view_word(*s[2:]) == view]
            assert len({u for _, u, *_ in own}) == 2
            assert len(own) == 2 * (3, 6, 3, 4)[column]
            total = torch.zeros(8)
            for _, u, azimuth, elevation in own:
                pixel = torch.tensor([azimuth % 360.0 / 360.0, elevation / 90.0, u])
                total += blind.embed_pictures(pixel[None, :, None, None])[0]
            torch.testing.assert_close(found[row, column], total / total.norm())


@pytest.mark.usefixtures("painter")
def test_a_judge_blind_to_views_is_near_chance() -> None:
    """Of 512 draws a share of 1/4 has a standard deviation of .019."""
    pictures = torch.rand(128, 4, 3, 1, 1).expand(-1, -1, -1, 2, 2)
    for found in judged(pictures, [CAR] * 128, Lexicon(Blind())):
        assert share(value for value in found if value is not None) == pytest.approx(0.25, abs=0.08)


def test_scenes_past_the_first_are_not_asked(
    painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_words, "MOST_SCENES", 1)
    pictures = painted((0.0, 20.0), (90.0, 20.0), (0.0, 20.0), (0.0, 80.0)).expand(
        3, -1, -1, -1, -1
    )
    right, ceiling = judged(pictures, [TELEVISION, CAR, CAR], Lexicon(Perfect()))
    assert right == [True, True, False, True] + [None] * 8
    assert ceiling == [True] * 4 + [None] * 8
    assert {spec for spec, *_ in painter.seen} == {TELEVISION}


def test_true_shapes_drawn_under_right_and_under_wrong_words() -> None:
    """With the real renderer: the two differ from all sides, even coarsely."""
    specs, lexicon = [CAR, TELEVISION], Lexicon(Raster())
    middling = torch.full((2, NUM_PROPORTIONS), 0.5)
    seen = {
        view: true_views(specs, middling, torch.tensor([azimuth]), elevation, textureless=False)
        for view, azimuth, elevation in zip(
            VIEWS, (8.0, 96.0, 172.0, 5.0), (22.0, 18.0, 22.0, 78.0), strict=True
        )
    }
    shown = {view: over_background(x[:, :, :3], x[:, :, 3:]) for view, x in seen.items()}
    known = references(specs, lexicon, CPU)
    right = torch.cat([shown[view] for view in VIEWS], dim=1)
    assert are_shown(right, known, lexicon).all()
    turned = ("back view", "front view", "overhead view", "side view")
    wrong = torch.cat([shown[view] for view in turned], dim=1)
    assert not are_shown(wrong, known, lexicon).any()
