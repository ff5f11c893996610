"""Figures of a diffusion model's pictures."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.evaluation import teacher, view_words
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.teacher import draw_views, main, report
from engine.guidance.prompts import VIEWS
from engine.primitives.grammar import COLOURS, Spec
from tests.engine.evaluation.oracles import Oracle
from tests.engine.fakes import RecordingGuidance

SPEC = Spec("cube", ("green", "blue"), "on", "cube")


def halves(above: str, below: str) -> Tensor:
    """A picture that is all object."""
    top, bottom = (torch.tensor(COLOURS[name])[:, None, None] for name in (above, below))
    return torch.cat([top.expand(3, 32, 64), bottom.expand(3, 32, 64)], dim=1)


@pytest.fixture
def one_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first scene alone it is asked whether its pictures show their view words."""
    monkeypatch.setattr(view_words, "MOST_SCENES", 1)


@pytest.mark.usefixtures("one_asked")
def test_a_prompt_is_its_four_pictures(lexicon: Lexicon) -> None:
    """One picture of four is swapped: the prompt stands, the picture falls."""
    right, wrong = halves("green", "blue"), halves("blue", "green")
    pictures = torch.stack([torch.stack([right, right, wrong, right]), torch.stack([wrong] * 4)])
    found, said = report(pictures, [SPEC, SPEC], lexicon)
    assert [verdict.colours_right for verdict in found] == [(True, True), (False, False)]
    prompts, singles = said["prompts"]["all"], said["pictures"]["all"]
    assert (prompts["count"], prompts["all_colours"], prompts["against_swap"]) == (2, 0.5, 0.5)
    assert (singles["count"], singles["all_colours"]) == (8, 3 / 8)
    assert said["pictures by view"]["back view"]["all_colours"] == 0.0
    assert said["pictures by view"]["front view"]["all_colours"] == 0.5
    assert set(said["prompts"]) == {"all", "on"}


def test_view_words_stand_beside_their_ceiling(
    lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenes that were not asked are left out."""
    not_asked = [None] * 4
    right, ceiling = [True, False, True, False], [True, True, True, False]
    found = [*right, *right[::-1], *not_asked], [*ceiling, *ceiling, *not_asked]
    monkeypatch.setattr(view_words, "judged", lambda *_: found)
    _, said = report(torch.rand(3, 4, 3, 64, 64), [SPEC, SPEC, Spec("cup", ("red",))], lexicon)

    def pair(table: str, row: str) -> tuple[float | None, ...]:
        return tuple(said[table][row][name] for name in ("view_word", "view_word_ceiling"))

    assert pair("pictures", "all") == pair("pictures", "on") == (0.5, 0.75)
    assert pair("pictures", "cup") == (None, None)
    assert pair("pictures by view", "front view") == (0.5, 1.0)
    assert pair("pictures by view", "overhead view") == (0.5, 0.0)
    assert "view_word" not in said["prompts"]["all"]


def test_every_prompt_is_drawn_from_the_four_views() -> None:
    guidance = RecordingGuidance(size=8)
    pictures = draw_views(guidance, [SPEC, Spec("cup", ("red",))], seed=0, steps=2)
    assert pictures.shape == (2, 4, 3, 8, 8)
    assert [p for p in guidance.prompts if p] == [
        f"{text}, {view}" for text in ("a green cube on a blue cube", "a red cup") for view in VIEWS
    ]


@pytest.mark.usefixtures("one_asked")
def test_the_command(
    tmp_path: Path,
    tiny_weights: Path,
    lexicon: Lexicon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(teacher.Judge, "load", lambda *_: Oracle())
    monkeypatch.setattr(teacher, "Lexicon", lambda _: lexicon)
    words = f"--guidance {tiny_weights} --prompts 3 --steps 2 --split dev --judge j1"
    main([*words.split(), "--out", str(tmp_path / "o")])
    said = json.loads((tmp_path / "o/teacher.json").read_text())
    assert said["figures"]["prompts"]["all"]["count"] == 3
    singles = said["figures"]["pictures"]["all"]
    assert singles["count"] == 12
    assert {singles["view_word"], singles["view_word_ceiling"]} <= {k / 4 for k in range(5)}
    assert (said["judge"], said["split"], len(said["rows"])) == ("j1", "dev", 3)
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "teacher.json",
        "best.png",
        "worst.png",
    }
    assert "view word  view word ceiling" in capsys.readouterr().out
