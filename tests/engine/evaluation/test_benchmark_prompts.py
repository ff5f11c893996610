"""The benchmark's prompts stay what they are."""

import hashlib
from collections import Counter

import pytest

from engine.evaluation.benchmark_prompts import benchmark_specs
from engine.primitives.captions import caption
from engine.primitives.grammar import KINDS
from engine.primitives.splits import Split, family, split


def test_the_153_prompts_are_pinned() -> None:
    text = "\n".join(map(caption, benchmark_specs()))
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "8771b1772c46e633664a3588502ed13ebe693e2715b059b8a7c589655f709bc9"
    )


@pytest.mark.parametrize(("name", "count"), [("test", 153), ("dev", 153), ("test", 20)])
def test_different_and_of_their_split(name: Split, count: int) -> None:
    specs = benchmark_specs(name, count)
    assert len(set(specs)) == len(specs) == count
    assert {split(spec) for spec in specs} == {name}


def test_shares_of_families_and_kinds() -> None:
    specs = benchmark_specs()
    assert Counter(map(family, specs)) == {
        "one colour": 31,
        "two colours": 58,
        "three colours": 25,
        "on": 15,
        "next to": 12,
        "row": 12,
    }
    kinds = Counter(spec.kind for spec in specs if not spec.relation and spec.count == 1)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) >= 2
    assert max(kinds.values()) <= 5
    together = Counter(spec.geometry for spec in specs if spec.relation or spec.count > 1)
    assert max(together.values()) <= 2


def test_more_than_there_are() -> None:
    with pytest.raises(ValueError, match=r"two colours.*ask for less"):
        benchmark_specs("dev", 1200)
