"""Which captions an asset's own has to beat. Free of torch.

The pool of 64 holds, all different and in this order: the scene's own caption; its colour swap,
where it has two colours; 15 of the same kind, those of the same geometry before others; 15 that
share a colour; the rest at random. Where a split has fewer of the first sorts, the rest fill up.
All but the swap come from the scene's own split, and the draw depends on the scene alone. The
benchmark's pool holds its own captions and each one's swap.
"""

import random
from collections.abc import Iterable, Sequence
from functools import cache

from engine.primitives.captions import caption
from engine.primitives.grammar import Spec
from engine.primitives.splits import specs_of, split

POOL_SIZE = 64
NUM_SAME_KIND = 15
NUM_SAME_COLOUR = 15


@cache
def colour_pool(spec: Spec) -> tuple[Spec, ...]:
    """The 64 scenes among which a coloured picture's own, which comes first, must be found."""
    candidates = list(specs_of(split(spec)))
    random.Random(caption(spec)).shuffle(candidates)
    pool = with_swaps([spec])
    chosen = set(pool)

    def take(wanted: Iterable[Spec], most: int) -> None:
        for other in wanted:
            if most <= 0:
                return
            if other not in chosen:
                pool.append(other)
                chosen.add(other)
                most -= 1

    same_geometry = [other for other in candidates if other.geometry == spec.geometry]
    take([*same_geometry, *(o for o in candidates if o.kind == spec.kind)], NUM_SAME_KIND)
    take((o for o in candidates if set(o.colours) & set(spec.colours)), NUM_SAME_COLOUR)
    take(candidates, POOL_SIZE - len(pool))
    return tuple(pool)


def with_swaps(specs: Sequence[Spec]) -> list[Spec]:
    """Scenes and the colour swap of each, all different, the scenes themselves first."""
    return list(dict.fromkeys([*specs, *(spec.swapped() for spec in specs)]))
