"""Whether two ways of making the same scenes differ, scene by scene: an exact sign test.

Of the pairs that are not equal, k of n are higher in the second. If either way was as likely for
each of them, k would be of the binomial B(n, 1/2), and

    p = min(1, 2 P[B <= min(k, n - k)])

the chance of so uneven a split, or a more uneven one, to either side. Of answers that are yes or no
this is McNemar's test (Psychometrika 12, 1947) in its exact form.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Paired:
    """How the second values of pairs stand to the first."""

    higher: int
    lower: int
    equal: int
    change: float
    """Median of second - first over the pairs of finite values; 0 where there are none."""

    @property
    def p(self) -> float:
        """Chance of so uneven a split under no difference."""
        return sign_test(self.higher, self.lower)


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compares values pair by pair; truth values are 0 and 1. Raises ValueError at NaN, which is
    neither higher nor lower, and where there are not as many."""
    if len(first) != len(second) or any(map(math.isnan, (*first, *second))):
        raise ValueError(f"pairs: expected as many numbers, got {first} and {second}")
    pairs = list(zip(first, second, strict=True))
    changes = [b - a for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    return Paired(
        higher=sum(b > a for a, b in pairs),
        lower=sum(b < a for a, b in pairs),
        equal=sum(b == a for a, b in pairs),
        change=statistics.median(changes) if changes else 0.0,
    )


def sign_test(higher: int, lower: int) -> float:
    """The two-sided p of a split of higher + lower pairs."""
    total = higher + lower
    tail = sum(math.comb(total, k) for k in range(min(higher, lower) + 1))
    return min(1.0, 2.0 * tail / 2**total)
