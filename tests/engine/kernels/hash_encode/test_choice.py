"""Who computes, and what is refused."""

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install 'dreambatch[kernels]'")

from engine.kernels import hash_encode
from engine.kernels.hash_encode import fused, reference
from tests.engine.kernels.hash_encode.cases import RESOLUTIONS, Recorder, drawn


@pytest.mark.parametrize(
    ("features", "size", "resolutions", "told"),
    [
        (3, 256, [3, 5], r"features of 1, 2 or 4 on a GPU, got 3"),
        (2, 200, [3, 5], "a power of 2, got 200"),
        (2, 256, [5, 3], r"2 resolutions, coarse to fine, got \[5, 3\]"),
        (2, 256, [5], r"2 resolutions, coarse to fine, got \[5\]"),
    ],
)
def test_what_kernels_do_not_reach_is_refused(
    features: int, size: int, resolutions: list[int], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        fused.encode(torch.zeros(1, 2, size, features), torch.zeros(1, 1, 3), resolutions)


def test_cells_are_not_found_in_half_precision() -> None:
    """16 bits do not tell the cells of a fine level apart."""
    with pytest.raises(ValueError, match=r"points in fp32 or fp64, got torch.float16"):
        fused.encode(torch.zeros(1, 1, 256, 2), torch.zeros(1, 1, 3).half(), [3])


def test_more_than_32_bits_of_offsets_are_refused() -> None:
    tables = torch.zeros(1, 2, 256, 4)
    x = torch.zeros(1, 1, 3).expand(1, 2**31 // 24 + 1, 3)
    with pytest.raises(ValueError, match=r"fewer than 2\^31"):
        fused.encode(tables, x, [3, 5])


def test_the_device_chooses(recorded: dict[str, Recorder]) -> None:
    """On the CPU every public function is the reference, to the bit."""
    tables, x = drawn(1, 4, 2, torch.device("cpu"))
    y, slopes = hash_encode.encode_with_slopes(tables, x, RESOLUTIONS)
    assert torch.equal(y, reference.encode(tables, x, RESOLUTIONS))
    assert torch.equal(hash_encode.encode(tables, x, RESOLUTIONS), y)
    assert torch.equal(hash_encode.pull(slopes, y), reference.pull(slopes, y))
    assert not recorded["encode_fwd"].launches


@pytest.mark.usefixtures("fused")
def test_kernels_are_chosen_where_they_run(
    device: torch.device, recorded: dict[str, Recorder]
) -> None:
    tables, x = drawn(1, 4, 2, device)
    hash_encode.encode(tables, x, RESOLUTIONS)
    y, slopes = hash_encode.encode_with_slopes(tables, x, RESOLUTIONS)
    assert len(recorded["encode_fwd"].launches) == 4
    pulled = hash_encode.pull(slopes, y)
    torch.testing.assert_close(pulled, reference.pull(slopes, y))
