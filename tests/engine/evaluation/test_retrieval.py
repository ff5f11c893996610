"""Places in a pool."""

import pytest
import torch

from engine.evaluation.lexicon import geometry_places, spec_places
from engine.evaluation.retrieval import colour_place, geometry_place, place
from engine.primitives.grammar import Spec, geometries, specs


@pytest.mark.parametrize(("own", "expected"), [(0.9, 0), (0.5, 2), (0.4, 3), (-1.0, 4)])
def test_place(own: float, expected: int) -> None:
    scores = torch.tensor([0.8, own, 0.1, 0.6, 0.45, 99.0])
    assert place(scores, 1, [0, 2, 3, 4]) == expected


def test_a_tie_is_no_hit() -> None:
    assert place(torch.ones(5), 2, [0, 1, 3, 4]) == 4


def test_only_the_pool_counts() -> None:
    own, better, outside = Spec("cube", ("red",)), Spec("cube", ("blue",)), Spec("cube", ("pink",))
    scores = torch.zeros(len(specs()))
    for spec, score in ((own, 1.0), (better, 2.0), (outside, 3.0)):
        scores[spec_places()[spec]] = score
    assert colour_place(scores, own, [own, Spec("cube", ("grey",))]) == 0
    assert colour_place(scores, own, [own, better]) == 1


def test_geometries_compete_with_all() -> None:
    scores = torch.arange(len(geometries())).float()
    for geometry in (geometries()[0], geometries()[-1]):
        expected = len(geometries()) - 1 - geometry_places()[geometry]
        assert geometry_place(scores, geometry) == expected
