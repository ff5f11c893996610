"""What a gang asks its model with: one text a view, a blend of them, and what is denied."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine import viewpoints
from engine.configs.distillation import DistillationConfig
from engine.gang import Gang, SceneRequest
from engine.guidance import views as directions
from engine.guidance.prompts import VIEWS, texts_of
from engine.recipe import Recipe
from tests.engine.fakes import DiscGuidance, RecordingGuidance
from tests.engine.test_gang import assert_identical, recipe

SEED = torch.tensor([3])


def asking(**changes: object) -> Recipe:
    r = recipe()
    return replace(r, views=5, distillation=replace(r.distillation, **changes))


def asked(r: Recipe) -> tuple[list[Tensor], viewpoints.Viewpoints]:
    """The texts of the first step, a tensor a kind, of a scene in the second of two slots."""
    guidance = RecordingGuidance()
    gang = Gang(r, guidance, num_slots=2)
    gang.add(SceneRequest(key="b", prompt="another", seed=1))
    gang.add(SceneRequest(key="a", prompt="a cup", negative_prompt="ugly", seed=3))
    gang.step()
    ((_, _, text),) = guidance.calls
    kinds = text.unflatten(0, (-1, 2, r.views))[:, 1]
    step = torch.tensor([0])
    return list(kinds), viewpoints.sample(r, SEED, step, torch.zeros(1))


def embedded(words: list[str]) -> Tensor:
    return RecordingGuidance().encode([f"a cup, {word}" for word in words])


def test_blended_texts_go_by_the_cameras() -> None:
    (negative, text), views = asked(asking(prompt_views="interpolated"))
    assert torch.equal(negative, RecordingGuidance().encode(["ugly"]).repeat(5, 1, 1))
    words = embedded(list(VIEWS))
    shares = directions.shares(views.azimuth_deg, views.elevation_deg)[0]
    for k in range(5):
        expected = sum(float(shares[k, w]) * words[w] for w in range(4))
        torch.testing.assert_close(text[k], expected)
    assert not torch.allclose(text, words[views.word[0]])


def test_denied_texts_go_by_the_cameras() -> None:
    (_, text, *others), views = asked(asking(perp_neg=True, prompt_views="interpolated"))
    plain, _ = asked(asking(prompt_views="interpolated"))
    assert torch.equal(text, plain[1])
    words, _ = directions.denied(
        views.azimuth_deg, views.elevation_deg, DistillationConfig().perp_neg_weights
    )
    assert len(others) == 2
    for n in range(2):
        expected = embedded([VIEWS[k] for k in words[0, :, n].tolist()])
        assert torch.equal(others[n], expected)


def test_without_view_words_all_views_have_the_prompt() -> None:
    (_, text), _ = asked(asking(prompt_views="none"))
    assert torch.equal(text, RecordingGuidance().encode(["a cup"]).repeat(5, 1, 1))
    assert texts_of("a cup", "ugly", is_viewed=False) == ["ugly", *["a cup"] * 4]


@pytest.mark.parametrize(
    "changes",
    [{"perp_neg": True, "prompt_views": "interpolated"}, {"prompt_views": "interpolated"}],
)
def test_a_scene_is_bit_identical_beside_others(changes: dict[str, object]) -> None:
    def optimise(keys: str) -> dict:
        gang = Gang(asking(**changes), DiscGuidance(), num_slots=2)
        for key in keys:
            gang.add(SceneRequest(key=key, prompt=f"a {key} red ball", seed=ord(key)))
        for _ in range(gang.recipe.iterations):
            gang.step()
        return {scene.key: scene for scene in gang.take_finished()}

    assert_identical(optimise("ab")["b"], optimise("b")["b"])


def test_embedded_texts_come_along_with_the_request() -> None:
    class Deaf(DiscGuidance):
        def encode(self, prompts: list[str]) -> Tensor:
            raise AssertionError("a text was embedded here")

    def optimise(guidance: DiscGuidance, text: Tensor | None) -> dict:
        gang = Gang(recipe(), guidance, num_slots=1)
        gang.add(SceneRequest(key="a", prompt="a red ball", seed=1, text=text))
        for _ in range(gang.recipe.iterations):
            gang.step()
        return {scene.key: scene for scene in gang.take_finished()}

    text = DiscGuidance().encode(texts_of("a red ball", ""))
    assert_identical(optimise(Deaf(), text)["a"], optimise(DiscGuidance(), None)["a"])


def test_embedded_texts_that_do_not_fit_take_no_slot() -> None:
    gang = Gang(recipe(), DiscGuidance(), num_slots=2)
    for text in (torch.zeros(4, 2, 8), torch.zeros(6, 2, 8)):
        with pytest.raises(ValueError, match=r"expected the shape \(5, 2, 8\), got"):
            gang.add(SceneRequest(key="a", prompt="a", seed=1, text=text))
    gang.add(SceneRequest(key="a", prompt="a red ball", seed=1))
    with pytest.raises(ValueError, match=r"expected the shape \(5, 2, 8\), got \(5, 3, 8\)"):
        gang.add(SceneRequest(key="b", prompt="a", seed=1, text=torch.zeros(5, 3, 8)))
    assert gang.num_free == 1


def test_a_clamp_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match=r"DistillationConfig: expected a clamp of 0 \(off\)"):
        DistillationConfig(clamp=-0.1)


@pytest.mark.parametrize("prompt_views", ["none", "nearest"])
def test_blended_words_are_needed_where_views_are_denied(prompt_views: Any) -> None:
    with pytest.raises(ValueError, match="expected interpolated prompt_views under perp_neg"):
        DistillationConfig(prompt_views=prompt_views, perp_neg=True)
