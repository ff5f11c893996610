"""How a kernel's values are held against its reference's."""

from collections.abc import Mapping

import torch
from torch import Tensor


def assert_close(
    actual: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None], tolerance: float
) -> None:
    """|actual - expected| / |expected| of every named tensor, in float64; NaN is never close.

    Raises AssertionError with the name of the first that differs.
    """
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        value = actual[name]
        assert value is not None, f"{name} is missing"
        assert wanted is not None, f"{name} has no reference"
        assert value.shape == wanted.shape, f"{name}: {value.shape}, expected {wanted.shape}"
        assert bool(value.isfinite().all()), f"{name} has NaN or infinity"
        value, wanted = value.detach(), wanted.detach().to(value.device, torch.float64)
        error = float((value.double() - wanted).norm() / wanted.norm().clamp(min=1e-12))
        assert error <= tolerance, f"{name}: relative error {error:.1e}, at most {tolerance:.0e}"
