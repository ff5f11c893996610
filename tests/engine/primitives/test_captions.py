import hashlib
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.guidance.prompts import VIEWS, with_view
from engine.primitives.captions import (
    caption,
    colourless_caption,
    colourless_forms,
    forms,
    parse,
    vocabulary,
)
from engine.primitives.grammar import COLOURS, PARTS, Geometry, Spec, geometries, specs

VOCABULARY_DIGEST = "31d41bb780a16bdcf2a03ee3b4b6b20da96da5955a57b1825a5408d600d28032"

scenes = st.sampled_from(specs())
views = st.sampled_from(["", *VIEWS])

FORMS = {
    Spec("mushroom", ("orange", "white")): (
        "an orange mushroom with white stem",
        "an orange mushroom with a white stem",
        "a mushroom in orange with white stem",
        "an orange mushroom, the stem is white",
        "a mushroom with white stem, otherwise orange",
        "a picture of an orange mushroom with white stem",
        "a 3d model of an orange mushroom with white stem",
    ),
    Spec("car", ("red", "black", "orange")): (
        "a red car with black wheels and orange roof",
        "a red car with black wheels and an orange roof",
        "a car in red with black wheels and orange roof",
        "a red car, the wheels are black and the roof is orange",
        "a car with black wheels and orange roof, otherwise red",
        "a picture of a red car with black wheels and orange roof",
        "a 3d model of a red car with black wheels and orange roof",
    ),
    Spec("umbrella", ("grey",)): (
        "a grey umbrella",
        "an umbrella in grey",
        "grey umbrella",
        "a picture of a grey umbrella",
        "a 3d model of a grey umbrella",
    ),
    Spec("ball", ("orange", "blue"), "on", "cube"): (
        "an orange ball on a blue cube",
        "an orange ball on top of a blue cube",
        "a blue cube under an orange ball",
        "a blue cube with an orange ball on it",
        "a picture of an orange ball on a blue cube",
        "a 3d model of an orange ball on a blue cube",
    ),
    Spec("cube", ("red", "blue"), "next to", "torus"): (
        "a red cube next to a blue torus",
        "a blue torus next to a red cube",
        "a red cube beside a blue torus",
        "a blue torus beside a red cube",
        "a red cube and a blue torus",
        "a picture of a red cube next to a blue torus",
        "a 3d model of a red cube next to a blue torus",
    ),
    Spec("torus", ("green",), count=3): (
        "three green toruses in a row",
        "three green toruses",
        "a row of three green toruses",
        "a picture of three green toruses in a row",
        "a 3d model of three green toruses in a row",
    ),
}


@pytest.mark.parametrize("spec", FORMS, ids=caption)
def test_a_scene_is_named_in_these_ways(spec: Spec) -> None:
    assert forms(spec) == FORMS[spec]
    assert caption(spec) == FORMS[spec][0]


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        (Geometry("umbrella"), "an umbrella"),
        (Geometry("cone", "on", "cylinder"), "a cone on a cylinder"),
        (Geometry("cube", "next to", "ball"), "a cube next to a ball"),
        (Geometry("cone", count=4), "four cones in a row"),
    ],
)
def test_a_geometry_has_a_caption_without_colours(geometry: Geometry, words: str) -> None:
    assert colourless_caption(geometry) == words
    assert colourless_forms(geometry)[0] == words


def test_no_form_names_two_scenes_and_no_scene_has_one_twice() -> None:
    count = Counter(words for spec in specs() for words in forms(spec))
    assert set(count.values()) == {1}


def test_no_colourless_form_names_two_geometries_or_any_scene() -> None:
    count = Counter(words for geometry in geometries() for words in colourless_forms(geometry))
    assert set(count.values()) == {1}
    assert not {words for spec in specs() for words in forms(spec)} & set(count)
    for words in count:
        assert not set(words.split()) & set(COLOURS)


@given(scenes)
def test_every_form_names_all_colours_and_parts_once(spec: Spec) -> None:
    for words in forms(spec):
        count = Counter(words.replace(",", "").split())
        for word in (*spec.colours, *spec.parts):
            assert count[word] == 1
        assert not set(count) & (set(COLOURS) - set(spec.colours))
        other = {part.word for part in PARTS[spec.kind]} - set(spec.parts)
        assert not set(count) & other


@given(scenes)
def test_articles_agree_with_what_follows(spec: Spec) -> None:
    for words in forms(spec):
        for article, letter in re.findall(r"\b(an?) (\w)", words):
            assert (article == "an") == (letter in "aeiou")
        assert not re.search(r"\ban? \w+ (wheels|legs|fins|wings)\b", words)


@given(scenes, views, st.data())
def test_parse_inverts_every_form_under_any_view(
    spec: Spec, view: str, data: st.DataObject
) -> None:
    words = data.draw(st.sampled_from(forms(spec)))
    assert parse(with_view(words, view) if view else words) == spec


@given(scenes)
def test_swapped_colours_are_another_caption(spec: Spec) -> None:
    assert (caption(spec.swapped()) == caption(spec)) == (len(spec.colours) == 1)
    assert not set(forms(spec)) & set(forms(spec.swapped())) or spec.swapped() == spec


@pytest.mark.parametrize(
    "words",
    [
        "",
        "a mushroom",
        "front view",
        "an red cube",
        "a red car with blue wings",
        "a red car with red wheels",
        "a red cube on a blue ball",
        "five red cubes in a row",
        "a red cube with blue side, side view",
    ],
)
def test_a_sentence_outside_the_language_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="not a caption of the embedded world; expected"):
        parse(words)


def test_the_vocabulary_holds_every_word_once_in_order() -> None:
    assert list(vocabulary()) == sorted(set(vocabulary()))
    texts = [words for spec in specs() for words in forms(spec)]
    texts += [words for geometry in geometries() for words in colourless_forms(geometry)]
    texts += [with_view("a cube", view) for view in VIEWS]
    used = {word for text in texts for word in re.findall(r"\w+|,", text)}
    assert set(vocabulary()) == used


def test_the_vocabulary_is_the_one_that_the_weights_were_trained_with() -> None:
    # A word's place is its token: with another order the packaged weights are worthless.
    assert hashlib.sha256("\n".join(vocabulary()).encode()).hexdigest() == VOCABULARY_DIGEST
