"""The pool: every prompt once, a fixed sample of many, and one that is full is kept."""

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.evaluation import pool
from pipeline.evaluation.pool import Sample
from tests.pipeline.dataset.test_scores import metric


def sampled(prompts: list[str]) -> list[str]:
    sample = Sample()
    for start in range(0, len(prompts), 3):
        sample.add(prompts[start : start + 3])
    return sample.captions()


def test_few_prompts_are_all_in_it() -> None:
    assert sampled(["b", "a", "b", "c", "a"]) == ["a", "b", "c"]
    assert sampled([]) == []


def test_of_many_those_with_the_lowest_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST", 10)
    prompts = [f"prompt {k % 60}" for k in range(200)]
    expected = sorted(set(prompts), key=lambda x: hashlib.sha256(x.encode()).hexdigest())[:10]
    assert sampled(prompts) == sampled(prompts[::-1]) == sorted(expected)


def test_a_table_of_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("prompt,seed\na dog,1\na cat,\na dog,2\na dog,1\n")
    assert pool.read(str(path)) == ["a cat", "a dog"]
    path.write_text('prompt\na dog\n""\n')
    with pytest.raises(UserError, match=r"--captions .*csv, row 1: prompt is empty"):
        pool.read(str(path))
    monkeypatch.setattr(pool, "MOST", 2)
    path.write_text("prompt\na\nb\nc\n")
    with pytest.raises(UserError, match="expected at most 2 prompts, got 3"):
        pool.read(str(path))


def test_a_full_pool_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST", 2)
    full, few = metric(captions=["a", "b"]), metric(captions=["a"])
    other = metric(captions=["x", "y"], weights_digest="o")
    wanted = metric(captions=["b", "c"])
    assert pool.settled(wanted, [other, full, few]) == ["a", "b"]
    assert pool.settled(wanted, [few, full]) == ["b", "c"], "only the newest may be kept"
    assert pool.settled(wanted, [other]) == ["b", "c"]
    assert pool.settled(few, [full]) == ["a"]


def test_a_pool_that_the_user_gave_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST", 2)
    given = metric(captions=["x", "y"], is_given=True)
    wanted = metric(captions=["b", "c"])
    assert pool.settled(wanted, [given]) == ["b", "c"]
    assert pool.settled(wanted, [given, metric(captions=["a", "b"])]) == ["a", "b"]
