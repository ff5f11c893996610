"""Figures of a diffusion model's pictures."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.evaluation import teacher
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.teacher import draw_views, main, report, views_right
from engine.guidance.prompts import VIEWS
from engine.primitives.grammar import COLOURS, Spec
from tests.engine.evaluation.oracles import Oracle
from tests.engine.fakes import RecordingGuidance

SPEC = Spec("cube", ("green", "blue"), "on", "cube")
SWAPPED = SPEC.swapped()


class ViewReader:
    """Sees which of the four channels' quarters is lit, and nothing else."""

    scale = 1.0

    def embed_pictures(self, x: Tensor) -> Tensor:
        return torch.nn.functional.normalize(x[:, 0, 0, :4], dim=-1)

    def embed_captions(self, captions: list[str]) -> Tensor:
        rows = [[float(text.endswith(view)) for view in VIEWS] for text in captions]
        return torch.tensor(rows)


def test_view_words() -> None:
    pictures = torch.zeros(2, 4, 3, 64, 64)
    seen = [[0, 1, 2, 3], [0, 0, 3, 2]]
    for subject, views in enumerate(seen):
        for view, word in enumerate(views):
            pictures[subject, view, 0, 0, word] = 1.0
    found = views_right(pictures, [SPEC, SWAPPED], Lexicon(ViewReader()))
    assert found.tolist() == [[True] * 4, [True, False, False, False]]


def halves(above: str, below: str) -> Tensor:
    """A picture that is all object."""
    top, bottom = (torch.tensor(COLOURS[name])[:, None, None] for name in (above, below))
    return torch.cat([top.expand(3, 32, 64), bottom.expand(3, 32, 64)], dim=1)


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


def test_every_prompt_is_drawn_from_the_four_views() -> None:
    guidance = RecordingGuidance(size=8)
    pictures = draw_views(guidance, [SPEC, Spec("cup", ("red",))], seed=0, steps=2)
    assert pictures.shape == (2, 4, 3, 8, 8)
    assert [p for p in guidance.prompts if p] == [
        f"{text}, {view}" for text in ("a green cube on a blue cube", "a red cup") for view in VIEWS
    ]


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
    assert said["figures"]["pictures"]["all"]["count"] == 12
    assert (said["judge"], said["split"], len(said["rows"])) == ("j1", "dev", 3)
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "teacher.json",
        "best.png",
        "worst.png",
    }
    assert "view word" in capsys.readouterr().out
