"""The benchmark's prompts: 153 fixed scenes of the test split, as many as DreamFusion's.

Families have fixed shares (`splits.SHARES`), rounded to whole prompts by largest remainder. Within
a family the next prompt always goes to the geometry that has the fewest so far and of those to the
first in a fixed random order; families of more colours come first, so that kinds of several parts,
which those are for, and kinds of one piece end up with about as many prompts. Free of torch.
"""

import math
import random
from collections import Counter, defaultdict

from engine.primitives.grammar import Geometry, Spec
from engine.primitives.splits import SHARES, Split, family, specs_of

NUM_PROMPTS = 153

_SEED = 153


def benchmark_specs(split: Split = "test", count: int = NUM_PROMPTS) -> list[Spec]:
    """The benchmark's scenes, families mixed; always the same.

    Raises ValueError if a family of the split has too few.
    """
    draw = random.Random(_SEED)
    waiting: dict[str, dict[Geometry, list[Spec]]] = {name: defaultdict(list) for name in SHARES}
    for spec in draw.sample(specs_of(split), len(specs_of(split))):
        waiting[family(spec)][spec.geometry].append(spec)
    given: Counter[Geometry] = Counter()
    chosen: list[Spec] = []
    wanted = _numbers(count)
    for name in sorted(SHARES, key=lambda name: (name != "three colours", name != "two colours")):
        for _ in range(wanted[name]):
            left = [geometry for geometry, specs in waiting[name].items() if specs]
            if not left:
                raise ValueError(
                    f"benchmark: expected at least {wanted[name]} scenes of the family {name!r} in "
                    f"the {split} split, got fewer; ask for less than {count} prompts"
                )
            geometry = min(left, key=lambda geometry: given[geometry])
            chosen.append(waiting[name][geometry].pop())
            given[geometry] += 1
    return draw.sample(chosen, len(chosen))


def _numbers(count: int) -> dict[str, int]:
    """How many prompts each family has."""
    exact = {name: share * count / sum(SHARES.values()) for name, share in SHARES.items()}
    numbers = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(SHARES, key=lambda name: numbers[name] - exact[name])
    for name in by_remainder[: count - sum(numbers.values())]:
        numbers[name] += 1
    return numbers
