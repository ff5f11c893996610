"""The text encoder learns to read; what a caption says is checked against its own words."""

import math
import random
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from engine.guidance.prompts import VIEWS
from engine.primitives import reading
from engine.primitives.captions import parse
from engine.primitives.grammar import COLOURS, Geometry, geometries
from engine.primitives.reading import (
    QUESTIONS,
    Caption,
    Heads,
    ReadingConfig,
    captions,
    surprise,
    teach,
    understood,
)
from engine.primitives.splits import split
from engine.primitives.teacher import Teacher, TeacherConfig, build
from tests.engine.primitives.tiny import SIZES


def said_by_words(caption: Caption) -> tuple[int, ...]:
    """The answers, from the text itself and the grammar's parser."""
    words = caption.text
    view = next((k for k, name in enumerate(VIEWS, 1) if words.endswith(f", {name}")), 0)
    if not words:
        return (0, 0, 0, 0, view)
    if not any(colour in words.replace(",", " ").split() for colour in COLOURS):
        words = words.removesuffix(f", {VIEWS[view - 1]}" if view else "")
        found = [g for g in geometries() if words in reading.colourless_forms(g)]
        assert len(found) == 1
        return (1 + geometries().index(found[0]), 0, 0, 0, view)
    spec = parse(words)
    worn = [1 + list(COLOURS).index(colour) for colour in spec.slot_colours]
    return (1 + geometries().index(spec.geometry), *worn, *[0] * (3 - len(worn)), view)


def test_answers_are_what_the_words_say_and_only_train_scenes_are_told() -> None:
    found = captions(random.Random(3), "train", 400)
    for caption in found:
        assert caption.answers == said_by_words(caption), caption.text
    texts = {caption.text for caption in found}
    assert "" in texts
    coloured = [c for c in found if c.answers[1]]
    assert all(split(parse(caption.text)) == "train" for caption in coloured)
    assert len({caption.answers[0] for caption in found}) > 30
    assert {caption.answers[-1] for caption in found} == set(range(1 + len(VIEWS)))
    assert any(caption.answers[0] and not caption.answers[1] for caption in found)


def test_answers_by_hand() -> None:
    red, white = 1 + list(COLOURS).index("red"), 1 + list(COLOURS).index("white")
    mushroom = Geometry("mushroom")
    place = 1 + geometries().index(mushroom)
    assert reading.answers(mushroom, ("red", "white"), 2) == (place, red, white, 0, 2)
    assert reading.answers(None, (), 0) == (0, 0, 0, 0, 0)


def test_surprise_is_a_cross_entropy_of_which_words_and_padding_are_half_each() -> None:
    torch.manual_seed(0)
    logits = [torch.randn(2, 4, many, dtype=torch.float64) for many in (3, 2)]
    said = torch.tensor([[2, 0], [1, 1]])
    is_word = torch.tensor([[True, False, False, False], [True, True, True, False]])
    total = 0.0
    for n in range(2):
        halves = {True: [], False: []}
        for t in range(4):
            lost = 0.0
            for q, one in enumerate(logits):
                values = one[n, t].tolist()
                lost += math.log(sum(map(math.exp, values))) - values[int(said[n, q])]
            halves[bool(is_word[n, t])].append(lost)
        total += sum(0.5 * sum(half) / len(half) for half in halves.values()) / 2
    assert float(surprise(logits, said, is_word)) == pytest.approx(total, rel=1e-12)


@pytest.fixture(scope="module")
def taught() -> tuple[Teacher, Heads]:
    teacher = build(SIZES, seed=1)
    return teacher, teach(teacher, ReadingConfig(steps=80, batch=16, lr=1e-2, warm_up=5), seed=0)


def test_reading_is_learnt_and_then_frozen(taught: tuple[Teacher, Heads]) -> None:
    teacher, heads = taught
    untaught = build(SIZES, seed=1)
    found = captions(random.Random(9), "dev", 64)
    chance = sum(math.log(many) for many in QUESTIONS)

    def lost(of: Teacher) -> float:
        tokens, said, is_word = reading._posed(of, found)
        with torch.no_grad():
            return float(surprise(heads(reading.encode(of.text_encoder, tokens)), said, is_word))

    assert lost(teacher) < 0.9 * chance
    assert lost(teacher) < lost(untaught) - 1.0
    assert not any(weight.requires_grad for weight in teacher.text_encoder.parameters())
    assert torch.equal(
        teacher.unet.conv_in.weight, untaught.unet.conv_in.weight
    )  # the U-Net is not touched


def test_understood_is_the_share_of_captions_told_right_by_every_token(
    taught: tuple[Teacher, Heads], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, heads = taught
    found = captions(random.Random(7), "dev", 50)
    wrong = {4, 11, 30}
    monkeypatch.setattr(reading, "captions", lambda *_: found)

    def oracle(heads: Heads, text: torch.Tensor) -> list[torch.Tensor]:
        told = [torch.zeros(*text.shape[:2], many) for many in QUESTIONS]
        for n, caption in enumerate(found):
            for q, answer in enumerate(caption.answers):
                told[q][n, :, answer] = 1.0
            if n in wrong:
                # One token alone errs, in one question alone.
                told[2][n, 5] = 0.0
                told[2][n, 5, (caption.answers[2] + 1) % QUESTIONS[2]] = 1.0
        return told

    monkeypatch.setattr(Heads, "forward", oracle)
    assert understood(teacher, heads, "dev", 50, 7) == pytest.approx(47 / 50)


def test_half_of_the_heads_start_out_at_a_neighbour() -> None:
    sizes = replace(TeacherConfig(), channels=(32, 32, 32))
    encoder = build(sizes, seed=0).text_encoder
    attention = cast(Any, encoder.encoder.block[0]).layer[0].SelfAttention
    bias = attention.compute_bias(9, 9)[0]
    assert bias.shape == (8, 9, 9)
    assert bias[0, 4].argmax() == 3
    assert bias[1, 4].argmax() == 5
    assert bias[2, 4].argmax() == 3
    assert bool((bias[:4, 4].amax(-1) - bias[:4, 4, 0] >= 2).all())
    assert not bias[4:].any()
