import re

import pytest

from engine.primitives.captions import vocabulary
from pipeline.prompts import foreign
from pipeline.prompts.foreign import ForeignWords
from pipeline.records import Prompt, Rejection


def told(*prompts: str, words: tuple[str, ...] = ("a", "red", "car", ",")) -> str:
    found = ForeignWords(words)
    rows: list[Prompt | Rejection] = [
        Prompt(row=k, prompt_id=str(k), prompt=prompt, seed=0) for k, prompt in enumerate(prompts)
    ]
    rows.insert(0, Rejection(row=99, prompt_id=None, prompt="gone", reason="empty"))
    assert list(found.watched(iter(rows))) == rows
    return found.told()


def words_of(sentence: str) -> list[str]:
    """The words that a sentence names, in its order."""
    return re.findall(r"'(\w+)' \(", sentence)


def test_nothing_is_told_where_all_is_known() -> None:
    assert told("a red car", "A Red CAR", "a red, red car") == ""
    assert told() == ""


def test_words_are_told_by_how_many_rows_have_them() -> None:
    assert told("a unicorn", "a red car") == (
        "1 row has words that say nothing to the embedded model: 'unicorn' (prompt, row 0)"
    )
    many = told("a zebra zebra", "a zebra, or a horse", "a horse of glass", "a red car")
    assert many.startswith("3 rows have")
    assert many.endswith(
        ": 'horse' (prompt, first in row 1), 'zebra' (prompt, first in row 0), "
        "'glass' (prompt, row 2), 'of' (prompt, row 2), 'or' (prompt, row 1)"
    )
    assert words_of(told("b c d e f")) == ["b", "c", "d", "e", "f"]
    assert "others" not in told("b c d e f")
    assert words_of(told("b c d e f g h")) == ["b", "c", "d", "e", "f"]
    assert told("b c d e f g h").endswith("'f' (prompt, row 0) and others")
    assert words_of(told("x" * 4096)) == ["x" * 40]


def test_a_row_of_several_seeds_is_one_prompt() -> None:
    rows = [
        Prompt(row=row, prompt_id=f"{row}-{seed}", prompt="a unicorn", seed=seed)
        for row in (0, 1)
        for seed in (7, 8, 9)
    ]
    words = ForeignWords(("a",))
    assert list(words.watched(iter(rows))) == rows
    assert words.told().startswith("2 rows have")
    assert words.told().endswith(": 'unicorn' (prompt, first in row 0)")


def test_a_row_s_negative_prompt_is_read_by_the_same_model() -> None:
    rows = [
        Prompt(row=row, prompt_id=str(row), prompt=prompt, seed=0, negative_prompt=negative)
        for row, (prompt, negative) in enumerate(
            [("a unicorn", "a blurry unicorn"), ("a unicorn", "a blurry a"), ("a zebra", "")]
        )
    ]
    words = ForeignWords(("a",))
    assert list(words.watched(iter(rows))) == rows
    told = words.told()
    assert told.startswith("3 rows have")
    assert told.endswith(
        ": 'unicorn' (prompt, first in row 0), 'blurry' (negative_prompt, first in row 0), "
        "'zebra' (prompt, row 2), 'unicorn' (negative_prompt, row 0)"
    )


def test_of_ever_more_words_the_first_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_MOST_KEPT", 3)
    said = told("number 1", "number 2", "number 3", "number 4", "number 5")
    assert said.startswith("5 rows have")
    assert words_of(said) == ["number", "1", "2"]


@pytest.mark.parametrize(
    "prompt", ["a red car with blue wheels and white roof", "two cones", "a cup, side view"]
)
def test_captions_of_the_embedded_world_are_known(prompt: str) -> None:
    assert told(prompt, words=vocabulary()) == ""
