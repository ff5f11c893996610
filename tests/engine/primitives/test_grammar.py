import hashlib
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.guidance.prompts import VIEWS, with_view
from engine.primitives import grammar
from engine.primitives.grammar import (
    ACCENTS,
    COLOURS,
    KINDS,
    Spec,
    caption,
    colourless_caption,
    parse,
    specs,
    specs_of,
    split,
    vocabulary,
)

SPLITS_DIGEST = "e3646733dcf5ae8bb747a2830131142f85c5b67594cf45ddf5d3797e9d841bdc"
VOCABULARY_DIGEST = "4d97464f3633bfd9eeeaa5f87d4801dc32d6de5b20a9f776028de02964fb3993"


def all_specs() -> st.SearchStrategy[Spec]:
    return st.sampled_from(specs())


def test_the_world_is_every_kind_in_one_colour_and_in_every_pair_of_two() -> None:
    assert len(KINDS) == 28
    assert len(COLOURS) == 12
    one_piece = sum(accent is None for accent in ACCENTS.values())
    assert one_piece == 6
    assert len(specs()) == len(set(specs())) == 28 * 12 + 22 * 12 * 11


def test_no_two_objects_share_a_caption() -> None:
    assert len({caption(spec) for spec in specs()}) == len(specs())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec("mushroom", ("red",)), "a red mushroom"),
        (Spec("mushroom", ("orange", "white")), "an orange mushroom with white stem"),
        (Spec("airplane", ("red", "orange")), "a red airplane with orange wings"),
        (Spec("cube", ("grey",)), "a grey cube"),
    ],
)
def test_a_caption_reads_as_english(spec: Spec, words: str) -> None:
    assert caption(spec) == words


def test_the_article_of_a_colourless_caption_is_the_kind_s() -> None:
    assert colourless_caption(Spec("umbrella", ("red",))) == "an umbrella"
    assert colourless_caption(Spec("mushroom", ("orange", "red"))) == "a mushroom"


@given(all_specs(), st.sampled_from(["", *VIEWS]))
def test_parse_inverts_caption_under_any_view(spec: Spec, view: str) -> None:
    words = with_view(caption(spec), view) if view else caption(spec)
    assert parse(words) == spec


@pytest.mark.parametrize(
    "words",
    ["", "a mushroom", "a red car with blue wings", "an red cube", "red mushroom", "front view"],
)
def test_a_sentence_outside_the_grammar_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="not a caption of the embedded world; expected"):
        parse(words)


@given(all_specs())
def test_swapping_exchanges_two_colours_and_leaves_one_alone(spec: Spec) -> None:
    swap = spec.swapped()
    assert swap.kind == spec.kind
    assert swap.swapped() == spec
    assert (swap == spec) == (len(spec.colours) == 1)
    assert set(swap.colours) == set(spec.colours)


@pytest.mark.parametrize(
    ("kind", "colours", "complaint"),
    [
        ("unicorn", ("red",), "unknown kind 'unicorn'"),
        ("cube", ("mauve",), "unknown colour 'mauve'"),
        ("cube", ("red", "blue"), "a cube takes 1 to 1 different colours"),
        ("car", (), "a car takes 1 to 2"),
        ("car", ("red", "red"), "a car takes 1 to 2 different"),
        ("car", ("red", "blue", "pink"), "a car takes 1 to 2"),
    ],
)
def test_a_wrong_spec_is_refused(kind: str, colours: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Spec(kind, colours)


def test_the_splits_share_nothing_and_leave_nothing_out() -> None:
    parts = [set(specs_of(name)) for name in ("train", "dev", "test")]
    assert sum(len(part) for part in parts) == len(specs())
    assert set.union(*parts) == set(specs())


def test_the_splits_have_the_sizes_that_the_figures_need() -> None:
    count = Counter(split(spec) for spec in specs())
    assert count["test"] >= 700
    assert 0.07 < count["dev"] / len(specs()) < 0.09


def test_every_kind_and_every_colour_of_either_part_is_trained_on() -> None:
    trained = specs_of("train")
    assert {spec.kind for spec in trained} == set(KINDS)
    assert {spec.colours[0] for spec in trained} == set(COLOURS)
    two = [spec for spec in trained if spec.accent]
    assert {spec.colours[1] for spec in two} == set(COLOURS)
    assert {spec.kind for spec in two} == {kind for kind in KINDS if ACCENTS[kind]}


def test_the_splits_are_what_they_were_when_the_teacher_was_trained() -> None:
    pinned = {
        Spec("mushroom", ("red", "white")): "train",
        Spec("mushroom", ("white", "red")): "dev",
        Spec("cube", ("red",)): "train",
        Spec("teapot", ("blue", "pink")): "train",
    }
    assert {spec: split(spec) for spec in pinned} == pinned
    lines = "\n".join(f"{caption(spec)}: {split(spec)}" for spec in specs())
    assert hashlib.sha256(lines.encode()).hexdigest() == SPLITS_DIGEST


def test_the_vocabulary_holds_every_word_once_in_order() -> None:
    assert list(vocabulary()) == sorted(set(vocabulary()))
    assert {"red", "mushroom", "stem", "with", "a", "an", "overhead", "view", ","} <= set(
        vocabulary()
    )
    for spec in specs():
        for view in VIEWS:
            assert set(with_view(caption(spec), view).replace(",", " ,").split()) <= set(
                vocabulary()
            )


def test_the_vocabulary_is_the_one_that_the_weights_were_trained_with() -> None:
    # A word's place is its token: with another order the packaged weights are worthless.
    assert hashlib.sha256("\n".join(vocabulary()).encode()).hexdigest() == VOCABULARY_DIGEST


def test_the_grammar_needs_no_torch() -> None:
    code = f"import sys, {grammar.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
