"""`is_best` against a loop over the groups."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.ranking import Ranking


def table(rows: list[dict]) -> pa.Table:
    """Rows of the catalog; what is not said is the same in all."""
    common = {
        "prompt": "a",
        "negative_prompt": "",
        "recipe_digest": "r",
        "guidance_digest": "g",
        "score": None,
    }
    full = [
        {"asset_id": f"{number:032x}", "seed": number} | common | row
        for number, row in enumerate(rows)
    ]
    types = {"score": pa.float64(), "seed": pa.int64()}
    names = list(full[0])
    return pa.table(
        {n: pa.array([row[n] for row in full], types.get(n, pa.string())) for n in names}
    )


def best(rows: list[dict], column: str | None = "score") -> list[bool | None]:
    ranking, whole = Ranking(column), table(rows)
    for row in range(len(whole)):
        ranking.add(whole.slice(row, 1))
    return ranking.verdicts().column(whole).to_pylist()


def test_the_best_score_wins_and_an_unscored_one_loses() -> None:
    assert best([{"score": 0.2}, {"score": 0.9}, {}]) == [False, True, False]
    assert best([{"score": -0.5}, {}]) == [True, False]


def test_of_equal_scores_the_lowest_seed_wins() -> None:
    assert best([{"score": 0.5, "seed": 9}, {"score": 0.5, "seed": 2}]) == [False, True]


def test_without_scores_nobody_knows_but_who_is_alone() -> None:
    rows = [{}, {}, {"prompt": "b"}]
    assert best(rows) == [None, None, True]
    assert best(rows, None) == [None, None, True]
    assert best(rows, "absent") == [None, None, True]


def test_what_differs_in_more_than_the_seed_does_not_compete() -> None:
    for name in ("prompt", "negative_prompt", "recipe_digest", "guidance_digest"):
        assert best([{"score": 0.1}, {"score": 0.9, name: "other"}]) == [True, True]


def test_of_nothing_there_is_no_best() -> None:
    empty = table([{}]).slice(0, 0)
    assert Ranking("score").verdicts().column(empty).to_pylist() == []


ROW = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["a", "b", "é"]),
        "negative_prompt": st.sampled_from(["", "c"]),
        "seed": st.integers(0, 3),
        "score": st.none() | st.sampled_from([-1.0, 0.0, 0.25, 0.5]),
    }
)


@given(rows=st.lists(ROW, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_is_best_is_what_a_loop_says(rows: list[dict]) -> None:
    expected: list[bool | None] = []
    for number, row in enumerate(rows):
        rivals = [
            (-other["score"] if other["score"] is not None else 9.0, other["seed"], k)
            for k, other in enumerate(rows)
            if all(other[n] == row[n] for n in ("prompt", "negative_prompt"))
        ]
        is_known = any(rival[0] < 9.0 for rival in rivals)
        expected.append(min(rivals)[2] == number if is_known or len(rivals) == 1 else None)
    assert best(rows) == expected
