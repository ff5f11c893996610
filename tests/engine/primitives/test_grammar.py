import itertools
import math
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.primitives import grammar
from engine.primitives.grammar import (
    BASES,
    COLOURS,
    COUNTS,
    KINDS,
    PARTS,
    RELATIONS,
    SOLIDS,
    Geometry,
    Spec,
    geometries,
    specs,
)

scenes = st.sampled_from(specs())
objects = st.sampled_from([spec for spec in specs() if not spec.relation and spec.count == 1])


def test_the_world_has_the_geometries_that_the_figures_need() -> None:
    assert len(KINDS) == 28
    pairs = len(BASES) * len(SOLIDS) + math.comb(len(SOLIDS), 2)
    assert len(geometries()) == len(set(geometries())) == 28 + pairs + len(COUNTS) * len(SOLIDS)
    assert len(geometries()) == 63
    assert set(SOLIDS) <= {kind for kind in KINDS if not PARTS[kind]}
    assert {g.relation for g in geometries()} == {"", *RELATIONS}


def test_a_pair_of_neighbours_is_named_from_one_side_only() -> None:
    pairs = [(g.kind, g.other) for g in geometries() if g.relation == "next to"]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert all(first != second for first, second in pairs)


def test_the_world_is_every_scene_in_every_choice_of_different_colours() -> None:
    expected = 0
    for geometry in geometries():
        for number in range(2 if geometry.relation else 1, geometry.slots + 1):
            expected += math.perm(len(COLOURS), number)
    assert len(COLOURS) == 12
    assert len(specs()) == len(set(specs())) == expected == 16_620
    assert all(len(set(spec.colours)) == len(spec.colours) for spec in specs())


@pytest.mark.parametrize(
    ("geometry", "slots"),
    [
        (Geometry("cube"), 1),
        (Geometry("mushroom"), 2),
        (Geometry("car"), 3),
        (Geometry("ball", "on", "cube"), 2),
        (Geometry("cone", count=4), 1),
    ],
)
def test_a_geometry_has_a_slot_for_each_colour(geometry: Geometry, slots: int) -> None:
    assert geometry.slots == slots


@pytest.mark.parametrize(
    ("spec", "slots"),
    [
        (Spec("lamp", ("red",)), ("red", "red", "red")),
        (Spec("lamp", ("red", "blue")), ("red", "blue", "blue")),
        (Spec("car", ("red", "blue")), ("red", "blue", "red")),
        (Spec("car", ("red", "blue", "pink")), ("red", "blue", "pink")),
        (Spec("cube", ("red", "blue"), "on", "cube"), ("red", "blue")),
        (Spec("ball", ("green",), count=3), ("green",)),
    ],
)
def test_a_part_without_a_colour_wears_the_one_that_it_should(
    spec: Spec, slots: tuple[str, ...]
) -> None:
    assert spec.slot_colours == slots


@given(scenes)
def test_every_slot_has_a_colour_of_the_scene_the_named_ones_in_order(spec: Spec) -> None:
    assert len(spec.slot_colours) == spec.geometry.slots
    assert spec.slot_colours[: len(spec.colours)] == spec.colours
    assert set(spec.slot_colours) == set(spec.colours)


@given(objects)
def test_a_named_part_is_the_kind_s_next(spec: Spec) -> None:
    words = [part.word for part in PARTS[spec.kind]]
    assert list(spec.parts) == words[: len(spec.colours) - 1]


def test_only_objects_have_named_parts() -> None:
    assert Spec("cube", ("red", "blue"), "next to", "ball").parts == ()
    assert Spec("cube", ("red",), count=2).parts == ()


@given(scenes)
def test_swapping_exchanges_two_colours_and_leaves_one_alone(spec: Spec) -> None:
    swap = spec.swapped()
    assert swap.geometry == spec.geometry
    assert swap.swapped() == spec
    assert swap in set(specs())
    assert (swap == spec) == (len(spec.colours) == 1)
    assert set(swap.colours) == set(spec.colours)
    assert swap.colours[2:] == spec.colours[2:]


@given(scenes, st.data())
def test_recolouring_changes_one_slot(spec: Spec, data: st.DataObject) -> None:
    slot = data.draw(st.integers(0, len(spec.colours) - 1))
    colour = data.draw(st.sampled_from([c for c in COLOURS if c not in spec.colours]))
    found = spec.recoloured(slot, colour)
    assert found.geometry == spec.geometry
    for place, (old, new) in enumerate(zip(spec.colours, found.colours, strict=True)):
        assert new == (colour if place == slot else old)
    assert found.recoloured(slot, spec.colours[slot]) == spec


def test_recolouring_to_a_colour_in_use_is_refused() -> None:
    with pytest.raises(ValueError, match="car takes 1 to 3 different colours"):
        Spec("car", ("red", "blue")).recoloured(0, "blue")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("unicorn", ("red",)), "unknown Geometry.kind='unicorn'"),
        (("cube", ("mauve",)), "unknown colour 'mauve'; expected one of red, orange"),
        (("cube", ("red", "blue")), "cube takes 1 to 1 different colours"),
        (("car", ()), "car takes 1 to 3"),
        (("car", ("red", "red")), "car takes 1 to 3 different"),
        (("mushroom", ("red", "blue", "pink")), "mushroom takes 1 to 2"),
        (("cube", ("red",), "on", "cube"), "cube takes 2 to 2"),
        (
            ("cube", ("red", "blue"), "on", "ball"),
            "unknown Geometry.kind='cube', relation='on', other='ball', count=1",
        ),
        (("ball", ("red", "blue"), "next to", "cube"), "unknown Geometry"),
        (("cube", ("red", "blue"), "in", "cube"), "relations on, next to"),
        (("cube", ("red",), "", "", 5), "2 to 4 in a row"),
        (("car", ("red",), "", "", 2), "solids .cube, ball, cylinder, cone, torus."),
    ],
)
def test_a_wrong_spec_is_refused(arguments: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Spec(*arguments)


def test_colours_are_told_apart() -> None:
    for (name, a), (other, b) in itertools.combinations(COLOURS.items(), 2):
        assert math.dist(a, b) > 0.25, (name, other)
        assert all(0 <= value <= 1 for value in (*a, *b))


def test_scenes_come_by_geometry_then_by_number_of_colours() -> None:
    order = {geometry: place for place, geometry in enumerate(geometries())}
    keys = [(order[spec.geometry], len(spec.colours)) for spec in specs()]
    assert keys == sorted(keys)
    assert set(Counter(spec.geometry for spec in specs())) == set(geometries())


@pytest.mark.parametrize("module", ["grammar", "captions", "splits"])
def test_the_language_needs_no_torch(module: str) -> None:
    name = f"{grammar.__package__}.{module}"
    code = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
