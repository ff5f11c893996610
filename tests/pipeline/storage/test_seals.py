import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.storage.seals import seal, unseal


@pytest.mark.parametrize("payload", [b"", b"x", bytes(100_000)])
def test_what_is_sealed_comes_back_and_what_is_damaged_does_not(payload: bytes) -> None:
    data = seal(payload)
    assert data == hashlib.sha256(payload).digest() + payload
    assert unseal(data) == payload
    assert unseal(None) is None
    assert unseal(b"") is None
    assert unseal(data[:-1]) is None
    assert unseal(data + b"x") is None


@given(
    payload=st.binary(max_size=200), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7)
)
def test_any_changed_bit_is_noticed(payload: bytes, where: float, bit: int) -> None:
    data = bytearray(seal(payload))
    data[int(where * len(data))] ^= 1 << bit
    assert unseal(bytes(data)) is None
