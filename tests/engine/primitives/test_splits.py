import hashlib
import itertools
import math
from collections import Counter

import pytest

from engine.primitives.captions import caption
from engine.primitives.grammar import COLOURS, PARTS, Geometry, Spec, geometries, specs
from engine.primitives.splits import (
    ONE_PIECE_WEIGHT,
    SHARES,
    Split,
    choose,
    family,
    probabilities,
    specs_of,
    split,
)

SPLITS_DIGEST = "a0a3984e03c5ae9a42fc847182884ddc4070b8abc6c613cee98600156d42a2ef"
NAMES: tuple[Split, ...] = ("train", "dev", "test")


def test_the_splits_share_nothing_and_leave_nothing_out() -> None:
    parts = [set(specs_of(name)) for name in NAMES]
    assert sum(len(part) for part in parts) == len(specs())
    assert set.union(*parts) == set(specs())
    for name in NAMES:
        assert all(split(spec) == name for spec in specs_of(name)[::50])


def test_the_splits_have_the_sizes_that_the_figures_need() -> None:
    assert len(specs_of("test")) >= 700
    assert 0.25 < len(specs_of("test")) / len(specs()) < 0.29
    assert 0.07 < len(specs_of("dev")) / len(specs()) < 0.09


def test_every_geometry_and_every_colour_of_every_slot_is_trained_on() -> None:
    trained = specs_of("train")
    seen = {(spec.geometry, len(spec.colours)) for spec in trained}
    assert seen == {(spec.geometry, len(spec.colours)) for spec in specs()}
    for slot in range(3):
        colours = {spec.colours[slot] for spec in trained if len(spec.colours) > slot}
        assert colours == set(COLOURS)


def test_the_splits_are_what_they_were_when_the_teacher_was_trained() -> None:
    of = {spec: name for name in NAMES for spec in specs_of(name)}
    lines = "\n".join(f"{caption(spec)}: {of[spec]}" for spec in specs())
    assert hashlib.sha256(lines.encode()).hexdigest() == SPLITS_DIGEST


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (Spec("car", ("red",)), "one colour"),
        (Spec("cube", ("red",)), "one colour"),
        (Spec("car", ("red", "blue")), "two colours"),
        (Spec("car", ("red", "blue", "pink")), "three colours"),
        (Spec("cube", ("red", "blue"), "on", "cube"), "on"),
        (Spec("cube", ("red", "blue"), "next to", "ball"), "next to"),
        (Spec("cube", ("red",), count=2), "row"),
    ],
)
def test_a_scene_is_of_one_family(spec: Spec, name: str) -> None:
    assert family(spec) == name


def chosen(name: Split | None) -> tuple[Spec, ...]:
    return specs() if name is None else specs_of(name)


@pytest.mark.parametrize("name", [*NAMES, None])
def test_families_are_drawn_as_often_as_said(name: Split | None) -> None:
    total = dict.fromkeys(SHARES, 0.0)
    for spec, share in zip(chosen(name), probabilities(name), strict=True):
        total[family(spec)] += share
    assert sum(SHARES.values()) == pytest.approx(1)
    assert total == pytest.approx(dict(SHARES))


@pytest.mark.parametrize("name", [*NAMES, None])
def test_geometries_are_drawn_evenly_within_a_family(name: Split | None) -> None:
    each: dict[tuple[str, Geometry], list[float]] = {}
    for spec, share in zip(chosen(name), probabilities(name), strict=True):
        each.setdefault((family(spec), spec.geometry), []).append(share)
    assert all(len(set(shares)) == 1 for shares in each.values())
    for kind in SHARES:
        unit = {
            sum(shares) / (ONE_PIECE_WEIGHT if kind == "one colour" and not PARTS[g.kind] else 1)
            for (found, g), shares in each.items()
            if found == kind
        }
        assert max(unit) == pytest.approx(min(unit))


def test_a_choice_is_of_different_scenes_of_the_split_and_repeats() -> None:
    found = choose("dev", 200, seed=3)
    assert len(set(found)) == 200
    assert set(found) <= set(specs_of("dev"))
    assert choose("dev", 200, seed=3) == found
    assert choose("dev", 200, seed=4) != found
    assert choose("dev", 50, seed=3) == found[:50]
    assert len(set(choose("dev", len(specs_of("dev")), seed=0))) == len(specs_of("dev"))


def test_a_choice_is_drawn_by_the_probabilities() -> None:
    count = Counter(family(spec) for seed in range(40) for spec in choose("test", 30, seed))
    for name, share in SHARES.items():
        # Few of many, so hardly any difference to drawing with replacement.
        slack = 4 * math.sqrt(share / 1200)
        assert count[name] / 1200 == pytest.approx(share, abs=slack), name


@pytest.mark.parametrize("count", [0, 10**6])
def test_a_choice_of_none_or_too_many_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"dev split: expected 1 to .* scenes, got {count}"):
        choose("dev", count, seed=0)


def test_every_geometry_is_in_the_test_split() -> None:
    assert {spec.geometry for spec in specs_of("test")} == set(geometries())


def test_the_rarest_scenes_are_drawn_too_and_not_in_the_order_of_the_grammar() -> None:
    whole = specs_of("dev")
    chosen = choose("dev", len(whole), seed=3)
    assert set(chosen) == set(whole)
    places = {spec: place for place, spec in enumerate(whole)}
    last = [places[spec] for spec in chosen[-200:]]
    # By chance half of the neighbours stand in the grammar's order.
    rising = sum(a < b for a, b in itertools.pairwise(last))
    assert 60 < rising < 140
