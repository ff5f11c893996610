"""The pools: complete, all different, always the same."""

import subprocess
import sys

import pytest

from engine.evaluation.pools import colour_pool, with_swaps
from engine.primitives.captions import caption
from engine.primitives.grammar import Spec
from engine.primitives.splits import choose, specs_of, split

SPECS = [*choose("test", 24, 1), *choose("dev", 8, 1)]


@pytest.mark.parametrize("spec", SPECS, ids=caption)
def test_a_pool_holds_what_it_promises(spec: Spec) -> None:
    pool = colour_pool(spec)
    assert len({caption(other) for other in pool}) == 64
    assert pool[0] == spec
    has_swap = len(spec.colours) > 1
    assert (pool[1] == spec.swapped()) == has_swap
    drawn = pool[1 + has_swap :]
    assert {split(other) for other in drawn} == {split(spec)}
    # As many of the same kind as there are, up to 15, those of the same geometry first.
    known = [o for o in specs_of(split(spec)) if o not in pool[: 1 + has_swap]]
    num_kin = min(15, sum(other.kind == spec.kind for other in known))
    assert all(other.kind == spec.kind for other in drawn[:num_kin])
    num_twins = min(15, sum(other.geometry == spec.geometry for other in known))
    assert all(other.geometry == spec.geometry for other in drawn[:num_twins])
    alike = drawn[num_kin : num_kin + 15]
    assert all(set(other.colours) & set(spec.colours) for other in alike)


def test_the_same_pool_in_every_process() -> None:
    code = (
        "from engine.evaluation.pools import colour_pool\n"
        "from engine.primitives.splits import choose\n"
        "print([repr(spec) for spec in colour_pool(choose('test', 24, 1)[0])])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str([repr(spec) for spec in colour_pool(SPECS[0])])


def test_pools_of_two_scenes_differ() -> None:
    assert set(colour_pool(SPECS[0])[2:]) != set(colour_pool(SPECS[1])[2:])


def test_the_benchmark_s_pool() -> None:
    two, one = Spec("mushroom", ("red", "white")), Spec("cube", ("blue",))
    swap = Spec("mushroom", ("white", "red"))
    assert with_swaps([two, one]) == [two, one, swap]
    assert with_swaps([two, swap, one]) == [two, swap, one]
