"""What every kernel that multiplies matrices needs."""

# pyright: reportArgumentType=false

from typing import no_type_check

import triton
import triton.language as tl

_LEAST = 16
"""The least side of a matrix product."""


def side(length: int) -> int:
    """Side of the tile that holds a matrix of this side."""
    return max(_LEAST, int(triton.next_power_of_2(length)))


@triton.jit
@no_type_check
def dot(b_a, b_b, DTYPE: tl.constexpr):
    """Product of two tiles in a precision, summed in float32."""
    # Of three partial products for float32, where one would keep 10 bits.
    return tl.dot(b_a.to(DTYPE), b_b.to(DTYPE), input_precision="tf32x3")
