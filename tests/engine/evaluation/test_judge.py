import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.evaluation import judge as judge_module
from engine.evaluation.judge import Judge, numbers, words_of
from engine.evaluation.judge_networks import JudgeConfig
from engine.primitives.captions import forms, vocabulary
from engine.primitives.grammar import specs
from tests.engine.evaluation.judge_fakes import CONVOLUTIONAL, SIZE, TRANSFORMER

CAPTIONS = ["a red ball", "an orange lamp, the stand is blue, side view"]
both = pytest.mark.parametrize("config", [CONVOLUTIONAL, TRANSFORMER])


def build(config: JudgeConfig = CONVOLUTIONAL, seed: int = 1) -> Judge:
    return Judge.build(config, vocabulary(), seed)


def test_a_comma_is_a_word() -> None:
    assert words_of("A red lamp, side view") == ["a", "red", "lamp", ",", "side", "view"]


def test_captions_become_numbers_of_words() -> None:
    assert numbers(["c b", "a"], ["a", "b", "c"]).tolist() == [[3, 2], [1, 0]]
    assert numbers([], ["a"]).shape == (0, 0)


def test_every_caption_of_the_world_can_be_read() -> None:
    longest = max((form for spec in specs() for form in forms(spec)), key=lambda f: len(f.split()))
    found = numbers([f"{longest}, overhead view"], vocabulary())
    assert found.min() >= 1


@pytest.mark.parametrize("text", ["a red dragon", "", "a " * 25])
def test_a_caption_from_outside_the_world_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot judge the caption"):
        build().embed_captions([text])


@both
def test_embeddings_are_unit_and_of_the_right_shape(config: JudgeConfig) -> None:
    judge = build(config)
    pictures = judge.embed_pictures(torch.rand(3, 3, SIZE, SIZE))
    captions = judge.embed_captions(CAPTIONS)
    assert pictures.shape == (3, 16)
    assert captions.shape == (2, 16)
    for found in (pictures, captions):
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)))
        assert not found.requires_grad


@both
def test_a_caption_s_embedding_does_not_depend_on_its_company(config: JudgeConfig) -> None:
    judge = build(config)
    together = judge.embed_captions(CAPTIONS)
    alone = torch.cat([judge.embed_captions([text]) for text in CAPTIONS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@both
def test_many_pictures_are_looked_at_in_parts(
    config: JudgeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, x = build(config), torch.rand(5, 3, SIZE, SIZE)
    whole = judge.embed_pictures(x)
    monkeypatch.setattr(judge_module, "_CHUNK", 2)
    torch.testing.assert_close(judge.embed_pictures(x), whole, atol=1e-5, rtol=1e-4)
    assert judge.embed_pictures(x[:0]).shape == (0, 16)


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pictures of 16 x 16, got \(32, 32\)"):
        build().embed_pictures(torch.rand(1, 3, 32, 32))


@both
def test_a_judge_survives_its_directory(config: JudgeConfig, tmp_path: Path) -> None:
    judge, x = build(config), torch.rand(2, 3, SIZE, SIZE)
    judge.save(tmp_path)
    again = Judge.load(tmp_path)
    assert (again.config, again.words) == (config, judge.words)
    assert again.scale == pytest.approx(judge.scale, rel=1e-3)
    torch.testing.assert_close(again.embed_pictures(x), judge.embed_pictures(x), atol=5e-3, rtol=0)
    stored = load_file(tmp_path / "weights.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert next(again.network.parameters()).dtype == torch.float32


def test_the_published_judges_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_module, "WEIGHTS", tmp_path)
    build(seed=3).save(tmp_path / "j2")
    words = Judge.load("j2").network.captions.words.weight
    assert torch.equal(words, build(seed=3).network.captions.words.weight.half().float())
    with pytest.raises(ValueError, match="holds no judge"):
        Judge.load("j1")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    build().save(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    said["sizes"]["picture_depth"] = 2
    (tmp_path / "config.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=r"do not fit config\.json"):
        Judge.load(tmp_path)


def test_a_judge_is_a_function_of_its_seed() -> None:
    first, again, other = (build(seed=seed).embed_captions(CAPTIONS) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
