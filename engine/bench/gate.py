"""The gate: no speed is told of a kernel that computes something else than its reference."""

from collections.abc import Mapping

import torch
from torch import Tensor


class GateError(Exception):
    """A kernel differs from its reference."""


def hold(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float
) -> dict[str, float]:
    """|actual - expected| / |expected| of every named tensor, in float64.

    Raises GateError with the first name that is off; what is not a number always is.
    """
    assert actual.keys() == expected.keys()
    errors = {}
    for name, wanted in expected.items():
        wanted = wanted.detach().to(torch.float64)
        difference = actual[name].detach().to(torch.float64) - wanted
        errors[name] = float(difference.norm() / wanted.norm().clamp(min=1e-12))
        # Not >, which NaN would pass.
        if not errors[name] <= tolerance:
            raise GateError(f"{name}: relative error {errors[name]:.1e}, at most {tolerance:.0e}")
    return errors
