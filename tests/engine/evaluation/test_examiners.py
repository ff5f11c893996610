"""Scores of examiners against loops over every picture and every caption."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from engine.evaluation.clip import Clip
from engine.evaluation.examiners import LARGEST, ClipExaminer, EmbeddedExaminer, Looks
from engine.evaluation.judging import verdicts
from engine.evaluation.lexicon import Lexicon
from engine.evaluation.pools import with_swaps
from engine.evaluation.stage import EMBEDDED, Stage, show_scenes
from engine.primitives.captions import caption, forms
from engine.primitives.grammar import Spec
from tests.engine.evaluation.oracles import Oracle
from tests.engine.evaluation.test_clip import MEAN, STD
from tests.engine.export.subjects import Solids, box, figure
from tests.tiny_clip import SIZE, write_tiny_clip

POOL = ["a red car", "a tree, green", "b", "a duck", "z z z z"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


def cosines(path: Path, pictures: Tensor, texts: Sequence[str]) -> np.ndarray:
    """Mean cosine of subjects N (of N V pictures) and texts, by CLIPModel.forward and numpy."""
    model, tokenizer = CLIPModel.from_pretrained(path), CLIPTokenizer.from_pretrained(path)
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))
    pixels = (pictures.numpy() - mean) / std
    rows = []
    for subject in torch.from_numpy(pixels).float():
        with torch.no_grad():
            said = model(
                pixel_values=subject, **tokenizer(list(texts), padding=True, return_tensors="pt")
            )
        rows.append(said.logits_per_image.numpy().mean(axis=0))
    return np.stack(rows) / np.exp(model.logit_scale.item())


def test_a_clip_s_argmax_by_hand(path: Path) -> None:
    examiner = ClipExaminer.of(Clip.load(path, device="cpu"))
    stage = examiner.stage(2.4, 40.0)
    assert stage == Stage(size=SIZE, radius=2.4, fov_deg=40.0)
    staged = show_scenes([figure(), box()], stage)
    looks = examiner.look(staged)
    own = {text: k for k, text in enumerate(POOL)}
    by_colour, by_shape = (
        cosines(path, pictures, POOL) for pictures in (staged.colour, staged.geometry)
    )
    num_hits = 0
    for prompt in POOL:
        for row, found in enumerate(examiner.judge(looks, [prompt] * 2, POOL)):
            for said, similarity, place in (
                (by_colour, found.similarity, found.place),
                (by_shape, found.geometry_similarity, found.geometry_place),
            ):
                assert similarity == pytest.approx(said[row, own[prompt]], abs=1e-5)
                assert (place == 0) == (said[row].argmax() == own[prompt])
                better = sum(said[row] > said[row, own[prompt]])
                assert place == better
                num_hits += place == 0
    assert num_hits == 4, "each subject has one best caption in colour and one in shape"


def test_a_prompt_outside_the_pool_stands_against_all_of_it(path: Path) -> None:
    examiner = ClipExaminer.of(Clip.load(path, device="cpu"))
    looks = examiner.look(show_scenes([figure()], examiner.stage(2.4, 40.0)))
    (alone,) = examiner.judge(looks, ["a red car"], ["a red car"])
    assert (alone.place, alone.geometry_place, alone.verdict) == (None, None, None)
    (inside,) = examiner.judge(looks, ["a red car"], POOL)
    (outside,) = examiner.judge(looks, ["a red car"], POOL[1:])
    assert inside.place == outside.place
    assert examiner.pool_size([*POOL, "b"]) == len(POOL)


def test_pictures_have_a_largest_size() -> None:
    assert ClipExaminer(Numbers(torch.zeros(1, 2)), 336).stage(1.0, 40.0).size == LARGEST == 128


class Numbers:
    """Reads "k" as row k of a matrix."""

    scale = 1.0

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows

    def embed_pictures(self, x: Tensor) -> Tensor:
        raise AssertionError("no pictures are shown")

    def embed_captions(self, captions: list[str]) -> Tensor:
        return self._rows[[int(text) for text in captions]]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_places_are_those_of_a_loop(data: st.DataObject) -> None:
    """Small whole numbers, so that there are ties, which count against the own caption."""
    entry = st.lists(st.integers(-2, 2), min_size=3, max_size=3)
    texts = data.draw(st.lists(entry, min_size=1, max_size=6))
    seen = data.draw(st.lists(entry, min_size=1, max_size=4))
    number = st.integers(0, len(texts) - 1)
    prompts = data.draw(st.lists(number, min_size=len(seen), max_size=len(seen)))
    pool = data.draw(st.lists(number, min_size=1, max_size=8))
    looks = Looks(
        colour=torch.tensor(seen).float(),
        geometry=-torch.tensor(seen).float(),
        janus=torch.zeros(len(seen)),
    )
    examiner = ClipExaminer(Numbers(torch.tensor(texts).float()), 8)
    found = examiner.judge(looks, [str(k) for k in prompts], [str(k) for k in pool])
    for row, scores in enumerate(found):
        for sign, similarity, place in (
            (1, scores.similarity, scores.place),
            (-1, scores.geometry_similarity, scores.geometry_place),
        ):
            said = [
                sign * sum(a * b for a, b in zip(text, seen[row], strict=True)) for text in texts
            ]
            others = set(pool) - {prompts[row]}
            assert similarity == said[prompts[row]]
            at_least = sum(said[k] >= said[prompts[row]] for k in others)
            assert place == (at_least if others else None)


def test_a_judge_of_the_world_says_what_the_benchmark_says(lexicon: Lexicon) -> None:
    specs = [Spec("cube", ("green", "blue"), "on", "cube"), Spec("ball", ("pink",))]
    scenes: list[Solids] = [figure(), box()]
    staged = show_scenes(scenes)
    examiner = EmbeddedExaminer(lexicon)
    assert examiner.stage(9.0, 10.0) == EMBEDDED
    looks = examiner.look(staged)
    pool = [*map(caption, specs), "a red car"]
    found = examiner.judge(looks, [forms(specs[0])[1], caption(specs[1])], pool)
    named = with_swaps([*specs, Spec("car", ("red",))])
    assert [scores.verdict for scores in found] == verdicts(staged, specs, lexicon, named)
    assert [s.place for s in found] == [s.verdict and s.verdict.benchmark_place for s in found]
    assert examiner.pool_size(pool) == len(named) == 4
    oracle = Oracle()
    for row, spec in enumerate(specs):
        (text,) = oracle.embed_captions([caption(spec)])
        views = [float(oracle.embed_pictures(view[None])[0] @ text) for view in staged.colour[row]]
        assert found[row].similarity == pytest.approx(sum(views) / 8, abs=1e-5)


def test_what_is_no_sentence_of_the_world_is_not_taken(lexicon: Lexicon) -> None:
    examiner = EmbeddedExaminer(lexicon)
    assert examiner.takes("a red car")
    assert not examiner.takes("a red dragon")
    assert ClipExaminer(Numbers(torch.zeros(1, 2)), 8).takes("a red dragon")


def test_alone_in_its_pool_a_scene_has_no_place(lexicon: Lexicon) -> None:
    examiner = EmbeddedExaminer(lexicon)
    looks = examiner.look(show_scenes([box()]))
    (found,) = examiner.judge(looks, ["a red ball"], ["a red ball"])
    assert found.place is None
    assert found.geometry_place is not None
