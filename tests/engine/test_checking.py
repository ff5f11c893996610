import pytest
import torch
from jaxtyping import TypeCheckError

from engine import volume
from engine.guidance.prompts import view_word


def test_shapes_are_checked_while_the_tests_run() -> None:
    with pytest.raises(TypeCheckError):
        volume.composite(torch.zeros(2, 3), torch.zeros(2, 4))


def test_types_are_checked_but_an_int_may_stand_for_a_float() -> None:
    assert view_word(0, 90) == "overhead view"
    with pytest.raises(TypeCheckError):
        view_word("0", 90)  # type: ignore[arg-type]
