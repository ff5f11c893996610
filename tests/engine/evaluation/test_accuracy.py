"""What a judge takes things for, by made-up scores."""

import torch
from torch import Tensor

from engine.evaluation.accuracy import beats_swap, colours_right, taken_for
from engine.primitives.grammar import Spec, specs


def scores_of(given: dict[Spec, float]) -> Tensor:
    scores = torch.zeros(len(specs()))
    for spec, score in given.items():
        scores[specs().index(spec)] = score
    return scores


CAR = Spec("car", ("red", "black", "white"))


def test_the_best_of_all_captions() -> None:
    duck = Spec("duck", ("yellow", "orange"))
    assert taken_for(scores_of({CAR: 1.0, duck: 2.0})) == duck


def test_colours_are_asked_of_the_true_geometry_and_number() -> None:
    near = Spec("car", ("red", "black", "pink"))
    scores = scores_of(
        {
            CAR: 1.0,
            near: 2.0,
            Spec("car", ("blue", "green")): 9.0,
            Spec("rocket", ("blue", "green", "grey")): 9.0,
        }
    )
    assert colours_right(scores, CAR) == (True, True, False)
    assert colours_right(scores, near) == (True, True, True)
    assert colours_right(scores, Spec("car", ("green", "blue", "white"))) == (False, False, False)
    assert colours_right(scores, Spec("car", ("blue", "red"))) == (True, False)


def test_the_swap() -> None:
    swap = Spec("car", ("black", "red", "white"))
    assert beats_swap(scores_of({CAR: 1.0}), CAR) is True
    assert beats_swap(scores_of({CAR: 1.0, swap: 2.0}), CAR) is False
    assert beats_swap(scores_of({}), CAR) is False
    assert beats_swap(scores_of({}), Spec("car", ("red",))) is None
